"""The project's own results as git has them, whatever runs have left in the working tree since."""

import subprocess
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def results() -> Path:
    """A copy of `results/` out of git's index; the folder itself where there is no git, as in an sdist."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "results"]
    try:
        files = subprocess.run(listed, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ROOT / "results"
    copy = tempfile.TemporaryDirectory(prefix="attnbench-results-")
    _kept.append(copy)
    export = ["git", "-C", str(ROOT), "checkout-index", "-z", "--stdin", f"--prefix={copy.name}/"]
    subprocess.run(export, input=files, check=True)
    return Path(copy.name) / "results"


_kept: list[tempfile.TemporaryDirectory[str]] = []  # removed when the tests end
