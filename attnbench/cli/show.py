"""A record, and a network's cost, as lines for the terminal."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnbench.cell import Cell

SIGNS = {"percent": "%", "nats": " nats"}


def say(text: str, end: str = "\n") -> None:
    """Print a text, which may come from a record, on standard output."""
    print(visible(text), end=end)


def visible(text: str) -> str:
    """The text with a space for each character that is not printable; line breaks are kept."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def record_lines(record: dict[str, Any]) -> Iterator[str]:
    """What a record says, a line each: how it ended, metrics, cost, time."""
    reason = f": {record['reason']}" if record.get("reason") else ""
    yield f"{record['status']}{reason}"
    for split, metrics in (record.get("metrics") or {}).items():
        yield f"  {split:<5} {', '.join(_scores(metrics))}"
    cost = record.get("cost") or {}
    if cost:
        yield "  cost  " + ", ".join(_cost_items(cost))
    if record.get("provenance"):
        yield f"  time  {record['provenance']['wall_s']:.1f} s on {record['provenance']['device']}"


def files(cell: "Cell") -> Iterator[str]:
    """Where a cell's record lies, and its weights where they were kept."""
    from attnbench import records

    yield f"record: {records.path(Path(cell.config.results), cell.key)}"
    if (kept := Path(cell.config.runs) / cell.key / records.WEIGHTS).is_file():
        yield f"weights: {kept}"


def _scores(metrics: dict[str, float | None]) -> Iterator[str]:
    from attnbench.report.tables.metrics import unit

    for name, value in metrics.items():
        if value is not None:
            yield f"{name} {value:.2f}{SIGNS.get(unit(name), '')}"


def _cost_items(cost: dict[str, Any]) -> Iterator[str]:
    if cost.get("params") is not None:
        yield f"{cost['params']:,} parameters ({cost.get('params_attention') or 0:,} of attention)"
    if cost.get("macs") is not None:
        yield f"{cost['macs'] / 1e9:.4g} GMACs"
    if cost.get("elementwise") is not None:
        yield f"{cost['elementwise'] / 1e9:.4g} G element-wise ops"
    if cost.get("pixels_seen") is not None:
        yield f"{cost['pixels_seen']:,} pixels seen of {cost['pixels']:,}"
    if cost.get("uncounted"):
        yield f"not counted: {', '.join(cost['uncounted'])}"
    if cost.get("latency"):
        yield f"latency x{cost['latency']['ratio']:.3f} of the control"


def cost_tree(cell: "Cell") -> int:
    """Print the cost of a cell's network by part; the exit status. Raises `UserError`."""
    from rich.console import Console

    from attnbench import cost, tasks
    from attnbench.errors import Impossible, UserError
    from attnbench.running import build

    task = tasks.load(cell.config)
    try:
        network = build(cell, task)
    except Impossible as error:
        raise UserError(f"attn={cell.mechanism}: {error}") from None
    cost.show(network, task.cost_shape, Console())
    return 0
