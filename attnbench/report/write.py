"""All leaderboards of a results folder, and the short table that a terminal shows."""

import logging
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from attnbench import records
from attnbench.errors import UserError
from attnbench.records import Record
from attnbench.report import index, layout, notes
from attnbench.report.columns import COST, ENDS, SEEDS, WHO, compared, score, sections
from attnbench.report.load import load
from attnbench.report.picture import picture
from attnbench.report.rows import Table, tables

log = logging.getLogger(__name__)

TOGETHER = "accuracy-cost.csv"  # the rows of all tables that have an accuracy


def write(results: Path) -> list[Path]:
    """Write every leaderboard and the index of them; raises `UserError` where there is no record.

    Leaderboards of earlier reports that the records no longer support are removed; pages that no report
    made are neither removed nor replaced (`UserError`).
    """
    loaded = load(results)
    if not loaded.records and not loaded.unreadable:
        raise UserError(
            f"no records in {records.folder(results)}: `python -m attnbench attn=se` makes one, "
            "`python -m attnbench sweep experiment=quick` those of a whole table"
        )
    for name, reason in loaded.unreadable.items():
        log.warning("%s is no record and is left out: %s", records.folder(results) / name, reason)
    found = tables(loaded.records)
    named = names([t for t in found if sections(t)])
    texts = {name: text for stem, table in named.items() for name, text in _files(stem, table).items()}
    if scored := [t for t in named.values() if t.metric]:
        texts[TOGETHER] = layout.comma_separated(scored)
    others = [t for t in found if not sections(t)]
    texts["README.md"] = index.page(named, others, loaded.unreadable, TOGETHER in texts)
    _refuse_foreign(results, texts)
    _remove_stale(results, texts)
    for name, text in texts.items():
        records.write_whole(results / name, text.encode())
    return [results / name for name in texts]


def summary(found: Iterable[Record]) -> str:
    """The records' main columns in plain text, after a count of how the cells ended, and why some did not."""
    found = list(found)
    ends = Counter(r["status"].replace("_", " ") for r in found)
    counted = ", ".join(f"{n} {end}" for end, n in sorted(ends.items(), key=lambda e: (e[0] != "done", e)))
    parts = [f"{len(found)} cells" + (f": {counted}" if counted else "")]
    for table in tables(found):
        metric = table.metric
        trained = [SEEDS, score(metric), compared(metric)] if metric else []
        told = [*WHO[1:], *ENDS, *trained, *COST[1:3], COST[5]]
        failed = [row for row in table.rows if len(row.done) < len(row.records)]
        said = [
            f"{row.name}: {note}"
            for row in failed
            for note in notes.of_row(row, metric.key if metric else None)
        ]
        parts += [f"{table.title}\n{layout.grid(table.rows, told, 'simple')}", *said]
    return "\n\n".join(parts)


def names(found: list[Table]) -> dict[str, Table]:
    """File name, without ending, -> table; the fingerprint tells tables of one name apart."""
    stems = [_stem(table.about) for table in found]
    twice = {stem for stem, n in Counter(stems).items() if n > 1}
    return {_stem((s, t.fingerprint)) if s in twice else s: t for s, t in zip(stems, found)}


def _stem(parts: Iterable[str]) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(part.removesuffix(" px") for part in parts)).strip("-.")


def _files(stem: str, table: Table) -> dict[str, str]:
    """The files of one leaderboard, name -> content."""
    drawn = picture(table)
    files = {
        f"{stem}.md": layout.markdown(table, f"{stem}.svg" if drawn else None),
        f"{stem}.csv": layout.comma_separated([table]),
    }
    return files | ({f"{stem}.svg": drawn} if drawn else {})


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
            for stale in (page, page.with_suffix(".csv"), page.with_suffix(".svg")):
                stale.unlink(missing_ok=True)


def _generated(page: Path) -> bool:
    return page.read_text(encoding="utf-8", errors="replace").startswith(layout.MARK)
