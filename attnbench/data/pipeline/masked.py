"""Splits of images with masks: on the device where they fit, else read anew by worker processes."""

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset as Steps

from attnbench.config.schema import Data
from attnbench.data import one_count
from attnbench.data.pipeline.examine import Examination, checksum
from attnbench.data.pipeline.joint import Joint
from attnbench.data.pipeline.masks import Frame, Masks, Pairs, keep
from attnbench.data.pipeline.order import Plan, generator
from attnbench.data.pipeline.split import Dataset, Split
from attnbench.data.pipeline.stream import loader
from attnbench.errors import UserError

TEST_SEED = 0  # a subset of the test images does not move with data.split_seed
ROOM = 2 * 2**30  # bytes that a set may have to be held in memory, unless data.options.resident says
CHUNK = 32  # pairs that a worker reads at a time
OPTIONS: dict[str, Any] = {  # of every set of masks
    "subset": None,  # share (0.0 to 1.0) or number of the training images that are used; null: all
    "resident": None,  # hold the whole set in memory; null: where it has at most 2 GiB
}


class Masked(Split):
    """Images and masks, (b c h w) and (b h w)."""

    masked = True

    def __init__(self, count: int, joint: Joint, device: torch.device) -> None:
        self.labels = np.zeros(count, np.int64)  # an image has no label; how many there are is known by it
        self.joint, self.device = joint, device


class ResidentMasks(Masked):
    """Images and masks that lie on the device as uint8."""

    def __init__(
        self,
        images: UInt8[np.ndarray, "n h w c"],
        masks: UInt8[np.ndarray, "n h w"],
        inner: Int[np.ndarray, "n 2"],
        joint: Joint,
        device: torch.device,
        own: Sequence[UInt8[Tensor, "y x"]] = (),
    ) -> None:
        """`own`: the masks at their own size, of a split that is evaluated on these."""
        super().__init__(len(images), joint, device)
        self.images, self.masks = (torch.from_numpy(part).to(device) for part in (images, masks))
        self.inner, self.own = inner, own

    def read(self, plan: Plan) -> Iterator[tuple[Tensor, Any]]:
        for rows, draws in plan:
            where, inner = torch.from_numpy(rows).to(self.device), self.inner[rows]
            images, masks = self.joint(self.images[where], self.masks[where], inner, draws, plan.augment)
            yield images, Masks(masks, inner, [self.own[row] for row in rows]) if self.own else masks


class StreamedMasks(Masked):
    """Images and masks that are read anew in each pass."""

    def __init__(
        self, pairs: Pairs, frame: Frame, joint: Joint, device: torch.device, workers: int, evaluated: bool
    ) -> None:
        super().__init__(len(pairs), joint, device)
        self.pairs, self.frame, self.workers, self.evaluated = pairs, frame, workers, evaluated

    def read(self, plan: Plan) -> Iterator[tuple[Tensor, Any]]:
        framed = Framed(self.pairs, self.frame, plan, self.evaluated)
        for (images, masks, inner, own), (_, draws) in zip(
            loader(framed, plan, self.workers, self.device, framed.need), plan
        ):
            images, masks = (part.to(self.device, non_blocking=True) for part in (images, masks))
            images, masks = self.joint(images, masks, inner.numpy(), draws, plan.augment)
            yield images, Masks(masks, inner.numpy(), own) if self.evaluated else masks


