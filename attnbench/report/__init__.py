"""Leaderboards: what the records say, as pages, tables and pictures; never imports torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnbench.report.files import Choice, points
    from attnbench.report.frame import load_results
    from attnbench.report.query.summary import summary
    from attnbench.report.writing import write

__all__ = ["Choice", "load_results", "points", "summary", "write"]
PLACES = {
    "Choice": "files",
    "load_results": "frame",
    "points": "files",
    "summary": "query.summary",
    "write": "writing",
}


def __getattr__(name: str) -> Any:
    """What a report is made with, imported when it is asked for: NumPy and the pages take a while."""
    if name in PLACES:
        return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
