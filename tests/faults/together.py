"""Several sweeps on one folder: every cell is run once."""

import subprocess
from collections import Counter
from pathlib import Path

from tests.faults import command, compared


def race(folder: Path, words: list[str], sweeps: int) -> tuple[Counter[int], str, int]:
    """Start so many sweeps at once: exit statuses, how the records compare, how many cells were started."""
    calm, wild = folder / "calm", folder / "wild"
    subprocess.run(command(calm, *words), check=True, stdout=subprocess.DEVNULL)
    started = [
        subprocess.Popen(command(wild, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(sweeps)
    ]
    ends = Counter(process.wait() for process in started)
    starts = sum(log.read_text().count("started by process") for log in wild.glob("runs/*/log.txt"))
    return ends, compared(calm, wild), starts
