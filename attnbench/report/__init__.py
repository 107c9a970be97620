"""Leaderboards: what the records say, as Markdown, CSV and one picture each; never imports torch."""

from attnbench.report.write import summary, write

__all__ = ["summary", "write"]
