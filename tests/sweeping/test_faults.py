"""Whatever is killed whenever: the same command ends with the records of a sweep that nobody disturbed."""

import json
import time
from pathlib import Path

import pytest

from tests.faults import numbers, signals, undisturbed
from tests.faults.kills import torment

FEW = ["attn=none,se", "launch.jobs=2"]
SOME = ["attn=none,se,eca", "seed=0,1", "launch.jobs=2"]
MANY = ["recipe.epochs=100", "attn=none,se,eca,simam", "seed=0,1,2,3,4,5,6,7,8,9", "launch.jobs=2"]


def survives(folder: Path, words: list[str], cells: int, kills: int, seed: int) -> None:
    calm, wild = folder / "calm", folder / "wild"
    wild.mkdir()
    undisturbed(calm, *words)
    started = time.monotonic()
    done, status = torment(wild, words, kills, seed)
    report = {"kills": dict(done), "seconds": round(time.monotonic() - started), "cells": cells}
    print(json.dumps(report))
    assert status == 0, (wild / "out.txt").read_text()
    assert sum(done.values()) > kills / 2, "the sweep ended before it was killed half as often as was meant"
    expected = numbers(calm)
    assert len(expected) == cells
    assert numbers(wild) == expected


def test_two_cells_survive_a_dead_worker_and_a_dead_sweep(tmp_path):
    survives(tmp_path, FEW, cells=2, kills=2, seed=99)


@pytest.mark.slow
def test_six_cells_survive_six_kills(tmp_path):
    survives(tmp_path, SOME, cells=6, kills=6, seed=1)


@pytest.mark.slow
def test_forty_cells_survive_fifty_kills(tmp_path):
    survives(tmp_path, MANY, cells=40, kills=50, seed=2)


def signalled(folder: Path, plan: list[tuple[str, str]], *words: str, rank: int = 0) -> str:
    """Hold that a sweep whose workers were signalled has the records of one that nobody disturbed."""
    calm = "processes" if words else "inline"
    assert signals.run(folder / "calm", len(plan), calm, *words)[0] == 0
    status, printed, sent = signals.trial(folder / "wild", plan, *words, rank=rank)
    assert status == 0, printed
    assert sent == sorted("-".join(each) for each in plan)
    assert numbers(folder / "wild") == numbers(folder / "calm")
    return printed


ASKED = [("SIGTERM", "starting"), ("SIGINT", "training"), ("SIGTERM", "validating"), ("SIGINT", "testing")]


@pytest.mark.parametrize(
    ("asked", "unseen"),
    [
        (ASKED[1:2], []),
        pytest.param(ASKED, [("SIGTERM", "writing")], marks=pytest.mark.slow),
    ],
)
def test_a_worker_signalled_at_any_moment_is_replaced_and_its_cell_goes_on(tmp_path, asked, unseen):
    printed = signalled(tmp_path, [*asked, *unseen, ("SIGKILL", "writing")])
    assert printed.count("its process was stopped from outside; it is tried again") == len(asked)
    assert "its process ended by signal SIGKILL; it is tried again" in printed


@pytest.mark.slow
def test_every_signal_at_every_moment(tmp_path):
    signalled(tmp_path, list(signals.ALL))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_of_a_group_signalled_at_any_moment(tmp_path, rank):
    plan = [(name, moment) for name in ("SIGTERM", "SIGKILL") for moment in ("starting", "training")]
    signalled(tmp_path, plan, "launch.processes=2", rank=rank)
