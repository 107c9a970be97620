"""Cost only: the network of task sequence, never trained."""

from attnbench.tasks.sequence import Task

__all__ = ["Task"]
