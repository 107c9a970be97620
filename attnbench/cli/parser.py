"""The command line's verbs, each with its own options, help and examples."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from attnbench.cli import verbs
from attnbench.errors import UserError, unknown


@dataclass(frozen=True)
class Asked:
    """What a verb is asked: words, and the options that were given."""

    words: list[str]
    several: bool = False
    cfg: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Option:
    """A flag of a verb."""

    flags: tuple[str, ...]
    dest: str
    help: str


SEVERAL = Option(("-m", "--multirun"), "several", "run all combinations of the lists in the words")
CFG = Option(("--cfg", "-c"), "cfg", "print the configuration, and stop")
DRY = Option(("--dry-run",), "dry_run", "print what would be run, and stop")


@dataclass(frozen=True)
class Verb:
    """One verb: what it does, its words, and examples of its use."""

    name: str
    run: Callable[[Asked], int]
    summary: str
    usage: str
    words: str  # what its words are
    examples: tuple[tuple[str, str], ...]  # words, and what they do
    options: tuple[Option, ...] = field(default=())


SETTINGS = "KEY=VALUE settings; attnbench --help names the choices"
VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "run",
            verbs.run,
            "run one cell, or with -m all combinations (the verb itself can be left out)",
            "[run] [KEY=VALUE ...]",
            SETTINGS,
            (
                ("attn=se backbone=resnet20 data=cifar10 data.root=~/data", "one cell"),
                ("-m attn=none,se,eca seed=0,1,2", "nine cells and their table"),
                ("-m attn=channel task=seg --dry-run", "what all channel attention would be run on"),
                ("attn=se attn.reduction=8 --cfg", "every setting of a cell"),
            ),
            (SEVERAL, DRY, CFG),
        ),
        Verb(
            "sweep",
            verbs.sweep,
            "run an experiment",
            "experiment=NAME|FILE.yaml [KEY=VALUE ...]",
            "experiment=NAME and settings that override it; lists are axes",
            (
                ("experiment=quick --dry-run", "its plan and how long it takes"),
                ("experiment=cifar10 data.root=~/data launch=slurm", "an experiment on a cluster"),
                ("experiment=quick attn=none,se seed=0,1", "a part of it"),
            ),
            (DRY, CFG),
        ),
        Verb(
            "status",
            verbs.status,
            "print what is done, runs now, or has failed",
            "[experiment=NAME] [KEY=VALUE ...]",
            "experiment=NAME, results=FOLDER, runs=FOLDER and other settings",
            (("experiment=cifar10", "of an experiment"), ("results=out", "of a folder of records")),
        ),
        Verb(
            "report",
            verbs.report,
            "write the leaderboards from the records",
            "[survey] [published] [results=FOLDER] [difference=POINTS]",
            "survey: the survey's tables, too; published: published costs against ours; results=FOLDER: "
            "where the records are; difference=POINTS: the difference that matters in verdicts",
            (
                ("", "the leaderboards"),
                ("survey results=out", "with the survey's tables"),
                ("published results=out", "published costs against ours"),
            ),
        ),
        Verb(
            "compare",
            verbs.compare,
            "print one comparison in full, from the records",
            "attn=A,B backbone=NAME ... [results=FOLDER]",
            "attn=A,B and names of a task, data set, backbone or recipe",
            (("attn=se,eca backbone=resnet20 data=cifar10", "two mechanisms on one backbone"),),
        ),
        Verb(
            "recommend",
            verbs.recommend,
            "print which mechanism to take, or which cells are missing",
            "backbone=NAME [max_latency=+5%] ... [results=FOLDER]",
            "names of a task, data set, backbone or recipe, and limits",
            (("backbone=resnet20 max_latency=+5%", "the best at a latency of at most 5 % more"),),
        ),
        Verb(
            "cost",
            verbs.cost,
            "print one network's cost, part by part",
            "[KEY=VALUE ...]",
            SETTINGS,
            (
                ("attn=cbam backbone=resnet50 data=imagenet", "parameters and multiply-adds of each part"),
                ("attn=none task=seg backbone=resnet18", "of a segmentation network"),
            ),
            (CFG,),
        ),
        Verb(
            "list",
            verbs.listed,
            "print what can be asked for",
            "[KIND] [NAME|WORD] [attn=WORD]",
            "a kind (mechanisms, backbones, tasks, data, recipes, experiments) and a name of it; of "
            "mechanisms also a category or tag, as sweeps have them",
            (
                ("mechanisms se", "a card, and what each option can be"),
                ("mechanisms channel", "a category"),
                ("attn=soft,2020", "tags: soft or hard, tasks, venue, year"),
                ("backbones resnet20", "a backbone's sites"),
            ),
        ),
        Verb(
            "bench",
            verbs.bench,
            "measure our speed against the plain form",
            f"[{'|'.join(verbs.BENCHES)}] [KEY=VALUE ...]",
            "what to measure, and its settings",
            (("mechanisms", "every mechanism that has a faster form"),),
        ),
        Verb(
            "completion",
            verbs.completion,
            "print the script that completes words in a shell",
            "bash|zsh",
            "the shell",
            (
                ("bash > ~/.local/share/bash-completion/completions/attnbench", "for every new bash"),
                ("zsh >> ~/.zshrc", "for every new zsh"),
            ),
        ),
    )
}
GLOBAL = ("--help", "-h", "--version", "--config-dir")
OF_HYDRA = {  # Hydra's flags -> what attnbench has for the same purpose
    "--info": "--cfg prints the configuration, --dry-run the plan",
    "--config-name": "experiment=NAME names a file of cells, --config-dir FOLDER adds files of settings",
    "-cn": "experiment=NAME names a file of cells, --config-dir FOLDER adds files of settings",
    "--config-path": "--config-dir FOLDER adds files of settings",
    "-cp": "--config-dir FOLDER adds files of settings",
    "--hydra-help": "--help prints what there is",
    "--run": "leave it out: one cell is run without a flag",
    "-r": "leave it out: one cell is run without a flag",
    "--package": "--cfg prints the whole configuration",
    "-p": "--cfg prints the whole configuration",
    "--shell-completion": "attnbench completion bash",
    "-sc": "attnbench completion bash",
    "--resolve": "--cfg prints values resolved",
    "--experimental-rerun": "the same words run the same cell",
}
PRINTED = ("job", "all")  # what Hydra's --cfg can be asked for and ours prints


class _Parser(argparse.ArgumentParser):
    """Raises `UserError` instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog.split()[-1]}: {message}")


