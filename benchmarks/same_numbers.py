"""Whether another commit's code gives the same numbers, bit by bit: python -m benchmarks.same_numbers COMMIT.

Trains a small cell of every kind with both and compares curves and metrics. For the parts of the code whose
digests differ while all numbers agree it prints the entries for attnbench/equivalent.toml.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["data.train=64", "data.val=32", "data.test=32", "recipe.epochs=2", "recipe.batch_size=16", "seed=1"]
CELLS = {
    "cls": ["task=cls", "attn=eca"],
    "timm": ["task=cls", "attn=se", "site=stage", "backbone=mobilenetv3_small"],
    "seg": ["task=seg", "attn=danet"],
    "clip": ["task=clip", "attn=tam"],
    "retrieval": ["task=retrieval", "attn=gltr"],
    "skeleton": ["task=skeleton", "attn=sta_lstm"],
    "sequence": ["task=sequence", "attn=soft_attention"],
}
PARTS = {
    "base": "base of mechanisms",
    "training": "training",
    "processes": "training on processes",
    "grafting": "grafting",
    "task": "task {task}",
    "data": "data {reader} for {task}",
    "backbone": "backbone {source}",
}


def record(tree: Path, words: list[str], folder: Path) -> dict[str, Any]:
    """The record of a cell that the code in a tree ran."""
    command = [sys.executable, "-m", "attnbench", *words, *SMALL, "cost.latency=false", "hardware.device=cpu"]
    command += [f"results={folder}", f"runs={folder}/runs"]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} in {tree}: {done.stdout}{done.stderr}")
    return json.loads(next((folder / "cells").glob("*.json")).read_text(encoding="utf-8"))


def numbers(found: dict[str, Any]) -> Any:
    """What training and evaluation computed, without what was timed."""
    curve = [
        {k: v for k, v in row.items() if not k.endswith(("_s", "per_s", "per_second"))}
        for row in found["curve"]
    ]
    return found["status"], found["metrics"], curve


def entries(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(part, digest before, digest now) of each part that differs."""
    names = {"task": after["cell"]["task"], "source": after["config"]["backbone"]["source"]}
    names["reader"] = after["config"]["data"]["source"] or after["config"]["data"]["name"]
    for part, old in before["code"].items():
        if (new := after["code"].get(part)) not in (None, old):
            yield PARTS[part].format(**names), old, str(new)


def main(commit: str, *kinds: str) -> int:
    """Compare, say where numbers differ, and print what may go into the list of equivalents."""
    same: dict[tuple[str, str, str], None] = {}
    differing = 0
    with tempfile.TemporaryDirectory() as scratch:
        other = Path(scratch) / "tree"
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", other, commit], check=True)
        try:
            for kind in kinds or CELLS:
                before, after = (
                    record(t, CELLS[kind], Path(scratch) / f"{kind}-{t.name}") for t in (other, ROOT)
                )
                equal = numbers(before) == numbers(after)
                print(f"{kind}: {'equal' if equal else f'{numbers(before)} != {numbers(after)}'}", flush=True)
                differing += not equal
                same |= dict.fromkeys(entries(before, after)) if equal else {}
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", other], check=True)
    for part, old, new in same if not differing else ():
        print(f'\n[[same]]\npart = "{part}"\nas = "{old}"\ndigests = ["{new}"]')
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
