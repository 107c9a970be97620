"""MARS and sets laid out like it: cropped people in video, to be found again by other cameras.

Zheng et al., "MARS: A Video Benchmark for Large-Scale Person Re-identification", ECCV 2016. Folders
bbox_train/ and bbox_test/ hold a folder an identity, and in it frames named after identity, camera, tracklet
and frame: 0001C1T0001F001.jpg. Identity 0000 is of distractors, 00-1 of junk. With the set's folder info/ the
tracks and queries are its official ones; without it a tracklet is what its frames' names say, and the first
one of each identity at each camera is a query.
"""

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from attnbench.config.schema import Data
from attnbench.data import options, root
from attnbench.data.pipeline.images import MODES
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.split import Dataset
from attnbench.data.pipeline.video import ClipStream, Videos, frames_in
from attnbench.errors import UserError

NAME = re.compile(r"^(?P<identity>\d{4}|00-1)C(?P<camera>\d+)T(?P<track>\d+)F(?P<frame>\d+)\.")
INFO = ("train_name.txt", "test_name.txt", "tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat")
JUNK = -1
Track = tuple[int, int, tuple[str, ...]]  # identity, camera, files


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Streaming splits; validation has 10 % of the training identities (`options.val_share`).

    Training targets are classes (n,), the others' identity, camera and whether it is a query (n 3).
    Raises `UserError` where a folder or list is missing or damaged.
    """
    share = options(data, val_share=0.1)["val_share"]
    if not 0 < share < 1:
        raise UserError(f"data.options.val_share={share}: must lie between 0 and 1")
    if data.channels not in MODES:
        raise UserError(f"data.channels={data.channels}: frames are read in colour (3) or grey (1)")
    folder = _folder(data)
    training, testing, queries = _official(folder) if (folder / "info").is_dir() else _named(folder)
    train, val, names = _divide(training, data, share)
    splits = {
        "train": _videos(folder, _limited(train, data.train), names=names),
        "val": _videos(folder, _limited(val, data.val), queries=_first_seen(_limited(val, data.val))),
        "test": _videos(folder, testing, queries=queries),
    }
    checksum = "".join(part.checksum() for part in splits.values())[:16]
    streams = {name: ClipStream(part, data, device, workers) for name, part in splits.items()}
    return Dataset([str(name) for name in names], **streams, checksum=checksum)


def _folder(data: Data) -> Path:
    """The folder of the boxes: `data.root`, or MARS or mars in it."""
    given = root(data)
    for place in (given, given / "MARS", given / "mars"):
        if (place / "bbox_train").is_dir() and (place / "bbox_test").is_dir():
            return place
    raise UserError(
        f"data set '{data.name}' is missing: no folders bbox_train/ and bbox_test/ in {given}. "
        "MARS is asked for at its authors' page; its folder info/ is that of liangzheng06/MARS-evaluation"
    )


def _named(folder: Path) -> tuple[list[Track], list[Track], list[int]]:
    """Training and test tracklets as the frames' names tell them, and which of the test's are queries."""
    training, testing = _scan(folder, "bbox_train"), _scan(folder, "bbox_test")
    return training, testing, _first_seen(testing)


def _scan(folder: Path, part: str) -> list[Track]:
    tracks: dict[tuple[int, int, int], list[str]] = defaultdict(list)
    for place in sorted(entry.path for entry in os.scandir(folder / part) if entry.is_dir()):
        for name in frames_in(Path(place)):
            found = _parsed(name, Path(place))
            key = _identity(found["identity"]), int(found["camera"]), int(found["track"])
            tracks[key].append(os.path.relpath(os.path.join(place, name), folder))
    if not tracks:
        raise UserError(f"{folder / part} holds no frames: expected IDENTITY/0001C1T0001F001.jpg")
    return [(identity, camera, tuple(files)) for (identity, camera, _), files in tracks.items()]


def _parsed(name: str, place: Path) -> re.Match[str]:
    found = NAME.match(name)
    if found is None:
        raise UserError(f"{place / name}: the name does not tell identity, camera, tracklet and frame")
    return found


def _identity(text: str) -> int:
    return JUNK if text == "00-1" else int(text)


def _first_seen(tracks: list[Track]) -> list[int]:
    """The first track of each identity at each camera, but of distractors and junk."""
    seen: dict[tuple[int, int], int] = {}
    for row, (identity, camera, _) in enumerate(tracks):
        if identity > 0:
            seen.setdefault((identity, camera), row)
    return sorted(seen.values())


def _official(folder: Path) -> tuple[list[Track], list[Track], list[int]]:
    """As MARS's own lists have them: rows of first and last frame (from 1), identity and camera."""
    info = folder / "info"
    if missing := [name for name in INFO if not (info / name).is_file()]:
        raise UserError(
            f"{info} is not whole: {', '.join(missing)} missing; without info/ names tell the tracks"
        )
    training = _tracks(folder, "bbox_train", info / INFO[0], _matrix(info / INFO[2]))
    testing = _tracks(folder, "bbox_test", info / INFO[1], _matrix(info / INFO[3]))
    queries = _matrix(info / INFO[4]).ravel().astype(int) - 1
    if len(queries) and (queries.min() < 0 or queries.max() >= len(testing)):
        raise UserError(f"{info / INFO[4]} names tracks that {INFO[3]} does not have")
    return training, testing, queries.tolist()


