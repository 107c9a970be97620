"""Where on this machine is kept what can be made again."""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """The folder that ATTNBENCH_CACHE names, else the usual one of the user's.

    It is not a setting, since where a cache lies does not change what a cell is.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if home.startswith("~"):  # a user without a home
        home = tempfile.gettempdir()
    return Path(os.path.expanduser(os.environ.get("ATTNBENCH_CACHE") or f"{home}/attnbench"))
