"""The command line."""

import io
import os
import sys
import textwrap
from collections.abc import Sequence

from attnbench import __version__
from attnbench.cli.parser import VERBS, Verb, ours, parser, read
from attnbench.cli.show import visible
from attnbench.errors import Interrupted, UserError, unknown

USAGE = """\
attnbench {version}: which attention mechanism is worth its cost, on which backbone, for which task

  attnbench KEY=VALUE ...                        run one cell
  attnbench -m KEY=VALUE,VALUE ...               run all combinations
  attnbench VERB ...                             (python -m attnbench is the same)

Verbs; attnbench VERB --help explains one
{verbs}

Choices
{choices}
  experiment  {experiments}

Settings, with their types and bounds: attnbench/config/schema.py, or --cfg. Often wanted:
  attn.OPTION=VALUE   an option of the mechanism (list mechanisms NAME shows them)
  site=NAME           where it stands (list backbones NAME shows them); default: where its paper puts it
  seed=N  data.root=FOLDER  data.download=true  hardware.device=cpu  results=FOLDER

Flags: -m several cells; --dry-run print what would be run, and stop; --cfg print the configuration, and stop;
  --config-dir FOLDER add a folder with groups of files of your own, like conf/; --help; --version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask; the exit status: 0, 1 a cell failed, 2 a wrong request, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    # Shells leave the ~ of key=~/folder as it is, and Hydra's grammar refuses it.
    home = os.path.expanduser("~")  # itself where the user has none
    words = [word.replace("=~/", f"={home}/", 1) for word in given]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # of a letter that the terminal does not know
    try:
        return _dispatch(words)
    except (UserError, Interrupted) as error:
        if os.environ.get("RANK", "0") == "0":  # of several processes under torchrun, one speaks
            print(f"attnbench: {visible(' '.join(str(error).splitlines()))}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        print("attnbench: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141


def _dispatch(words: list[str]) -> int:
    words = ours(_searched(words))
    at = next((i for i, word in enumerate(words) if not word.startswith("-")), None)
    named = at is not None and "=" not in words[at] and not words[at].startswith(("~", "+"))
    if "--version" in words:
        print(f"attnbench {__version__}")
        return 0
    if {"--help", "-h"}.intersection(words):
        print(parser(_verb(words[at])).format_help() if named and at is not None else usage(), end="")
        return 0
    verb = _verb(words.pop(at)) if named and at is not None else VERBS["run"]
    return verb.run(read(verb, words))


def _verb(name: str) -> Verb:
    if name not in VERBS:
        raise unknown("command", name, VERBS)
    return VERBS[name]


def _searched(words: list[str]) -> list[str]:
    """The words without the folders that they add to those that are searched, which are added."""
    from attnbench.config import files

    rest: list[str] = []
    given = iter(words)
    for word in given:
        flag, _, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            files.add(value or next(given, ""))
        elif flag.lstrip("+") == "hydra.searchpath":
            for place in value.strip("[]").split(","):
                files.add(place.strip().strip("'\""))
        else:
            rest.append(word)
    return rest


def usage() -> str:
    """The help text, with what there is to choose from."""
    from attnbench.config import files
    from attnbench.config.schema import GROUPS, choices

    lines = [f"  {group:<11} {_wrapped(choices(group))}" for group in GROUPS]
    verbs = [f"  {verb.name:<11} {verb.summary}" for verb in VERBS.values()]
    return USAGE.format(
        version=__version__,
        verbs="\n".join(verbs),
        choices="\n".join(lines),
        experiments=_wrapped(sorted(files.experiments())),
    )


def _wrapped(names: Sequence[str]) -> str:
    return textwrap.fill(" ".join(names), 100, initial_indent="", subsequent_indent=" " * 14)
