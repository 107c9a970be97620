"""Names of files that a reader understands: `cls-mnist-whole-glimpses-clutter4`."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from attnbench.report.tables.conditions import apart
from attnbench.report.tables.table import Table

LONGEST = 72  # letters of a file's name before its ending, with the settings that distinguish it
LIMIT = 120  # letters of any; file systems take 255 bytes, some of them 143, endings included


def names(found: Sequence[Table]) -> dict[str, Table]:
    """File name, without ending, -> table; what differs in their settings distinguishes tables of one name.

    Such a table gets its settings, or else its data or its code, as its `variant`, so that no two have one
    title. Where these say nothing, or more than a name can hold, the fingerprint stands instead.
    """
    groups: dict[str, list[Table]] = {}
    for table in found:
        groups.setdefault(_stem(table.about), []).append(table)
    named: dict[str, Table] = {}
    for stem, group in groups.items():
        own = _variants(stem, group) if len(group) > 1 else {_within(stem, group[0]): group[0]}
        named |= {s if s not in named else _stem((s, t.fingerprint)): t for s, t in own.items()}
    return {stem: named[stem] for stem in sorted(named, key=lambda s: (named[s].about, s))}


def _variants(stem: str, group: list[Table]) -> dict[str, Table]:
    """The tables of one name, under names of their own."""
    settings = _telling([apart(table, [t for t in group if t is not table]) for table in group])
    stems = [_stem((stem, *(_word(key, value) for key, value in each.items()))) for each in settings]
    for table, each in zip(group, settings):
        table.variant = ", ".join(f"{k.split('.')[-1]}={v}" for k, v in each.items())
    alike = Counter(table.title for table in group)
    for table in group:
        if alike[table.title] > 1:
            table.variant = ", ".join(filter(None, (table.variant, table.fingerprint)))
    if len(set(stems)) == len(group) and max(map(len, stems)) <= LONGEST:
        return dict(zip(stems, group))
    for table in group:
        fits = 0 < len(table.variant) <= LONGEST
        table.variant = table.variant if fits else table.fingerprint
    return {_cut(stem, table): table for table in group}


def _within(stem: str, table: Table) -> str:
    return stem if len(stem) <= LIMIT else _cut(stem, table)


def _cut(stem: str, table: Table) -> str:
    """As much of the name as there is room for, and the table's fingerprint."""
    return _stem((stem[: LIMIT - len(table.fingerprint)], table.fingerprint))


def _telling(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One setting that all tables have differently, a word rather than a number, or else all of them."""
    one = [k for k in settings[0] if len({str(each.get(k)) for each in settings}) == len(settings)]
    missing = {key: any(each.get(key) is None for each in settings) for key in one}
    one.sort(key=lambda key: (missing[key], not isinstance(settings[0][key], str)))
    return [{one[0]: each.get(one[0])} for each in settings] if one else settings


def _word(key: str, value: Any) -> str:
    """A setting in a file's name: `clutter4`, `ohem`, `no-ohem`."""
    name = key.split(".")[-1]
    if value is True:
        return name
    if value in (None, False, "") or value == 0:
        return f"no-{name}"
    return f"{name}-{value}" if isinstance(value, str) else f"{name}{value}"


def _stem(parts: Iterable[str]) -> str:
    text = "-".join(part.removesuffix(" px") for part in parts)
    return re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9._]+", "-", text)).strip("-.")