def _matrix(file: Path) -> np.ndarray:
    """The one array of a Matlab file."""
    from scipy.io import loadmat

    try:
        found: dict[str, Any] = loadmat(file)
    except Exception as error:  # scipy raises many kinds for damaged files
        raise UserError(f"{file} cannot be read ({type(error).__name__}: {error})") from error
    arrays = [value for name, value in found.items() if not name.startswith("__")]
    if len(arrays) != 1:
        raise UserError(f"{file} holds {len(arrays)} arrays, not one")
    return np.atleast_2d(arrays[0])


def _tracks(folder: Path, part: str, names: Path, rows: np.ndarray) -> list[Track]:
    frames = names.read_text().split()
    tracks = []
    for first, last, identity, camera in rows.astype(int):
        if not 1 <= first <= last <= len(frames):
            raise UserError(f"{names} has {len(frames)} frames, but a track runs from {first} to {last}")
        files = tuple(f"{part}/{name[:4]}/{name}" for name in frames[first - 1 : last])
        tracks.append((int(identity), int(camera), files))
    return tracks


def _divide(tracks: list[Track], data: Data, share: float) -> tuple[list[Track], list[Track], list[int]]:
    """Training and validation tracks, of other identities, and the training identities in order."""
    identities = sorted({identity for identity, _, _ in tracks if identity > 0})
    held = set(
        generator(data.split_seed).permutation(identities)[: max(round(len(identities) * share), 1)].tolist()
    )
    names = [identity for identity in identities if identity not in held]
    if len(names) != data.classes:
        raise UserError(
            f"data.classes={data.classes}, but of {len(identities)} identities {len(names)} are left to "
            f"train on: set data.classes={len(names)}"
        )
    train = [track for track in tracks if track[0] in set(names)]
    return train, [track for track in tracks if track[0] in held], names


def _limited(tracks: list[Track], count: int | None) -> list[Track]:
    if count is not None and count > len(tracks):
        raise UserError(f"{count} tracks are asked for, but there are {len(tracks)}")
    return tracks[:count]


def _videos(
    folder: Path, tracks: list[Track], names: list[int] | None = None, queries: list[int] | None = None
) -> Videos:
    files = [files for _, _, files in tracks]
    if names is not None:
        label = {identity: place for place, identity in enumerate(names)}
        return Videos(folder, files, np.array([label[identity] for identity, _, _ in tracks]))
    asked = np.zeros(len(tracks), np.int64)
    asked[queries or []] = 1
    return Videos(folder, files, _targets(tracks, asked))


def _targets(tracks: list[Track], asked: np.ndarray) -> Int[np.ndarray, "n 3"]:
    return np.stack([[i for i, _, _ in tracks], [c for _, c, _ in tracks], asked], 1).astype(np.int64)
