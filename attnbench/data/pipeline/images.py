"""Folders of image files: which there are, what class each shows, and how one is decoded."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from attnbench.data.pipeline import listing
from attnbench.errors import UserError

MODES = {1: "L", 3: "RGB"}
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
DEEP = ("I;16", "I;16L", "I;16B")  # modes of 16 bits
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what damaged files raise


@dataclass(frozen=True)
class Files:
    """Image files of a data set, by their names in `folder`, with the class of each."""

    folder: Path
    names: np.ndarray  # as bytes: one array, so that worker processes share it
    labels: Int[np.ndarray, " n"]
    # Of their contents, once they were examined.
    digests: UInt8[np.ndarray, "n 16"] = field(default_factory=lambda: np.zeros((0, 16), np.uint8))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: np.ndarray) -> "Files":
        digests = self.digests[rows] if len(self.digests) else self.digests
        return Files(self.folder, self.names[rows], self.labels[rows], digests)

    def path(self, row: int) -> Path:
        return self.folder / os.fsdecode(self.names[row])


def listed(folder: Path, part: str, names: list[str]) -> Files:
    """The images of folder/part/CLASS, at any depth; `UserError` where the classes are not those named."""
    there = listing.folders(folder / part)
    if extra := sorted(set(there) - set(names)):
        raise UserError(f"{folder / part} holds classes without training images: {', '.join(extra[:5])}")
    if missing := [name for name in names if name not in there]:
        raise UserError(f"{folder / part}: no folder of class {', '.join(missing[:5])}")
    inside = {name: listing.tree(folder / part / name, ENDINGS) for name in names}
    if empty := [name for name, found in inside.items() if not found]:
        raise UserError(
            f"{folder / part}: no image in {', '.join(empty[:5])} (known endings: {' '.join(ENDINGS)}): "
            "fill or remove the folder"
        )
    paths = [os.fsencode(os.path.join(part, name, file)) for name, found in inside.items() for file in found]
    labels = np.repeat(np.arange(len(names)), [len(found) for found in inside.values()])
    return Files(folder, np.array(paths), labels)


def join(*parts: Files) -> Files:
    """The files of several listings of one folder, one after another."""
    names, labels = (np.concatenate([getattr(p, name) for p in parts]) for name in ("names", "labels"))
    return Files(parts[0].folder, names, labels)


def usable(image: Image.Image) -> None:
    """Raise `ValueError` for a kind of image whose values have no known meaning as 8 bits."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ValueError(f"{image.format} of mode {image.mode}, of unknown range; convert it to 8 bits")


def plain(image: Image.Image, channels: int) -> Image.Image:
    """The image in colour or grey, 8 bits: of 16 the upper 8; transparency and EXIF's rotation are ignored.

    Of an animation, the first frame; other colours (CMYK, palettes) as Pillow converts them.
    """
    usable(image)
    if image.mode in (*DEEP, "I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    return image.convert(MODES[channels])


def decode(path: Path, channels: int) -> Image.Image:
    """The image as `plain` has it; raises `UserError` with its name where it cannot be read."""
    try:
        with Image.open(path) as image:
            return plain(image, channels)
    except BROKEN as error:
        raise UserError(
            f"{listing.shown(path)} cannot be read as an image ({error}): replace or delete it"
        ) from error


def cut(image: Image.Image, box: Sequence[float] | np.ndarray, size: int) -> np.ndarray:
    """A box (top, left, height, width) of the image at size x size, antialiased; uint8 (size size c)."""
    top, left, height, width = map(float, box)
    inside = (left, top, min(left + width, image.width), min(top + height, image.height))
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=inside))
    return pixels.reshape(size, size, -1)
