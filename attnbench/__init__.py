"""attnbench: which attention mechanism is worth its cost, on which backbone, for which task."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attnbench.errors import UserError

if TYPE_CHECKING:
    from attnbench import checks
    from attnbench.api.answers import compare, recommend
    from attnbench.api.catalog import card, create, list_mechanisms
    from attnbench.api.cells import configure, run, sweep
    from attnbench.api.costs import count, latency
    from attnbench.api.networks import graft, ungraft
    from attnbench.report.frame import load_results

__version__ = "0.1.0"
__all__ = [
    "UserError",
    "__version__",
    "card",
    "checks",
    "compare",
    "configure",
    "count",
    "create",
    "graft",
    "latency",
    "list_mechanisms",
    "load_results",
    "recommend",
    "run",
    "sweep",
    "ungraft",
]
PLACES = {  # name -> the module that has it
    **dict.fromkeys(("list_mechanisms", "card", "create"), "api.catalog"),
    **dict.fromkeys(("graft", "ungraft"), "api.networks"),
    **dict.fromkeys(("count", "latency"), "api.costs"),
    **dict.fromkeys(("configure", "run", "sweep"), "api.cells"),
    **dict.fromkeys(("compare", "recommend"), "api.answers"),
    "load_results": "report.frame",
}


def __getattr__(name: str) -> Any:
    """A name of the Python API, imported when it is first asked for: torch and pandas take a while."""
    if name in PLACES:
        return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
