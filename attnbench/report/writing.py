"""Writes a report into a results folder."""

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnbench import records
from attnbench.errors import UserError
from attnbench.garbage import uncollected
from attnbench.records.index import opened
from attnbench.report import files
from attnbench.report.load import load
from attnbench.report.pages import leaderboard

log = logging.getLogger(__name__)


def write(results: Path, choice: files.Choice = files.LEADERBOARDS) -> list[Path]:
    """Write every leaderboard and the index of them; raises `UserError` where there is no record.

    A folder that has the survey's tables keeps them up to date; others get them where `choice` says so. Where
    neither records nor code nor the report's files have changed, nothing is read or written.

    Leaderboards of earlier reports that the records no longer support are removed; pages that no report
    made are neither removed nor replaced (`UserError`).
    """
    with opened(results) as index:
        state = [index.mark(), _code(), repr(choice)]
        before = index.kept("report") or {}
        if before.get("state") == state and before["there"] == _stamps(results, _pages(results, before)):
            return [results / name for name in before["files"]]
        written = _write(results, choice)
        made = {"state": state, "files": [path.name for path in written]}
        if not index.damaged():  # which every report names
            index.keep("report", {**made, "there": _stamps(results, _pages(results, made))})
    return written


def _pages(results: Path, made: dict[str, Any]) -> list[str]:
    """What a report wrote, and the pages of others, which its index links."""
    return sorted({*made["files"], *(page.name for page in results.glob("*.md"))})


def _code() -> str:
    """A fingerprint of the package's own files, which decide what a report looks like."""
    package = Path(records.__file__).parents[1]
    found = sorted((str(p.relative_to(package)), *_stamp(p)) for p in package.rglob("*.py"))
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _stamps(results: Path, names: Iterable[str]) -> dict[str, list[int]]:
    """File -> when it was written and its size; nothing for one that is not there."""
    return {name: list(_stamp(results / name)) for name in names}


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        state = file.stat()
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_size


@uncollected()
def _write(results: Path, choice: files.Choice) -> list[Path]:
    """Write what differs from what is there."""
    loaded = load(results)
    if not loaded.records and not loaded.unreadable:
        raise UserError(
            f"no records in {records.folder(results)}: `python -m attnbench attn=se` makes one, "
            "`python -m attnbench sweep experiment=quick` those of a whole table"
        )
    for name, reason in loaded.unreadable.items():
        log.warning("%s is not a record and is skipped: %s", records.folder(results) / name, reason)
    foreign = frozenset(page.name for page in results.glob("*.md") if not _generated(page))
    has_survey = any(_generated(page) for page in results.glob("survey-*.md"))
    choice = replace(choice, survey=choice.survey or has_survey)
    texts = files.contents(loaded, choice, foreign, _reader(results))
    _refuse_foreign(results, texts)
    _remove_stale(results, texts)
    for name, text in texts.items():
        if not _is_there(results / name, text):
            records.write_whole(results / name, text)
    return [results / name for name in texts]


def _reader(results: Path) -> Callable[[str], bytes]:
    """Content of a file of the folder; empty where there is none."""
    return lambda name: (results / name).read_bytes() if (results / name).is_file() else b""


def _refuse_foreign(results: Path, texts: Iterable[str]) -> None:
    """Raise `UserError` where a page would replace one that no report made."""
    for path in (results / name for name in texts if name.endswith(".md")):
        if path.exists() and not _generated(path):
            raise UserError(
                f"{path} was not made by a report and would be lost: move it, or set another `results=`"
            )


def _remove_stale(results: Path, texts: Iterable[str]) -> None:
    """Remove the leaderboards of an earlier report that the records no longer support."""
    for page in results.glob("*.md"):
        if page.name not in texts and _generated(page):
            for name in (
                f"{page.stem}{end}{ending}" for end in {"", *files.PICTURES} for ending in files.ENDINGS
            ):
                page.with_name(name).unlink(missing_ok=True)


def _generated(page: Path) -> bool:
    return page.read_text(encoding="utf-8", errors="replace").startswith(leaderboard.MARK)


def _is_there(path: Path, content: bytes) -> bool:
    """Whether a file has just this content, and so need not be written."""
    return path.is_file() and path.read_bytes() == content
