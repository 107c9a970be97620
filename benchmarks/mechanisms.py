"""Time and memory of each mechanism, of its plain form, and of timm's module of the same kind.

A forward and backward pass each, in turns, on one thread; denormal numbers are flushed to zero, which some
softmaxes on a CPU are up to 8 times slower with. Times are those of the process on the processor, as others'
work on the machine does not count in them; medians over the rounds. Ratios are medians of each round's
ratio to ours: above 1, ours is the faster one; within 5 % both count as equal. Memory is the peak of all
tensors, parameters included.
"""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, permutations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attnbench import mechanisms, provenance
from attnbench.checks.case import Case
from attnbench.cost.measuring.memory import Storages
from attnbench.errors import Impossible, UserError
from attnbench.records import write_whole
from benchmarks import plain, rivals

SHAPES = ((8, 64, 56, 56), (8, 256, 28, 28), (8, 512, 14, 14))
DENSE = (2, 512, 64, 64)  # and in the family of self-attention the map of a segmentation head
CATEGORIES = ("channel", "branch", "spatial", "channel_spatial")
FORMS = ("ours", "plain", "timm")
SECONDS, LEAST, MOST = 3.0, 5, 120  # of timing a row; rounds
EQUAL = 0.05  # a difference that says nothing
COLUMNS = (
    *("mechanism", "shape", "ours_ms", "plain_ms", "timm_ms", "plain_over_ours", "timm_over_ours"),
    *("ours_MiB", "plain_MiB", "timm_MiB", "rounds", "verdict"),
)


def main(arguments: Sequence[str]) -> int:
    """Measure the mechanisms that `only=se,eca` names; all of them and write results/mechanism-speed.*."""
    names = chosen(arguments)
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    jobs = [(name, shape) for name in names for shape in shapes(name)]
    rows, started = [], time.monotonic()
    print("  ".join(COLUMNS))
    for number, (name, shape) in enumerate(jobs, 1):
        rows.append(measured(name, shape))
        elapsed = time.monotonic() - started
        left = elapsed / number * (len(jobs) - number)
        print(f"[{number}/{len(jobs)}, {left / 60:.0f} min left]", *rows[-1].values(), sep="  ", flush=True)
    if not arguments:
        write(rows, time.monotonic() - started)
    return 0


def chosen(arguments: Sequence[str]) -> list[str]:
    """The names asked for, or all that make maps; raises `UserError` for unknown ones and other words."""
    if not arguments:
        known = [name for name, entry in mechanisms.entries().items() if entry.category in CATEGORIES]
        return [name for name in known if mechanisms.load(name).returns == "map"]
    key, _, names = arguments[0].partition("=")
    if len(arguments) > 1 or key != "only" or not names:
        raise UserError(f"bench mechanisms takes only=NAME,NAME or nothing, not {' '.join(arguments)}")
    return [mechanisms.entry(name).name for name in names.split(",")]


def shapes(name: str) -> tuple[tuple[int, ...], ...]:
    """The maps that a mechanism is measured on, (b, c, h, w)."""
    return (*SHAPES, DENSE) if mechanisms.entry(name).category == "spatial" else SHAPES


def measured(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """One row of the table; a mechanism that cannot stand there has the reason as its verdict."""
    row = dict.fromkeys(COLUMNS, "—") | {"mechanism": name, "shape": "x".join(map(str, shape))}
    try:
        runs = {kind: Run(module, shape) for kind, module in forms(name, shape)}
        for kind, run in runs.items():
            row[f"{kind}_MiB"] = f"{run.peak() / 2**20:.1f}"
    except (Impossible, UserError) as reason:
        return row | {"verdict": f"impossible: {reason}"}
    return row | timed(runs)


def forms(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, nn.Module]]:
    """Ours, its plain form and timm's module, as far as there are such, with the weights of a fresh one."""
    _, channels, height, width = shape
    ours = Case(mechanisms.load(name), {}, channels, (height, width)).fresh()
    yield "ours", ours
    if (form := plain.form(name)) is not None:
        yield "plain", plain.Plain(ours, form)
    if (rival := rivals.module(name, channels)) is not None:
        yield "timm", rival


