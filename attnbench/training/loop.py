"""One training loop for every task, and the evaluation that follows it.

All randomness is a function of the seed, the epoch and the step, or is kept in the checkpoint; so a run that
was killed goes on to the same numbers.
"""

import io
import math
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attnbench import records
from attnbench.config.recipe import Precision
from attnbench.config.schema import Config
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.split import Dataset, Split
from attnbench.errors import UserError
from attnbench.grafting.graft import mechanisms
from attnbench.tasks import Task
from attnbench.training.averaging import average
from attnbench.training.distributed import Group
from attnbench.training.evaluation import Diverged, Evaluation, Stopped, evaluate, formatted
from attnbench.training.mixing import mixing
from attnbench.training.optim import Schedule, autocast, optimizer
from attnbench.training.watched import Watched

CHECK_EVERY = 20  # steps between looks at the loss; each look waits for the device


class Damaged(Exception):
    """The checkpoint cannot be read; it was set aside, and the cell has to start over."""


class Training:
    """A network on its way: weights, optimiser, schedule, averages, and where it stands."""

    def __init__(self, network: nn.Module, task: Task, config: Config, steps: int, group: Group) -> None:
        self.recipe, self.task, self.steps, self.group = config.recipe, task, steps, group
        self.seed = config.seed
        self.device = next(network.parameters()).device
        self.network = network
        self.mechanisms = mechanisms(network)
        self.watched = Watched(network, config.hardware.compile)
        self.forward = group.wrap(network, self.device)
        self.running = group.follow(network)
        if config.hardware.compile:
            self.forward = torch.compile(self.forward)  # type: ignore[assignment]
        self.optimizer = optimizer(network, self.recipe.optimizer, config.task.encoder)
        self.schedule = Schedule(self.optimizer, self.recipe, steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.recipe.precision == Precision.fp16)
        self.average = average(network, self.recipe)
        self.mix = mixing(self.recipe, config.data.classes, config.seed, group)
        self.micro_batch = config.hardware.micro_batch
        self.epoch = self.step = 0  # epochs done, and steps of the next one
        self.loss_sum = torch.zeros((), device=self.device)

    @property
    def evaluated(self) -> nn.Module:
        """The weights that count: the averaged ones where the recipe averages."""
        return self.network if self.average is None else self.average.module

    def take(self, images: Tensor, targets: Tensor) -> None:
        """One step on one batch (b c h w)."""
        if self.mix is not None:
            images, targets = self.mix(self.epoch * self.steps + self.step, images, targets)
        self.schedule.step_update(self.epoch * self.steps + self.step)
        self.optimizer.zero_grad(set_to_none=True)
        self.watched.begin()
        self._accumulate(images, targets)
        self.watched.end(self.step)
        if self.recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.running.average()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.step += 1
        if self.step % CHECK_EVERY == 0 or self.step == self.steps:
            self._look()

    def _accumulate(self, images: Tensor, targets: Tensor) -> None:
        """The whole batch's gradients, of all processes; a micro-batch at a time where memory is short.

        They are those of one pass, but for batch normalization, which sees a micro-batch at a time, and for
        hard pixels, which are chosen among its own.
        """
        size, batch = self.micro_batch or len(images), len(images)
        total = None if self.group.world == 1 and size >= batch else self._weight(targets)
        for part, wanted in zip(images.split(size), targets.split(size)):
            loss, terms = self._loss(part, wanted)
            if total is not None:
                loss = loss * (self.task.weight(wanted) * self.group.world / total)
                terms = [term * (len(part) / batch) for term in terms]
            loss = sum(terms, start=loss)
            self.scaler.scale(loss).backward()
            self.loss_sum += loss.detach()

    def _weight(self, targets: Tensor) -> Tensor:
        """What the task's loss averages over, in the whole batch."""
        return self.group.add(self.task.weight(targets).clone()).clamp(min=1e-6)

    def _loss(self, images: Tensor, targets: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The task's loss and the terms that mechanisms add."""
        with autocast(self.recipe.precision, self.device):
            loss = self.task.loss(self.forward(*self.task.inputs(images, targets)), targets)
            terms = [term for m in self.mechanisms if (term := m.loss(targets)) is not None]
        return loss, terms

    def _look(self) -> None:
        if not math.isfinite(float(self.loss_sum)):
            where = f"epoch {self.epoch + 1}, step {self.step} of {self.steps}"
            raise Diverged(f"non-finite loss by {where}")

    def start_epoch(self) -> None:
        self.network.train()
        if self.group.world > 1:  # of all that is drawn but the batches, each process has a stream of its own
            torch.manual_seed(fold(self.seed, self.epoch, self.group.rank))
        for mechanism in self.mechanisms:
            mechanism.start_epoch(self.epoch, self.recipe.epochs)

    def end_epoch(self) -> float:
        """Close an epoch; its mean training loss."""
        mean = float(self.loss_sum) / self.steps
        self.loss_sum.zero_()
        self.epoch, self.step = self.epoch + 1, 0
        return mean

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "place": (self.epoch, self.step, float(self.loss_sum)),
            "dead": self.watched.dead,
            **self.random(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.epoch, self.step, loss_sum = state["place"]
        self.loss_sum.fill_(loss_sum)
        self.watched.restore(state["dead"])
        self.set_random(state)

    def random(self) -> dict[str, Any]:
        """The states of torch's random generators."""
        cuda = torch.cuda.get_rng_state_all() if self.device.type == "cuda" else []
        return {"random": torch.get_rng_state(), "random_cuda": cuda}

    def set_random(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"]:
            torch.cuda.set_rng_state_all([s.cpu() for s in state["random_cuda"]])


class Checkpoint:
    """The file that a killed cell goes on from: written at each epoch's end and every so often within one.

    `data` is the checksum of the data set, on which alone training goes on.
    """

    def __init__(self, file: Path, seconds: float, group: Group, data: str = "") -> None:
        self.file, self.seconds, self.group, self.data = file, seconds, group, data
        self.saved = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self.saved > self.seconds

    def save(self, training: Training, curve: list[dict[str, float]]) -> None:
        self.saved = time.monotonic()
        if not self.group.first:
            return
        content = io.BytesIO()
        torch.save({**training.state(), "curve": curve, "data": self.data}, content)
        records.write_whole(self.file, content.getvalue(), sync=False)

    def load(self, training: Training) -> list[dict[str, float]]:
        """Restore the training; the curve so far, empty where there is no checkpoint.

        Raises `Damaged`, the file set aside, where it is not a complete checkpoint of this training; the
        training may then be half restored.
        """
        if not self.file.exists():
            return []
        try:
            state = self._read(training.device)
            if state.get("data", self.data) == self.data:
                training.restore(state)
                return state["curve"]
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a damaged file can make torch raise anything
            reason = f"{self.file} is damaged ({type(error).__name__}: {error})".splitlines()[0]
            raise self._unusable(reason) from error
        raise self._unusable(f"the data set has changed since {self.file} was written")

    def _unusable(self, reason: str) -> Exception:
        """Set the file aside, so that the cell starts over; several processes leave that to a person."""
        if self.group.world > 1:
            return UserError(f"{reason}: remove it, and the cell starts over")
        aside = records.set_aside(self.file)
        return Damaged(f"{reason}; kept as {aside.name}, the cell starts over")

    def _read(self, device: torch.device) -> dict[str, Any]:
        with zipfile.ZipFile(self.file) as parts:  # torch itself does not look at the checksums
            if (broken := parts.testzip()) is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {broken}")
        return torch.load(self.file, map_location=device, weights_only=True)


def fold(*key: int) -> int:
    """One seed from several numbers."""
    return int(generator(*key).integers(2**63))


Watch = Callable[[int, int], None]  # steps done and in all
Epoch = Callable[[dict[str, float]], None]


def train(
    training: Training,
    data: Dataset,
    config: Config,
    checkpoint: Checkpoint,
    group: Group,
    watch: Watch,
    report: Epoch,
    stop: Callable[[], bool],
) -> list[dict[str, float]]:
    """Train to the last epoch, from the checkpoint where there is one; a row of figures for each epoch."""
    recipe = config.recipe
    curve = checkpoint.load(training)
    for row in curve:
        report(row)
    while training.epoch < recipe.epochs:
        training.start_epoch()
        started, first = time.perf_counter(), training.step
        for images, targets in _batches(training, data.train, config, group):
            training.take(images, targets)
            watch(training.epoch * training.steps + training.step, recipe.epochs * training.steps)
            stopping = group.any(stop(), training.device)
            if group.world == 1 and (stopping or checkpoint.due):
                checkpoint.save(training, curve)
            if stopping:
                raise Stopped
        seen = (training.step - first) * recipe.batch_size
        row = {
            "epoch": training.epoch + 1,
            "lr": training.optimizer.param_groups[0]["lr"],
            "train_objective": float(group.add(training.loss_sum)) / group.world / training.steps,
        }
        if seen:
            row["images_per_s"] = seen / (time.perf_counter() - started)
        done = training.epoch + 1
        if len(data.val) and (done % recipe.evaluate_every == 0 or done == recipe.epochs):
            row |= _validate(training, data.val, config, checkpoint, curve, group, stop).row("val")
        training.end_epoch()
        curve.append(row)
        checkpoint.save(training, curve)
        report(row)
    return curve


def _validate(
    training: Training,
    split: Split,
    config: Config,
    checkpoint: Checkpoint,
    curve: list[dict[str, float]],
    group: Group,
    stop: Callable[[], bool],
) -> Evaluation:
    """The evaluation of the validation split; a stop saves the epoch as it was before them."""
    random = training.random()
    try:
        return evaluate(training.evaluated, split, training.task, config, group, stop)
    except Stopped:
        training.set_random(random)
        checkpoint.save(training, curve)
        raise


def _batches(
    training: Training, split: Split, config: Config, group: Group
) -> Iterator[tuple[Tensor, Tensor]]:
    if training.step == training.steps:  # stopped between an epoch's last step and its end
        return iter(())
    batches = split.batches(
        config.recipe.batch_size,
        seed=config.seed,
        epoch=training.epoch,
        augment=config.recipe.augment,
        shuffle=True,
        drop_last=True,
        start=training.step,
        rank=group.rank,
        world=group.world,
    )
    return formatted(batches, config)
