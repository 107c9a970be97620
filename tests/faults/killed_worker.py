"""A worker that dies, as if the system had killed it, over the mechanism that the environment names."""

import os
import signal

from attnbench.sweeping.executors import worker


def deadly(cell, *arguments):
    """Run the cell, or die over it."""
    if cell.mechanism == os.environ["ATTNBENCH_TEST_KILL"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt(cell, *arguments)


attempt = worker.attempt
worker.attempt = deadly
worker.main()
