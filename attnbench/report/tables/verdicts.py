"""What the seeds of a table have shown of a row: one word, and the sentence behind it."""

from attnbench.report.statistics.paired import RANKED_FROM
from attnbench.report.tables.effects import Effect
from attnbench.report.tables.table import CONTROL, Row

SHOWN = 0.05  # p, corrected over the table
SENTENCES = {
    "helps": "significant gain",
    "hurts": "significant loss",
}
MARKS = {
    "helps": "▲",
    "hurts": "▼",
    "unclear": "○",
    "unstable": "◇",
    "exploratory": "…",
}  # seen without color


def outcome(effect: Effect) -> str:
    """`helps`, `hurts`, `unclear`, or `exploratory` where the seeds are too few to be judged."""
    if effect.pairs < RANKED_FROM:
        return "exploratory"
    if effect.p_holm is None or effect.mean is None or effect.p_holm >= SHOWN:
        return "unclear"
    return "helps" if effect.mean > 0 else "hurts"


def word(row: Row) -> str | None:
    """The verdict in one word; None for the control and where no seed is paired.

    `unstable` stands for whatever the seeds say that trained, where others diverged or collapsed.
    """
    if row.attn == CONTROL or row.effect is None or not (row.effect.pairs or row.diverged):
        return None
    return "unstable" if row.diverged or row.collapsed else outcome(row.effect)


def verdict(row: Row) -> str | None:
    """The verdict in one sentence; None where there is none."""
    kind = word(row)
    if kind is None or row.effect is None:
        return None
    if kind == "unstable":
        return f"unstable: {_unstable(row)}"
    return _sentence(row.effect, row.difference)


def _sentence(effect: Effect, difference: float) -> str:
    kind = outcome(effect)
    if kind in SENTENCES:
        return SENTENCES[kind]
    name = f"exploratory ({effect.pairs} of {RANKED_FROM} seeds)" if kind == "exploratory" else "inconclusive"
    return f"{name}; {more(effect, difference)}"


def _unstable(row: Row) -> str:
    """How many seeds trained, and what those say."""
    effect = row.trained or row.effect
    every, lost = len(row.seeds), len(row.diverged) + len(row.collapsed)
    trained = f"{every - lost} of {every} seeds"
    kind = outcome(effect) if effect else "exploratory"
    return (
        f"{kind} where it trains: {trained}" if kind in SENTENCES else f"trains with {trained}, {kind} there"
    )


def more(effect: Effect, difference: float) -> str:
    """How many seeds would decide the difference that matters, or that it is excluded already."""
    points = f"{difference:.2g} pp"
    if effect.low is not None and effect.high is not None:
        if effect.low > -difference and effect.high < difference:
            return f"a difference of {points} is excluded"
        if effect.high < difference:
            return f"a gain of {points} is excluded"
    if effect.needed is None:
        return f"the number of seeds to detect {points} is not known"
    return _seeds(*effect.needed, effect.pairs, points)


def _seeds(low: int | None, high: int | None, done: int, points: str) -> str:
    if low is None:
        return f"detecting {points} takes more seeds than anyone runs"
    if high is None:
        return f"detecting {points} takes {low} seeds at least"
    if high <= done:
        return f"its seeds suffice to detect {points}"
    return (
        f"detecting {points} takes {low} to {high} seeds"
        if low < high
        else f"detecting {points} takes {low} seeds"
    )
