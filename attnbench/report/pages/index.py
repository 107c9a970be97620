"""The first page of a results folder: which leaderboards there are and how to read them."""

from attnbench.report.pages import survey
from attnbench.report.pages.leaderboard import MARK, aligned, bullets, plain
from attnbench.report.statistics.paired import RANKED_FROM
from attnbench.report.tables.conditions import device, differing
from attnbench.report.tables.sections import question
from attnbench.report.tables.table import Table

READING = f"""\
- Every row is compared with `none`, the same network without attention, trained with the same seed on the
  same images in the same order. A seed without such a control enters no difference.
- `a ± b` is the mean and the standard deviation over seeds; a mean over fewer seeds than the row has says so.
- `[a, b]` after a difference is an interval that holds for all rows of the table at once in 95 of 100 tables.
  Its variance is the row's own, or where that is smaller, one moderated toward the variances of all rows.
- A verdict is one word. *Helps* and *hurts*: the interval excludes 0, which is where p (Holm) is below 0.05.
  *Unclear*: it does not; the sentence under Evidence states how many seeds would detect a difference that
  matters. *Unstable*: some seeds diverged or collapsed to chance. *Exploratory*: fewer than
  {RANKED_FROM} pairs of seeds.
- `gained with 4 of 5 seeds` counts the seeds whose difference is above 0.
- A rank is the place among all rows, the control included, with the interval of the places that the seeds
  cannot rule out. Rows are in the order of the survey's categories and alphabetical within them.
- Where a data set has folds, a seed's score is the mean over the folds.
- The test split is read once, at the last epoch. ↑: larger is better; ↓: smaller is better.
- Costs stand as value (change against `none`). MACs are multiply-adds of matrix work; element-wise
  operations are separate. Latencies are ratios to `none`, timed in the same process and combined over the
  seeds. ≈ 1: within the noise of timing `none` against itself (A/A). †: not steady. ‡: the clock was
  disturbed by other work on the machine; where the ratio of CPU times is known, it stands there, named so.
- — means not measured, or without meaning for the control; it is never zero. CSV leaves such a field empty.
  CSV has full precision and the unit in each name. `attnbench.load_results()` gives the records as a pandas
  data frame.
- In pictures a point is the control's mean plus the row's difference; the steps join the rows that no other
  beats in both accuracy and cost."""


def page(
    named: dict[str, Table],
    others: list[Table],
    unreadable: dict[str, str],
    made: frozenset[str],
    kept: frozenset[str],
) -> str:
    """The index: leaderboards by file name, other pages, tables of tasks without one, files left out."""
    parts = [MARK, "# Results", "Made from the records in `cells/` by `python -m attnbench report`."]
    if named:
        parts.append(_leaderboards(named))
    parts.append(bullets(_others(made, kept)))
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


def _others(made: frozenset[str], kept: frozenset[str]) -> list[str]:
    """The pages beside the leaderboards."""
    surveys = ", ".join(f"[{name.lower()}](survey-{c}.md)" for c, name in survey.NAMES.items())
    written = {
        "index.html": "[index.html](index.html): all tables on one page, to sort and filter",
        "survey-channel.md": f"The survey's tables, with what we measured and what is published: {surveys}",
        "across.md": "[across.md](across.md): rankings over several tables",
        "accuracy-cost.csv": "[accuracy-cost.csv](accuracy-cost.csv): all accuracies beside their costs",
        "papers.csv": "[papers.csv](papers.csv): what papers say beside what we measured",
        "published.md": "[published.md](published.md): published costs, counted by each source's convention",
    }
    others = sorted(name for name in kept - written.keys())
    also = [f"Made by other commands: {', '.join(f'[{name}]({name})' for name in others)}"] if others else []
    return [text for name, text in written.items() if name in made | kept] + also


def _leaderboards(named: dict[str, Table]) -> str:
    lines = []
    for stem, table in named.items():
        alike = [t for t in named.values() if t is not table and t.about == table.about]
        recipe = f"recipe {table.recipe}" if table.recipe in table.about else ""
        under = ", ".join(filter(None, (recipe, differing(table, alike), device(table.records))))
        seeds = {r["cell"]["seed"] for r in table.records}
        links = f"[table]({stem}.md), [CSV]({stem}.csv), [LaTeX]({stem}.tex)"
        lines.append([plain(question(table)), plain(under), str(len(table.rows)), str(len(seeds)), links])
    lines.sort(key=lambda line: line[:2])
    headings = ["question", "conditions", "rows", "seeds", "leaderboard"]
    lines = [[text.replace("|", "\\|") for text in line] for line in lines]
    return aligned(headings, lines, [True, True, False, False, True])
