"""The folders that configuration files lie in: attnbench's own, and those that a user adds."""

import os
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from attnbench.config import sources, strict
from attnbench.errors import UserError, near

PACKAGE = Path(__file__).parents[1]
FILED = ("task", "data", "backbone", "recipe", "hardware", "track", "launch")  # groups with a folder of files
EXPERIMENT = "experiment"


def folder(name: str) -> Path:
    """Where `conf` or `experiments` lies: inside an installed package, else beside it in a checkout."""
    return next((p for p in (PACKAGE / name, PACKAGE.parent / name) if p.is_dir()), PACKAGE / name)


def added() -> tuple[Path, ...]:
    """The folders that a user added, in order, absolute."""
    return tuple(path.absolute() for path in sources.folders())


def add(place: str) -> None:
    """Search a user's folder too, for this process and its workers: a path, `file://PATH` or `pkg://PACKAGE`.

    Raises `UserError` where it is not a folder with at least one group, or repeats one of our names.
    """
    path = _path(place)
    if not path.is_dir():
        raise UserError(f"--config-dir {place}: no such folder")
    here = sorted(p.name for p in path.iterdir() if p.is_dir())
    if not {*FILED, EXPERIMENT}.intersection(here):
        known = ", ".join((*FILED, EXPERIMENT))
        raise UserError(f"--config-dir {place}: it has none of the folders {known}{_meant(here)}")
    for group in FILED:
        for twice in sorted({p.stem for p in (path / group).glob("*.yaml")}.intersection(_stems(group))):
            raise UserError(
                f"{path / group / twice}.yaml: attnbench has {group}={twice} itself; rename the file"
            )
    if path not in added():
        os.environ[sources.VARIABLE] = os.pathsep.join(map(str, (*added(), path)))


def _path(place: str) -> Path:
    scheme, found, rest = place.partition("://")
    if not found or scheme == "file":
        return Path(rest if found else place).expanduser().resolve()
    if scheme != "pkg":
        raise UserError(f"--config-dir {place}: give a folder, file://FOLDER or pkg://PACKAGE")
    package, _, inner = rest.partition("/")
    try:
        return Path(str(files(package))) / inner
    except (ModuleNotFoundError, ValueError):
        raise UserError(f"--config-dir {place}: no such package") from None


def _meant(here: list[str]) -> str:
    close = [f"{name} (did you mean {', '.join(found)}?)" for name in here if (found := near(name, FILED, 1))]
    return f"; it has {', '.join(close)}" if close else ""


@cache
def _stems(group: str) -> tuple[str, ...]:
    """Names of attnbench's own files of a group, shared parts included."""
    return tuple(sorted(p.stem for p in (folder("conf") / group).glob("*.yaml")))


def names(group: str) -> list[str]:
    """What can be chosen in a group; files that start with an underscore are shared parts."""
    return sorted({path.stem for path in _listed(group)})


def find(group: str, name: str) -> Path:
    """The file of one choice of a group."""
    return next(path for path in _listed(group) if path.stem == name)


def check(group: str, name: str) -> None:
    """Raise `UserError` where a user's file of a group is not the YAML that it looks like."""
    if not is_ours(group, name):
        strict.load(find(group, name))


def is_ours(group: str, name: str) -> bool:
    """Whether the file of a choice is attnbench's own."""
    return name in _stems(group)


def _listed(group: str) -> Iterator[Path]:
    for place in (folder("conf"), *added()):
        yield from sorted((place / group).glob("[!_]*.yaml"))


def experiments() -> dict[str, Path]:
    """The experiments that can be asked for, by name: attnbench's own, then those of a user's folders."""
    places = [folder("experiments"), *(place / EXPERIMENT for place in added())]
    return {path.stem: path for place in reversed(places) for path in sorted(place.glob("*.yaml"))}
