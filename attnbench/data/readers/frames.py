"""Folders of videos: CLASS/VIDEO/ with frame files in it, or CLASS/VIDEO.avi; UCF101, HMDB51, Kinetics.

Either the folder holds train/ and val/ with the classes in them, the videos under val/ being the test split,
or it holds the classes, and beside them the official lists of UCF101 or HMDB51.
"""

import os
import re
from pathlib import Path

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data import options, root
from attnbench.data.pipeline import listing
from attnbench.data.pipeline.images import MODES
from attnbench.data.pipeline.official import lists
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.split import Dataset, choose
from attnbench.data.pipeline.video import VIDEOS, Videos, clips, frames_in, video_decoder
from attnbench.errors import UserError

TEST_SEED = 0
GROUP = re.compile(r"_g(\d+)_c\d+$")  # UCF101: clips of one group are cuts of one recording


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Streaming splits; validation videos are held out of the training ones, whole recordings at a time.

    `options.fold` (1 to 3) chooses among official lists. Raises `UserError` where a folder is missing or not
    as described, or video files are there and nothing to decode them.
    """
    chosen = options(data, val_share=0.1, fold=1)
    if data.channels not in MODES:
        raise UserError(f"data.channels={data.channels}: frames are read in colour (3) or grey (1)")
    if not 0 < chosen["val_share"] < 1:
        raise UserError(f"data.options.val_share={chosen['val_share']}: must lie between 0 and 1")
    folder = root(data)
    names, training, testing = _listed(folder, chosen["fold"], data)
    if not all((*training.frames, *testing.frames)):
        video_decoder()
    train, val = _hold_out(training, data, chosen["val_share"])
    test = testing[choose(testing.targets, data.test, "test", TEST_SEED)]
    splits = {"train": training[train], "val": training[val], "test": test}
    return clips(names, splits, data, device, workers)


def _listed(folder: Path, fold: int, data: Data) -> tuple[list[str], Videos, Videos]:
    """Names of the classes, training and test videos."""
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        names = _names(folder / "train", data)
        training, testing = (_scan(folder, part, names, data.pattern) for part in ("train", "val"))
        return names, training, testing
    official = lists(folder, listing.folders(folder), fold)
    if official is None:
        raise UserError(
            f"data set '{data.name}' is missing: {folder} holds neither train/ and val/ with CLASS/VIDEO/ in "
            f"them nor folders of classes with official lists of fold {fold} beside: trainlist0N.txt and "
            "testlist0N.txt of UCF101, or CLASS_test_splitN.txt of HMDB51"
        )
    present = [
        n for n in listing.folders(folder) if any(video.startswith(f"{n}/") for video in official.train)
    ]
    if len(present) != data.classes:
        raise UserError(f"data.classes={data.classes}, but {folder} has {len(present)} of the listed classes")
    every = _scan(folder, "", present, data.pattern)
    where = {_stem(place): row for row, place in enumerate(every.places)}
    parts = [every[np.array(_rows(videos, where, folder))] for videos in official]
    return present, parts[0], parts[1]


def _names(folder: Path, data: Data) -> list[str]:
    names = listing.folders(folder)
    if len(names) < 2:
        raise UserError(f"{folder} has {len(names)} class folders; expected CLASS/VIDEO/, two or more")
    if len(names) != data.classes:
        raise UserError(
            f"data.classes={data.classes}, but {folder} has {len(names)} class folders: "
            f"set data.classes={len(names)}"
        )
    return names


def _scan(folder: Path, part: str, names: list[str], pattern: str | None) -> Videos:
    """All videos of the classes, in the order of their names."""
    places, frames, labels = list[str](), list[tuple[str, ...]](), list[int]()
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    for label, name in enumerate(names):
        place = folder / part / name
        entries = sorted(listing.entries(place), key=lambda e: e.name) if place.is_dir() else []
        found = [(entry.name, shown) for entry in entries if (shown := _frames(entry, pattern)) is not None]
        places += [os.path.join(part, name, video) for video, _ in found]
        frames += [shared.setdefault(shown, shown) for _, shown in found]
        labels += [label] * len(found)
        if not found:
            raise UserError(f"{place}: no video in it; expected VIDEO/ with frame files, or video files")
    return Videos(folder, places, frames, np.array(labels))


def _frames(entry: os.DirEntry[str], pattern: str | None) -> tuple[str, ...] | None:
    """The frames of one video, none of a video file; None where the entry is something else."""
    if entry.is_dir():
        frames = frames_in(Path(entry.path), pattern)
        if not frames:
            raise UserError(f"{entry.path} holds no frames: extract them, or remove the folder")
        return frames
    return () if entry.name.lower().endswith(VIDEOS) else None


def _stem(place: str) -> str:
    """CLASS/VIDEO, without an extension."""
    video = Path(place)
    return (video.with_suffix("") if video.suffix.lower() in VIDEOS else video).as_posix()


def _rows(videos: list[str], where: dict[str, int], folder: Path) -> list[int]:
    missing = [video for video in videos if video not in where]
    if missing:
        raise UserError(f"{folder}: {len(missing)} listed videos are not there, such as {missing[0]}")
    return [where[video] for video in videos]


def _hold_out(videos: Videos, data: Data, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and to validate on; recordings, recognized by their names, stay whole."""
    groups = [_group(place) for place in videos.places]
    order = generator(data.split_seed).permutation(sorted(set(groups)))
    rank = {group: place for place, group in enumerate(order)}
    rows = np.argsort([rank[group] for group in groups], kind="stable")
    placed = np.array([rank[groups[row]] for row in rows])
    held = int((placed <= placed[max(round(len(rows) * share), 1) - 1]).sum())
    val, train = np.sort(rows[:held]), np.sort(rows[held:])
    if not len(train):
        raise UserError(
            f"data set '{data.name}': all training videos are of one recording; none is left to train on"
        )
    kept_train = choose(videos.targets[train], data.train, "train", data.split_seed)
    kept_val = choose(videos.targets[val], data.val, "val", data.split_seed)
    return train[kept_train], val[kept_val]


def _group(place: str) -> str:
    """What a video was cut from: UCF101's group, what HMDB51 names before the class, else the video."""
    stem = _stem(place)
    if found := GROUP.search(stem):
        return f"group {found[1]}"
    name, _, video = stem.rpartition("/")
    return video.partition(f"_{Path(name).name}_")[0] if f"_{Path(name).name}_" in video else stem
