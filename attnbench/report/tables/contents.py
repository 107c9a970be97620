"""Records of one table that were measured on different data, though the data have one name."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from attnbench.data.contents import FILES
from attnbench.records import Record
from attnbench.report.load import at

CHECKSUM = ("provenance", "data_checksum")


def parted(found: Iterable[Record]) -> list[Record]:
    """The records, those of other contents than most of their table in a table of their own.

    Checksums of files' contents are not compared with those of names and sizes, which records had before.
    """
    every = list(found)
    usual = _usual(every)
    return [_placed(record, usual) for record in every]


def _usual(found: Iterable[Record]) -> dict[tuple[str, bool], str]:
    """(table, kind of checksum) -> the checksum that most of its records have, the least of equally many."""
    counts: dict[tuple[str, bool], Counter[str]] = defaultdict(Counter)
    for record in found:
        if isinstance(checksum := at(record, *CHECKSUM), str):
            counts[record["table"], checksum.startswith(FILES)][checksum] += 1
    return {key: min(c, key=lambda checksum: (-c[checksum], checksum)) for key, c in counts.items()}


def _placed(record: Record, usual: dict[tuple[str, bool], str]) -> Record:
    checksum = at(record, *CHECKSUM)
    if not isinstance(checksum, str) or usual[record["table"], checksum.startswith(FILES)] == checksum:
        return record
    return {**record, "table": f"{record['table']}-{checksum[-6:]}"}
