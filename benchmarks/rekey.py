"""Give records the keys that the present code gives their requests: python -m benchmarks.rekey FOLDER.

To be used only where `benchmarks.same_numbers` found that the code in between changed none of their numbers.
The numbers and the provenance of a record stay; its names (key, table, digests) and its configuration are
written anew. A record whose request now means other settings is left as it is and reported.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attnbench import records
from attnbench.cell import Cell
from attnbench.errors import UserError
from attnbench.sweeping import experiment

ELSEWHERE = ("hardware", "launch", "track", "site")  # where and how it ran; the site's name
FORMER = ("name", "sites", "trains", "origin", "tasks")  # facts that were stored otherwise


def renewed(words: list[str]) -> list[str]:
    """The words of a request in the present's names: `task=seg_profile` is `task=seg recipe=none` now."""
    return [word.removesuffix("_profile") if word.startswith("task=") else word for word in words]


def differences(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The settings of a record's configuration that its request no longer has."""
    for name, value in before.items():
        where = f"{path}.{name}" if path else name
        if name in FORMER or where in ELSEWHERE or name not in after:
            continue
        if isinstance(value, dict) and isinstance(after[name], dict):
            yield from differences(value, after[name], where)
        elif value != after[name]:
            yield f"{where}: {value} is {after[name]} now"


def rekeyed(record: records.Record) -> records.Record:
    """The record under its present names; raises `UserError` where its request means other settings."""
    cell: Cell = experiment.cell(renewed(record["request"]))
    new = json.loads(json.dumps(cell.record(record["status"]), default=str))
    if found := list(differences(record["config"], new["config"])):
        raise UserError("; ".join(found))
    own = {"hardware": record["config"]["hardware"]}
    names = {name: new[name] for name in ("key", "table", "digest", "code", "request", "cell")}
    return {**record, **names, "config": {**new["config"], **own}}


def main(results: Path) -> int:
    """Rewrite the records of a folder; the exit status, 1 where some are left as they were."""
    found, damaged = records.read(results)
    if damaged:
        raise SystemExit(f"unreadable records: {damaged}")
    moved, left = {}, 0
    for record in found:
        try:
            moved[record["key"]] = rekeyed(record)
        except UserError as error:
            left += 1
            print(f"{record['key']} {' '.join(record['request'])}: {error}")
    if len({record["key"] for record in moved.values()}) < len(moved):
        raise SystemExit("two records would share a key; nothing was changed")
    for key in moved:
        records.path(results, key).unlink()
    for record in moved.values():
        records.write(results, record)
    print(f"{len(moved)} records rekeyed, {left} left as they were")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
