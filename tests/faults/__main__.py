"""Run the campaign or parts of it: `python -m tests.faults [signals kills disk together settings]`."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults import command, compared, disk, kills, settings, signals, together

FEW = ["attn=none,se,eca", "seed=0,1", "launch.jobs=2"]
MANY = ["recipe.epochs=100", "attn=none,se,eca,simam", "seed=0,1,2,3,4,5,6,7,8,9", "launch.jobs=2"]


def run_signals(folder: Path) -> str:
    """Every signal at every moment."""
    signals.run(folder / "calm", len(signals.ALL), "inline")
    status, _, sent = signals.trial(folder / "wild", signals.ALL)
    return f"{len(sent)} signals sent, exit status {status}; {compared(folder / 'calm', folder / 'wild')}"


def run_kills(folder: Path) -> str:
    """Fifty kills at random moments."""
    calm, wild = folder / "calm", folder / "wild"
    wild.mkdir(parents=True)
    subprocess.run(command(calm, *MANY), check=True, stdout=subprocess.DEVNULL)
    done, status = kills.torment(wild, MANY, 50, seed=2)
    return f"{sum(done.values())} kills {dict(done)}, exit status {status}; {compared(calm, wild)}"


def run_disk(folder: Path) -> str:
    """A full disk that grows; needs root."""
    ends, same = disk.fill(folder, FEW)
    return f"exit statuses {dict(ends)}; {same}"


def run_together(folder: Path) -> str:
    """Three sweeps at once."""
    ends, same, starts = together.race(folder, FEW, sweeps=3)
    return f"exit statuses {dict(ends)}; {same}; {starts} cells started"


def run_settings(folder: Path) -> str:
    """Every setting with values that cannot be meant."""
    ends, bad = settings.campaign()
    return "\n".join([f"{sum(ends.values())} requests: {dict(ends)}", *bad])


PARTS: dict[str, Callable[[Path], str]] = {
    "signals": run_signals,
    "kills": run_kills,
    "disk": run_disk,
    "together": run_together,
    "settings": run_settings,
}


def main(names: list[str]) -> None:
    """Run the parts and print what they counted."""
    for name in names or PARTS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="attnbench-faults-") as folder:
            print(f"{name}: {PARTS[name](Path(folder))} ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