@dataclass
class Run:
    """Forward and backward passes of one form, and their times in seconds."""

    module: nn.Module
    shape: tuple[int, ...]
    times: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        drawn = torch.Generator().manual_seed(0)
        self.x = torch.randn(self.shape, generator=drawn).requires_grad_()
        self.dy: Tensor = torch.randn(self.shape, generator=drawn)

    def once(self) -> None:
        started = time.process_time()
        self.module(self.x).backward(self.dy)
        self.times.append(time.process_time() - started)
        self.clear()

    def clear(self) -> None:
        self.module.zero_grad(set_to_none=True)
        self.x.grad = None

    def peak(self) -> int:
        """Bytes of all tensors at the peak of one pass."""
        with Storages() as storages:
            storages.add([*self.module.parameters(), *self.module.buffers(), self.x, self.dy])
            self.module(self.x).backward(self.dy)
            self.clear()
        return storages.peak


def timed(runs: dict[str, Run]) -> dict[str, Any]:
    """The part of a row that the clock gives, from rounds in which each form has its turn."""
    for run in runs.values():
        run.once()
        run.times.clear()
    started, rounds = time.process_time(), 0
    for rounds, order in enumerate(cycle(permutations(runs.values())), 1):
        for run in order:
            run.once()
        if rounds >= MOST or (rounds >= LEAST and time.process_time() - started > SECONDS):
            break
    found: dict[str, Any] = {
        f"{kind}_ms": f"{1e3 * statistics.median(run.times):.2f}" for kind, run in runs.items()
    }
    ratios = {kind: over(run.times, runs["ours"].times) for kind, run in runs.items() if kind != "ours"}
    found |= {f"{kind}_over_ours": f"{ratio:.2f}" for kind, ratio in ratios.items()}
    return found | {"rounds": rounds, "verdict": verdict(ratios)}


def over(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """The median of the ratios of rounds."""
    return statistics.median([a / max(b, 1e-9) for a, b in zip(theirs, ours)])


def verdict(ratios: dict[str, float]) -> str:
    """Whether ours is at least as fast as each other form."""
    if not ratios:
        return "alone"
    lost = [kind for kind, ratio in ratios.items() if ratio < 1 - EQUAL]
    if lost:
        return f"slower than {' and '.join(lost)}"
    return "faster" if min(ratios.values()) > 1 + EQUAL else "equal"


def write(rows: Sequence[dict[str, Any]], seconds: float) -> None:
    """results/mechanism-speed.md and .csv, with where the numbers come from."""
    import pandas

    table = pandas.DataFrame(rows, columns=list(COLUMNS))
    code, versions = provenance.code(), provenance.versions()
    counts = ", ".join(f"{verdict}: {count}" for verdict, count in table.verdict.value_counts().items())
    where = (
        f"One thread of {provenance.processor()}; torch {versions['torch']}, timm {versions['timm']}; "
        f"commit {code['commit']}{' with changes' if code['dirty'] else ''}; {seconds / 60:.0f} minutes, "
        f"at a load average of {os.getloadavg()[1]:.1f} (well above 1, others worked beside it: caches and "
        "memory were theirs too, and a ratio may be off by a tenth). "
        f"Rows: {counts}."
    )
    head = f"# Mechanisms: ours, the plain form, timm's\n\n{(__doc__ or '').strip()}\n\n{where}\n\n"
    text = f"{head}{table.to_markdown(index=False, disable_numparse=True)}\n"
    write_whole(Path("results/mechanism-speed.md"), text.encode())
    write_whole(Path("results/mechanism-speed.csv"), table.to_csv(index=False).encode())
