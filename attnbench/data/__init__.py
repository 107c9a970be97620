"""A data set's name -> its training, validation and test splits, as batches on the device.

A reader, which `data.source` (or else `data.name`) names, serves one or several tasks, each by a file of this
folder that has `build(data, device, workers) -> Dataset`.
"""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnbench.config.schema import Augment, Data
from attnbench.errors import UserError, unknown

if TYPE_CHECKING:
    import torch

    from attnbench.data.pipeline.split import Dataset

READERS: dict[str, dict[str, str]] = {  # reader -> task -> the file that reads what the task needs
    "cifar": {"cls": "readers.cifar"},
    "imagefolder": {"cls": "readers.imagefolder"},
    "scenes": {
        "cls": "scenes.digits",
        "seg": "scenes.masks",
        "clip": "scenes.clips",
        "retrieval": "scenes.retrieval",
        "skeleton": "scenes.skeletons",
        "sequence": "scenes.sequence",
    },
    "camvid": {"seg": "readers.camvid"},
    "voc": {"seg": "readers.voc"},
    "cityscapes": {"seg": "readers.cityscapes"},
    "ade20k": {"seg": "readers.ade20k"},
    "frames": {"clip": "readers.frames"},
    "mars": {"retrieval": "readers.mars"},
    "mnist": {"cls": "readers.mnist"},
    "sbu": {"skeleton": "readers.sbu"},
    "svhn": {"sequence": "readers.svhn"},
}
MASKED = ("seg",)  # tasks whose targets are masks, which move with their images
CROPS = ("none", "pad", "resized", "scaled")
FETCHED = ("cifar", "mnist", "voc", "imagenette")  # readers and sets that torchvision can download
CLASSES = {  # of sets that do not fix their number by a file: reader -> task -> classes
    "scenes": {"cls": 10, "seg": 11, "clip": 8, "retrieval": 40, "skeleton": 6, "sequence": 11},
}
USUAL = {  # settings that depend on set and task, where nothing is said: setting -> reader -> task -> value
    "frames": {
        "scenes": {"clip": 8, "retrieval": 4, "skeleton": 24},
        "frames": {"clip": 8},
        "mars": {"retrieval": 4},
        "sbu": {"skeleton": 32},
    },
    "joints": {"scenes": {"skeleton": 15}, "sbu": {"skeleton": 30}},
    "length": {"scenes": {"sequence": 3}, "svhn": {"sequence": 5}},
}


def load(data: Data, device: "torch.device", workers: int = 0, task: str = "cls") -> "Dataset":
    """Read what a task needs of a set.

    Raises `UserError` where it is unknown, missing, damaged or not as described. `workers` is the number of
    processes that decode images of sets that stream from a folder.
    """
    check(data, task)
    file = READERS[data.source or data.name][task]
    return import_module(f"{__name__}.{file}").build(data, device, workers)


def check(data: Data, task: str | None = None) -> None:
    """Refuse what no set could be, settings that contradict each other, and a set that the task cannot use.

    Needs no torch.
    """
    reader = data.source or data.name
    if reader not in READERS:
        raise unknown("reader of data (data.source)", reader, READERS)
    if task is not None and task not in READERS[reader]:
        fit = [name for name, tasks in READERS.items() if task in tasks]
        raise UserError(
            f"task={task}: data set '{data.name}' has nothing for it; readers that do: {', '.join(fit)}"
        )
    if not len(data.mean) == len(data.std) == data.channels:
        raise UserError(
            f"data.mean and data.std have {len(data.mean)} and {len(data.std)} numbers; "
            f"data.channels={data.channels} asks for as many of each"
        )
    if min(data.std) <= 0:
        raise UserError(f"data.std={list(data.std)}: every number must be above 0")
    for name, least in (
        ("size", 1),
        ("width", 1),
        ("classes", 2),
        ("train", 1),
        ("val", 1),
        ("test", 1),
        ("frames", 1),
        ("joints", 1),
        ("length", 1),
    ):
        value = getattr(data, name)
        if value is not None and value < least:
            raise UserError(f"data.{name}={value}: must be at least {least}")


def classes(data: Data, task: str) -> int:
    """`data.classes`, or where that is 0 the number that the set has for the task."""
    known = CLASSES.get(data.source or data.name, {})
    if not data.classes and not known:
        raise UserError(f"data.classes=0: how many classes has data set '{data.name}'?")
    return data.classes or known.get(task.removesuffix("_profile")) or known["cls"]


def settle(data: Data, task: str) -> Data:
    """The settings with what depends on the task filled in: classes, frames, joints, length."""
    reader, known = data.source or data.name, dict[str, Any]()
    for setting, by_reader in USUAL.items():
        usual = by_reader.get(reader, {}).get(task.removesuffix("_profile"))
        if getattr(data, setting) is None and usual is not None:
            known[setting] = usual
    return replace(data, classes=classes(data, task), **known)


