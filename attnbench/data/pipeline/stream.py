"""Splits too large for memory: worker processes decode image files ahead of the network."""

import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Steps

from attnbench.data.pipeline import shared_memory
from attnbench.data.pipeline.augment import Pixels
from attnbench.data.pipeline.crop import boxes
from attnbench.data.pipeline.deaths import DEATHS
from attnbench.data.pipeline.images import Files, cut, decode
from attnbench.data.pipeline.order import Plan
from attnbench.data.pipeline.split import Split
from attnbench.errors import UserError

STALLED = 600  # s without a batch, after which loader processes are given up


class Decoded(Steps):
    """The batches of a plan, decoded: item `step` is uint8 (b h w c), or what was wrong with a file.

    A step's images depend on the plan alone, so it is all the same which worker decodes them.
    """

    def __init__(self, files: Files, plan: Plan, size: int, channels: int) -> None:
        self.files, self.plan, self.size, self.channels = files, plan, size, channels

    def __getitem__(self, step: int) -> Tensor | str:
        rows, draws = self.plan[step]
        images = np.empty((len(rows), self.size, self.size, self.channels), np.uint8)
        try:
            for i, row in enumerate(rows):
                image = decode(self.files.path(row), self.channels)
                own = None if draws is None else draws.of(i)
                box = boxes(own, self.plan.augment, np.array([[image.height, image.width]]))[0]
                images[i] = cut(image, box, self.size)
        except UserError as error:
            return str(error)
        return torch.from_numpy(images)


class Stream(Split):
    """A split whose images are decoded anew in each pass."""

    def __init__(
        self, files: Files, pixels: Pixels, channels: int, device: torch.device, workers: int
    ) -> None:
        super().__init__(files.labels, pixels, device)
        self.files, self.channels, self.workers = files, channels, workers

    def read(self, plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
        decoded = Decoded(self.files, plan, self.pixels.size, self.channels)
        need = plan.share * self.pixels.size**2 * self.channels
        steps = loader(decoded, plan, self.workers, self.device, need)
        for images, (rows, draws) in zip(steps, plan):
            images = images.to(self.device, non_blocking=True)
            yield (
                self.pixels(images, draws, plan.augment),
                self.targets[torch.from_numpy(rows).to(self.device)],
            )


def loader(
    decoded: Steps, plan: Plan, workers: int, device: torch.device, batch_bytes: int = 0
) -> Iterator[Tensor]:
    """What worker processes decoded, step by step; raises `UserError` where a file was damaged.

    `batch_bytes` is what a step's tensors take of shared memory: refused where that has no room for them.
    """
    # Evaluation, whose batches are twice as large, is to be refused before training, not after.
    shared_memory.check(batch_bytes * (2 if plan.drop_last else 1), workers)
    steps = DataLoader(
        decoded,
        batch_size=None,
        sampler=range(plan.start, len(plan)),
        num_workers=workers,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # the global one stays as it is, whatever the number of passes
        worker_init_fn=_leave_signals_to_the_trainer,
        timeout=STALLED if workers else 0,
    )
    try:
        for images in DEATHS.batches(steps):
            if isinstance(images, str):
                raise UserError(images)
            yield images
    except RuntimeError as error:
        if "DataLoader timed out" not in str(error):
            raise
        state = shared_memory.sentence(batch_bytes, workers)
        raise RuntimeError(
            f"no batch for {STALLED} s from loader processes: {state}; {shared_memory.WAYS}"
        ) from error


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ignore the signals that a batch system sends to all processes of a job, unless the trainer sends them.

    It needs batches until it has saved its state. Where it dies instead, loader processes notice and end.
    """
    for name in ("SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP"):
        if number := getattr(signal, name, None):  # not all of them exist on Windows
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_asked_by, args=(os.getppid(),), daemon=True).start()


def _end_when_asked_by(trainer: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)
