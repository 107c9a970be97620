"""attnbench: which attention mechanism is worth its cost, on which backbone, for which task."""

__version__ = "0.1.0"
