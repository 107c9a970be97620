"""Wider and deeper forms of a backbone: the arguments of its builder that grow, and by how much."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise, product

from attnbench.config.schema import Backbone
from attnbench.errors import Impossible

SMALLEST, LARGEST = 0.25, 8.0  # of the original width
MOST_BLOCKS = 64  # that are added

Numbers = Mapping[str, tuple[int, ...]]  # argument -> its numbers, one a stage or one for all
Value = int | list[int]
Form = dict[str, Value]


@dataclass(frozen=True)
class Size:
    """What makes a network wider and deeper; nothing where it has no such argument."""

    width: Numbers = field(default_factory=dict)
    depth: Numbers = field(default_factory=dict)
    multiple: int = 1  # of which widths must be, for heads or groups

    def widths(self) -> list[Form]:
        """Widths in the original's proportions, rounded, each by one step wider than the one before."""
        numbers = [n // self.multiple for values in self.width.values() for n in values]
        edges = {(step + 0.5) / n for n in numbers for step in range(1, int(LARGEST * n))}
        scales = sorted(edge for edge in edges if SMALLEST < edge < LARGEST)
        between = [(low + high) / 2 for low, high in pairwise(scales)]
        return [{name: self._scaled(values, s) for name, values in self.width.items()} for s in between]

    def _scaled(self, values: tuple[int, ...], scale: float) -> Value:
        return _value([self.multiple * round(n / self.multiple * scale) for n in values])

    def depths(self) -> list[Form]:
        """One more block at a time, in the last stages first."""
        every = range(MOST_BLOCKS + 1)
        return [{name: _value(_deepened(v, added)) for name, v in self.depth.items()} for added in every]


def _deepened(blocks: tuple[int, ...], added: int) -> list[int]:
    each, rest = divmod(added, len(blocks))
    return [n + each + (i >= len(blocks) - rest) for i, n in enumerate(blocks)]


def _value(numbers: list[int]) -> Value:
    """An argument's value: one number where there is one for all stages."""
    return numbers if len(numbers) > 1 else numbers[0]


def neighbours(backbone: Backbone, size: Size) -> list[Backbone]:
    """The backbone with one of its widths one step wider or narrower.

    None is below the width before it, nor on the other side of the original than the others.
    """
    found = []
    for name, original in size.width.items():
        now = backbone.args[name]
        numbers = now if isinstance(now, list) else [now]
        for i, step in product(range(len(original)), (-size.multiple, size.multiple)):
            form = [*numbers[:i], numbers[i] + step, *numbers[i + 1 :]]
            signs = {(n > o) - (n < o) for n, o in zip(form, original)} - {0}
            if form == sorted(form) and form[0] > 0 and len(signs) < 2:
                found.append(replace(backbone, args={**backbone.args, name: _value(form)}))
    return found


def forms(backbone: Backbone, size: Size, kind: str) -> list[Backbone]:
    """The backbone in other widths or depths, from the smallest to the largest; raises `Impossible`."""
    if backbone.pretrained:
        raise Impossible(f"{backbone.name}: pretrained weights fit no other {kind}")
    if not getattr(size, kind):
        raise Impossible(f"{backbone.name}: it is not stated which of its arguments change its {kind}")
    found = size.widths() if kind == "width" else size.depths()
    return [replace(backbone, args={**backbone.args, **form}) for form in found]
