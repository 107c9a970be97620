"""A cell in, its record out: build, profile, train, evaluate, record."""

import fcntl
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnbench import cost, data, graft, parallel, provenance, records, tasks, track
from attnbench.cell import Cell
from attnbench.config import Config, Hardware, Track
from attnbench.errors import Impossible, UserError
from attnbench.parallel import Group
from attnbench.train import Checkpoint, Diverged, Stopped, Training, evaluate, train


@dataclass
class Watcher:
    """What the caller wants to hear and may say while a cell runs."""

    steps: Callable[[int, int], None] = lambda done, total: None
    epoch: Callable[[dict[str, float]], None] = lambda row: None
    stop: Callable[[], bool] = lambda: False


class Busy(Exception):
    """Another process is running this cell."""


@dataclass
class Measured:
    """What is known of a cell so far, also when it ends early."""

    tell: Callable[[dict[str, float]], object]  # called with each epoch's row
    metrics: dict[str, dict[str, float]] | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    cost: dict[str, Any] | None = None
    checksum: str | None = None


def run(cell: Cell, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run a cell and write its record; raises `UserError`, `Stopped` or `Busy` where no record can be."""
    watcher = watcher or Watcher()
    folder = Path(cell.config.runs) / cell.key
    device = pick_device(cell.config.hardware)
    _prepare(cell.config.hardware, device)
    with parallel.joined(device) as group, _locked(folder, group), _tracker(cell, folder, group) as tracker:
        started, clock = datetime.now(UTC), time.perf_counter()

        def tell(row: dict[str, float]) -> None:
            tracker.log(row, int(row["epoch"]))
            watcher.epoch(row)

        measured = Measured(tell)
        status, reason = _attempt(cell, device, group, folder, watcher, measured)
        record = cell.record(
            status,
            reason,
            metrics=_finite(measured.metrics),
            curve=_finite(measured.curve),
            cost=_finite(measured.cost),
            provenance=_provenance(started, time.perf_counter() - clock, device, group, measured),
        )
        if group.first:
            records.write(Path(cell.config.results), record)
            (folder / "checkpoint.pt").unlink(missing_ok=True)
            tracker.finish(record)
    return record


def _attempt(
    cell: Cell, device: torch.device, group: Group, folder: Path, watcher: Watcher, measured: Measured
) -> tuple[str, str | None]:
    """Measure the cell as far as it goes; how it ended, and why."""
    if cell.impossible:
        return "skipped", cell.impossible
    try:
        _measure(cell, device, group, folder, watcher, measured)
    except Impossible as error:
        return "skipped", str(error)
    except Diverged as error:
        return "diverged", str(error)
    except (UserError, Stopped):
        raise
    except torch.OutOfMemoryError as error:
        return "out_of_memory", str(error).splitlines()[0]
    except Exception as error:  # the record says what happened, and a sweep goes on
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(traceback.format_exc())
        return "failed", f"{type(error).__name__}: {error}".splitlines()[0]
    return "done", None


def _measure(
    cell: Cell, device: torch.device, group: Group, folder: Path, watcher: Watcher, measured: Measured
) -> None:
    config = cell.config
    task = tasks.load(config)
    dataset = None
    if config.task.trains:  # first, so that missing data are missed at once
        dataset = data.load(config.data, device, config.hardware.workers, config.task.name)
    network = build(cell, task).to(device)
    if group.first:
        measured.cost = _profile(cell, task, network, device)
    if dataset is None:
        return
    measured.checksum = dataset.checksum
    torch.manual_seed(config.seed)
    layout = torch.channels_last if config.hardware.channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)  # type: ignore[call-overload]
    steps = len(dataset.train) // config.recipe.batch_size
    _check_sizes(config, len(dataset.train), steps, group)
    training = Training(network, task, config, steps, group)
    checkpoint = Checkpoint(folder / "checkpoint.pt", config.hardware.checkpoint_s, group)

    def told(row: dict[str, float]) -> None:
        measured.curve.append(row)
        measured.tell(row)

    measured.curve = train(training, dataset, config, checkpoint, group, watcher.steps, told, watcher.stop)
    last = {k.removeprefix("val_"): v for k, v in measured.curve[-1].items() if k.startswith("val_")}
    # The test split is read here, once, and never before the last epoch.
    test = evaluate(training.evaluated, dataset.test, task, config, group)
    measured.metrics = {"val": last, "test": test} if last else {"test": test}


def build(cell: Cell, task: tasks.Task | None = None) -> nn.Module:
    """The cell's network: the backbone from the seed, then the mechanisms, from a stream of their own."""
    config = cell.config
    torch.manual_seed(config.seed)
    task = task or tasks.load(config)
    network = task.network()
    if cell.mechanism != "none":
        site = config.sites[cell.site]
        graft.graft(network, cell.mechanism, cell.options, site, task.shape, seed=config.seed)
    return network


def _profile(cell: Cell, task: tasks.Task, network: nn.Module, device: torch.device) -> dict[str, Any]:
    config = cell.config
    control = network
    if cell.mechanism != "none" and (config.cost.latency or config.cost.throughput):
        torch.manual_seed(config.seed)
        control = task.network().to(device)
    what: dict[str, Any] = {
        "task": asdict(config.task),
        "backbone": asdict(config.backbone),
        "classes": config.data.classes,
    }
    what |= {"attn": config.attn, "site": cell.site}
    store = cost.Store(Path(config.runs) / "counts", what)
    return cost.profile(network, control, task.cost_shape, config.cost, config.hardware, store)


def _check_sizes(config: Config, images: int, steps: int, group: Group) -> None:
    batch = config.recipe.batch_size
    if steps == 0:
        raise UserError(f"recipe.batch_size={batch} is more than the {images} training images")
    if batch % group.world:
        raise UserError(f"recipe.batch_size={batch} does not divide among {group.world} processes")


def pick_device(hardware: Hardware) -> torch.device:
    """The device that the settings name; under torchrun, this process's GPU."""
    name = hardware.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"hardware.device={name}: no such device; auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"hardware.device={name}: torch sees no GPU here; use hardware.device=cpu")
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", device.index or 0)))
        torch.cuda.set_device(device)
    return device


def _prepare(hardware: Hardware, device: torch.device) -> None:
    if hardware.threads:
        torch.set_num_threads(hardware.threads)
    torch.set_flush_denormal(True)  # on CPUs, softmaxes of tiny numbers are several times slower without
    torch.backends.cudnn.benchmark = not hardware.deterministic
    if device.type == "cuda":  # CPUs repeat themselves anyway, and the call loads torch's compiler
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(hardware.deterministic, warn_only=True)


@contextmanager
def _locked(folder: Path, group: Group) -> Iterator[None]:
    """Hold the cell while it runs; the system lets go of the lock however this process ends."""
    if not group.first:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        yield


def _tracker(cell: Cell, folder: Path, group: Group) -> AbstractContextManager[Any]:
    """The mirror of this run; only the first process of a group has one."""
    settings = cell.config.track if group.first else Track()
    return track.tracker(settings, folder, cell.coordinates(), asdict(cell.config))


def _provenance(
    started: datetime, seconds: float, device: torch.device, group: Group, measured: Measured
) -> dict[str, Any]:
    rates = sorted(r["images_per_s"] for r in measured.curve if r.get("images_per_s"))
    return {
        **provenance.code(),
        "versions": provenance.versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else provenance.processor(),
        "threads": torch.get_num_threads(),
        "processes": group.world,
        "flush_denormal": True,
        "started": started.isoformat(timespec="seconds"),
        "wall_s": round(seconds, 2),
        "images_per_s": rates[len(rates) // 2] if rates else None,
        "data_checksum": measured.checksum,
    }


def _finite(value: Any) -> Any:
    """The value with null for each number that is none: JSON knows neither NaN nor infinity."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
