"""Leaderboards: what the records say, as pages, tables and pictures; never imports torch."""

from attnbench.report.frame import load_results
from attnbench.report.write import summary, write

__all__ = ["load_results", "summary", "write"]
