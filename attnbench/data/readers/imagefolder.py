"""Any folder with train/CLASS/ and val/CLASS/ in it: ImageNet, Imagenette, one's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data import options, root
from attnbench.data.pipeline import listing
from attnbench.data.pipeline.augment import Pixels
from attnbench.data.pipeline.cache import Cached, open_cache
from attnbench.data.pipeline.crop import stored_side
from attnbench.data.pipeline.examine import Examination, checksum, picture
from attnbench.data.pipeline.images import MODES, Files, join, listed
from attnbench.data.pipeline.places import cache_folder
from attnbench.data.pipeline.split import Dataset, Split, choose, hold_out
from attnbench.data.pipeline.stream import Stream
from attnbench.errors import UserError

TEST_SEED = 0  # a subset of the images under val/ does not move with data.split_seed
USUAL = {"imagenette": "imagenette2-320"}  # what the folder of a set is called once unpacked


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Streaming splits, or with `options.cache` splits that read a shared cache of decoded images.

    Validation images are held out of train/ (`options.val_share`); those under val/ are the test split,
    unless there is test/CLASS/, too.
    Raises `UserError` where a folder is missing or not as described.
    """
    chosen = options(data, val_share=0.1, cache=False, stored=None)
    if data.channels not in MODES:
        raise UserError(f"data.channels={data.channels}: images are read in colour (3) or grey (1)")
    folder = _folder(data)
    names = listing.folders(folder / "train")
    if len(names) != data.classes:
        raise UserError(
            f"data.classes={data.classes}, but {folder / 'train'} has {len(names)} class folders: "
            f"set data.classes={len(names)}"
        )
    rows, files = _rows(folder, names, data, chosen["val_share"])
    files = _examined(files, data)
    used = files[np.concatenate(list(rows.values()))]
    pixels = Pixels(data, device)
    if chosen["cache"]:
        splits = _cached(data, files, rows, pixels, device, workers)
    else:
        splits = {n: Stream(files[r], pixels, data.channels, device, workers) for n, r in rows.items()}
    return Dataset(names, **splits, checksum=checksum(used.digests, used.labels))


def _rows(folder: Path, names: list[str], data: Data, share: float) -> tuple[dict[str, np.ndarray], Files]:
    """The rows of each split among all images; with test/CLASS/ beside, val/ validates and test/ tests."""
    training, others = listed(folder, "train", names), listed(folder, "val", names)
    if not (folder / "test").is_dir() or not set(listing.folders(folder / "test")) & set(names):
        train, val = hold_out(training.labels, data, share)
        test = len(training) + choose(others.labels, data.test, "test", TEST_SEED)
        return {"train": train, "val": val, "test": test}, join(training, others)
    testing = listed(folder, "test", names)
    first = len(training) + len(others)
    rows = {
        "train": choose(training.labels, data.train, "train", data.split_seed),
        "val": len(training) + choose(others.labels, data.val, "val", data.split_seed),
        "test": first + choose(testing.labels, data.test, "test", TEST_SEED),
    }
    return rows, join(training, others, testing)


def _examined(files: Files, data: Data) -> Files:
    """The files with digests of their contents; raises `UserError` that names all that cannot be used."""
    examine = Examination(data.name)
    seen = examine([files.path(row) for row in range(len(files))], picture)
    examine.finish()
    return replace(files, digests=seen.digests)


def _cached(
    data: Data,
    files: Files,
    rows: dict[str, np.ndarray],
    pixels: Pixels,
    device: torch.device,
    workers: int,
) -> dict[str, Split]:
    """Splits that share one cache of the files in use."""
    used = np.unique(np.concatenate(list(rows.values())))
    side = data.options.get("stored") or stored_side(data.size)
    cache = open_cache(cache_folder(), files[used], side, data.channels, workers)
    return {
        name: Cached(cache, np.searchsorted(used, row), files.labels[row], pixels, device)
        for name, row in rows.items()
    }


def _folder(data: Data) -> Path:
    """The folder that holds train/ and val/: `data.root`, or the one of the set's name in it."""
    given = root(data)
    places = [given, given / data.name, given / USUAL.get(data.name, data.name)]
    found = next((p for p in places if (p / "train").is_dir() and (p / "val").is_dir()), None)
    if found is None and data.download and data.name in USUAL:
        return _download(data, given)
    if found is None:
        looked = " and ".join(str(p) for p in dict.fromkeys(places))
        raise UserError(
            f"data set '{data.name}' is missing: no folders train/ and val/ in {looked}. {_way(data)}"
        )
    return found


def _way(data: Data) -> str:
    """How the set comes to where it is looked for."""
    if data.name in USUAL:
        return f"`python -m attnbench data={data.name} data.root={root(data)} data.download=true` fetches it"
    if data.name == "imagenet":
        return (
            "ImageNet cannot be fetched without an account at image-net.org; "
            "torchvision.datasets.ImageNet(FOLDER, split) unpacks its archives into train/ and val/"
        )
    return "Put the images into train/CLASS/ and val/CLASS/; there is nowhere to fetch them from"


def _download(data: Data, folder: Path) -> Path:
    """Let torchvision fetch Imagenette at 320 px."""
    from torchvision.datasets import Imagenette

    try:
        Imagenette(folder, size="320px", download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"data set '{data.name}' could not be fetched: {error}") from error
    return folder / USUAL[data.name]
