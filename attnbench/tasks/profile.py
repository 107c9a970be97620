"""Cost only: the classifier as `cls` builds it, never trained."""

from attnbench.tasks.cls import Task

__all__ = ["Task"]
