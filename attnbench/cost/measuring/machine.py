"""What else a machine is doing while times are taken. It is read, never changed."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

GPU_FIELDS = ("clocks.sm", "clocks.max.sm", "clocks.mem", "temperature.gpu", "power.draw", "utilization.gpu")


class Foreign:
    """The share of the machine's CPU time that other processes used, once the measurement is over."""

    share: float | None = None


@contextmanager
def foreign_share() -> Iterator[Foreign]:
    """Watch the processors from entry to exit; the share stays None where the system does not tell."""
    found, before = Foreign(), _ticks()
    own, clock = time.process_time(), time.perf_counter()
    yield found
    after = _ticks()
    if before is None or after is None:
        return
    capacity = (time.perf_counter() - clock) * (os.cpu_count() or 1)
    used = (after - before) / os.sysconf("SC_CLK_TCK") - (time.process_time() - own)
    found.share = round(min(max(used / capacity, 0.0), 1.0), 4)


def _ticks() -> int | None:
    """Ticks since boot in which a processor was neither idle nor waiting, of all processors."""
    try:
        numbers = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return sum(numbers) - numbers[3] - numbers[4]


def gpu_state(device: torch.device) -> dict[str, Any] | None:
    """Clocks (MHz), temperature (degrees C), power (W), load (%) and other processes of a GPU.

    As nvidia-smi tells them; None on the CPU and where it cannot be asked.
    """
    if device.type != "cuda" or shutil.which("nvidia-smi") is None:
        return None
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    state = _query(uuid, "gpu", GPU_FIELDS)
    processes = _query(uuid, "compute-apps", ("pid",))
    if state is None or processes is None:
        return None
    found = {name.replace(".", "_"): _number(text) for name, text in zip(GPU_FIELDS, state.split(","))}
    others = [pid for pid in processes.split() if pid != str(os.getpid())]
    return {**found, "other_processes": len(others)}


def _query(uuid: str, what: str, fields: tuple[str, ...]) -> str | None:
    command = [
        "nvidia-smi",
        f"--id={uuid}",
        f"--query-{what}={','.join(fields)}",
        "--format=csv,noheader,nounits",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
