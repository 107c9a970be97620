"""Leaderboards: what the records say, as pages, tables and pictures; never imports torch."""

from attnbench.report.files import Choice, points
from attnbench.report.frame import load_results
from attnbench.report.query.summary import summary
from attnbench.report.write import write

__all__ = ["Choice", "load_results", "points", "summary", "write"]
