"""What a reader must know beside the numbers: failures, missing controls, replaced records."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from attnbench.report.load import at, distinct, micro_batch, number
from attnbench.report.tables.table import CONTROL, Row, Table


def of_table(table: Table) -> list[str]:
    """The notes of all rows, each under its row's name, after those that concern the whole table."""
    lines = []
    if not any(row.attn == CONTROL for row in table.rows):
        lines.append("There is no control here: run the same cells with `attn=none` to see differences.")
    if variances := _variances(table):
        lines.append(variances)
    metric = table.metric.key if table.metric else None
    return lines + [f"`{row.name}`: {note}." for row in table.rows for note in of_row(row, metric)]


def _variances(table: Table) -> str:
    """How the rows' variances were judged; empty where there is none."""
    prior = table.prior
    if prior is None or not any(row.effect and row.effect.low is not None for row in table.rows):
        return ""
    df, sd = float(prior.df), math.sqrt(float(prior.variance))
    what = "Intervals: each row's own variance, or where it is smaller"
    if df == 0:
        return "Intervals: t on the row's own paired differences."
    if math.isinf(df):
        return f"{what}, that of all rows (standard deviation of a paired difference {sd:.2f} pp)."
    return (
        f"{what}, moderated toward that of all rows (standard deviation {sd:.2f} pp, "
        f"{df:.1f} degrees of freedom)."
    )


def of_row(row: Row, metric: str | None) -> list[str]:
    """What happened to its cells, and which of them its numbers stand for."""
    by_note: dict[str, list[int]] = defaultdict(list)
    for record in row.records:
        for note in _of_record(record):
            by_note[note].append(record["cell"]["seed"])
    for seed, older in row.replaced.items():
        by_note[f"the newest of {older + 1} records"].append(seed)
    if metric and row.control:
        alone = sorted(row.score(metric).keys() - row.control.score(metric).keys())
        by_note["no control with that seed, so no difference"] = alone
        by_note[UNLIKE] = row.apart(row.control)
    by_note["collapsed: the score is nearer to chance than to the row's median"] = row.collapsed
    lines = [f"{_named(seeds, row.seeds)}: {what}" for what, seeds in by_note.items() if seeds]
    if len(distinct(row.records, "digest")) > 1:
        lines.append("its seeds ran different versions of the mechanism's code")
    return lines + _stated(row.records)


UNLIKE = "trained in other micro-batches than the control, which batch norm sees, so no difference"


def _stated(records: Sequence[dict[str, Any]]) -> list[str]:
    """What its paper states for its own parameters, beside the recipe that all rows share."""
    found = next((s for r in records if isinstance(s := at(r, "provenance", "stated"), list) and s), [])
    if found:
        return [f"as its paper states: {', '.join(map(str, found))}"]
    spared = next((n for r in records if (n := number(r, "cost", "params_no_decay"))), None)
    return [f"as its paper states: {spared:,.0f} parameters without weight decay"] if spared else []


def status(row: Row) -> str:
    """How its cells ended, by count: `done`, `2 done, 1 diverged`."""
    ends = [r["status"].replace("_", " ") for r in row.records]
    kinds = sorted(set(ends), key=lambda end: (end != "done", end))
    return kinds[0] if len(kinds) == 1 else ", ".join(f"{ends.count(kind)} {kind}" for kind in kinds)


def _of_record(record: dict[str, Any]) -> list[str]:
    found = []
    if record["status"] != "done":
        reason = str(record.get("reason") or "no reason was recorded").rstrip(".")
        found.append(f"{record['status'].replace('_', ' ')}: {reason}")
    if uncounted := at(record, "cost", "uncounted"):
        names = uncounted if isinstance(uncounted, list) else [uncounted]
        found.append(f"its counts leave out {', '.join(map(str, names))}, for which there is no rule")
    for figure, why in (at(record, "cost", "unmeasured") or {}).items():
        found.append(f"{figure} could not be measured: {why}")
    if differing := _counters(record):
        found.append(differing)
    if part := micro_batch(record, whatever_norm=True):
        found.append(f"trained in micro-batches of {part:.0f}")
    if dead := at(record, "provenance", "dead_parameters"):
        found.append(_dead(list(map(str, dead))))
    return found


NAMED = 3  # dead parameters that a note names


def _dead(names: list[str]) -> str:
    """Which parameters never received a gradient; of many, the first."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"no gradient ever reached {', '.join(names[:NAMED])}{more}"


COUNTERS_AGREE = 1e-3  # share by which the two counters' multiply-adds may differ without a note


def _counters(record: dict[str, Any]) -> str:
    """By how much the second counter differs from the first; empty where it does not."""
    first, second = (number(record, "cost", key) for key in ("macs", "macs_fvcore"))
    if first is None or second is None or abs(second - first) <= COUNTERS_AGREE * first:
        return ""
    share = f" ({100 * (second - first) / first:+.2g} %)" if first else ""
    return f"fvcore counts {second / 1e9:.4f} GMACs{share}"


def _named(seeds: Sequence[int], every: Sequence[int]) -> str:
    if len(every) > 1 and list(seeds) == list(every):
        return "all seeds"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
