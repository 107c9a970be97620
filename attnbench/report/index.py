"""The first page of a results folder: which leaderboards there are and how to read them."""

from tabulate import tabulate

from attnbench.report.columns import question
from attnbench.report.conditions import device, differing
from attnbench.report.layout import MARK, bullets, plain
from attnbench.report.rows import Table
from attnbench.report.statistics import RANKED_FROM

READING = f"""\
- Every row is compared with `none`, the same network without attention, trained with the same seed on the
  same images in the same order. A seed without such a twin enters no difference.
- `a ± b` is the mean and the standard deviation over seeds. `[a, b]` after a difference is its 95 % interval:
  t on paired differences, their variance pooled over the table's rows; one seed gives none. `p (Holm)` is
  corrected over the table's rows.
- Fewer than {RANKED_FROM} paired seeds are labelled exploratory and not ranked. Rows are in the order of the
  survey's categories and alphabetical within them.
- The test split is read once, at the last epoch. ↑: larger is better; ↓: smaller is better.
- Costs stand as value (change against `none`). MACs are multiply-adds of matrix work; element-wise work
  (Gelem) is separate. A latency ratio within the noise of timing `none` against itself prints as ≈; the
  brackets after one hold the interval that was recorded with it.
- — means not measured, or without meaning for the control; it is never zero. CSV leaves such a field empty.
  CSV has full precision, in percent (top-1, top-5, ECE), percentage points (differences), nats (NLL), bytes,
  seconds (`_s`) and milliseconds (`_ms`)."""


def page(named: dict[str, Table], others: list[Table], unreadable: dict[str, str], together: bool) -> str:
    """The index: leaderboards by file name, tables of tasks without one, and files that are no records."""
    parts = [MARK, "# Results", "Made from the records in `cells/` by `python -m attnbench report`."]
    if named:
        parts.append(_leaderboards(named))
    if together:
        parts.append("All rows with an accuracy, beside their costs: [accuracy-cost.csv](accuracy-cost.csv).")
    parts += ["## How to read them", READING]
    if others:
        lines = [
            f"{plain(t.title)}: {len(t.records)} records, but no leaderboard for the task" for t in others
        ]
        parts += ["## Records without a leaderboard", bullets(lines)]
    if unreadable:
        lines = [f"`cells/{name}`: {plain(reason)}" for name, reason in unreadable.items()]
        parts += ["## Files that are no records, left out", bullets(lines)]
    return "\n\n".join(parts) + "\n"


def _leaderboards(named: dict[str, Table]) -> str:
    lines = []
    for stem, table in named.items():
        twins = [t for t in named.values() if t is not table and t.title == table.title]
        recipe = f"recipe {table.recipe}" if table.recipe in table.about else ""
        under = ", ".join(filter(None, (recipe, differing(table, twins), device(table.records))))
        seeds = {r["cell"]["seed"] for r in table.records}
        links = f"[table]({stem}.md), [CSV]({stem}.csv)"
        lines.append([plain(question(table)), plain(under), str(len(table.rows)), str(len(seeds)), links])
    headings = ["question", "conditions", "rows", "seeds", "leaderboard"]
    lines = [[text.replace("|", "\\|") for text in line] for line in lines]
    return tabulate(
        lines, headings, "pipe", colalign=["left", "left", "right", "right", "left"], disable_numparse=True
    )
