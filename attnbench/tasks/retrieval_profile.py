"""Cost only: the network of task retrieval, never trained."""

from attnbench.tasks.retrieval import Task

__all__ = ["Task"]
