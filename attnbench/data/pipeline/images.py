"""Folders of image files: which there are, what class each shows, and how one is decoded."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image

from attnbench.errors import UserError

MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Files:
    """Image files of a data set, by their names in `folder`, with bytes and class of each."""

    folder: Path
    names: np.ndarray  # as bytes: one array, so that worker processes share it
    sizes: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: np.ndarray) -> "Files":
        return Files(self.folder, self.names[rows], self.sizes[rows], self.labels[rows])

    def path(self, row: int) -> Path:
        return self.folder / os.fsdecode(self.names[row])

    def checksum(self) -> str:
        """Of names and sizes, in order; a short sha256."""
        return sha256(self.names.tobytes() + np.asarray(self.sizes, np.int64).tobytes()).hexdigest()[:16]


def classes(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted: one class each."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())


def listing(folder: Path, part: str, names: list[str]) -> Files:
    """The images of folder/part/CLASS, at any depth; `UserError` where the classes are not those named."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    extra = sorted(set(classes(folder / part)) - set(names))
    if extra:
        raise UserError(
            f"{folder / part} holds classes that the training images lack: {', '.join(extra[:5])}"
        )
    index = {name: label for label, name in enumerate(names)}
    try:
        found = make_dataset(str(folder / part), index, extensions=IMG_EXTENSIONS)
    except FileNotFoundError as error:
        raise UserError(f"{folder / part}: {error}") from error
    paths, labels = zip(*found)
    relative = [os.fsencode(os.path.relpath(path, folder)) for path in paths]
    sizes = [os.stat(path).st_size for path in paths]
    return Files(folder, np.array(relative), np.array(sizes), np.array(labels))


def join(first: Files, second: Files) -> Files:
    """The files of one after those of the other, both of one folder."""
    parts = (
        np.concatenate([getattr(first, name), getattr(second, name)]) for name in ("names", "sizes", "labels")
    )
    return Files(first.folder, *parts)


def decode(path: Path, channels: int) -> Image.Image:
    """The image, in colour or grey; raises `UserError` with its name where it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.convert(MODES[channels])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image ({error}): replace or delete it") from error


def cut(image: Image.Image, box: Sequence[float] | np.ndarray, size: int) -> np.ndarray:
    """A box (top, left, height, width) of the image at size x size, antialiased; uint8 (size size c)."""
    top, left, height, width = map(float, box)
    inside = (left, top, min(left + width, image.width), min(top + height, image.height))
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=inside))
    return pixels.reshape(size, size, -1)
