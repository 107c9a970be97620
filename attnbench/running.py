"""A cell in, its record out: build, profile, train, evaluate, record."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnbench import cost, data, records, tasks, tracking
from attnbench.backbones._own import own_attention
from attnbench.cell import Cell, fingerprint
from attnbench.config.launch import Hardware, Track
from attnbench.config.schema import Config
from attnbench.data import contents
from attnbench.data.pipeline.split import Dataset
from attnbench.errors import Impossible, Interrupted, Overdue, UserError
from attnbench.grafting import graft
from attnbench.grafting.dry_run import runs
from attnbench.records import Busy, locked
from attnbench.training import distributed, feasible, micro_batch, weights
from attnbench.training.averaging import too_slow
from attnbench.training.distributed import Group
from attnbench.training.evaluation import Diverged, evaluate, final
from attnbench.training.loop import Checkpoint, Damaged, Stopped, Training, train
from attnbench.training.outcome import Measured, current_traceback, facts, finite, origin

__all__ = ["Busy", "Watcher", "build", "pick_device", "run"]


@dataclass
class Watcher:
    """What the caller wants to hear and may say while a cell runs."""

    steps: Callable[[int, int], None] = lambda done, total: None  # may raise Overdue
    epoch: Callable[[dict[str, float]], None] = lambda row: None
    stop: Callable[[], bool] = lambda: False
    note: Callable[[str], None] = lambda text: None
    begin: Callable[[], None] = lambda: None  # the cell is now this process's
    by_hand: bool = False  # one cell was asked for: what is impossible is refused, not recorded


def run(cell: Cell, watcher: Watcher | None = None, seen: int | None = None) -> dict[str, Any]:
    """Run a cell and write its record; raises `UserError`, `Stopped` or `Busy` where no record can be.

    `seen` is the `records.stamp` of the record that it is to replace, None where there was none. Where there
    is another by now, some other process was quicker: that record is returned and nothing is run.
    """
    watcher, results = watcher or Watcher(), Path(cell.config.results)
    folder = Path(cell.config.runs) / cell.key
    records.check_writable(results)
    device = pick_device(cell.config.hardware)
    _prepare(cell.config.hardware, device)
    with distributed.joined(device) as group, locked(folder / "lock") if group.first else nullcontext():
        quicker = group.first and records.stamp(results, cell.key) != seen
        if group.any(quicker, device):
            return records.find(results, cell.key) or {}
        watcher.begin()
        with _tracker(cell, folder, group) as tracker:
            return _run(cell, watcher, folder, device, group, tracker, seen)


def _run(
    cell: Cell,
    watcher: Watcher,
    folder: Path,
    device: torch.device,
    group: Group,
    tracker: tracking.Tracker,
    seen: int | None,
) -> dict[str, Any]:
    started, clock = datetime.now(UTC), time.perf_counter()

    def tell(row: dict[str, float]) -> None:
        tracker.log(row, int(row["epoch"]))
        watcher.epoch(row)

    measured = Measured(tell, micro_batch=micro_batch.kept(folder))
    status, reason = _attempt(cell, device, group, folder, watcher, measured)
    record = cell.record(
        status,
        reason,
        metrics=finite(measured.metrics),
        curve=finite(measured.curve),
        cost=finite(measured.cost),
        provenance=origin(started, time.perf_counter() - clock, device, group, measured),
        **({"traceback": measured.traceback} if measured.traceback else {}),
    )
    if group.first:
        results = Path(cell.config.results)
        if seen is not None:
            records.write(results, record)
        elif not records.write_first(results, record):
            record = records.find(results, cell.key) or record
        if not measured.keep:
            micro_batch.forget(folder)
        tracker.finish(record)
    return record


def _attempt(
    cell: Cell, device: torch.device, group: Group, folder: Path, watcher: Watcher, measured: Measured
) -> tuple[str, str | None]:
    """Measure the cell as far as it goes; how it ended, and why."""
    if cell.impossible:
        return "skipped", cell.impossible
    tries = records.Tries(folder / records.CHECKPOINT)
    while True:
        measured.curve = []
        try:
            _measure(cell, device, group, folder, watcher, measured)
            return "done", micro_batch.stated(cell.config, measured.micro_batch)
        except Impossible as error:
            if watcher.by_hand:
                raise UserError(f"attn={cell.mechanism}: {error}") from None
            return "skipped", str(error)
        except Diverged as error:
            return "diverged", str(error)
        except Damaged as error:
            watcher.note(str(error))
            continue
        except (UserError, Stopped, Interrupted):
            raise
        except Overdue as error:
            measured.keep, measured.traceback = True, current_traceback()
            return "failed", str(error)
        except Exception as error:  # the record says what happened, and a sweep goes on
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            if distributed.process_lost(error) and _goes_on(reason, watcher, group, tries):
                continue
            measured.traceback = current_traceback()
            if not micro_batch.lacks_memory(error):
                measured.keep = distributed.process_lost(error)
                return "failed", reason
        if not micro_batch.try_smaller(cell.config, group.world == 1, folder, watcher.note, measured):
            return "out_of_memory", reason


def _goes_on(reason: str, watcher: Watcher, group: Group, tries: records.Tries) -> bool:
    """Whether a cell is tried again after a process that it depends on died."""
    if watcher.stop():  # a batch system's signal reaches helper processes, too
        raise Stopped
    if group.world > 1:
        raise Interrupted(f"a process of its group died ({reason})")
    if not tries.again():
        return False
    watcher.note(f"{reason}; the cell goes on from its checkpoint")
    return True


def _measure(
    cell: Cell, device: torch.device, group: Group, folder: Path, watcher: Watcher, measured: Measured
) -> None:
    config = cell.config
    if measured.micro_batch is not None:
        config = replace(config, hardware=replace(config.hardware, micro_batch=measured.micro_batch))
    task = tasks.load(config)
    dataset = _dataset(config, device) if config.recipe.trains else None  # what is missing is missed at once
    measured.took("data")
    network = build(cell, task).to(device)
    measured.took("build")
    if dataset is not None:
        feasible.check(config, network, len(dataset.train), group)
    if group.first and measured.cost is None:
        measured.cost = _profile(cell, task, network, device)
        measured.took("cost")
    if dataset is None:
        cost.check(measured.cost or {})
        return
    if group.any(watcher.stop(), device):
        raise Stopped
    measured.checksum, measured.network = dataset.checksum, facts(network)
    measured.images = {split: len(getattr(dataset, split)) for split in ("train", "val", "test")}
    contents.check(config, dataset.checksum)
    torch.manual_seed(config.seed)
    layout = torch.channels_last if config.hardware.channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)
    steps = len(dataset.train) // config.recipe.batch_size
    if group.first and (slow := too_slow(config.recipe, steps * config.recipe.epochs)):
        watcher.note(slow)
    training = Training(network, task, config, steps, group)
    checkpoint = Checkpoint(
        folder / records.CHECKPOINT, config.hardware.checkpoint_s, group, dataset.checksum
    )

    def report(row: dict[str, float]) -> None:
        measured.curve.append(row)
        measured.tell(row)

    measured.curve = train(training, dataset, config, checkpoint, group, watcher.steps, report, watcher.stop)
    last = final(measured.curve[-1], "val", config.recipe.precision)
    # The test split is read here, once, and never before the last epoch.
    measured.dead_parameters = training.watched.dead
    measured.took("train")
    row = evaluate(training.evaluated, dataset.test, task, config, group, watcher.stop).row("test")
    measured.took("test")
    test = final(row, "test", config.recipe.precision)
    measured.metrics = {"val": last, "test": test} if last else {"test": test}
    if config.keep and group.first:
        weights.keep(training.evaluated, folder / records.WEIGHTS, cell.key)


_last: dict[str, Dataset] = {}  # the set that the cell before used: many cells share one


def _dataset(config: Config, device: torch.device) -> Dataset:
    what = {**asdict(config.data), "task": config.task.name, "workers": config.hardware.workers}
    key = fingerprint({**what, "device": str(device)})
    if key not in _last:
        _last.clear()
        _last[key] = data.load(config.data, device, config.hardware.workers, config.task.name)
    return _last[key]


def build(cell: Cell, task: tasks.Task | None = None) -> nn.Module:
    """The cell's network: the backbone from the seed, then the mechanisms, from a stream of their own."""
    config = cell.config
    if resized := cost.equal.resized(cell, build):
        task = tasks.load(replace(config, backbone=resized))
    torch.manual_seed(config.seed)
    task = task or tasks.load(config)
    network = task.network()
    if resized is None and cell.mechanism != "none":
        site = config.sites[cell.site]
        graft.graft(network, cell.mechanism, cell.options, site, task.shape, seed=config.seed)
    return network


