"""The Python code that a setting names: a file of the package, of a user's folder, or anywhere. No torch.

A user's folder holds the groups of `conf/` (task/, data/, ...), YAML and Python files side by side.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType

from attnbench.errors import UserError, unknown

VARIABLE = "ATTNBENCH_CONFIG_DIR"  # users' folders, separated as in PATH; worker processes inherit it
HERE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Group:
    """Code that is found by name: where the package keeps it, and which folder of a user's adds to it."""

    kind: str  # for messages
    package: str  # dotted, below attnbench
    folder: str  # of `conf/` and of users' folders


@dataclass(frozen=True)
class Place:
    """Where a name's code lies, and which attribute of it is meant (empty: the usual one)."""

    path: Path
    module: str  # dotted name; of a file that is in no package, a name of its own
    attribute: str = ""

    def load(self) -> ModuleType:
        """Import the module; raises `UserError` with the file's name where that fails."""
        if self.module in sys.modules or not self.module.startswith(OWN):
            return import_module(self.module)
        spec = importlib.util.spec_from_file_location(self.module, self.path)
        if spec is None or spec.loader is None:
            raise UserError(f"{self.path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.module] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[self.module]
            raise UserError(f"{self.path} cannot be imported ({type(error).__name__}: {error})") from error
        return module


OWN = "attnbench_user_"  # begins the names of modules that lie in no package


def folders() -> list[Path]:
    """The users' folders, in the order in which they are searched."""
    found = os.environ.get(VARIABLE, "")
    return [Path(part).expanduser() for part in found.split(os.pathsep) if part]


def files(group: Group) -> dict[str, Place]:
    """Everything that the group's names stand for; a user's file never hides one of the package."""
    places = [HERE.joinpath(*group.package.split(".")), *(folder / group.folder for folder in folders())]
    return _files(group, *((place, _changed(place)) for place in places))


def _changed(folder: Path) -> int:
    """When a file was last added to a folder or taken from it, in ns; 0 where there is no folder."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


@cache
def _files(group: Group, ours: tuple[Path, int], *users: tuple[Path, int]) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for path in _python(ours[0]):
        found[path.stem] = Place(path, f"attnbench.{group.package}.{path.stem}")
    for folder, _ in users:
        for path in _python(folder):
            found.setdefault(path.stem, _alone(path))
    return found


def place(group: Group, source: str) -> Place:
    """Where the code lies that `source` names: a file's stem, `FILE.py[:ATTRIBUTE]`, or `MODULE:ATTRIBUTE`.

    Raises `UserError` where there is none.
    """
    where, _, attribute = source.partition(":")
    if where.endswith(".py"):
        path = Path(where).expanduser()
        if not path.is_file():
            raise UserError(f"{group.kind} '{source}': no file {path}")
        return Place(path, _alone(path).module, attribute)
    if attribute:
        return Place(_path_of(group, where), where, attribute)
    known = files(group)
    if source not in known:
        raise unknown(group.kind, source, known)
    return known[source]


def _path_of(group: Group, module: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        raise UserError(f"{group.kind} '{module}': no such Python module can be imported")
    return Path(spec.origin)


def _python(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.glob("[!_]*.py")))


def _alone(path: Path) -> Place:
    """A file that belongs to no package, under a module name of its own."""
    path = path.absolute()
    digest = sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return Place(path, f"{OWN}{path.stem}_{digest}")
