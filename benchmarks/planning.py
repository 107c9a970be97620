"""CPU seconds from words to cells: the experiment `quick`, and a grid of more than 10,000 cells of 42 tables.

`python -m benchmarks.planning` writes `results/planning-speed.md`. Each plan is made in processes of its own,
of which the quickest counts: what others do on the machine can only slow one down.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnbench.errors import UserError

TRIES = 10
SEEDS = "seed=0,1,2,3,4"
TABLES = [  # 7 x 3 x 2
    ["resnet8", "resnet20", "resnet32", "resnet56", "resnet18", "resnet34", "resnet50"],
    ["quick", "short", "cifar"],
    ["24", "32"],
]
PLANS = ("quick", "grid")


def main(arguments: Sequence[str] = ()) -> int:
    """Measure both plans, print the table and write it; takes no arguments."""
    import pandas as pd

    from attnbench import provenance, records

    if arguments:
        raise UserError(f"{arguments[0]}: planning takes no arguments")
    rows = [min((_tried(plan) for _ in range(TRIES)), key=lambda row: row["planning_s"]) for plan in PLANS]
    table = pd.DataFrame(rows).rename(columns=lambda name: name.replace("_", " "))
    text = f"{INTRODUCTION}\n{provenance.processor()}.\n\n{table.to_markdown(index=False, floatfmt='.2f')}\n"
    records.write_whole(Path("results") / "planning-speed.md", text.encode())
    print(text)
    return 0


def _tried(plan: str) -> dict[str, Any]:
    code = f"from benchmarks import planning; planning.show({plan!r})"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return dict(json.loads(output))


def show(plan: str) -> None:
    """Print how many cells and compositions a plan has, and what importing and planning took, as JSON."""
    before = time.process_time()
    from attnbench.sweeping import experiment

    started, composed = time.process_time(), _counted()
    cells = experiment.load("quick").cells() if plan == "quick" else experiment.grid(_words())
    row = {"plan": plan, "cells": len(cells), "compositions": len(composed)}
    seconds = {"imports_s": started - before, "planning_s": time.process_time() - started}
    print(json.dumps(row | {name: round(value, 2) for name, value in seconds.items()}))


def _counted() -> list[object]:
    """A list that grows with each composition from now on."""
    from attnbench.config import compose

    composed = compose.composed
    found: list[object] = []

    def counted(*given: Any) -> Any:
        found.append(given)
        return composed(*given)

    compose.composed = counted  # type: ignore[assignment]
    return found


def _words() -> list[str]:
    backbones, recipes, sizes = (",".join(values) for values in TABLES)
    return [f"backbone={backbones}", f"recipe={recipes}", f"data.size={sizes}", "attn=all", SEEDS]


INTRODUCTION = f"""# Planning: from words to cells

CPU seconds until the cells of a sweep and their keys are known (`python -m benchmarks.planning`), and of the
imports before: `experiment=quick`, and a grid of all mechanisms, 5 seeds and 42 combinations of backbone,
recipe and size. The quickest of {TRIES} processes each.
"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
