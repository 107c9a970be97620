"""A campaign of faults, `python -m tests.faults`: signals, kills, full disks, two sweeps, bad settings."""

import json
import os
import sys
from pathlib import Path

from rich.console import Console

from attnbench import records
from attnbench.config.launch import Launch
from attnbench.sweeping import experiment, sweep

CELLS = [
    "data.size=16",
    "data.train=96",
    "data.val=32",
    "data.test=32",
    "recipe.batch_size=32",
    "recipe.epochs=12",
    "recipe.evaluate_every=4",
    "cost.latency=false",
    "cost.memory=false",
    "cost.counters=false",
    "hardware.device=cpu",
    "hardware.threads=1",
    "hardware.checkpoint_s=0.05",
    "launch=processes",
    "launch.retry=true",
]


def command(folder: Path, *words: str) -> list[str]:
    """A sweep of small cells in a folder."""
    folders = [f"results={folder}", f"runs={folder / 'runs'}"]
    return [sys.executable, "-m", "attnbench", "-m", *CELLS, *words, *folders]


def undisturbed(folder: Path, *words: str) -> None:
    """The same sweep in this process."""
    folders = [f"results={folder}", f"runs={folder / 'runs'}"]
    cells = experiment.grid([*CELLS, *words, *folders])
    with open(os.devnull, "w") as nowhere:
        assert sweep(cells, Launch(executor="inline"), Console(file=nowhere)) == 0


def numbers(folder: Path) -> dict[str, str]:
    """Each record as text, without times and provenance."""
    found = {}
    for record in records.read(folder)[0]:
        curve = [{k: v for k, v in row.items() if k != "images_per_s"} for row in record["curve"]]
        kept = {k: v for k, v in record.items() if k not in ("provenance", "request")}
        kept["config"] = {k: v for k, v in record["config"].items() if k != "launch"}
        found[record["key"]] = json.dumps({**kept, "curve": curve}, sort_keys=True)
    return found


def compared(calm: Path, wild: Path) -> str:
    """How many records of an undisturbed sweep the disturbed one has with the same numbers."""
    expected, found = numbers(calm), numbers(wild)
    same = sum(expected[key] == found.get(key) for key in expected)
    return f"{len(expected)} cells undisturbed, {len(found)} disturbed, {same} the same"
