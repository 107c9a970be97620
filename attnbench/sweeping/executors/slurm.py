"""Chunks of cells as jobs of Slurm, handed in by submitit; the queue itself says which still exist.

submitit learns of jobs from Slurm's accounting, which not all clusters run, and takes the loss of a node for
the end of a job that Slurm queues again. So it only hands jobs in and, on the node, saves a job that is about
to be pre-empted or at its time limit and has it queued again.
"""

import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnbench.config.launch import Launch
from attnbench.errors import UserError
from attnbench.sweeping.executors.chunk import Chunk
from attnbench.sweeping.executors.cluster import JOBS
from attnbench.sweeping.progress.registry import FOLDER

try:
    import submitit
except ImportError:
    raise UserError("launch=slurm needs submitit: pip install 'attnbench[slurm]'") from None

OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "REVOKED"}
PASSING = {"NODE_FAIL", "PREEMPTED"}  # over, unless Slurm queues the job again
LOOKS = 5  # at a passing state before it counts as over
ALWAYS = 100_000  # times that a job may reach its time limit and be queued again
WARNING_S = 90  # before its time limit, for a job to save its cells


class Engine:
    """The cluster that this machine can hand jobs in to."""

    lasting = True

    def __init__(self, launch: Launch, runs: str) -> None:
        if shutil.which("sbatch") is None:
            raise UserError("launch=slurm: this machine has no sbatch; run it on a login node of the cluster")
        self.passing: Counter[str] = Counter()
        folder = Path(runs).absolute() / FOLDER / "slurm"
        self.logs = str(folder)
        self.executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=ALWAYS)
        options = {name: value for name, value in launch.options.items() if value is not None}
        try:
            self.executor.update_parameters(
                **{
                    "job_name": "attnbench",
                    "time": launch.job_min,
                    "array_parallelism": launch.jobs or JOBS,
                    "signal_delay_s": WARNING_S,
                    "stderr_to_stdout": True,
                    "additional_parameters": {"requeue": True},
                    **options,
                }
            )
        except (NameError, TypeError, ValueError) as error:
            raise UserError(f"launch.options: submitit cannot use them: {error}") from error

    def submit(self, chunks: Sequence[Chunk]) -> list[str]:
        """One array of jobs, a chunk each; raises `UserError` where Slurm refuses it."""
        try:
            return [str(job.job_id) for job in self._batch(chunks)]
        except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError, OSError) as error:
            raise UserError(f"Slurm refuses the jobs: {' '.join(str(error).split())}") from error

    def _batch(self, chunks: Sequence[Chunk]) -> list[Any]:
        with self.executor.batch():
            return [self.executor.submit(Job(chunk)) for chunk in chunks]

    def alive(self) -> set[str] | None:
        """This user's jobs that wait, run, or may be queued again; None where Slurm does not answer."""
        command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", "--me"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode:
            return None
        states = dict(line.strip().split("|") for line in done.stdout.splitlines() if "|" in line)
        for job, state in states.items():
            self.passing[job] = self.passing[job] + 1 if state in PASSING else 0
        return {job for job, state in states.items() if state not in OVER and self.passing[job] < LOOKS}

    def cancel(self, jobs: Sequence[str]) -> None:
        """Let jobs save what they run, and end them."""
        subprocess.run(["scancel", *jobs], capture_output=True, text=True, timeout=60)


class Job:
    """A chunk as submitit calls it on the node; `checkpoint` is called when the job has to leave it."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk

    def __call__(self) -> None:
        self.chunk.run()

    def checkpoint(self) -> Any:
        """What is to be queued again: the same cells, those that run now saved."""
        self.chunk.halt()
        again = Chunk(self.chunk.configs, self.chunk.launch, self.chunk.seen)
        return submitit.helpers.DelayedSubmission(Job(again))
