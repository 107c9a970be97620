"""What an operator call is to a counting rule, and what the rule answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple


class Spec(NamedTuple):
    """A tensor of a call: its shape, and whether its entries are complex."""

    shape: tuple[int, ...]
    complex: bool = False

    @property
    def numel(self) -> int:
        return prod(self.shape)


class Work(NamedTuple):
    """What a call costs: multiply-adds, element-wise operations, elements of the results of matrix work."""

    macs: int = 0
    elementwise: int = 0
    activations: int = 0

    def __add__(self, other: tuple[Any, ...]) -> "Work":
        return Work(*(a + b for a, b in zip(self, other)))


@dataclass(frozen=True)
class Call:
    """One executed operator, its arguments by the names of its schema, its tensors as `Spec`s."""

    name: str  # such as aten::add; in-place forms lose their underscore
    arguments: Mapping[str, Any]
    outputs: tuple[Spec, ...]

    def __getitem__(self, argument: str) -> Any:
        return self.arguments.get(argument)

    @property
    def out(self) -> Spec:
        return self.outputs[0]

    @property
    def first(self) -> Spec:
        """The first tensor argument."""
        return next(v for v in self.arguments.values() if isinstance(v, Spec))


def plain(name: str) -> str:
    """The operator's name without the underscore of its in-place form: aten::relu_ is aten::relu."""
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def many(value: int | list[int] | tuple[int, ...] | None, count: int) -> list[int]:
    """An argument such as a kernel's size, one number for all axes or one each, as `count` numbers."""
    if value is None:
        return []
    if isinstance(value, int):
        return [value] * count
    return list(value) * (count if len(value) == 1 else 1)
