"""Shell completion, tried in the shells themselves, and the help of each verb."""

import shutil
import subprocess

import pytest

from attnbench.cli import completion
from attnbench.cli.main import main
from attnbench.cli.parser import VERBS
from attnbench.errors import UserError

LINES = [
    ("attnbench attn=ec", {"eca"}, set()),
    ("attnbench attn=se,ec", {"se,eca"}, set()),
    ("attnbench recipe.optimizer.na", set(), {"recipe.optimizer.name=sgd"}),
    ("attnbench recipe.precision=b", {"bf16"}, set()),
    ("attnbench swe", set(), {"sweep"}),
    ("attnbench sweep experiment=qui", {"quick"}, set()),
    ("attnbench sweep --d", set(), {"--dry-run"}),
    ("attnbench list mech", set(), {"mechanisms"}),
    ("attnbench completion z", set(), {"zsh"}),
    ("attnbench list chan", set(), {"channel"}),
    ("attnbench attn=se,sof", {"se,soft"}, set()),
]
ZSH = [
    ("attnbench attn=ec", "eca"),
    ("attnbench attn=se,ec", "eca"),
    ("attnbench recipe.optimizer.na", "recipe.optimizer.name"),
    ("attnbench recipe.precision=b", "bf16"),
    ("attnbench swe", "sweep"),
    ("attnbench sweep experiment=qui", "quick"),
    ("attnbench sweep --d", "--dry-run"),
    ("attnbench list sof", "soft"),
]


def replies(shell: str, line: str) -> set[str]:
    """What a shell offers at the end of a line."""
    ask = f"COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; _attnbench; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    script = completion.script("bash")
    done = subprocess.run([shell, "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(("line", "after", "whole"), LINES, ids=[line for line, _, _ in LINES])
def test_bash_completes(line, after, whole):
    found = replies("bash", line)
    assert after | whole <= found, found
    assert not any("=" in reply for reply in found) or not after  # bash puts replies behind the '='


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
@pytest.mark.parametrize(("line", "offered"), ZSH, ids=[line for line, _ in ZSH])
def test_zsh_completes(line, offered):
    given = line.split(" ")
    here = 'compdef() { }; compset() { }; compadd() { print -l -- "$@" }'
    ask = f"words=({line}); CURRENT={len(given)}; PREFIX='{given[-1]}'; _attnbench"
    done = subprocess.run(
        ["zsh", "-f", "-c", f"{here}\n{completion.script('zsh')}\n{ask}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert offered in done.stdout.split() and not done.stderr


@pytest.mark.parametrize("words", [(), ("fish",), ("bash", "zsh")])
def test_other_shells_are_refused(words):
    with pytest.raises(UserError, match="bash"):
        completion.script(*words)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_with_its_own_options_and_examples(verb, capsys):
    assert main([verb, "--help"]) == 0
    printed = capsys.readouterr().out
    assert "examples:" in printed and f"usage: attnbench {'' if verb == 'run' else verb}" in printed
    for option in VERBS[verb].options:
        assert option.flags[0] in printed
    assert ("--dry-run" in printed) == any(o.dest == "dry_run" for o in VERBS[verb].options)
