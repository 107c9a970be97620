"""Completion of words in a shell: a script with all names in it, so that a press of TAB starts no Python."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from attnbench.config import files
from attnbench.config.schema import GROUPS, Config, choices
from attnbench.errors import UserError, unknown

SHELLS = ("bash", "zsh")
KINDS = ("mechanisms", "backbones", "tasks", "data", "recipes", "experiments")
SCRIPT = """\
# Completion of attnbench: attnbench completion {shell}
{before}_attnbench() {{
  local line cur verb word words
  line="${{COMP_LINE:0:COMP_POINT}}"
  cur="${{line##* }}"
  for word in ${{line% *}}; do
    case "$word" in attnbench|-*|*=*) ;; *) verb="${{verb:-$word}}" ;; esac
  done
  case "$verb" in
{cases}
    *) words="$_attnbench_verbs $_attnbench_run_flags $_attnbench_settings" ;;
  esac
  local lead=""
  case "$cur" in *=*,*) lead="${{cur%,*}},"; cur="${{cur%%=*}}=${{cur##*,}}" ;; esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  local i cut=""
  [ -n "$lead" ] && for i in "${{!COMPREPLY[@]}}"; do COMPREPLY[$i]="$lead${{COMPREPLY[$i]#*=}}"; done
  # bash breaks words at '=', so that a reply begins behind it.
  if [ -n "$BASH_VERSION" ]; then
    case "$cur" in *=*) cut=yes ;; esac
    [ -n "$cut" ] && for i in "${{!COMPREPLY[@]}}"; do COMPREPLY[$i]="${{COMPREPLY[$i]#*=}}"; done
    case "${{COMPREPLY[0]}}" in *=) compopt -o nospace 2>/dev/null ;; esac
  fi
}}
{lists}
complete -F _attnbench attnbench
"""
ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


def script(shell: str = "", *rest: str) -> str:
    """The script for a shell; raises `UserError` for one that is not known."""
    if rest or not shell:
        raise UserError("completion takes one shell: bash or zsh")
    if shell not in SHELLS:
        raise unknown("shell", shell, SHELLS)
    from attnbench.cli.parser import VERBS

    lists, cases = {"settings": sorted(_settings()), "verbs": list(VERBS)}, []
    for verb in VERBS.values():
        lists[f"{verb.name}_flags"] = ["--help", "--config-dir", *(f for o in verb.options for f in o.flags)]
        cases.append(f'    {verb.name}) words="$_attnbench_{verb.name}_flags {_words(verb.name)}" ;;')
    lists["list_kinds"] = [*KINDS, *choices("attn")]
    return SCRIPT.format(
        shell=shell,
        before=ZSH if shell == "zsh" else "",
        cases="\n".join(cases),
        lists="\n".join(f"_attnbench_{name}='{' '.join(words)}'" for name, words in lists.items()),
    )


def _words(verb: str) -> str:
    own = {
        "list": "$_attnbench_list_kinds",
        "report": "published survey results= difference=",
        "completion": "bash zsh",
    }
    return own.get(verb, "loop mechanisms planning sweep" if verb == "bench" else "$_attnbench_settings")


def _settings() -> Iterator[str]:
    """Every word that can be completed: choices of the groups, settings, and values of closed choices."""
    for group in GROUPS:
        yield from (f"{group}={name}" for name in choices(group))
    yield from (f"experiment={name}" for name in files.experiments())
    yield from _paths(Config)


def _paths(kind: Any, prefix: str = "") -> Iterator[str]:
    types = get_type_hints(kind)
    for each in fields(kind):
        path = f"{prefix}{each.name}"
        if is_dataclass(types[each.name]):
            yield from _paths(types[each.name], f"{path}.")
            continue
        closed = ("true", "false") if types[each.name] is bool else each.metadata.get("words", ())
        closed = closed or [str(member) for member in _members(types[each.name])]
        yield from (f"{path}={value}" for value in closed) if closed else (f"{path}=",)


def _members(kind: Any) -> list[Any]:
    from enum import Enum

    return list(kind) if isinstance(kind, type) and issubclass(kind, Enum) and not get_args(kind) else []
