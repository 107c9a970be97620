"""Give records the keys that the present code gives their configurations: python -m benchmarks.rekey FOLDER.

To be used only where the code in between changed no number, or changed no more than its own meaning's digest:
the numbers of a record stay, its names (key, table, digests) and the words that ask for it are written anew.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnbench import records
from attnbench.cell import Cell
from attnbench.config.schema import Config
from attnbench.sweep import experiment


def requests() -> dict[str, list[str]]:
    """Key -> the words of the first experiment that has the cell."""
    found: dict[str, list[str]] = {}
    for name in experiment.names():
        for cell in experiment.load(name).cells([]):
            found.setdefault(cell.key, cell.request)
    return found


def rekeyed(results: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each record's file and the record under its new names."""
    known = requests()
    found, damaged = records.read(results)
    if damaged:
        raise SystemExit(f"unreadable records: {damaged}")
    for record in found:
        cell = Cell(Config.restore(record["config"]))
        names = {"key": cell.key, "table": cell.table, "digest": cell.digest, "code": dict(cell.code)}
        names["request"] = record.get("request") or known.get(cell.key, [])
        yield records.path(results, record["key"]), {**record, **names}


def main(results: Path) -> None:
    """Rewrite the records of a folder."""
    moved = list(rekeyed(results))
    if len({record["key"] for _, record in moved}) < len(moved):
        raise SystemExit("two records would share a key; nothing was changed")
    for file, _ in moved:
        file.unlink()
    for _, record in moved:
        text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False)
        records.path(results, record["key"]).write_text(text + "\n", encoding="utf-8")
    unknown = sum(not record["request"] for _, record in moved)
    print(f"{len(moved)} records rekeyed; {unknown} of them belong to no experiment")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
