"""How many cells run at a time on this machine, and what each may use of it."""

import os
import shutil
import subprocess

from attnbench.config.launch import Launch


def accelerators() -> list[str]:
    """The NVIDIA GPUs that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [name for name in allowed.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    if not shutil.which("nvidia-smi"):
        return []
    done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return [str(i) for i, _ in enumerate(done.stdout.splitlines())] if done.returncode == 0 else []


def cores() -> int:
    """The CPU cores that this process may use."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        allowed = os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
    return min(allowed, int(given or allowed))


def environments(launch: Launch, cells: int) -> list[dict[str, str]]:
    """The environment of each worker: threads divided, GPUs in turn, several to a GPU where asked for."""
    devices = accelerators()
    usual = max(len(devices) // launch.processes, 1) * launch.per_gpu if devices else cores()
    count = max(min(launch.jobs or usual, cells), 1)
    threads = max(cores() // (count * launch.processes), 1)
    return [_environment(index, threads, launch.processes, devices) for index in range(count)]


def _environment(index: int, threads: int, processes: int, devices: list[str]) -> dict[str, str]:
    found = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",  # of the cells' logs
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # torchrun's restarts hang without
    }
    if devices:
        first = index * processes
        own = [devices[(first + n) % len(devices)] for n in range(processes)]
        found["CUDA_VISIBLE_DEVICES"] = ",".join(dict.fromkeys(own))
    return found
