"""Whatever is killed whenever: the same command ends with the records of a sweep that nobody disturbed."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults import command, numbers, torment

FEW = ["attn=none,se,eca", "seed=0,1", "launch.jobs=2"]
MANY = ["recipe.epochs=100", "attn=none,se,eca,simam", "seed=0,1,2,3,4,5,6,7,8,9", "launch.jobs=2"]


def survives(folder: Path, words: list[str], cells: int, kills: int, seed: int) -> None:
    calm, wild = folder / "calm", folder / "wild"
    wild.mkdir()
    subprocess.run(command(calm, *words), check=True, stdout=subprocess.DEVNULL)
    started = time.monotonic()
    done, status = torment(wild, words, kills, seed)
    report = {"kills": dict(done), "seconds": round(time.monotonic() - started), "cells": cells}
    print(json.dumps(report))
    assert status == 0, (wild / "out.txt").read_text()
    assert sum(done.values()) > kills / 2, "the sweep ended before it was killed half as often as was meant"
    expected = numbers(calm)
    assert len(expected) == cells
    assert numbers(wild) == expected


def test_six_cells_survive_six_kills(tmp_path):
    survives(tmp_path, FEW, cells=6, kills=6, seed=1)


@pytest.mark.slow
def test_forty_cells_survive_fifty_kills(tmp_path):
    survives(tmp_path, MANY, cells=40, kills=50, seed=2)
