"""Cost only: the network for clips, never trained."""

from attnbench.tasks.clip import Task

__all__ = ["Task"]
