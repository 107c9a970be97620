"""Records, reports and small cells, made for tests."""

import copy
import csv
from pathlib import Path
from typing import Any

from attnbench import records, report
from attnbench.cell import Cell
from attnbench.report.tables.table import Row, tables
from attnbench.sweeping.experiment import cell

TINY = [
    "data.train=192",
    "data.val=64",
    "data.test=64",
    "recipe.epochs=2",
    "recipe.batch_size=32",
    "recipe.evaluate_every=1",
    "recipe.optimizer.name=sgd",
    "recipe.optimizer.lr=0.05",
    "cost.latency=false",
    "hardware.device=cpu",
    "hardware.threads=1",
]
QUICK = [*TINY, "recipe.epochs=1", "data.train=64", "cost.counters=false", "cost.memory=false"]
CATEGORY = {"none": "none", "se": "channel", "eca": "channel", "simam": "channel_spatial", "gc": "spatial"}


def tiny(folder: Path, *arguments: str) -> Cell:
    return cell(["attn=se", *TINY, f"results={folder}", f"runs={folder / 'runs'}", *arguments])


def numbers(record: dict) -> tuple:
    """What must not depend on when or how often a cell was interrupted."""
    curve = [{k: v for k, v in row.items() if k != "images_per_s"} for row in record["curve"]]
    return record["metrics"], curve


def cells(folder: Path, *arguments: str, attn: tuple[str, ...] = ("none", "se")) -> list:
    words = [*QUICK, f"results={folder}", f"runs={folder / 'runs'}", *arguments]
    return [cell([f"attn={name}", *words]) for name in attn]


def record(attn: str = "se", seed: int = 0, top1: float | None = 60.0, **changes: Any) -> dict[str, Any]:
    """A record as a run writes it; `changes` replaces values by dotted path, `__` for the dot."""
    mechanism = attn.partition("(")[0]
    made = copy.deepcopy(PROFILE if top1 is None else TRAINED)
    made["cell"] |= {"attn": attn, "mechanism": mechanism, "category": CATEGORY[mechanism], "seed": seed}
    made["cell"]["site"] = "" if attn == "none" else "residual"
    made["digest"] = f"digest of {mechanism}"
    made["cost"]["params"] += 0 if attn == "none" else 580
    if top1 is not None:
        made["metrics"]["test"]["top1"] = top1
    for path, value in changes.items():
        *parents, last = path.split("__")
        part = made
        for key in parents:
            part = part[key]
        part[last] = value
    names = [made["table"], attn, made["cell"]["site"], str(seed), made["digest"]]
    return {"key": "-".join(names).replace("/", "-"), **made}


TRAINED: dict[str, Any] = {
    "schema": 2,
    "status": "done",
    "request": ["task=cls", "data=cifar10", "backbone=resnet20", "recipe=short"],
    "reason": None,
    "cell": {"task": "cls", "data": "cifar10", "backbone": "resnet20", "recipe": "short"},
    "table": "0123456789ab",
    "config": {
        "backbone": {"name": "resnet20", "stem": "cifar", "contains": None},
        "data": {"name": "cifar10", "size": 32, "train": None},
        "recipe": {"name": "short", "epochs": 3, "batch_size": 128, "optimizer": {"name": "sgd", "lr": 0.1}},
    },
    "metrics": {"val": {"top1": 61.0}, "test": {"top1": 0.0, "top5": 95.0, "nll": 1.1, "ece": 3.2}},
    "curve": [],
    "cost": {
        "params": 272474,
        "params_attention": 0,
        "macs": 41000000,
        "elementwise": 1000000,
        "activations": 190000,
        "uncounted": [],
        "input": [3, 32, 32],
        "peak_memory_bytes": 2**20,
        "latency": {"median_ms": 1.2, "control_ms": 1.0, "ratio": 1.2, "ratio_low": 1.1, "ratio_high": 1.3},
    },
    "provenance": {
        "commit": "a" * 40,
        "dirty": False,
        "versions": {"torch": "2.15.0"},
        "device": "cpu",
        "threads": 1,
        "started": "2026-11-22T09:00:00+00:00",
        "wall_s": 300.0,
        "images_per_s": 450.0,
        "data_checksum": "c0ffee",
    },
}
TRAINED["cost"]["latency"] |= {"noise": 0.01, "rounds": 20, "batch": 1, "threads": 1, "device": "cpu"}
PROFILE = {k: v for k, v in TRAINED.items() if k != "metrics"}
PROFILE |= {
    "cell": {"task": "cls", "data": None, "backbone": "resnet50", "recipe": None},
    "config": {**TRAINED["config"], "recipe": {"name": "none", "epochs": 0, "trains": False}},
    "table": "ba9876543210",
}
PROFILE["cost"] = TRAINED["cost"] | {"input": [3, 224, 224]}


def put(results: Path, *made: dict[str, Any]) -> Path:
    for one in made:
        records.write(results, one)
    return results


def grid(attns: tuple[str, ...] = ("none", "se", "eca"), seeds: int = 3) -> list[dict[str, Any]]:
    """Cells whose differences to the control vary by seed."""
    return [
        record(attn, seed, 60.0 + i + 0.3 * seed + 0.1 * ((7 * seed + 3 * i) % 5))
        for i, attn in enumerate(attns)
        for seed in range(seeds)
    ]


def row(attn: str, *made: dict[str, Any]) -> Row:
    (table,) = tables(made)
    return next(r for r in table.rows if r.attn == attn)


def line(path: Path, attn: str) -> dict[str, str]:
    """The row of a CSV."""
    with path.open(newline="") as file:
        return next(r for r in csv.DictReader(file) if r["attn"] == attn)


def page(results: Path, name: str = "cls-cifar10-resnet20-short") -> str:
    return (results / f"{name}.md").read_text(encoding="utf-8")


def reported(results: Path, *made: dict[str, Any]) -> str:
    """The leaderboard's page of these records."""
    report.write(put(results, *made))
    return page(results)
