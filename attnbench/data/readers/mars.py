"""MARS and sets laid out like it: cropped people in video, to be found again by other cameras.

Zheng et al., "MARS: A Video Benchmark for Large-Scale Person Re-identification", ECCV 2016. Folders
bbox_train/ and bbox_test/ hold a folder an identity, and in it frames named after identity, camera, tracklet
and frame: 0001C1T0001F001.jpg. Identity 0000 is of distractors, 00-1 of junk. With the set's folder info/ the
tracks and queries are its official ones; without it a tracklet is what its frames' names say, and the first
one of each identity at each camera is a query. Of an identity that has one tracklet at each camera (as in
PRID and iLIDS-VID) the first camera's is the query.
"""

import os
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data import options, root
from attnbench.data.pipeline import listing
from attnbench.data.pipeline.images import MODES
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.split import Dataset, choose
from attnbench.data.pipeline.video import Videos, clips, frames_in
from attnbench.errors import UserError

NAME = re.compile(r"^(?P<identity>\d{4}|00-1)C(?P<camera>\d+)T(?P<track>\d+)F(?P<frame>\d+)\.")
INFO = ("train_name.txt", "test_name.txt", "tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat")
JUNK = -1
TEST_SEED = 0  # a part of the test tracklets does not move with data.split_seed
SHUFFLED = 0x6D617273  # parts the order of identities from other draws


class Track(NamedTuple):
    """One tracklet: whom it shows, at which camera, and its frames in a folder."""

    identity: int
    camera: int
    place: str
    names: tuple[str, ...]


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
    identities = np.array([track.identity for track in train])
    kept = [train[row] for row in choose(identities, data.train, "train", data.split_seed)]
    splits = {
        "train": _videos(folder, kept, names=names),
        "val": _searched(folder, val, _first_seen(val), data.val, "val", data.split_seed),
        "test": _searched(folder, testing, queries, data.test, "test", TEST_SEED),
    }
    return clips([str(name) for name in names], splits, data, device, workers)


def _searched(
    folder: Path, tracks: list[Track], queries: list[int], count: int | None, split: str, seed: int
) -> Videos:
    """The tracklets to search in, or `count` of them, and those to search for.

    Of fewer, whole identities are kept, in a random order; a smaller choice is part of a larger one. Raises
    `UserError` where no query has a match at another camera.
    """
    if count is not None and count > len(tracks):
        raise UserError(f"data.{split}={count}, but the {split} split has {len(tracks)} tracklets")
    shuffled = generator(seed, SHUFFLED).permutation(sorted({t.identity for t in tracks if t.identity > 0}))
    rank = {int(identity): place for place, identity in enumerate(shuffled)}
    order = sorted(range(len(tracks)), key=lambda row: rank.get(tracks[row].identity, len(rank)))
    rows = sorted(order[:count])
    wanted = set(queries)
    asked = [place for place, row in enumerate(rows) if row in wanted]
    found = [tracks[row] for row in rows]
    cameras: dict[int, set[int]] = defaultdict(set)
    for place in set(range(len(found))) - set(asked):
        cameras[found[place].identity].add(found[place].camera)
    if not any(cameras[found[place].identity] - {found[place].camera} for place in asked):
        raise UserError(
            f"data set in {folder}: of {len(found)} tracklets of the {split} split no query has a match at "
            f"another camera: identities need tracklets at two (is data.{split} too small?)"
        )
    return _videos(folder, found, queries=asked)


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
    tracks: dict[tuple[str, int, int, int], list[str]] = defaultdict(list)
    for identity in listing.folders(folder / part):
        place = os.path.join(part, identity)
        for name in frames_in(folder / place, "*"):
            found = _parsed(name, folder / place)
            key = place, _identity(found["identity"]), int(found["camera"]), int(found["track"])
            tracks[key].append(name)
    if not tracks:
        raise UserError(f"{folder / part} holds no frames: expected IDENTITY/0001C1T0001F001.jpg")
    return [Track(who, camera, place, tuple(names)) for (place, who, camera, _), names in tracks.items()]


def _parsed(name: str, place: Path) -> re.Match[str]:
    found = NAME.match(name)
    if found is None:
        raise UserError(f"{place / name}: the name does not tell identity, camera, tracklet and frame")
    return found


def _identity(text: str) -> int:
    return JUNK if text == "00-1" else int(text)


def _first_seen(tracks: list[Track]) -> list[int]:
    """The first track of each identity at each camera, but of distractors and junk.

    Of an identity of which none would be left to be found, the first camera's alone.
    """
    seen: dict[tuple[int, int], int] = {}
    for row, track in enumerate(tracks):
        if track.identity > 0:
            seen.setdefault((track.identity, track.camera), row)
    shown = Counter(track.identity for track in tracks)
    asked = Counter(identity for identity, _ in seen)
    first: dict[int, int] = {}
    for identity, camera in sorted(seen):
        first.setdefault(identity, camera)
    return sorted(
        row for (who, camera), row in seen.items() if shown[who] > asked[who] or camera == first[who]
    )


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
        shown = tuple(frames[first - 1 : last])
        tracks.append(Track(int(identity), int(camera), f"{part}/{shown[0][:4]}", shown))
    return tracks


def _divide(tracks: list[Track], data: Data, share: float) -> tuple[list[Track], list[Track], list[int]]:
    """Training and validation tracks, of other identities, and the training identities in order."""
    identities = sorted({track.identity for track in tracks if track.identity > 0})
    held = set(
        generator(data.split_seed).permutation(identities)[: max(round(len(identities) * share), 1)].tolist()
    )
    names = [identity for identity in identities if identity not in held]
    if len(names) != data.classes:
        raise UserError(
            f"data.classes={data.classes}, but of {len(identities)} identities {len(names)} are left to "
            f"train on: set data.classes={len(names)}"
        )
    train = [track for track in tracks if track.identity in set(names)]
    return train, [track for track in tracks if track.identity in held], names


def _videos(
    folder: Path, tracks: list[Track], names: list[int] | None = None, queries: list[int] | None = None
) -> Videos:
    places, frames = [track.place for track in tracks], [track.names for track in tracks]
    identities = np.array([track.identity for track in tracks], np.int64)
    if names is not None:
        return Videos(folder, places, frames, np.searchsorted(names, identities))
    asked = np.zeros(len(tracks), np.int64)
    asked[queries or []] = 1
    cameras = np.array([track.camera for track in tracks], np.int64)
    return Videos(folder, places, frames, np.stack([identities, cameras, asked], 1))
