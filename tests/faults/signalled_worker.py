"""A worker that sends itself a signal, once a cell, at the moment that is planned for the cell's seed."""

import json
import os
import signal
import time
from pathlib import Path

from attnbench.sweeping.executors import worker

PLAN = json.loads(os.environ["ATTNBENCH_TEST_SIGNALS"])  # seed -> [signal, moment]
MARKS = Path(os.environ["ATTNBENCH_TEST_MARKS"])  # a file for each cell that was signalled
RANK = os.environ.get("ATTNBENCH_TEST_RANK", "0")  # of a group, the process that is signalled
seeds: list[int] = []


def strike(moment: str) -> None:
    """Send the signal, if this is the cell's moment and it was not sent before."""
    name, when = PLAN[str(seeds[-1])]
    mark = MARKS / f"{seeds[-1]}-{name}-{moment}"
    if when != moment or mark.exists() or os.environ.get("RANK", "0") != RANK:
        return
    mark.touch()
    os.kill(os.getpid(), signal.Signals[name])
    time.sleep(0.1)  # the signal is handled in here


def started(cell, *arguments):
    seeds.append(cell.config.seed)
    strike("starting")
    prepare()
    return attempt(cell, *arguments)


def prepare() -> None:
    """Have the later moments noticed; once, and not before torch would be imported."""
    if hasattr(worker, "prepared"):
        return
    worker.prepared = True
    from attnbench import records, running
    from attnbench.training import loop

    take, evaluate, placed = loop.Training.take, loop.evaluate, records._placed

    def trained(training, *batch):
        take(training, *batch)
        if training.epoch == 1 and training.step == 2:
            strike("training")

    def validated(*arguments):
        strike("validating")
        return evaluate(*arguments)

    def tested(*arguments):
        strike("testing")
        return evaluate(*arguments)

    def written(file, target, replace):
        if target.parent.name == "cells":
            strike("writing")
        return placed(file, target, replace)

    loop.Training.take, loop.evaluate, running.evaluate, records._placed = trained, validated, tested, written


attempt = worker.attempt
worker.attempt = started
worker.main()
