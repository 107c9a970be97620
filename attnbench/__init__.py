"""attnbench: which attention mechanism is worth its cost, on which backbone, for which task."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_results"]

if TYPE_CHECKING:
    from attnbench.report.frame import load_results


def __getattr__(name: str) -> Any:
    """`attnbench.load_results`, brought in when it is asked for: pandas takes a while."""
    if name == "load_results":
        from attnbench.report.frame import load_results

        return load_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
