"""Image files decoded once into a memory-mapped array on disk, which all cells share."""

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset as Steps

from attnbench.data.pipeline.augment import Pixels
from attnbench.data.pipeline.crop import boxes
from attnbench.data.pipeline.examine import checksum
from attnbench.data.pipeline.images import Files, cut, decode
from attnbench.data.pipeline.order import Plan
from attnbench.data.pipeline.split import Split
from attnbench.data.pipeline.stream import loader
from attnbench.errors import UserError
from attnbench.records import locked

FORMAT = 2  # of the cache; another number makes old caches stale
CHUNK = 64  # images that a worker decodes at a time
log = logging.getLogger(__name__)
T = TypeVar("T")


class Cache(NamedTuple):
    """Decoded images, each squeezed into a square, and the (height, width) that they had."""

    images: UInt8[np.ndarray, "n side side c"]
    sizes: Int[np.ndarray, "n 2"]


class Cached(Split):
    """A split whose images lie in a cache; its boxes are those of the streamed split."""

    def __init__(
        self,
        cache: Cache,
        rows: Int[np.ndarray, " m"],
        labels: Int[np.ndarray, " m"],
        pixels: Pixels,
        device: torch.device,
    ) -> None:
        super().__init__(labels, pixels, device)
        self.cache, self.rows = cache, rows

    def read(self, plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
        stretch = self.cache.images.shape[1]
        for (rows, draws), images in _ahead((batch, self._pixels_of(batch.rows)) for batch in plan):
            sizes = self.cache.sizes[self.rows[rows]]
            box = boxes(draws, plan.augment, sizes) * np.tile(stretch / sizes, 2)
            images = images.to(self.device, non_blocking=True)
            targets = self.targets[torch.from_numpy(rows).to(self.device)]
            yield self.pixels(images, draws, plan.augment, box), targets

    def _pixels_of(self, rows: Int[np.ndarray, " b"]) -> Tensor:
        images = torch.from_numpy(self.cache.images[self.rows[rows]])
        return images.pin_memory() if self.device.type == "cuda" else images


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, each read by a thread while the one before is at work."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = reader.submit(next, items, None)
            yield item


def open_cache(folder: Path, files: Files, side: int, channels: int, workers: int) -> Cache:
    """The files' cache at side x side px in a folder: read where it exists, else built.

    It is named by the files' contents and by its own settings, is built aside and renamed
    when whole, by one process while others wait. Raises `UserError` where the disk is too small or a
    file is damaged.
    """
    key = sha256(f"{FORMAT} {checksum(files.digests)} {side} {channels}".encode()).hexdigest()[:16]
    place = folder / key
    if not place.is_dir():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / f"{key}.lock", wait=True):
                if not place.is_dir():
                    _build(place, files, side, channels, workers)
        except OSError as error:
            raise UserError(f"no cache can be kept in {folder} ({error}): {_remedy()}") from error
    return Cache(np.load(place / "images.npy", mmap_mode="r"), np.load(place / "sizes.npy"))


def _remedy() -> str:
    return "name another folder in ATTNBENCH_CACHE, or go without by data.options.cache=false"


def _build(place: Path, files: Files, side: int, channels: int, workers: int) -> None:
    part = place.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    _need(place.parent, len(files) * side * side * channels)
    part.mkdir()
    try:
        _fill(part, files, side, channels, workers)
        part.rename(place)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _need(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"the cache of decoded images needs {need / 1e9:.1f} GB; {folder} has {free / 1e9:.1f} GB free: "
            f"{_remedy()}"
        )


def _fill(part: Path, files: Files, side: int, channels: int, workers: int) -> None:
    """Decode all files into part/images.npy and part/sizes.npy."""
    log.info("decoding %d images into %s", len(files), part.parent)
    shape = (len(files), side, side, channels)
    images = np.lib.format.open_memmap(part / "images.npy", "w+", np.uint8, shape)
    sizes = np.empty((len(files), 2), np.int64)
    plan = Plan(len(files), CHUNK)
    chunks = loader(Squeezed(files, plan, side, channels), plan, workers, torch.device("cpu"))
    for (rows, _), (pixels, had) in zip(plan, chunks):
        images[rows], sizes[rows] = pixels, had
    images.flush()
    np.save(part / "sizes.npy", sizes)


class Squeezed(Steps):
    """Whole images at side x side px, with the (height, width) that they had, a step of a plan at a time."""

    def __init__(self, files: Files, plan: Plan, side: int, channels: int) -> None:
        self.files, self.plan, self.side, self.channels = files, plan, side, channels

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray] | str:
        try:
            images = [decode(self.files.path(row), self.channels) for row in self.plan[step].rows]
        except UserError as error:
            return str(error)
        sizes = np.array([(image.height, image.width) for image in images])
        pixels = [cut(image, (0, 0, *size), self.side) for image, size in zip(images, sizes)]
        return np.stack(pixels), sizes
