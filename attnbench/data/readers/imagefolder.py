"""Any folder with train/CLASS/ and val/CLASS/ in it: ImageNet, Imagenette, one's own."""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data import options, root
from attnbench.data.pipeline.augment import Pixels
from attnbench.data.pipeline.cache import Cached, open_cache
from attnbench.data.pipeline.crop import stored_side
from attnbench.data.pipeline.images import MODES, Files, classes, join, listing
from attnbench.data.pipeline.split import Dataset, Split, choose, hold_out
from attnbench.data.pipeline.stream import Stream
from attnbench.errors import UserError

TEST_SEED = 0  # a subset of the images under val/ does not move with data.split_seed
USUAL = {"imagenette": "imagenette2-320"}  # what the folder of a set is called once unpacked


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Streaming splits, or with `options.cache` splits that read a shared cache of decoded images.

    Validation images are held out of train/ (`options.val_share`); those under val/ are the test split.
    Raises `UserError` where a folder is missing or not as described.
    """
    chosen = options(data, val_share=0.1, cache=False, stored=None)
    if data.channels not in MODES:
        raise UserError(f"data.channels={data.channels}: images are read in colour (3) or grey (1)")
    folder = _folder(data)
    names = classes(folder / "train")
    if len(names) != data.classes:
        raise UserError(
            f"data.classes={data.classes}, but {folder / 'train'} has {len(names)} class folders: "
            f"set data.classes={len(names)}"
        )
    training, testing = listing(folder, "train", names), listing(folder, "val", names)
    train, val = hold_out(training.labels, data, chosen["val_share"])
    test = len(training) + choose(testing.labels, data.test, "test", TEST_SEED)
    files = join(training, testing)
    rows = {"train": train, "val": val, "test": test}
    checksum = files[np.concatenate(list(rows.values()))].checksum()
    pixels = Pixels(data, device)
    if chosen["cache"]:
        splits = _cached(data, files, rows, pixels, device, workers)
    else:
        splits = {n: Stream(files[r], pixels, data.channels, device, workers) for n, r in rows.items()}
    return Dataset(names, **splits, checksum=checksum)


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
    cache = open_cache(_cache_folder(), files[used], side, data.channels, workers)
    return {
        name: Cached(cache, np.searchsorted(used, row), files.labels[row], pixels, device)
        for name, row in rows.items()
    }


def _cache_folder() -> Path:
    """The folder that ATTNBENCH_CACHE names, else the one where programs keep what they can make again.

    It is no setting, since where a cache lies does not change what a cell is.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if home.startswith("~"):  # a user without a home
        home = tempfile.gettempdir()
    return Path(os.path.expanduser(os.environ.get("ATTNBENCH_CACHE") or f"{home}/attnbench"))


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
