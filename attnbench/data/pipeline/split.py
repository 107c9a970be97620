"""What every data set is to the rest: three splits that hand out batches on the device."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from attnbench.config.recipe import Augment
from attnbench.config.schema import Data
from attnbench.data import check_augment
from attnbench.data.pipeline.augment import Pixels
from attnbench.data.pipeline.crop import boxes
from attnbench.data.pipeline.order import Batch, Plan, stratified
from attnbench.errors import UserError


class Split(ABC):
    """Images and their classes; all randomness of a pass is a function of (seed, epoch, step)."""

    masked = False  # whether targets are masks, which move with their images

    def __init__(self, targets: Int[np.ndarray, " n"], pixels: Pixels, device: torch.device) -> None:
        self.labels = targets
        self.pixels = pixels
        self.device = device
        self.targets = torch.from_numpy(np.asarray(targets, np.int64)).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self,
        batch_size: int,
        seed: int = 0,
        epoch: int = 0,
        augment: Augment | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[tuple[Float[Tensor, "b c h w"], Int[Tensor, " b"]]]:
        """Normalised images and targets, one global batch of `batch_size` a step, from step `start` on.

        Rank r of `world` gets rows r::world of every global batch (none, where the last has too few),
        and exactly the images that a single process would have. Images are dense in channels_last.
        Raises `UserError` where `augment` asks for what does not exist, or no batch is full.
        """
        if batch_size < 1:
            raise UserError(f"batch size {batch_size}: must be at least 1")
        if augment is not None:
            check_augment(augment, self.masked)
        plan = Plan(len(self), batch_size, seed, epoch, augment, shuffle, drop_last, start, rank, world)
        if len(plan) == 0:
            raise UserError(f"{len(self)} images do not fill one batch of {batch_size}: lower the batch size")
        return self.read(plan)

    def seen(
        self, images: UInt8[Tensor, "b h w c"], batch: Batch, augment: Augment | None
    ) -> Float[Tensor, "b c height width"]:
        """What the network sees of a batch's images on the device."""
        cut = None
        if augment is not None and augment.crop == "resized":
            cut = boxes(batch.draws, augment, np.tile(images.shape[1:3], (len(images), 1)))
        return self.pixels(images, batch.draws, augment, cut)

    @abstractmethod
    def read(self, plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
        """The plan's batches, from its start on."""


class Resident(Split):
    """A split that lies on the device as uint8 (n h w c) and is augmented there."""

    def __init__(
        self,
        images: UInt8[np.ndarray, "n h w c"],
        targets: Int[np.ndarray, " n"],
        pixels: Pixels,
        device: torch.device,
    ) -> None:
        super().__init__(targets, pixels, device)
        self.images = torch.from_numpy(images).to(device)

    def read(self, plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in plan:
            where = torch.from_numpy(batch.rows).to(self.device)
            yield self.seen(self.images[where], batch, plan.augment), self.targets[where]


@dataclass(frozen=True)
class Dataset:
    """Names of the classes, the three splits, and a checksum for the records."""

    classes: list[str]
    train: Split
    val: Split  # drawn from the training images
    test: Split  # the official test images
    checksum: str  # of pixels and labels, or of the names and sizes of files


def choose(labels: Int[np.ndarray, " n"], count: int | None, split: str, seed: int) -> Int[np.ndarray, " m"]:
    """`count` images (None: all), the classes in their shares; a smaller choice is part of a larger one."""
    if count is not None and count > len(labels):
        raise UserError(f"data.{split}={count}, but the {split} split has {len(labels)} images")
    return np.sort(stratified(labels, seed, 1)[:count])


def hold_out(
    labels: Int[np.ndarray, " n"], data: Data, share: float
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Indices of the training and the validation images: disjoint, stratified, drawn by `data.split_seed`.

    `share` of the images is held out, whatever `data.train` and `data.val` then use of each part.
    """
    if not 0 < share < 1:
        raise UserError(f"data.options.val_share={share}: must lie between 0 and 1")
    order = stratified(labels, data.split_seed)
    held = max(round(len(labels) * share), 1)
    val, train = order[:held], order[held:]
    chosen_train = choose(labels[train], data.train, "train", data.split_seed)
    chosen_val = choose(labels[val], data.val, "val", data.split_seed)
    return train[chosen_train], val[chosen_val]


def resident(
    classes: list[str], parts: dict[str, tuple[np.ndarray, np.ndarray]], data: Data, device: torch.device
) -> Dataset:
    """A data set of (images, labels) for each of train, val and test, put on the device."""
    pixels = Pixels(data, device)
    splits = {name: Resident(images, labels, pixels, device) for name, (images, labels) in parts.items()}
    arrays = [array for images, labels in parts.values() for array in (images, np.asarray(labels, np.int64))]
    return gathered(classes, splits, arrays)


def gathered(classes: list[str], splits: Mapping[str, Split], arrays: list[np.ndarray]) -> Dataset:
    """The splits train, val and test as a data set, with a checksum of the arrays that they hold."""
    digest = sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return Dataset(classes, splits["train"], splits["val"], splits["test"], digest.hexdigest()[:16])
