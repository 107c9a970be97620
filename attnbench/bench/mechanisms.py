"""Time and memory of each mechanism, of its plain form f(g(x), x), and of timm's module of the same kind.

A training step each, in turns, on one thread; ratios above 1 mean that ours is the faster one.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from attnbench import cost, mechanisms
from attnbench.errors import Impossible
from attnbench.mechanisms.base import Mechanism, Place
from attnbench.records import write_whole

SHAPES = ((8, 64, 56, 56), (8, 256, 28, 28), (8, 512, 14, 14), (2, 512, 64, 64))
ROUNDS = 7
TIMM: dict[str, Callable[[int], nn.Module]] = {
    "se": lambda c: _timm("se", c, rd_channels=max(c // 16, 1)),
    "eca": lambda c: _timm("eca", c),
    "cbam": lambda c: _timm("cbam", c),
    "coord": lambda c: _timm("coord", c),
    "gc": lambda c: _timm("gca", c, rd_ratio=1 / 16),
    "non_local": lambda c: _timm("nl", c, rd_ratio=1 / 2),
}
COLUMNS = (
    "mechanism",
    "shape",
    "ours_ms",
    "plain_over_ours",
    "timm_over_ours",
    "ours_MiB",
    "plain_MiB",
    "timm_MiB",
)


class Plain(nn.Module):
    """A mechanism by its equation alone, whatever shorter way its `forward` goes."""

    def __init__(self, mechanism: Mechanism) -> None:
        super().__init__()
        self.mechanism = mechanism

    def forward(self, x: Tensor) -> Tensor:
        return self.mechanism.f(self.mechanism.g(x), x)


def main(arguments: Sequence[str]) -> int:
    """Measure the mechanisms named (default: all but the control) and write results/mechanism-speed.md."""
    names = [*arguments] or [name for name in mechanisms.entries() if name != "none"]
    for name in names:
        mechanisms.entry(name)
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    console, rows = Console(highlight=False, soft_wrap=True), []
    console.print("  ".join(COLUMNS))
    for name in names:
        for row in _rows(name):
            rows.append(row)
            console.print("  ".join(str(row[column]) for column in COLUMNS), markup=False)
    _write(rows)
    return 0


def _rows(name: str) -> Iterator[dict[str, Any]]:
    cls = mechanisms.load(name)
    for batch, channels, height, width in SHAPES:
        image = (channels, height, width)
        row: dict[str, Any] = dict.fromkeys(COLUMNS, "—")
        row |= {"mechanism": name, "shape": f"{batch}x{channels}x{height}x{width}"}
        try:
            torch.manual_seed(0)
            ours = cls.at(Place("bench", channels, (height, width)))
        except Impossible as reason:
            yield row | {"ours_ms": f"impossible: {reason}"}
            continue
        others: dict[str, nn.Module] = {"plain": Plain(ours)} if cls.forward is not Mechanism.forward else {}
        if name in TIMM:
            others["timm"] = TIMM[name](channels)
        yield row | _against(ours, others, image, batch)


def _against(
    ours: nn.Module, others: dict[str, nn.Module], image: tuple[int, ...], batch: int
) -> dict[str, Any]:
    row: dict[str, Any] = {"ours_MiB": _memory(ours, image, batch)}
    for kind, other in others.items():
        row[f"{kind}_MiB"] = _memory(other, image, batch)
        found = cost.latency(other, ours, image, batch=batch, rounds=ROUNDS, training=True)
        row["ours_ms"] = f"{found['control_ms']:.2f}"
        row[f"{kind}_over_ours"] = (
            f"{found['ratio']:.2f} ({found['ratio_low']:.2f} to {found['ratio_high']:.2f})"
        )
    if not others:
        row["ours_ms"] = (
            f"{cost.latency(ours, ours, image, batch=batch, rounds=ROUNDS, training=True)['median_ms']:.2f}"
        )
    return row


def _memory(module: nn.Module, image: tuple[int, ...], batch: int) -> str:
    return f"{cost.peak_memory(module, image, batch, training=True) / 2**20:.1f}"


def _timm(kind: str, channels: int, **options: Any) -> nn.Module:
    from timm.layers.create_attn import create_attn

    module = create_attn(kind, channels, **options)
    if module is None:
        raise ValueError(f"timm has no {kind}")
    return module


def _write(rows: Sequence[dict[str, Any]]) -> None:
    import pandas

    from attnbench import provenance

    table = pandas.DataFrame(rows, columns=list(COLUMNS))
    where = (
        f"One thread of {provenance.processor()}; versions {provenance.versions()}; {ROUNDS} rounds or more."
    )
    head = f"# Mechanisms: ours, the plain form, timm's\n\n{__doc__}\n{where}\n\n"
    text = f"{head}{table.to_markdown(index=False)}\n"
    write_whole(Path("results/mechanism-speed.md"), text.encode())
    write_whole(Path("results/mechanism-speed.csv"), table.to_csv(index=False).encode())
