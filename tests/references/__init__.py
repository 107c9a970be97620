"""The equations of each mechanism, transcribed a second time, in a file of its name."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from attnbench.checks.suite import Case
from attnbench.mechanisms import entries, load

FOLDER = Path(__file__).parent
NAMES = tuple(entries())


def reference(name: str) -> ModuleType | None:
    return import_module(f"tests.references.{name}") if (FOLDER / f"{name}.py").exists() else None


def settings(name: str, *keys: str) -> dict:
    """What a reference says of the input that the mechanism takes and of the control that it replaces."""
    found = reference(name)
    return {key.lower(): getattr(found, key) for key in keys if hasattr(found, key)}


def cases(name: str) -> list[Case]:
    own = settings(name, "CHANNELS", "SIZE", "BATCH", "FRAMES", "CLASSES", "STEPS")
    return [Case(load(name), options, **own) for options in getattr(reference(name), "CASES", [{}])]
