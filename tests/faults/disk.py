"""A sweep on a disk that is full at first and larger later: nothing is lost, and what is missing is named."""

import subprocess
from collections import Counter
from pathlib import Path

from attnbench import records
from tests.faults import command, compared

SIZES = ("48k", "96k", "160k", "256k", "400k", "700k", "1m", "2m", "64m")  # of the disk, one after another


def fill(folder: Path, words: list[str]) -> tuple[Counter[int], str]:
    """Sweep on ever larger disks until it ends; exit statuses, and how its records compare."""
    disk, calm = folder / "disk", folder / "calm"
    disk.mkdir(parents=True)
    subprocess.run(command(calm, *words), check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZES[0]}", "tmpfs", str(disk)], check=True)
    ends: Counter[int] = Counter()
    try:
        for size in SIZES:
            subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
            done = subprocess.run(command(disk, *words), capture_output=True, text=True)
            ends[done.returncode] += 1
            assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
            assert not records.read(disk)[1], "a record is damaged"
            if done.returncode == 0:
                break
            assert "the disk is full" in done.stdout + done.stderr, done.stdout + done.stderr
        return ends, compared(calm, disk)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
