"""Whether a data set holds what the records of its name were measured on: a set is known by its contents."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, asdict, fields
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnbench import data, records
from attnbench.config.schema import Config, Data, Origin
from attnbench.data.pipeline.places import cache_folder
from attnbench.errors import Unwritable, UserError

if TYPE_CHECKING:
    from attnbench.cell import Cell

NOT_CONTENT = ("root", "download", "origin", "tasks")  # settings that do not say what a set holds
FILES = "files:"  # begins checksums of what files hold


def check(config: Config, checksum: str) -> None:
    """Raise `UserError` where records of the same data settings were measured on other contents.

    What a set without a folder holds is its code, which is part of what a cell is.
    """
    if config.data.origin is Origin.generated:
        return
    _remember(config, checksum)
    known = _recorded(Path(config.results), config.data.name, _settings(config.data, config.task.name))
    others = {found for found in known if comparable(found, checksum)}
    if others and checksum not in others:
        raise _refused(config, checksum, min(others))


def confirm(cells: "Sequence[Cell]") -> None:
    """As `check`, of cells that have a record already; a set is read only where it was not known before."""
    seen: set[tuple[str, str]] = set()
    for cell in cells:
        config = cell.config
        key = str(config.data.root), _settings(config.data, config.task.name)
        if not config.recipe.trains or config.data.origin is Origin.generated or key in seen:
            continue
        recorded = (records.find(Path(config.results), cell.key) or {}).get("provenance") or {}
        wanted = recorded.get("data_checksum")
        if wanted is None:
            continue
        seen.add(key)
        found = _remembered(config) or _read(config)
        if comparable(found, wanted) and found != wanted:
            raise _refused(config, found, wanted)


def comparable(one: str, other: str) -> bool:
    """Whether two checksums are of the same kind; those of files were of names and sizes before."""
    return one.startswith(FILES) == other.startswith(FILES)


def _refused(config: Config, here: str, there: str) -> UserError:
    return UserError(
        f"data set '{config.data.name}' in {config.data.root} does not hold what the records of this name in "
        f"{config.results} were measured on (checksum {here}, theirs {there}): give it a name of its own by "
        "data.name=NAME, or name another folder by results=FOLDER"
    )


def _read(config: Config) -> str:
    import torch

    found = data.load(config.data, torch.device("cpu"), config.hardware.workers, config.task.name)
    _remember(config, found.checksum)
    return found.checksum


def _settings(settings: Data | Mapping[str, Any], task: str) -> str:
    """The settings that say what is read, of a configuration or of a record, as text."""
    plain = asdict(settings) if isinstance(settings, Data) else settings
    asked = {f.name: plain.get(f.name, _default(f)) for f in fields(Data) if f.name not in NOT_CONTENT}
    return json.dumps([task, asked], sort_keys=True, default=str)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


@cache
def _recorded(results: Path, name: str, settings: str) -> frozenset[str]:
    """The checksums of the records that have these settings; what this process adds has the same."""
    return frozenset(_checksums(results, name, settings))


def _checksums(results: Path, name: str, settings: str) -> Iterator[str]:
    quoted = json.dumps(name).encode()
    for file in sorted(records.folder(results).glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # not a record
            text = file.read_bytes()
            if quoted not in text:
                continue
            record = json.loads(text)
            checksum = record["provenance"]["data_checksum"]
            if checksum and _settings(record["config"]["data"], record["cell"]["task"]) == settings:
                yield checksum


def _note(config: Config) -> Path:
    """Where it is kept what a folder held when it was read last."""
    what = f"{Path(str(config.data.root)).expanduser().absolute()} {_settings(config.data, config.task.name)}"
    key = sha256(what.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache_folder() / "contents" / f"{key}.json"


def _remember(config: Config, checksum: str) -> None:
    content = json.dumps({"checksum": checksum, "changed": _changed(config)}).encode()
    with suppress(Unwritable):  # it is read again
        records.write_whole(_note(config), content, sync=False)


def _remembered(config: Config) -> str | None:
    """What the folder held when it was read last, if it and its folders have not changed since."""
    try:
        note = json.loads(_note(config).read_text(encoding="utf-8"))
        return note["checksum"] if note["changed"] == _changed(config) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _changed(config: Config) -> list[int]:
    """Times of change of the set's folder and what lies in it, in ns."""
    root = Path(str(config.data.root)).expanduser()
    try:
        return [root.stat().st_mtime_ns, *sorted(entry.stat().st_mtime_ns for entry in root.iterdir())]
    except OSError:
        return []
