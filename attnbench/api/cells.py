"""Cells and sweeps from Python."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from attnbench import records
from attnbench.api.words import axes, words
from attnbench.cell import Cell
from attnbench.cli import ready
from attnbench.config.load import configure as composed
from attnbench.config.rules import validate
from attnbench.config.schema import Config
from attnbench.errors import UserError
from attnbench.sweeping import check_alone, experiment, plan
from attnbench.sweeping import sweep as run_cells

if TYPE_CHECKING:
    import pandas as pd

REFUSED, STOPPED = 2, 130  # exit statuses of sweeps


class Record(dict[str, Any]):
    """The record of a cell, as its JSON file holds it."""

    @property
    def key(self) -> str:
        """The fingerprint that names its file."""
        return self["key"]

    @property
    def status(self) -> str:
        """done, failed, diverged, out_of_memory or skipped."""
        return self["status"]

    @property
    def metrics(self) -> dict[str, float | None]:
        """Those of the test split; none where nothing was trained."""
        return (self["metrics"] or {}).get("test", {})

    def __repr__(self) -> str:
        about = self["cell"]
        names = (about[key] for key in ("task", "data", "backbone", "attn"))
        scores = ", ".join(f"{k} {v:.4g}" for k, v in self.metrics.items() if v is not None)
        outcome = self["status"] + (f": {self['reason']}" if self["reason"] else "")
        return f"<{' '.join(names)}, seed {about['seed']}: {outcome}{f', {scores}' if scores else ''}>"


def configure(*given: str, **settings: Any) -> Config:
    """The checked settings of one cell, from words ("recipe.epochs=2") and keywords (attn="se").

    Raises `UserError` for the first that cannot be meant, with what would be right.
    """
    return experiment.cell(words(given, settings)).config


def run(*given: str | Config, show: bool = False, **settings: Any) -> Record:
    """Run one cell, unless it has a record; its record.

    The settings are words and keywords as `configure` takes them, or one `Config`; `show` prints the
    progress. Raises `UserError` for settings that cannot be meant and what is missing on this machine; a cell
    that fails, diverges or has no meaning has a record that says so.
    """
    cell = _cell(given, settings)
    ready.check_possible(cell)
    ready.check([cell])
    found = records.find(Path(cell.config.results), cell.key)
    if found is None or plan.due(cell, found, retry=True):
        from attnbench.sweeping.progress.single import run_shown

        found = run_shown(cell, Console(highlight=False, soft_wrap=True, quiet=not show))
    return Record(found)


def _cell(given: Sequence[str | Config], settings: Mapping[str, Any]) -> Cell:
    if len(given) == 1 and isinstance(given[0], Config):
        if settings:
            raise UserError(f"{next(iter(settings))}=...: a Config has all settings; use dataclasses.replace")
        return Cell(_requested(given[0]))
    return experiment.cell(words(given, settings))


def _requested(config: Config) -> Config:
    """The configuration, checked, without the words that asked for another one."""
    validate(config)
    asked = composed(config.request, any_site=True) if config.request else None
    same = asked is not None and replace(asked, request=[]) == replace(config, request=[])
    return config if same else replace(config, request=[])


def sweep(*given: str, show: bool = False, **settings: Any) -> "pd.DataFrame":
    """Run the cells of a grid or an experiment that have no record yet; a row for each cell's record.

    A list of values is an axis: attn=["none", "se"], seed=range(5). `experiment="NAME"` (or a file's path)
    runs an experiment, which other settings override. Columns are those of `load_results`. `show` prints the
    plan and the progress. Raises `UserError` for settings that cannot be meant and where cells cannot run.
    """
    from attnbench.report.frame import framed

    check_alone()
    name, rest = experiment.chosen(axes(given, settings))
    cells = (experiment.load(name) if name else experiment.GRID).cells(rest)
    if not cells:
        raise UserError("no cells are left: exclude leaves none over")
    ready.check(cells)
    printed = io.StringIO()
    console = Console(highlight=False, soft_wrap=True, file=None if show else printed)
    status = run_cells(cells, cells[0].config.launch, console)
    if status == STOPPED:
        raise KeyboardInterrupt
    if status == REFUSED:
        raise UserError(printed.getvalue().strip().rpartition("\n")[2] or "cells could not be run")
    found = (records.find(Path(cell.config.results), cell.key) for cell in cells)
    return framed([record for record in found if record])
