"""Cost only: the network of task skeleton, never trained."""

from attnbench.tasks.skeleton import Task

__all__ = ["Task"]
