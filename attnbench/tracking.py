"""Mirrors a run to Weights & Biases; the record stays the truth, and no failure here ever costs a run."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attnbench.config.fields import flatten
from attnbench.config.launch import Track
from attnbench.errors import UserError, unknown

log = logging.getLogger(__name__)

MIRRORED = ("key", "status", "reason", "digest", "table", "cell", "metrics", "cost", "provenance")
QUIET = {
    "silent": True,
    "console": "off",
    "save_code": False,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "init_timeout": 15,  # s, after which a run that was to be online is kept offline
    "finish_timeout": 30,
    "reinit": "create_new",  # one process runs many cells
}


class Tracker:
    """Receives the events of a run and discards them."""

    def log(self, epoch: Mapping[str, Any], step: int) -> None:
        """One point of each curve; `step` counts epochs and does not fall."""

    def finish(self, record: Mapping[str, Any]) -> None:
        """What the run measured in the end."""


class Mirror(Tracker):
    """Tells a run of wandb; after the first failure it warns and tells nothing more."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, epoch: Mapping[str, Any], step: int) -> None:
        self._tell(lambda run: run.log(dict(epoch), step=step))

    def finish(self, record: Mapping[str, Any]) -> None:
        """Summary, and a table of one row, which wandb joins with those of other runs to a leaderboard."""
        row = flat({key: record.get(key) for key in MIRRORED})
        self._tell(lambda run: run.summary.update(row))
        self._tell(lambda run: run.log({"row": _table(row)}))
        self.close(0 if record.get("status") in ("done", "skipped") else 1)

    def close(self, code: int) -> None:
        """End the run with an exit code; once it has ended, nothing happens."""
        self._tell(lambda run: run.finish(exit_code=code))
        self.run = None

    def _tell(self, what: Callable[[Any], Any]) -> None:
        if self.run is None:
            return
        try:
            what(self.run)
        except Exception as error:  # whatever a mirror fails of, training goes on
            self.run = None
            log.warning("wandb failed, the run goes on without it: %s: %s", type(error).__name__, error)


@contextmanager
def tracker(
    track: Track, run_folder: Path, record_cell: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Tracker]:
    """A tracker for the length of one run, mirrored under `run_folder/wandb`; raises `UserError`.

    `record_cell` is the record's `cell`, `config` the resolved settings. `track.name` off imports nothing.
    A run that is left without `finish` counts as failed.
    """
    if track.name == "off":
        yield Tracker()
        return
    if track.name != "wandb":
        raise unknown("track", track.name, ("off", "wandb"))
    if track.mode not in ("offline", "online"):
        raise unknown("track.mode", track.mode, ("offline", "online"))
    with _settings_of(run_folder):
        mirror = Mirror(_start(track, run_folder, record_cell, config))
        try:
            yield mirror
        finally:
            mirror.close(1)


@contextmanager
def _settings_of(run_folder: Path) -> Iterator[None]:
    """What wandb takes from the environment alone: no report of errors, and no copy of tables in the home."""
    ours = {"WANDB_ERROR_REPORTING": "false", "WANDB_DATA_DIR": str(run_folder.resolve() / "wandb")}
    ours = {name: value for name, value in ours.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """One level of keys, joined by slashes; lists become text, and what is null is left out."""
    found = ((name, value) for name, value in flatten(nested, "/") if value is not None)
    return {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in found}


def _start(track: Track, run_folder: Path, cell: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """A run of wandb; offline where the network fails; None, after a warning, where that fails too."""
    import wandb

    def start(mode: str) -> Any:
        run_folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=track.project,
            name=" ".join(str(cell[k]) for k in ("attn", "site") if cell.get(k))
            + f" seed {cell.get('seed')}",
            group="-".join(str(cell[k]) for k in ("task", "data", "backbone", "recipe") if cell.get(k)),
            config={**config, "cell": dict(cell)},
            dir=run_folder,
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(**QUIET),  # type: ignore[arg-type]
        )

    if track.mode == "online":
        _require_key(wandb)
    for mode in dict.fromkeys((track.mode, "offline")):
        try:
            return start(mode)
        except Exception as error:  # as above: of the network, of the disk, of wandb's service
            log.warning("wandb cannot start %s: %s: %s", mode, type(error).__name__, error)
    return None


def _require_key(wandb: Any) -> None:
    """Raise `UserError` at once where wandb would ask for a key or wait for one."""
    wandb.setup(wandb.Settings(silent=True))
    if not wandb.login(prompt=False, verify=False):
        raise UserError(
            "track.mode=online needs a key of Weights & Biases, and there is none: run `wandb login`, set "
            "WANDB_API_KEY, or use track.mode=offline and `wandb sync` later"
        )


def _table(row: Mapping[str, Any]) -> Any:
    import wandb

    return wandb.Table(columns=list(row), data=[list(row.values())])
