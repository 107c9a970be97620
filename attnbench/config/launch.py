"""Settings of where and how cells run, which are never part of what a cell is."""

from dataclasses import dataclass, field
from typing import Any

from attnbench.config.fields import label, number, text, word

DEVICE = r"auto|cpu|mps|cuda(:\d{1,3})?"


@dataclass
class Hardware:
    """Where and how it runs; never part of what a cell is."""

    name: str = label("auto")
    device: str = text("auto", DEVICE, "auto, cpu, cuda, cuda:1 or mps")
    threads: int | None = number(None, "[1, 1024]")  # of torch on the CPU; null: as many as cores
    channels_last: bool = True
    compile: bool = False
    deterministic: bool = True
    workers: int = number(2, "[0, 1024]")  # processes that decode images of sets too large for memory
    checkpoint_s: float = number(
        60.0, "[0, 1_000_000_000]"
    )  # seconds between checkpoints, beside the one at each epoch's end
    micro_batch: int | None = number(
        None, "[1, 1_000_000]"
    )  # images at a time of a batch that memory has no room for; null: all


@dataclass
class Track:
    """Where a run is mirrored to."""

    name: str = word("off", "off", "wandb")
    mode: str = word("offline", "offline", "online")  # of wandb
    project: str = label("attnbench")


@dataclass
class Launch:
    """How a sweep's cells are handed out."""

    executor: str = word("processes", "inline", "processes", "slurm", "ray")
    jobs: int | None = number(
        None, "[1, 100_000]"
    )  # processes, or a cluster's jobs, at a time; null: one a core or GPU, 16 jobs
    retry: bool = False  # run cells again that failed or ran out of memory
    limit_min: float | None = number(
        None, "(0, 1_000_000_000]"
    )  # longest that a cell may take in all; null: for ever
    processes: int = number(1, "[1, 1024]")  # that train one cell together, by torchrun
    per_gpu: int = number(1, "[1, 1024]")  # cells at a time on each GPU
    per_job: int | None = number(
        None, "[1, 100_000]"
    )  # cells at a time in each of a cluster's jobs; null: one a GPU of it, or one
    chunk: int | None = number(
        None, "[1, 100_000]"
    )  # cells of a cluster's job; null: a fair share of them, 50 at most
    job_min: int = number(
        240, "[1, 1_000_000]"
    )  # longest that a job of Slurm's runs; its cells are saved, queued again and go on
    poll_s: float = number(5.0, "(0, 86_400]")  # seconds between looks at a cluster's queue
    options: dict[str, Any] = field(default_factory=dict)  # what only this executor knows
