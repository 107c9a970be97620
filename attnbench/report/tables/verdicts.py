"""What the seeds of a table have shown of a row, in a sentence."""

from attnbench.report.statistics.paired import RANKED_FROM
from attnbench.report.tables.table import CONTROL, DECIDED, Effect, Row

SHOWN = 0.05  # p, corrected over the table


def outcome(effect: Effect) -> str:
    """`helps`, `hurts`, `open`, or `exploratory` where the seeds are too few to be judged."""
    if effect.pairs < RANKED_FROM:
        return "exploratory"
    if effect.p_holm is None or effect.mean is None or effect.p_holm >= SHOWN:
        return "open"
    return "helps" if effect.mean > 0 else "hurts"


def verdict(row: Row) -> str | None:
    """One sentence; None for the control and where no seed is paired."""
    if row.attn == CONTROL or row.effect is None or not row.effect.pairs:
        return None
    return {
        "helps": lambda effect: "shown to help",
        "hurts": lambda effect: "shown to hurt",
        "open": lambda effect: f"not shown either way; {more(effect)}",
        "exploratory": lambda effect: f"exploratory ({effect.pairs} of {RANKED_FROM} seeds); {more(effect)}",
    }[outcome(row.effect)](row.effect)


def more(effect: Effect) -> str:
    """How many more seeds would decide the difference that matters."""
    points = f"a difference of {DECIDED:g} points"
    if effect.needed is None:
        return f"how many seeds would decide {points} is not known"
    lacking = effect.needed - effect.pairs
    if lacking <= 0:
        return f"its seeds are enough to decide {points}"
    return f"{lacking:,} more seed{'s' if lacking > 1 else ''} would decide {points}"
