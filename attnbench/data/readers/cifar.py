"""CIFAR-10 and CIFAR-100 from their python batches, each file checked against its md5."""

import pickle
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8

from attnbench.config.schema import Data
from attnbench.data import options, require, root
from attnbench.data.pipeline.split import Dataset, choose, hold_out, resident
from attnbench.errors import UserError, unknown

NAMES = ("cifar10", "cifar100")
TEST_SEED = 0  # a subset of the official test images does not move with data.split_seed


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """The set on the device; 10 % of the training images (`options.val_share`) are held out to validate.

    Raises `UserError` where the set is missing or damaged.
    """
    if data.name not in NAMES:
        raise unknown("CIFAR set", data.name, NAMES)
    require(data, classes=int(data.name.removeprefix("cifar")), channels=3)
    share = options(data, val_share=0.1)["val_share"]
    files = _torchvision(data.name)
    folder = _folder(data, files)
    meta = _read(data, folder / files.meta["filename"], files.meta["md5"])
    images, labels = _batches(data, folder, files.train_list)
    test_images, test_labels = _batches(data, folder, files.test_list)
    train, val = hold_out(labels, data, share)
    test = choose(test_labels, data.test, "test", TEST_SEED)
    parts = {
        "train": (images[train], labels[train]),
        "val": (images[val], labels[val]),
        "test": (test_images[test], test_labels[test]),
    }
    return resident(list(meta[files.meta["key"]]), parts, data, device)


def _torchvision(name: str) -> Any:
    """torchvision's class for the set: it knows the files' names, their md5 and where to fetch them."""
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def _folder(data: Data, files: Any) -> Path:
    """The folder of the batches: `data.root` itself or the usual one in it; fetched where that is allowed."""
    given = root(data)
    direct = given.name == files.base_folder or (given / files.meta["filename"]).is_file()
    folder = given if direct else given / files.base_folder
    if data.download and folder.name == files.base_folder:
        _download(data, files, folder.parent)
    if not folder.is_dir():
        raise UserError(
            f"data set '{data.name}' is missing: data.root={given} holds neither {files.base_folder}/ nor "
            f"{files.meta['filename']}. {_command(data)} fetches it"
        )
    return folder


def _download(data: Data, files: Any, folder: Path) -> None:
    """Let torchvision fetch what is missing or damaged; whole files stay as they are."""
    try:
        files(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"data set '{data.name}' could not be fetched from {files.url}: {error}") from error


def _command(data: Data) -> str:
    return f"`python -m attnbench data={data.name} data.root={root(data)} data.download=true`"


def _read(data: Data, path: Path, want: str) -> dict[str, Any]:
    """Unpickle a file, but only if it is the official one."""
    if not path.is_file():
        raise UserError(
            f"data set '{data.name}' is not whole: {path} is missing. {_command(data)} fetches it"
        )
    content = path.read_bytes()
    found = md5(content, usedforsecurity=False).hexdigest()
    if found != want:
        raise UserError(
            f"{path} is damaged: its md5 is {found}, the official file's {want}. "
            f"Delete it; {_command(data)} fetches it anew"
        )
    return pickle.loads(content, encoding="latin1")  # the md5 vouches for it


def _batches(
    data: Data, folder: Path, files: list[list[str]]
) -> tuple[UInt8[np.ndarray, "n h w c"], Int[np.ndarray, " n"]]:
    """Images and (fine) labels of the named files together."""
    batches = [_read(data, folder / name, want) for name, want in files]
    images = np.concatenate([b["data"] for b in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = np.concatenate([b.get("labels", b.get("fine_labels")) for b in batches])
    return np.ascontiguousarray(images), labels
