"""Seconds from words to cells: the experiment `quick`, and a grid of more than 10,000 cells of 42 tables."""

import itertools
import time
from collections.abc import Callable, Sequence

from attnbench.cell import Cell
from attnbench.config import compose
from attnbench.errors import UserError
from attnbench.sweep import experiment

SEEDS = "seed=0,1,2,3,4"
TABLES = [  # 7 x 3 x 2
    ["resnet8", "resnet20", "resnet32", "resnet56", "resnet18", "resnet34", "resnet50"],
    ["quick", "short", "cifar"],
    ["24", "32"],
]


def main(arguments: Sequence[str]) -> int:
    """Print cells, compositions and CPU seconds of each plan; takes no arguments."""
    if arguments:
        raise UserError(f"{arguments[0]}: planning takes no arguments")
    _measure("quick", lambda: experiment.load("quick").cells())
    _measure("grid", _grid)
    return 0


def _grid() -> list[Cell]:
    backbones, recipes, sizes = (",".join(values) for values in TABLES)
    words = [f"backbone={backbones}", f"recipe={recipes}", f"data.size={sizes}", "attn=all", SEEDS]
    return experiment.grid(words)


def _measure(name: str, plan: Callable[[], list[Cell]]) -> None:
    composed, asked = compose.composed, itertools.count()

    def counted(*given: object) -> object:
        next(asked)
        return composed(*given)  # type: ignore[arg-type]  # passed on as they came

    compose.composed = counted  # type: ignore[assignment]
    try:
        started = time.process_time()
        cells = plan()
        seconds = time.process_time() - started
    finally:
        compose.composed = composed
    print(f"{name}: {len(cells):,} cells, {next(asked)} compositions, {seconds:.1f} s of CPU time")
