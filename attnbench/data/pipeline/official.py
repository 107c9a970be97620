"""The official lists of video sets: which videos train and which test, each as CLASS/VIDEO."""

from pathlib import Path
from typing import NamedTuple

from attnbench.errors import UserError

UCF101 = ("trainlist{fold:02d}.txt", "testlist{fold:02d}.txt")
HMDB51 = "{name}_test_split{fold}.txt"  # one a class; a line is a video and 0 (unused), 1 (train) or 2 (test)
PLACES = ("", "..", "ucfTrainTestlist", "testTrainMulti_7030_splits", "../testTrainMulti_7030_splits")


class Lists(NamedTuple):
    """What a fold trains and tests on."""

    train: list[str]
    test: list[str]


def lists(folder: Path, names: list[str], fold: int) -> Lists | None:
    """UCF101's or HMDB51's lists in the folder of the classes or near it; None where there are none."""
    return _ucf101(folder, fold) or _hmdb51(folder, names, fold)


def _ucf101(folder: Path, fold: int) -> Lists | None:
    files = [_find(folder, name.format(fold=fold)) for name in UCF101]
    parts = [[_stem(line.split()[0]) for line in _lines(file)] for file in files if file]
    return Lists(*parts) if len(parts) == 2 else None


def _hmdb51(folder: Path, names: list[str], fold: int) -> Lists | None:
    found = Lists([], [])
    for name in names:
        file = _find(folder, HMDB51.format(name=name, fold=fold))
        for line in _lines(file) if file else []:
            video, _, part = line.strip().rpartition(" ")
            if part not in ("0", "1", "2"):
                raise UserError(f"{file}: '{line}' is not a video and 0, 1 or 2")
            if part != "0":
                found[int(part) - 1].append(_stem(f"{name}/{video.strip()}"))
    return found if found.train and found.test else None


def _find(folder: Path, name: str) -> Path | None:
    return next((file for place in PLACES if (file := folder / place / name).is_file()), None)


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _stem(video: str) -> str:
    return Path(video).with_suffix("").as_posix()
