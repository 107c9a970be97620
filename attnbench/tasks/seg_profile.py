"""Cost only: the network as `seg` builds it, never trained."""

from attnbench.tasks.seg import Task

__all__ = ["Task"]