class Framed(Steps):
    """The batches of a plan, or what was wrong with a file.

    Images, masks and inner sizes in a frame, and, where `evaluated`, the masks at their own size.
    """

    def __init__(self, pairs: Pairs, frame: Frame, plan: Plan, evaluated: bool) -> None:
        self.pairs, self.frame, self.plan, self.evaluated = pairs, frame, plan, evaluated

    @property
    def need(self) -> int:
        """Bytes that a process's part of a batch takes, about."""
        layers = len(self.frame.fill) + (2 if self.evaluated else 1)
        return self.plan.share * self.frame.height * self.frame.width * layers

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor, list[Tensor]] | str:
        f = self.frame
        rows = self.plan[step].rows
        images = torch.empty(len(rows), f.height, f.width, len(f.fill), dtype=torch.uint8)
        masks = torch.empty(len(rows), f.height, f.width, dtype=torch.uint8)
        inner, full = torch.empty(len(rows), 2, dtype=torch.int64), []
        try:
            for i, row in enumerate(rows):
                image, mask, size, own = self.pairs.read(row, f)
                full += [torch.from_numpy(own)] if self.evaluated else []
                images[i], masks[i] = torch.from_numpy(image), torch.from_numpy(mask)
                inner[i] = torch.tensor(size)
        except UserError as error:
            return str(error)
        return images, masks, inner, full


def hold_out(count: int, data: Data, share: float) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Indices of the training images and of the `share` held out to validate, drawn by `data.split_seed`."""
    if not 0 < share < 1:
        raise UserError(f"data.options.val_share={share}: must lie between 0 and 1")
    order = generator(data.split_seed).permutation(count)
    held = max(round(count * share), 1)
    return np.sort(order[held:]), np.sort(order[:held])


def expect(data: Data, found: int, official: int, split: str, partial: bool) -> None:
    """Raise `UserError` where a split has not its official number of images, unless parts are allowed."""
    if found != official and not partial:
        raise UserError(
            f"data set '{data.name}' has {official} {split} images, but {found} were found in {data.root}: "
            "complete it, or allow a part of it by data.options.partial=true"
        )


def dataset(
    names: list[str],
    parts: dict[str, Pairs],
    data: Data,
    chosen: dict[str, Any],
    device: torch.device,
    workers: int,
) -> Dataset:
    """A data set of files for each of train, val and test, thinned as the settings ask."""
    one_count(data, chosen["subset"])
    examine = Examination(data.name)
    parts = {split: pairs.examined(examine) for split, pairs in parts.items()}
    examine.finish()
    for split, pairs in parts.items():
        wanted = chosen["subset"] if split == "train" and data.train is None else getattr(data, split)
        seed = TEST_SEED if split == "test" else data.split_seed
        parts[split] = pairs[keep(pairs, np.arange(len(pairs)), len(names), wanted, split, seed)]
    frame, joint = Frame.of(data), Joint(data, device)
    contents = checksum(np.concatenate([pairs.digests for pairs in parts.values()]))
    splits: dict[str, Split] = {}
    fits = _fits(sum(map(len, parts.values())), frame, chosen["resident"])
    for split, pairs in parts.items():
        if fits:
            images, masks, inner, own = _arrays(Key(pairs), frame, workers, split != "train")
            splits[split] = ResidentMasks(images, masks, inner, joint, device, own)
        else:
            splits[split] = StreamedMasks(pairs, frame, joint, device, workers, split != "train")
    return Dataset(names, splits["train"], splits["val"], splits["test"], contents)


def _fits(count: int, frame: Frame, wanted: bool | None) -> bool:
    if wanted is not None and not isinstance(wanted, bool):
        raise UserError(f"data.options.resident={wanted}: true, false or null")
    need = count * frame.height * frame.width * (len(frame.fill) + 1)
    return need <= ROOM if wanted is None else wanted


class Key:
    """Pairs as the key of a cache: equal where the contents of files and the meaning of values are."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.value = (pairs.digests.tobytes(), pairs.table.tobytes())

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.value == other.value


@lru_cache(maxsize=3)
def _arrays(
    key: Key, frame: Frame, workers: int, evaluated: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Tensor]]:
    """All images, masks, inner sizes, and masks at their own size; kept, since a sweep's cells share them."""
    plan = Plan(len(key.pairs), CHUNK)
    framed = Framed(key.pairs, frame, plan, evaluated)
    *parts, own = zip(*loader(framed, plan, workers, torch.device("cpu"), framed.need))
    images, masks, inner = (torch.cat(part).numpy() for part in parts)
    # Copies, for those of worker processes keep a file open each.
    return images, masks, inner, [each.clone() for each in itertools.chain(*own)]