def _usage(verb: Verb) -> str:
    words = verb.usage if verb.name == "run" else f"{verb.name} {verb.usage}"
    return f"attnbench {words}" + "".join(f" [{option.flags[0]}]" for option in verb.options)


def parser(verb: Verb) -> argparse.ArgumentParser:
    """A verb's parser, with its help."""
    lines = [
        f"  attnbench {f'{verb.name} ' if verb.name != 'run' else ''}{words}\n      {what}"
        for words, what in verb.examples
    ]
    made = _Parser(
        prog=f"attnbench {verb.name}",
        usage=_usage(verb).replace("%", "%%"),
        description=f"{verb.summary[0].upper()}{verb.summary[1:]}.",
        epilog="examples:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("words", nargs="*", metavar="WORD", help=verb.words)
    for option in verb.options:
        made.add_argument(*option.flags, dest=option.dest, action="store_true", help=option.help)
    made.add_argument(
        "--config-dir", metavar="FOLDER", help="a folder of your own with groups of files, like conf/"
    )
    return made


def ours(words: Sequence[str]) -> list[str]:
    """The words without what Hydra's `--cfg` takes; raises `UserError` for a flag of Hydra's alone."""
    for flag in (word.partition("=")[0] for word in words):
        if flag in OF_HYDRA:
            raise UserError(f"{flag} is a flag of Hydra's that attnbench does not have: {OF_HYDRA[flag]}")
    given = ["", *words]
    return [word for before, word in zip(given, words) if before not in CFG.flags or word not in PRINTED]


def read(verb: Verb, words: Sequence[str]) -> Asked:
    """The words and options of a verb; raises `UserError` for a flag that it does not take."""
    known = {flag for option in verb.options for flag in option.flags}
    for word in words:
        if word.startswith("-") and word not in known:
            raise _refusal(verb, word.partition("=")[0])
    found: dict[str, Any] = vars(parser(verb).parse_intermixed_args(list(words)))
    found.pop("config_dir")
    return Asked(**found)


def _refusal(verb: Verb, flag: str) -> UserError:
    takes = [flag for option in verb.options for flag in option.flags]
    every = {flag for other in VERBS.values() for option in other.options for flag in option.flags}
    if flag in every:
        others = f"; it takes {' and '.join(takes)}" if takes else ""
        return UserError(f"{verb.name} does not take {flag}{others}")
    return unknown("flag", flag, [*takes, *GLOBAL])
