"""The verbs of the command line: what each does with its words; the exit status."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from attnbench.cli.show import say
from attnbench.errors import UserError, unknown

BENCHES = ("loop", "mechanisms", "planning", "store", "sweep")
if TYPE_CHECKING:
    from rich.console import Console

    from attnbench.cell import Cell
    from attnbench.cli.parser import Asked
    from attnbench.records import Record


def run(asked: "Asked") -> int:
    """Run one cell, or print its record; with -m all combinations of the words' lists."""
    if named := next((word for word in asked.words if word.startswith("experiment=")), None):
        raise UserError(f"{named}: an experiment is run by attnbench sweep {named}")
    if asked.several:
        from attnbench.sweeping import experiment

        return _sweep(experiment.grid(asked.words), asked)
    from attnbench.cli import ready, show
    from attnbench.cli.terminal import Terminal
    from attnbench.sweeping import sweep as run_cells
    from attnbench.sweeping.experiment import cell as make

    cell = make(asked.words)
    if asked.cfg:
        return _configuration(cell.config)
    ready.check_possible(cell)
    console = Terminal()
    if asked.dry_run:
        return run_cells([cell], replace(cell.config.launch, retry=True), console, dry=True)
    ready.check([cell])
    found = _record(cell, console)
    for line in (*show.record_lines(found), *show.files(cell)):
        console.print(line)
    return 0 if found["status"] in ("done", "skipped", "diverged") else 1


def _record(cell: "Cell", console: "Console") -> "Record":
    """The record of a cell, which is run where it has none."""
    from attnbench import records
    from attnbench.config.rules import stem_note
    from attnbench.sweeping.plan import due

    console.print(f"{cell}  [{cell.key}]")
    if note := stem_note(cell.config):
        console.print(note)
    found = records.find(Path(cell.config.results), cell.key)
    if found is not None and not due(cell, found, retry=True):
        console.print("already done; record:")
        return found
    if console.is_terminal:  # what follows takes seconds
        console.print("loading torch, the network and the data")
    from attnbench.sweeping.progress.single import run_shown

    return run_shown(cell, console)


def sweep(asked: "Asked") -> int:
    """Run an experiment."""
    from attnbench.sweeping import experiment

    name, rest = experiment.chosen(asked.words)
    return _sweep(experiment.load(name or "quick").cells(rest), asked)


def status(asked: "Asked") -> int:
    """Print how the store stands that the results and runs folders hold."""
    from attnbench.sweeping import experiment
    from attnbench.sweeping.progress import status

    name, rest = experiment.chosen(asked.words)
    cells = experiment.load(name).cells(rest) if name else []
    config = (cells or [experiment.cell(rest)])[0].config
    for line in status.lines(Path(config.results), Path(config.runs), cells):
        say(line)
    return 0


def _sweep(cells: "Sequence[Cell]", asked: "Asked") -> int:
    from attnbench import records, report
    from attnbench.cli import ready
    from attnbench.cli.terminal import Terminal
    from attnbench.sweeping import check_alone
    from attnbench.sweeping import sweep as run_cells

    console = Terminal()
    if not cells:
        raise UserError("no cells left after applying 'exclude'")
    if asked.cfg:
        return _configuration(cells[0].config)
    check_alone()  # before folders are made
    if not asked.dry_run:
        ready.check(cells)
    if all(c.mechanism != "none" for c in cells):
        console.print("no cell with attn=none: the tables will show no differences")
    status = run_cells(cells, cells[0].config.launch, console, dry=asked.dry_run)
    results = Path(cells[0].config.results)
    found = [r for r in (records.find(results, c.key) for c in cells) if r]
    if found and not asked.dry_run:
        console.print(report.summary(found))
        console.print(_written(report.write(results)))
    return status


def _written(paths: "Sequence[Path]") -> str:
    """What a report wrote, in a line; of many files the last is the one to begin with."""
    few = len(paths) < 4
    return (
        f"wrote {', '.join(map(str, paths))}"
        if few
        else f"wrote {paths[-1]} and {len(paths) - 1} files beside it"
    )


def report(asked: "Asked") -> int:
    """Write the leaderboards from the records."""
    from attnbench import report

    kinds = [w for w in asked.words if "=" not in w]
    given = dict(w.removeprefix("report.").split("=", 1) for w in asked.words if "=" in w)
    for key in given:
        if key not in ("results", "difference"):
            raise unknown("key of report", key, ["results", "difference"])
    for kind in kinds:
        if kind not in ("published", "survey"):
            raise unknown("report", kind, ["published", "survey"])
    if given.get("results") == "":
        raise UserError("results=: name a folder")
    results = Path(given.get("results", "results"))
    if "published" in kinds:
        from attnbench.cost.published import table as published

        say(_written(published.write(results)))
    if "published" not in kinds or "survey" in kinds:
        choice = report.Choice("survey" in kinds, report.points(given.get("difference")))
        say(_written(report.write(results, choice)))
    return 0


def compare(asked: "Asked") -> int:
    """Print one comparison in full."""
    from attnbench.config import load
    from attnbench.report.query.compare import compare

    return _print(compare(asked.words, load.unchecked))


def recommend(asked: "Asked") -> int:
    """Print which mechanism to take."""
    from attnbench.config import load
    from attnbench.report.query.recommend import recommend

    return _print(recommend(asked.words, load.unchecked))


def _print(paragraphs: Iterable[str]) -> int:
    say("\n\n".join(filter(None, paragraphs)))
    return 0


def listed(asked: "Asked") -> int:
    """Print what can be asked for."""
    from attnbench.cli import listing

    for line in listing.lines(*asked.words):
        say(line)
    return 0


def cost(asked: "Asked") -> int:
    """One network's costs; nothing is trained, whatever recipe is named."""
    from attnbench.cli import ready
    from attnbench.cli.show import cost_tree
    from attnbench.sweeping.experiment import cell

    found = cell([*asked.words, "recipe=none"])
    if asked.cfg:
        return _configuration(found.config)
    ready.check_possible(found)
    return cost_tree(found)


def bench(asked: "Asked") -> int:
    """Measure our own speed."""
    from importlib import import_module
    from importlib.util import find_spec

    kind, *rest = asked.words or ["loop"]
    if kind not in BENCHES:
        raise unknown("bench", kind, BENCHES)
    if find_spec("benchmarks") is None:
        raise UserError(
            "bench: benchmarks/ is in a checkout of the sources alone, not in an installed package"
        )
    return import_module(f"benchmarks.{kind}").main(rest)


def completion(asked: "Asked") -> int:
    """Print the script that completes words in a shell."""
    from attnbench.cli import completion

    print(completion.script(*asked.words))
    return 0


def _configuration(config: object) -> int:
    from dataclasses import asdict

    import yaml
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(OmegaConf.create(asdict(config)), enum_to_str=True)  # type: ignore[call-overload]
    say(yaml.safe_dump(plain, sort_keys=False), end="")
    return 0
