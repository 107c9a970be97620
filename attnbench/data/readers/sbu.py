"""SBU Kinect Interaction: skeletons of two people who do something to each other, in the official five folds.

Yun et al., "Two-person Interaction Detection Using Body-Pose Features and Multiple Instance Learning", CVPR
Workshops 2012. The set is its folder of pairs: sAAsBB/CLASS/REPEAT/skeleton_pos.txt, a frame a line: its
number, then (x, y, z) of 15 joints of the first person and of the second.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from attnbench.config.schema import Data
from attnbench.data import options, require, root
from attnbench.data.pipeline import listing
from attnbench.data.pipeline.skeletons import Part, resident_skeletons
from attnbench.data.pipeline.split import Dataset, choose, hold_out
from attnbench.errors import UserError

CLASSES = (
    "approaching",
    "departing",
    "kicking",
    "pushing",
    "shaking hands",
    "hugging",
    "exchanging",
    "punching",
)
FOLDS = (  # the pairs of people of each fold
    ("s01s02", "s03s04", "s05s02", "s06s04"),
    ("s02s03", "s02s07", "s03s05", "s05s03"),
    ("s01s03", "s01s07", "s07s01", "s07s03"),
    ("s02s01", "s02s06", "s03s02", "s03s06"),
    ("s04s02", "s04s03", "s04s06", "s06s02", "s06s03"),
)
JOINTS, TORSO = 15, 2  # of each person; joint 2 of head, neck, torso, ...
FIELDS = 1 + 2 * JOINTS * 3
TEST_SEED = 0


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Fold `options.fold` (0 to 4) to test; of the others' sequences 10 % (`options.val_share`) to validate.

    Sequences are resampled to `data.frames` frames (linear interpolation over time), coordinates to the set's
    common unit for all three axes, in thousands, from the middle between both torsos in the first frame.
    Raises `UserError` where the set is missing or damaged.
    """
    require(data, classes=len(CLASSES), joints=2 * JOINTS)
    chosen = options(data, fold=0, val_share=0.1)
    fold = chosen["fold"]
    if not 0 <= fold < len(FOLDS):
        raise UserError(f"data.options.fold={fold}: the official folds are 0 to {len(FOLDS) - 1}")
    if data.frames is None:
        raise UserError("data.frames is missing: how many frames is a sequence to have?")
    folder = _folder(data)
    others = [pair for i, pairs in enumerate(FOLDS) if i != fold for pair in pairs]
    joints, labels = _read(folder, others, data.frames)
    test_joints, test_labels = _read(folder, list(FOLDS[fold]), data.frames)
    train, val = hold_out(labels, data, chosen["val_share"])
    test = choose(test_labels, data.test, "test", TEST_SEED)
    parts: dict[str, Part] = {
        "train": (joints[train], labels[train]),
        "val": (joints[val], labels[val]),
        "test": (test_joints[test], test_labels[test]),
    }
    return resident_skeletons(list(CLASSES), parts, data, device)


def _folder(data: Data) -> Path:
    """The folder of the pairs: `data.root` or sbu_kinect in it."""
    given = root(data)
    first = FOLDS[0][0]
    for place in (given, given / "sbu_kinect"):
        if (place / first).is_dir():
            return place
    raise UserError(
        f"data set 'sbu' is missing: no folder {first}/ in {given} or {given / 'sbu_kinect'}. "
        "Unpack the clean version's skeletons there, one folder a pair of people"
    )


def _read(folder: Path, pairs: list[str], frames: int) -> Part:
    """All sequences of the pairs, in the order of their names."""
    joints, labels = [], []
    for pair in pairs:
        repeats = [repeat for place in _inside(folder / pair) for repeat in _inside(place)]
        files = [file for place in repeats if (file := place / "skeleton_pos.txt").is_file()]
        if not files:
            raise UserError(
                f"data set 'sbu' is not whole: {folder / pair} holds no CLASS/REPEAT/skeleton_pos.txt"
            )
        for file in files:
            joints.append(settled(_frames(file), frames))
            labels.append(_label(file))
    return np.stack(joints), np.array(labels)


def _inside(folder: Path) -> list[Path]:
    """The folders in a folder; none where it does not exist."""
    return [folder / name for name in listing.folders(folder)] if folder.is_dir() else []


def _label(file: Path) -> int:
    name = file.parents[1].name
    if not name.isdigit() or not 1 <= int(name) <= len(CLASSES):
        raise UserError(f"{file}: '{name}' is not a class of SBU (01 to 08)")
    return int(name) - 1


def _frames(file: Path) -> Float[np.ndarray, "t joints 3"]:
    """The joints as the file has them."""
    rows = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        fields = [field for field in line.split(",") if field.strip()]
        if not fields:
            continue
        if len(fields) != FIELDS:
            raise UserError(
                f"{file}, line {number}: {len(fields)} numbers, not {FIELDS}; is the file damaged?"
            )
        try:
            rows.append([float(field) for field in fields[1:]])
        except ValueError as error:
            raise UserError(f"{file}, line {number}: {error}; is the file damaged?") from error
        if not np.isfinite(rows[-1]).all():
            raise UserError(f"{file}, line {number}: a joint's place is not a finite number")
    if not rows:
        raise UserError(f"{file} is empty: unpack it again")
    return np.array(rows).reshape(len(rows), 2 * JOINTS, 3)


def settled(joints: Float[np.ndarray, "t joints 3"], frames: int) -> Float[np.ndarray, "frames joints 3"]:
    """In thousands of the set's unit, from the middle between both torsos at first; `frames` frames long.

    The files hold shares: upstream's unit is 1280 - 2560 x, 960 - 1920 y, 10000 z / 7.8125.
    """
    x, y, z = joints[..., 0], joints[..., 1], joints[..., 2]
    metric = np.stack([1.28 - 2.56 * x, 0.96 - 1.92 * y, 1.28 * z], -1)
    metric = metric - metric[0, [TORSO, JOINTS + TORSO]].mean(0)
    at = np.linspace(0, len(metric) - 1, frames)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, len(metric) - 1)
    share = (at - before)[:, None, None]
    return ((1 - share) * metric[before] + share * metric[after]).astype(np.float32)