def names(data: Data, task: str) -> list[str]:
    """The classes' names where the reader knows them without the set, else their numbers."""
    file = READERS[data.source or data.name][task.removesuffix("_profile")]
    known = getattr(import_module(f"{__name__}.{file}"), "NAMES", ())
    return list(known) if len(known) == data.classes else [str(label) for label in range(data.classes)]


def check_augment(augment: Augment, task: str) -> None:
    """Raise `UserError` where an augmentation cannot be done, or not for the task. Needs no torch."""
    if augment.crop not in CROPS:
        raise unknown("crop (recipe.augment.crop)", augment.crop, CROPS)
    if augment.padding < 0 or augment.cutout < 0:
        raise UserError(f"recipe.augment: padding={augment.padding}, cutout={augment.cutout}: px, at least 0")
    if len(augment.scale) != 2 or not 0 < augment.scale[0] <= augment.scale[1] <= 1:
        raise UserError(
            f"recipe.augment.scale={list(augment.scale)}: two shares of the area, 0 < low <= high <= 1"
        )
    if task in MASKED:
        _check_masked(augment, task)
    elif augment.crop == "scaled" or augment.jitter:
        raise UserError(f"recipe.augment: crop=scaled and jitter are for masks (task={MASKED[0]})")


def check_order(data: Data, augment: Augment, task: str) -> None:
    """Raise `UserError` where an augmentation would make another class of what it is applied to. No torch."""
    ordered = task == "sequence" or (task == "clip" and (data.source or data.name) == "scenes")
    if augment.flip and ordered:
        raise UserError(
            f"recipe.augment.flip=true: left and right are part of the labels of task={task} on "
            f"data set '{data.name}'; set recipe.augment.flip=false"
        )
    if (augment.mixup or augment.cutmix) and task != "cls":
        raise UserError(f"recipe.augment: mixup and cutmix are for task=cls; set them to 0 for task={task}")


def _check_masked(augment: Augment, task: str) -> None:
    if augment.crop == "resized":
        raise UserError(f"recipe.augment.crop=resized: task={task} has masks; choose scaled, pad or none")
    for name in ("mixup", "cutmix", "cutout"):
        if getattr(augment, name):
            raise UserError(
                f"recipe.augment.{name}={getattr(augment, name)}: task={task} has masks; set it to 0"
            )
    if len(augment.resize) != 2 or not 0 < augment.resize[0] <= augment.resize[1]:
        raise UserError(f"recipe.augment.resize={list(augment.resize)}: two scales, 0 < low <= high")
    if augment.crop_size and (len(augment.crop_size) != 2 or min(augment.crop_size) < 1):
        raise UserError(f"recipe.augment.crop_size={list(augment.crop_size)}: height and width, px")
    if not 0 <= augment.jitter <= 1:
        raise UserError(f"recipe.augment.jitter={augment.jitter}: at least 0, at most 1")


def root(data: Data) -> Path:
    """The folder that `data.root` names; raises `UserError` where none is set."""
    if not data.root:
        raise UserError(f"data set '{data.name}' needs data.root=FOLDER, the folder that holds it")
    return Path(data.root).expanduser()


def present(data: Data) -> None:
    """Raise `UserError` at once, without torch, where the folder that holds the set is not there."""
    reader = data.source or data.name
    fetched = reader in FETCHED or data.name in FETCHED
    if reader != "scenes" and not (data.download and fetched) and not root(data).is_dir():
        advice = "; data.download=true lets torchvision fetch it" if fetched else ""
        raise UserError(
            f"data.root={data.root}: no such folder; data set '{data.name}' is looked for there{advice}"
        )


def options(data: Data, **known: Any) -> dict[str, Any]:
    """`data.options` over their defaults; raises `UserError` for an unknown name or another type.

    An option whose default is None takes text or a number.
    """
    for name, value in data.options.items():
        if name not in known:
            raise unknown(f"option of data set {data.name} (data.options)", name, known)
        if known[name] is not None and not isinstance(value, type(known[name])):
            raise UserError(f"data.options.{name}={value!r}: must be of type {type(known[name]).__name__}")
    return {**known, **data.options}


def one_count(data: Data, subset: Any) -> None:
    """Raise `UserError` where two settings say how many images train."""
    if subset is not None and data.train is not None:
        raise UserError("data.train and data.options.subset both say how many images train: set one of them")


def kept(wanted: Any, available: int, split: str) -> int:
    """How many of a split a share (a float up to 1) or a number (an integer) keeps; None: all."""
    if wanted is None:
        return available
    share = isinstance(wanted, float)
    number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
    if not number or wanted <= 0 or (share and wanted > 1):
        raise UserError(
            f"data.options.subset={wanted}: a share of the images (0.0 to 1.0) or a number (1 or more)"
        )
    count = max(round(wanted * available), 1) if share else wanted
    if count > available:
        raise UserError(f"{count} images of the {split} split are asked for, but it has {available}")
    return count


def require(data: Data, **right: int) -> None:
    """Raise `UserError` where a setting is not what the set has."""
    for name, value in right.items():
        if getattr(data, name) != value:
            raise UserError(f"data.{name}={getattr(data, name)}: data set '{data.name}' has {value}")