def _profile(cell: Cell, task: tasks.Task, network: nn.Module, device: torch.device) -> dict[str, Any]:
    config = cell.config
    measured, task = _for_cost(cell, task, network, device)
    control = measured
    if cell.mechanism != "none" and (config.cost.latency or config.cost.throughput):
        torch.manual_seed(config.seed)
        control = task.network().to(device)
    what: dict[str, Any] = {
        "task": asdict(config.task),
        "backbone": asdict(config.backbone),
        "classes": config.data.classes,
        "length": config.data.length,
    }
    what |= {"attn": config.attn, "site": cell.site}
    store = cost.Store(Path(config.runs) / "counts", what)
    figures = cost.profile(measured, control, task.cost_shape, config.cost, config.hardware, store)
    if measured is not network:
        figures |= cost.parameters(network)
    if own := own_attention(network):
        figures["own_attention"] = own
    resized = cost.equal.resized(cell, build)
    form = {"backbone_args": resized.args} if resized else {}
    return figures | form | _pixels_seen(network, task.cost_shape)


def _for_cost(
    cell: Cell, task: tasks.Task, network: nn.Module, device: torch.device
) -> tuple[nn.Module, tasks.Task]:
    """The network that costs are measured on, and its task: where that of the data's size does not run, one
    that is built for the measured size. Where there is none either, the profile says what failed.
    """
    if task.cost_shape == task.shape or runs(network, task.cost_shape):
        return network, task
    height, width = task.cost_shape[-2:]
    sized = replace(cell.config, data=replace(cell.config.data, size=height, width=width))
    try:
        resized = cost.equal.resized(cell, build)
        other = tasks.load(replace(sized, backbone=resized) if resized else sized)
        return (other.network() if resized else build(Cell(sized), other)).to(device), other
    except Exception:  # whatever keeps it from being built costs these figures, not the cell
        return network, task


def _pixels_seen(network: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    """Of networks that see an image by glimpses: pixels that one prediction reads, and those of the image."""
    seen = [n for m in graft.mechanisms(network) if (n := m.pixels_seen()) is not None]
    return {"pixels_seen": sum(seen), "pixels": shape[-2] * shape[-1]} if seen else {}


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


def _tracker(cell: Cell, folder: Path, group: Group) -> AbstractContextManager[Any]:
    """The mirror of this run; only the first process of a group has one."""
    settings = cell.config.track if group.first else Track()
    return tracking.tracker(settings, folder, cell.coordinates(), asdict(cell.config))
