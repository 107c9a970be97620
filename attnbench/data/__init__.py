"""A data set's name -> its training, validation and test splits, as batches on the device.

A reader is a file under readers/ or of a user's folder, which `data.source` (or else `data.name`) names.
What a set has for which task stands in its YAML (`data.tasks`).
"""

import ast
import os
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnbench.config import sources
from attnbench.config.files import names
from attnbench.config.recipe import Augment
from attnbench.config.schema import Config, Data, Origin, Served
from attnbench.errors import UserError, unknown
from attnbench.identity import module_file, source
from attnbench.tasks import Card

if TYPE_CHECKING:
    import torch

    from attnbench.data.pipeline.split import Dataset

READERS = sources.Group("reader of data (data.source)", "data.readers", "data")


def load(data: Data, device: "torch.device", workers: int = 0, task: str = "cls") -> "Dataset":
    """Read what a task needs of a set.

    Raises `UserError` where it is unknown, missing, damaged or not as described. `workers` is the number of
    processes that decode images of sets that stream from a folder.
    """
    check(data, task if data.tasks else None)
    return _reader(data, task).build(data, device, workers)


def _reader(data: Data, task: str) -> Any:
    """What reads a set for a task: a module, or an object, with `build(data, device, workers) -> Dataset`.

    A reader's `PARTS` (task -> module), where it has them, read for one task each.
    """
    place = sources.place(READERS, data.source or data.name)
    found = getattr(place.load(), place.attribute) if place.attribute else place.load()
    parts: Mapping[str, str] = getattr(found, "PARTS", {})
    if parts and task not in parts:
        raise UserError(
            f"task={task}: data set '{data.name}' has nothing for it; it serves {', '.join(parts)}"
        )
    return import_module(parts[task]) if parts else found


def entry(data: Data, task: str) -> tuple[Path, str]:
    """The file that reads a set for a task, and what is meant in it; found without importing anything."""
    place = sources.place(READERS, data.source or data.name)
    if place.attribute:
        return place.path, place.attribute
    parts = source(place.path).bound.get("PARTS")
    if not isinstance(parts, ast.Assign | ast.AnnAssign) or parts.value is None:
        return place.path, "build"
    module = ast.literal_eval(parts.value).get(task, "")
    return module_file(module) or place.path, "build"


def check(data: Data, task: str | None = None) -> None:
    """Refuse what no set could be, settings that contradict each other, and a set that the task cannot use.

    Needs no torch.
    """
    sources.place(READERS, data.source or data.name)
    if task is not None and task not in data.tasks:
        raise UserError(f"task={task}: data set '{data.name}' has nothing for it; {_serving(task)}")
    if not len(data.mean) == len(data.std) == data.channels:
        raise UserError(
            f"data.mean and data.std have {len(data.mean)} and {len(data.std)} numbers; "
            f"data.channels={data.channels} asks for as many of each"
        )
    if data.classes == 1:
        raise UserError("data.classes=1: must be at least 2")


def _serving(task: str) -> str:
    """The data sets of `conf/` that serve a task."""
    from attnbench.config import compose  # Hydra, for this message alone

    fit = [name for name in names("data") if task in (compose.read("data", name).get("tasks") or {})]
    return f"data sets that do: {', '.join(fit) or 'none'}"


def classes(data: Data, task: str) -> int:
    """`data.classes`, or where that is 0 the number that the set has for the task."""
    known = data.tasks.get(task) or next(iter(data.tasks.values()), None)
    found = data.classes or (known.classes if known else None)
    if not found:
        raise UserError(f"data.classes=0: set data.classes for data set '{data.name}'")
    return found


def settle(data: Data, task: str) -> Data:
    """The settings with what depends on the task filled in: classes, frames, joints, length."""
    served = data.tasks.get(task, Served())
    usual = {name: getattr(served, name) for name in ("frames", "joints", "length")}
    known = {name: value for name, value in usual.items() if getattr(data, name) is None}
    return replace(data, classes=classes(data, task), **known)


def label_names(data: Data, task: str) -> list[str]:
    """The classes' names where the reader knows them without the set, else their numbers."""
    known = getattr(_reader(data, task), "NAMES", ())
    return list(known) if len(known) == data.classes else [str(label) for label in range(data.classes)]


def check_augment(augment: Augment, masks: bool) -> None:
    """Raise `UserError` where an augmentation cannot be done, or not for the kind of targets. No torch."""
    if len(augment.scale) != 2 or augment.scale[0] > augment.scale[1]:
        raise UserError(
            f"recipe.augment.scale={list(augment.scale)}: two shares of the area, 0 < low <= high <= 1"
        )
    if masks:
        _check_masked(augment)
    elif augment.crop == "scaled" or augment.jitter:
        raise UserError("recipe.augment: crop=scaled and jitter are for masks, which the task does not have")


def check_targets(config: Config, card: Card) -> None:
    """Raise `UserError` where an augmentation would change what a target says. Needs no torch."""
    data, task, augment = config.data, config.task.name, config.recipe.augment
    mirrors = card.mirrors and data.tasks.get(task, Served()).mirrors
    if augment.flip and not mirrors:
        raise UserError(
            f"recipe.augment.flip=true: left and right are part of the labels of task={task} on "
            f"data set '{data.name}'; set recipe.augment.flip=false"
        )
    if (augment.mixup or augment.cutmix) and not card.mixes:
        raise UserError(f"recipe.augment: task={task} cannot mix its targets; set mixup and cutmix to 0")


def _check_masked(augment: Augment) -> None:
    if augment.crop == "resized":
        raise UserError("recipe.augment.crop=resized: the task has masks; choose scaled, pad or none")
    for name in ("mixup", "cutmix", "cutout"):
        if getattr(augment, name):
            value = getattr(augment, name)
            raise UserError(f"recipe.augment.{name}={value}: the task has masks; set it to 0")
    if len(augment.resize) != 2 or augment.resize[0] > augment.resize[1]:
        raise UserError(f"recipe.augment.resize={list(augment.resize)}: two scales, 0 < low <= high")
    if augment.crop_size and len(augment.crop_size) != 2:
        raise UserError(f"recipe.augment.crop_size={list(augment.crop_size)}: height and width, px")


def root(data: Data) -> Path:
    """The folder that `data.root` names; raises `UserError` where none is set."""
    if not data.root:
        raise UserError(f"data set '{data.name}' needs data.root=FOLDER, the folder that holds it")
    return Path(os.path.expanduser(data.root))


def present(data: Data) -> None:
    """Raise `UserError` at once, without torch, where the folder that holds the set is not there."""
    fetched = data.origin is Origin.fetched
    if data.origin is Origin.generated or (data.download and fetched):
        return
    if not root(data).is_dir():
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
