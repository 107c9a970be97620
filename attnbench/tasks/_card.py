"""What is known of a task before it is run. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One number of a test split."""

    key: str  # in the record
    name: str  # in tables
    unit: str = "percent"
    digits: int = 2
    larger: bool = True  # is better
    share: bool = False  # of the test split's inputs, so that it moves in steps of 100 / n
    difference: float = 0.2  # points that matter in a verdict, unless the user names others
    size: str = ""  # HEIGHTxWIDTH, px, at which it was taken on purpose; empty: at the targets' own

    def at(self, size: str) -> "Metric":
        """The same taken at a size other than the targets', which its name says."""
        return replace(self, name=f"{self.name} at {size} px", size=size) if size else self

    @property
    def column(self) -> str:
        """Its name in CSV files."""
        return f"{self.key}_at_{self.size}" if self.size else self.key

    @property
    def heading(self) -> str:
        unit = {"percent": "%"}.get(self.unit, self.unit)
        return f"test {self.name} ({unit}) {'↑' if self.larger else '↓'}"


CLASSIFICATION = (
    Metric("top1", "top-1", share=True),
    Metric("top5", "top-5", share=True),
    Metric("nll", "NLL", "nats", 4, larger=False),
    Metric("ece", "ECE", larger=False),
)


@dataclass(frozen=True)
class Card:
    """A task's facts: read from the source of its class, where they stand as `card = Card(...)`."""

    metrics: tuple[Metric, ...]  # of the test split; rows are compared by the first
    reads: Literal["images", "clips", "skeletons"] = "images"
    masks: bool = False  # targets are masks, which move with their images
    mixes: bool = False  # targets can be mixed (mixup, cutmix)
    mirrors: bool = True  # the mirror image of an input has the same target
    classwise: Metric | None = None  # of each class: what its key and its name begin with
    # What a network scores in the first metric that has learned nothing: `classes` (100 % / classes), `zero`,
    # or the key of a metric that measures it; empty: not known.
    chance: str = ""
    # Option -> what it may be, where that is a closed choice.
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stated: tuple[str, ...] = ()  # the options that tables state where they are on
    # OPTION=VALUE with which metrics are taken at the size that the network sees, not at the targets' own.
    resized: str = ""
    # MODULE:FUNCTION that raises `UserError` for options (a mapping) that do not fit the number of classes.
    check: str = ""

    @property
    def backbone(self) -> str:
        """What the backbone takes: clips come to it frame by frame."""
        return "skeletons" if self.reads == "skeletons" else "images"

    @property
    def frames(self) -> bool:
        """Whether inputs are frames in order."""
        return self.reads != "images"
