"""An experiment: one question, and the cells that answer it. Files of `experiments/`."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from attnbench import compose, mechanisms
from attnbench.cell import Cell
from attnbench.config import folder
from attnbench.errors import UserError, unknown
from attnbench.validate import validate

PART = {"base", "grid"}
LIGHT = ("attn", "site", "seed")  # settings that change a cell without composing its configuration anew


@dataclass(frozen=True)
class Experiment:
    """A title, and parts: each a base of common arguments and a grid of setting -> values."""

    name: str
    title: str
    question: str  # the comment on top of the file
    parts: tuple[Mapping[str, Any], ...]

    def cells(self, arguments: Sequence[str] = ()) -> list[Cell]:
        """All its cells, each once, controls first; the arguments override every part."""
        rows = [row for part in self.parts for row in _rows(part)]
        return gather([cell([*row, *arguments]) for row in rows])


def names() -> list[str]:
    """The experiments that can be asked for."""
    return sorted(p.stem for p in folder("experiments").glob("*.yaml"))


def load(name: str) -> Experiment:
    """Read an experiment by its name, or by the path of its file."""
    file = Path(name) if name.endswith(".yaml") else folder("experiments") / f"{name}.yaml"
    if not file.is_file():
        raise unknown("experiment", name, names())
    text = file.read_text(encoding="utf-8")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{file.name} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not content.keys() <= {"title", "parts", *PART}:
        raise UserError(f"{file.name}: an experiment has title, base and grid, or parts of base and grid")
    parts = content.get("parts") or [{k: v for k, v in content.items() if k in PART}]
    for part in parts:
        if not isinstance(part, dict) or not part.keys() <= PART or not isinstance(part.get("grid"), dict):
            raise UserError(f"{file.name}: each part has a grid of setting: values, and may have a base")
    comments = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    question = " ".join(line.lstrip("# ").strip() for line in comments)
    return Experiment(file.stem, content.get("title", file.stem), question, tuple(parts))


def gather(cells: Sequence[Cell]) -> list[Cell]:
    """Each cell once, controls first, otherwise in order."""
    once = {c.key: c for c in cells}
    return sorted(once.values(), key=lambda c: c.mechanism != "none")


def cell(arguments: Sequence[str]) -> Cell:
    """The cell that the arguments ask for; quick for those that differ in mechanism, site or seed alone."""
    heavy = [a for a in arguments if a.partition("=")[0].partition(".")[0] not in LIGHT]
    light = compose.settings([a for a in arguments if a not in heavy])
    config = compose.configure(*heavy)
    attn = dict(config.attn)
    for override in light:
        key, value = override.key_or_group, override.value()
        if key == "attn":
            attn = {"name": value, **mechanisms.entry(str(value)).options}
        elif key.startswith("attn."):
            attn[key.removeprefix("attn.")] = value
        elif key == "site":
            config = replace(config, site=str(value))
        elif key == "seed":
            config = replace(config, seed=compose.configure(f"seed={value}").seed)
    config = replace(config, attn=attn)
    validate(config)
    return Cell(config)


def _rows(part: Mapping[str, Any]) -> Iterator[list[str]]:
    """One list of arguments for each point of a part's grid."""
    axes = [list(_axis(setting, values)) for setting, values in part["grid"].items()]
    for point in itertools.product(*axes):
        yield [*part.get("base", []), *itertools.chain.from_iterable(point)]


def _axis(setting: str, values: Any) -> Iterator[list[str]]:
    values = values if isinstance(values, list) else [values]
    if setting != "attn":
        yield from ([f"{setting}={value}"] for value in values)
        return
    for value in values:
        yield from (compose.attention(v) for v in _mechanisms(value))


def _mechanisms(value: str | Mapping[str, Any]) -> list[str | Mapping[str, Any]]:
    """The mechanisms that a word stands for: `all`, a category of the survey, or a name."""
    if value == "all":
        return list(mechanisms.entries())
    found = [e.name for e in mechanisms.entries().values() if e.category == value]
    return [*found] if found else [value]
