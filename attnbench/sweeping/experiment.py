"""An experiment: one question, and the cells that answer it. Files of `experiments/`."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attnbench.cell import Cell
from attnbench.config import files, grammar, keys
from attnbench.config.load import attention, configure
from attnbench.config.rules import check_site
from attnbench.errors import UserError, unknown
from attnbench.garbage import uncollected
from attnbench.sweeping import controls, form, words

COORDINATES = ("task", "data", "backbone", "attn", "site", "recipe", "seed")  # what `exclude` goes by


@dataclass(frozen=True)
class Experiment:
    """A title, and parts: a base of common arguments, a grid of setting -> values, and what to leave out."""

    name: str
    title: str
    question: str  # the comment on top of the file
    parts: tuple[Mapping[str, Any], ...]

    @uncollected()
    def cells(self, arguments: Sequence[str] = ()) -> list[Cell]:
        """All its cells, each once, controls first; the arguments override every part, and lists are axes.

        `controls=[none, wide]` there, or in a part, adds these controls to each of its rows.
        """
        arguments, asked = controls.taken(arguments)
        variants = [
            row for point in grammar.expand(arguments) for row in itertools.product(*map(_meant, point))
        ]
        found: list[Cell] = []
        for part, more in itertools.product(self.parts, variants):
            rows = (_overridden(row, list(more)) for row in _rows(part))
            cells = (c for row in rows for c in _compared(row, asked or part.get("controls", [])))
            found += left(cells, part.get("exclude", []))
        _check_sites(found)
        return gather(found)


def names() -> list[str]:
    """The experiments that can be asked for."""
    return sorted(files.experiments())


def load(name: str) -> Experiment:
    """Read an experiment by its name, or by the path of its file."""
    path = name.endswith(".yaml")
    file = Path(name) if path else files.experiments().get(name)
    if file is None or not file.is_file():
        raise UserError(f"{name}: no such file") if path else unknown("experiment", name, names())
    text, content = form.read(file)
    parts = form.parts(content, file.name)
    comments = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    question = " ".join(line.lstrip("# ").strip() for line in comments)
    return Experiment(file.stem, str(content.get("title", file.stem)), question, tuple(parts))


def chosen(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The experiment that arguments name, and the others; raises `UserError` where there are several."""
    named = [word.partition("=")[2] for word in arguments if word.startswith("experiment=")]
    if "" in named:
        raise UserError(f"experiment=: which one? known: {', '.join(names())}")
    if len(named) > 1:
        raise UserError(f"one experiment at a time, not {' and '.join(named)}")
    others = [word for word in arguments if not word.startswith("experiment=")]
    return (named[0] if named else None), others


def grid(arguments: Sequence[str]) -> list[Cell]:
    """All combinations of the arguments' lists, words for several mechanisms included."""
    return GRID.cells(arguments)


GRID = Experiment("", "", "", ({"grid": {}},))  # whose cells are the combinations of the arguments' lists


def gather(cells: Sequence[Cell]) -> list[Cell]:
    """Each cell once, controls first, otherwise in order."""
    once = {c.key: c for c in cells}
    return sorted(once.values(), key=lambda c: c.mechanism != "none")


def cell(arguments: Sequence[str]) -> Cell:
    """The cell that the arguments ask for; quick where many cells share parts."""
    found = _cell(arguments)
    check_site(found.config)
    return found


def _cell(arguments: Sequence[str]) -> Cell:
    return Cell(replace(configure(arguments, any_site=True), request=list(arguments)))


def _compared(row: Sequence[str], names: Sequence[str]) -> Iterator[Cell]:
    """The cell that a row's words ask for, and those of its controls."""
    first = _cell(row)
    yield first
    yield from map(_cell, controls.beside(row, first.site, names))


def _check_sites(cells: Sequence[Cell]) -> None:
    """Raise `UserError` for a site that no backbone has which is asked for with it."""
    there = {c.config.site for c in cells if c.config.site in c.config.sites}
    for each in cells:
        if each.config.site not in there:
            check_site(each.config)


def left(cells: Iterable[Cell], exclude: Sequence[Mapping[str, Any]]) -> Iterator[Cell]:
    """The cells that no line of `exclude` fits; a line fits where each of its coordinates does."""
    lines = [{key: _patterns(key, value) for key, value in line.items()} for line in exclude]
    for each in cells:
        here = each.coordinates() if lines else {}
        here["attn"] = (here.get("mechanism"), here.get("attn"))
        if not any(all(_fits(here[k], patterns) for k, patterns in line.items()) for line in lines):
            yield each


def _patterns(key: str, value: Any) -> list[str]:
    if key not in COORDINATES:
        raise unknown("coordinate in exclude", key, COORDINATES)
    values = value if isinstance(value, list) else [value]
    if key == "attn":
        values = [word for value in values for word in words.expand(value)]
    return [str(value) for value in values]


def _fits(here: Any, patterns: Sequence[str]) -> bool:
    values = here if isinstance(here, tuple) else (here,)
    return any(fnmatchcase(str(value), pattern) for value in values for pattern in patterns)


def _overridden(row: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """A row's arguments and, after them, those that override it; another mechanism has options of its own."""
    if any(a.startswith("attn=") for a in arguments):
        row = [a for a in row if not a.startswith(("attn=", "attn."))]
    return [*row, *arguments]


def _meant(argument: str) -> list[str]:
    """An argument, once for each mechanism that its word stands for."""
    key, _, value = argument.partition("=")
    return [f"attn={name}" for name in words.expand(value)] if key == "attn" else [argument]


def _rows(part: Mapping[str, Any]) -> Iterator[list[str]]:
    """One list of arguments for each point of a part's grid."""
    axes = [list(_axis(setting, values)) for setting, values in part["grid"].items()]
    for point in itertools.product(*axes):
        yield [*part.get("base", []), *itertools.chain.from_iterable(point)]


def _axis(setting: str, values: Any) -> Iterator[list[str]]:
    values = values if isinstance(values, list) else [values]
    if setting != "attn":
        yield from ([f"{setting}={keys.text(value)}"] for value in values)
        return
    for value in values:
        yield from (attention(v) for v in words.expand(value))
