"""The command line."""

import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attnbench import __version__
from attnbench.errors import Interrupted, UserError, unknown

if TYPE_CHECKING:
    from attnbench.cell import Cell

USAGE = """\
attnbench {version}: which attention mechanism is worth its cost, on which backbone, for which task

  python -m attnbench KEY=VALUE ...                        run one cell
  python -m attnbench -m KEY=VALUE,VALUE ...               run all combinations
  python -m attnbench sweep experiment=NAME [KEY=VALUE]    run an experiment (--dry-run: only its plan)
  python -m attnbench status [experiment=NAME] [KEY=VALUE] what is done, runs now, or has failed
  python -m attnbench report [results=FOLDER]              write the leaderboards from the records
  python -m attnbench report published                     published costs against ours
  python -m attnbench compare attn=A,B backbone=NAME ...   one comparison in full, from the records
  python -m attnbench recommend backbone=NAME max_latency=+5%   what to take, or which cells are missing
  python -m attnbench cost KEY=VALUE ...                   one network's cost, part by part
  python -m attnbench list [KIND] [NAME]                   what can be asked for
  python -m attnbench bench loop|mechanisms|sweep          our speed against the plain form

Choices
{choices}
  experiment  {experiments}

Settings, with their types and defaults: attnbench/config/schema.py, or --cfg. Often wanted:
  attn.OPTION=VALUE   an option of the mechanism (list mechanisms NAME shows them)
  site=NAME           where it stands (list backbones NAME shows them); default: where its paper puts it
  seed=N  data.root=FOLDER  data.download=true  hardware.device=cpu  results=FOLDER

Flags: -m several cells; --help; --version; of a cell or a sweep --dry-run (say what would be run, and stop)
  and, of cost too, --cfg (print the configuration, and stop)
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
            print(f"attnbench: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        print("attnbench: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141


def _dispatch(words: list[str]) -> int:
    if "--help" in words or "-h" in words:
        print(usage())
        return 0
    if "--version" in words:
        print(f"attnbench {__version__}")
        return 0
    flags = [w for w in words if w.startswith("-")]
    words = [w for w in words if not w.startswith("-")]
    for flag in flags:
        if flag not in FLAGS:
            raise unknown("flag", flag, FLAGS)
    if words and "=" not in words[0] and not words[0].startswith("~"):
        verb, *words = words
        if verb not in VERBS:
            raise unknown("command", verb, VERBS)
        _check_flags(verb, flags)
        return VERBS[verb](words, flags)
    return _several(words, flags) if {"-m", "--multirun"} & set(flags) else _one(words, flags)


def _check_flags(verb: str, flags: Iterable[str]) -> None:
    """Raise `UserError` for a flag that the command would not heed."""
    takes = TAKES.get(verb, ())
    for flag in flags:
        if flag not in takes:
            others = f"; {' and '.join(takes)} can be said" if takes else ""
            raise UserError(f"{verb} takes no {flag}{others}")


def usage() -> str:
    """The help text, with what there is to choose from."""
    from attnbench.config.schema import GROUPS, choices
    from attnbench.sweep import experiment

    lines = [f"  {group:<11} {_wrapped(choices(group))}" for group in GROUPS]
    experiments = _wrapped(experiment.names())
    return USAGE.format(version=__version__, choices="\n".join(lines), experiments=experiments)


def _wrapped(names: Sequence[str]) -> str:
    import textwrap

    return textwrap.fill(" ".join(names), 100, initial_indent="", subsequent_indent=" " * 14)


def _one(words: list[str], flags: list[str]) -> int:
    """Run one cell, or say what its record says."""
    from dataclasses import replace

    from rich.console import Console

    from attnbench import records
    from attnbench.cli.show import record_lines
    from attnbench.sweep import sweep
    from attnbench.sweep.experiment import cell as make
    from attnbench.sweep.plan import due

    cell = make(words)
    if "--cfg" in flags:
        return _configuration(cell.config)
    console = Console(highlight=False, soft_wrap=True)
    if "--dry-run" in flags:
        return sweep([cell], replace(cell.config.launch, retry=True), console, dry=True)
    _data_is_there([cell])
    console.print(f"{cell}  [{cell.key}]", markup=False)
    found = records.find(Path(cell.config.results), cell.key)
    if found is None or due(cell, found, retry=True):
        from attnbench.sweep.progress.single import run_shown

        found = run_shown(cell, console)
    else:
        console.print("done before; its record:")
    for line in record_lines(found):
        console.print(line, markup=False)
    console.print(f"record: {records.path(Path(cell.config.results), cell.key)}", markup=False)
    if (kept := Path(cell.config.runs) / cell.key / records.WEIGHTS).is_file():
        console.print(f"weights: {kept}", markup=False)
    return 0 if found["status"] in ("done", "skipped", "diverged") else 1


def _several(words: list[str], flags: list[str]) -> int:
    from attnbench.sweep import experiment

    return _sweep(experiment.grid(words), flags)


def _experiment(words: list[str], flags: list[str]) -> int:
    from attnbench.sweep import experiment

    name, rest = experiment.chosen(words)
    return _sweep(experiment.load(name or "quick").cells(rest), flags)


def _status(words: list[str], flags: list[str]) -> int:
    """Say how the store stands that the results and runs folders hold."""
    from attnbench.sweep import experiment
    from attnbench.sweep.progress import status

    name, rest = experiment.chosen(words)
    cells = experiment.load(name).cells(rest) if name else []
    config = (cells or [experiment.cell(rest)])[0].config
    for line in status.lines(Path(config.results), Path(config.runs), cells):
        print(line)
    return 0


def _sweep(cells: "Sequence[Cell]", flags: list[str]) -> int:
    from rich.console import Console

    from attnbench import records, report
    from attnbench.sweep import sweep

    console = Console(highlight=False, soft_wrap=True)
    if not cells:
        raise UserError("no cells are left: exclude leaves none over")
    if "--cfg" in flags:
        return _configuration(cells[0].config)
    if "--dry-run" not in flags:
        _data_is_there(cells)
    if all(c.mechanism != "none" for c in cells):
        console.print("no cell with attn=none: the tables will show no differences")
    status = sweep(cells, cells[0].config.launch, console, dry="--dry-run" in flags)
    results = Path(cells[0].config.results)
    found = [r for r in (records.find(results, c.key) for c in cells) if r]
    if found and "--dry-run" not in flags:
        console.print(report.summary(found), markup=False)
        console.print(_written(report.write(results)), markup=False)
    return status


def _written(paths: "Sequence[Path]") -> str:
    """What a report wrote, in a line; of many files the last is the one to begin with."""
    few = len(paths) < 4
    return (
        f"wrote {', '.join(map(str, paths))}"
        if few
        else f"wrote {paths[-1]} and {len(paths) - 1} files beside it"
    )


def _data_is_there(cells: "Sequence[Cell]") -> None:
    """Raise `UserError` where a cell's data are missing, or are others than its record's."""
    from attnbench import data
    from attnbench.data import contents

    for cell in cells:
        if cell.config.recipe.trains:
            data.present(cell.config.data)
    contents.confirm(cells)


def _report(words: list[str], flags: list[str]) -> int:
    from attnbench import report
    from attnbench.cost.published import table

    kinds = [w for w in words if "=" not in w]
    folders = [w.partition("=")[2] for w in words if w.startswith("results=")]
    for word in words:
        if "=" in word and not word.startswith("results="):
            raise UserError(f"{word}: report takes results=FOLDER only")
    results = Path(folders[-1] if folders else "results")
    for kind in kinds:
        if kind != "published":
            raise unknown("report", kind, ["published"])
    write = table.write if kinds else report.write
    print(_written(write(results)))
    return 0


def _compare(words: list[str], flags: list[str]) -> int:
    from attnbench.config import load as compose
    from attnbench.report.query.compare import compare

    return _told(compare(words, compose.unchecked))


def _recommend(words: list[str], flags: list[str]) -> int:
    from attnbench.config import load as compose
    from attnbench.report.query.recommend import recommend

    return _told(recommend(words, compose.unchecked))


def _told(paragraphs: Iterable[str]) -> int:
    print("\n\n".join(filter(None, paragraphs)))
    return 0


def _list(words: list[str], flags: list[str]) -> int:
    from attnbench.cli import listing

    for line in listing.lines(*words):
        print(line)
    return 0


def _cost(words: list[str], flags: list[str]) -> int:
    """One network's costs; nothing is trained, whatever recipe is named."""
    from attnbench.cli.show import cost_tree
    from attnbench.sweep.experiment import cell

    found = cell([*words, "recipe=none"])
    return _configuration(found.config) if "--cfg" in flags else cost_tree(found)


def _bench(words: list[str], flags: list[str]) -> int:
    from importlib import import_module

    known = ("loop", "mechanisms", "sweep")
    kind, *rest = words or ["loop"]
    if kind not in known:
        raise unknown("bench", kind, known)
    return import_module(f"benchmarks.{kind}").main(rest)


def _configuration(config: object) -> int:
    from dataclasses import asdict

    import yaml
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(OmegaConf.create(asdict(config)), enum_to_str=True)  # type: ignore[call-overload]
    print(yaml.safe_dump(plain, sort_keys=False), end="")
    return 0


FLAGS = ("-m", "--multirun", "--cfg", "--dry-run", "--help", "-h", "--version")
TAKES = {"sweep": ("--cfg", "--dry-run"), "cost": ("--cfg",)}  # of the flags, a verb that is not here none
VERBS: dict[str, Callable[[list[str], list[str]], int]] = {
    "sweep": _experiment,
    "status": _status,
    "report": _report,
    "compare": _compare,
    "recommend": _recommend,
    "list": _list,
    "cost": _cost,
    "bench": _bench,
}

if __name__ == "__main__":
    sys.exit(main())
