"""A network's cost by part: stem, stages, mechanism, head."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from attnbench.cost.counting.count import watched
from attnbench.cost.counting.dispatch import Watch
from attnbench.cost.counting.operator import Work
from attnbench.mechanisms.base import Mechanism


@dataclass
class Part:
    """A piece of a network with its share of the cost; its children add up to it where it has any."""

    name: str
    params: int = 0
    work: Work = field(default_factory=Work)
    children: list["Part"] = field(default_factory=list)

    def rows(self, depth: int = 0) -> Iterable[tuple[int, "Part"]]:
        """This part and all below it, each with its depth."""
        yield depth, self
        for child in self.children:
            yield from child.rows(depth + 1)


@dataclass
class Tree:
    """A network's parts, and the operators that could not be counted."""

    network: Part
    uncounted: list[str]


def tree(model: nn.Module, image: tuple[int, ...]) -> Tree:
    """Parameters and work on one image of shape (c, h, w), by part, each counted once.

    A stage is a module right below the network that holds blocks (modules with several that learn); what runs
    before the first stage is the stem, what runs after the last is the head. Mechanisms are taken out of the
    part they stand in.
    """
    account = _Account(model, watched(model, image))
    first, last = account.stages()
    groups = {
        "stem": account.order[:first],
        "stages": account.order[first:last],
        "mechanism": [],
        "head": account.order[last:],
    }
    parts = [_join(name, [account.part(child) for child in children]) for name, children in groups.items()]
    parts[2] = account.mechanisms()
    return Tree(_join("network", [*parts, account.own("")]), sorted(account.uncounted))


def _join(name: str, children: list[Part]) -> Part:
    """A part that is the sum of its children; those without any cost are left out."""
    total = sum((c.work for c in children), Work())
    used = [c for c in children if c.children or c.params or any(c.work)]
    return Part(name, sum(c.params for c in children), total, used)


class _Account:
    """Work and parameters by the names of modules, mechanisms kept apart."""

    def __init__(self, model: nn.Module, watch: Watch) -> None:
        self.model = model
        self.work = watch.work
        self.uncounted = watch.uncounted
        outermost: list[str] = []
        for name, module in model.named_modules():
            if isinstance(module, Mechanism) and not any(name.startswith(f"{o}.") for o in outermost):
                outermost.append(name)
        self.attention = outermost
        self.ran = [name for name in watch.entered if name and not self._inside(name)]
        tops = [name.split(".")[0] for name in self.ran] + [name for name, _ in model.named_children()]
        self.order = [name for name in dict.fromkeys(tops) if not self._inside(name)]

    def _inside(self, name: str) -> bool:
        """Whether a module is a mechanism or part of one."""
        return any(name == o or name.startswith(f"{o}.") for o in self.attention)

    def _learning(self, below: str) -> list[str]:
        """The modules at or below this one, outside of mechanisms, that have parameters of their own."""
        names = (name for name in self.ran if name == below or name.startswith(f"{below}."))
        return [name for name in names if self.model.get_submodule(name)._parameters]

    def stages(self) -> tuple[int, int]:
        """Where among the modules right below the network the stages begin and end."""
        tops = self.order
        classifier = next((top for top in reversed(tops) if self._learning(top)), None)
        found = [i for i, top in enumerate(tops) if top != classifier and self._has_blocks(top)]
        if not found:  # without blocks, the part that does most of the work
            found = [max(range(len(tops)), key=lambda i: self.part(tops[i]).work, default=0)]
        return found[0], found[-1] + 1

    def _has_blocks(self, name: str) -> bool:
        children = (f"{name}.{child}" for child, _ in self.model.get_submodule(name).named_children())
        return any(len(self._learning(child)) > 1 for child in children)

    def own(self, name: str) -> Part:
        """What a module does and learns itself, outside of its children."""
        params = sum(p.numel() for p in self.model.get_submodule(name).parameters(recurse=False))
        return Part(f"{name or 'network'} itself", params, self.work.get(name, Work()))

    def part(self, name: str) -> Part:
        """A module with all below it, but without mechanisms."""
        children = [
            self.part(f"{name}.{child}")
            for child, module in self.model.get_submodule(name).named_children()
            if f"{name}.{child}" not in self.attention
        ]
        own = self.own(name)
        return _join(name, [*children, own]) if children else Part(name, own.params, own.work)

    def mechanisms(self) -> Part:
        """All mechanisms, by the module right below the network in which they stand."""
        tops = dict.fromkeys(name.split(".")[0] for name in self.attention)
        inside = {top: [self.part(n) for n in self.attention if n.split(".")[0] == top] for top in tops}
        return _join("mechanism", [_join(top, parts) for top, parts in inside.items()])


def show(model: nn.Module, image: tuple[int, ...], console: Any, depth: int = 3) -> None:
    """Print the tree on a rich console, `depth` levels below the network."""
    from rich.table import Table

    found = tree(model, image)
    table = Table("part", title=f"cost of one image {' x '.join(map(str, image))}", box=None, pad_edge=False)
    for heading in ("parameters", "GMACs", "element-wise ops (G)", "activations (M)"):
        table.add_column(heading, justify="right")
    for level, part in found.network.rows():
        if level <= depth:
            table.add_row("  " * level + part.name, f"{part.params:,}", *_scaled(part.work))
    console.print(table)
    if found.uncounted:
        console.print(
            f"not counted, for want of a rule, so these sums leave it out: {', '.join(found.uncounted)}"
        )


def _scaled(work: Work) -> tuple[str, str, str]:
    return f"{work.macs / 1e9:.5f}", f"{work.elementwise / 1e9:.5f}", f"{work.activations / 1e6:.3f}"
