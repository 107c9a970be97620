"""Tasks: what a network is asked to do, one kind a file. The file's name is what `task=` takes.

A task's file holds a class `Task` with a `card`; cards are read from the source text, so that asking what
exists never imports torch.
"""

import ast
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from attnbench.config import sources
from attnbench.config.schema import Config
from attnbench.errors import UserError, unknown
from attnbench.tasks import _card
from attnbench.tasks._card import Card, Metric

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["Card", "Meter", "Metric", "Task", "card", "cards", "check_options", "find", "load"]
TASKS = sources.Group("task", "tasks", "task")


class Meter(Protocol):
    """Metrics of a split, gathered batch by batch."""

    sums: "Tensor"  # all that was gathered, as one vector: sums of several meters add up

    def update(self, outputs: "Tensor", targets: "Tensor") -> None:
        """Take in one batch."""

    def compute(self) -> Mapping[str, float]:
        """The metrics of all that was taken in."""


class Task(Protocol):
    """A head on the backbone, a loss and metrics."""

    card: ClassVar[Card]
    shape: tuple[int, ...]  # of one of the network's inputs: (c h w) of images, (t c h w) of clips
    cost_shape: tuple[int, ...]  # of the input that costs are measured on

    def __init__(self, config: Config) -> None: ...

    def network(self) -> "nn.Module":
        """The backbone with the task's head, without attention, from torch's global generator."""

    def inputs(self, images: "Tensor", targets: "Tensor") -> "tuple[Tensor, ...]":
        """What the network takes in training: the images alone, or the targets too, to be taught by."""

    def loss(self, outputs: Any, targets: "Tensor") -> "Tensor":
        """The training objective, a mean over the batch; outputs as the network in training mode gives them.

        Unlike the metric `loss` it may be smoothed and weighted.
        """

    def weight(self, targets: "Tensor") -> "Tensor":
        """How many images, pixels or tokens of a batch `loss` takes its mean over, a scalar."""

    def predict(self, network: "nn.Module", inputs: "Tensor") -> "Tensor":
        """What the meter takes in: the outputs of the network in evaluation mode, or of several passes."""

    def meter(self, device: "torch.device") -> Meter:
        """A new meter."""


@dataclass(frozen=True)
class Entry:
    """One task as its file describes it."""

    place: sources.Place
    cls: str  # name of the class
    card: Card


def load(config: Config) -> Task:
    """The task that the configuration names (imports torch)."""
    found = find(config.task.source or config.task.name)
    return getattr(found.place.load(), found.cls)(config)


def find(source: str) -> Entry:
    """A task by its name, file or module; raises `UserError` where there is none or it has no card."""
    return _read(sources.place(TASKS, source))


def cards() -> Mapping[str, Card]:
    """The cards of all tasks of the package and of users' folders, by name; broken files are left out."""
    return _cards(*sources.folders())


@cache
def _cards(*folders: Path) -> Mapping[str, Card]:
    found = {}
    for name, place in sources.files(TASKS).items():
        with suppress(UserError):
            found[name] = _read(place).card
    return found


def card(config: Config) -> Card:
    """What is known of the task that the configuration names."""
    return find(config.task.source or config.task.name).card


def check_options(config: Config, chosen: Mapping[str, Any]) -> None:
    """Raise `UserError` for the first of the task's options, defaults included, that cannot be meant."""
    known = card(config)
    for name, words in known.choices.items():
        if chosen[name] not in words:
            raise unknown(f"{name} (task.options.{name})", chosen[name], words)
    if known.check:
        module, _, function = known.check.partition(":")
        getattr(import_module(module), function)(chosen, config.data.classes)


def _read(place: sources.Place) -> Entry:
    """The entry of a file; read anew only where the file has changed."""
    return _parsed(place, place.path.stat().st_mtime_ns)


@cache
def _parsed(place: sources.Place, changed: int) -> Entry:
    try:
        tree = ast.parse(place.path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise UserError(f"{place.path}, line {error.lineno}: {error.msg}") from None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == (place.attribute or "Task"):
            return Entry(place, node.name, _card_of(node, place.path))
    raise UserError(f"{place.path} has no class {place.attribute or 'Task'}")


def _card_of(cls: ast.ClassDef, path: Path) -> Card:
    for node in cls.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "card":
            return _evaluated(node.value, path)
    raise UserError(f"{path}, line {cls.lineno}: {cls.name} has no `card = Card(metrics=...)`, its metrics")


def _evaluated(node: ast.expr, path: Path) -> Card:
    """The card that an expression of literals and of names of `_card` makes."""
    try:
        card = eval(compile(ast.Expression(node), str(path), "eval"), dict(vars(_card)))
    except Exception as error:  # whatever a wrong card raises
        raise UserError(
            f"{path}, line {node.lineno}: the card must be Card(...) of literals and Metric(...): {error}"
        ) from None
    if not isinstance(card, Card) or not card.metrics:
        raise UserError(f"{path}, line {node.lineno}: the card must be a Card with one metric or more")
    return card
