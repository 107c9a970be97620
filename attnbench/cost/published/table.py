"""Published costs against ours: what a paper says, what we count under its own convention, the difference.

The facts are in `published.csv` beside this file: a row for each printed figure, with its source and the
convention by which that source counts. A row may carry a reason why its figure cannot come out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnbench import mechanisms, tasks
from attnbench.config.files import names
from attnbench.errors import Impossible, UserError
from attnbench.records import write_whole

if TYPE_CHECKING:
    import pandas as pd

FACTS = Path(__file__).with_name("published.csv")
TOLERANCE = 0.01  # of multiply-adds, where the printed digits are not met
LEGEND = (
    "Parameters agree where they are equal to the last printed digit, multiply-adds where they print the "
    "same or differ by at most 1 %, counted and scaled by each source's own convention "
    "(attnbench/cost/conventions.py). Every disagreement has its reason in the note."
)
NETWORK = ("task", "backbone", "stem", "variant", "attn", "site", "classes")


@dataclass(frozen=True)
class Fact:
    """One published row: a network, its printed parameters (M) and multiply-adds (G), and how they arose.

    Figures that begin with + are of a segmentation network's head alone.
    """

    task: str
    attn: str
    options: dict[str, Any]
    backbone: str
    stem: str
    variant: str
    site: str
    size: str  # px: 224, or height x width
    classes: int
    params: str
    macs: str
    convention: str
    source: str
    url: str
    params_exception: str
    macs_exception: str

    @property
    def missing(self) -> str | None:
        """What does not exist yet of its network, or None."""
        if self.task not in tasks.cards():
            return f"task {self.task}"
        if self.attn not in mechanisms.entries():
            return f"mechanism {self.attn}"
        return None if self.backbone in names("backbone") else f"backbone {self.backbone}"

    @property
    def network(self) -> dict[str, Any]:
        """What there is to build, and which part of it is meant."""
        height, _, width = self.size.partition("x")
        image = 3, int(height), int(width or height)
        part = "head" if f"{self.params}{self.macs}".startswith("+") else ""
        return {
            **{name: getattr(self, name) for name in NETWORK},
            "options": self.options,
            "image": image,
            "part": part,
        }

    def __str__(self) -> str:
        options = ", ".join(f"{k}={v}" for k, v in self.options.items())
        attn = f"{self.attn}({options})" if options else self.attn
        return f"{attn} on {self.backbone}, {self.source}"


def facts() -> list[Fact]:
    """All published rows."""
    import csv

    with FACTS.open(encoding="utf-8", newline="") as file:
        return [_fact(row) for row in csv.DictReader(file)]


def _fact(row: dict[str, str]) -> Fact:
    import yaml

    pairs = (word.partition("=") for word in row["options"].split())
    options = {name: yaml.safe_load(value) for name, _, value in pairs}
    values: dict[str, Any] = {**row, "options": options}
    return Fact(**{**values, "classes": int(row["classes"])})


def equal(printed: str, ours: float) -> bool:
    """Whether our number, printed with as many digits, is the printed one."""
    digits = len(printed.partition(".")[2])
    return f"{ours:.{digits}f}" == printed.removeprefix("+")


def near(printed: str, ours: float) -> bool:
    """Whether our multiply-adds print the same, or are within the tolerance."""
    return equal(printed, ours) or abs(ours / float(printed) - 1) <= TOLERANCE


def our_params(fact: Fact) -> float:
    """Our parameters, in the source's unit; imports torch."""
    from attnbench.cost.published import conventions, networks

    return networks.our_params(fact.network, conventions.parse(fact.convention))


def our_macs(fact: Fact) -> float:
    """Our multiply-adds, by the source's convention; imports torch."""
    from attnbench.cost.published import conventions, networks

    return networks.our_macs(fact.network, conventions.parse(fact.convention))


def published_table() -> "pd.DataFrame":
    """Paper says, we count, difference: a row for each fact, also of networks not implemented yet."""
    import pandas as pd

    return pd.DataFrame([_row(fact) for fact in facts()])


def write(results: Path) -> list[Path]:
    """Write the table as published.md and published.csv into a folder; raises `UserError` without one."""
    if not results.is_dir():
        raise UserError(f"no folder {results}: results=FOLDER takes one that is there")
    table = published_table()
    kept = table[table["parameters agree"].ne("") | table["multiply-adds agree"].ne("")]
    agree = ["parameters agree", "multiply-adds agree"]
    rates = (f"{c.split()[0]} {(kept[c] == 'yes').sum()} of {kept[c].ne('').sum()}" for c in agree)
    heading = f"# Published costs against ours\n\nAgreement: {', '.join(rates)}. {LEGEND}\n\n"
    texts = {
        "published.md": heading + table.to_markdown(index=False, disable_numparse=True) + "\n",
        "published.csv": table.to_csv(index=False),
    }
    for name, text in texts.items():
        write_whole(results / name, text.encode())
    return [results / name for name in texts]


def _row(fact: Fact) -> dict[str, Any]:
    row: dict[str, Any] = {
        "mechanism": fact.attn,
        "options": " ".join(f"{k}={v}" for k, v in fact.options.items()),
        "backbone": fact.backbone,
        "variant": fact.variant,
        "input": fact.size,
        "source": fact.source,
        "convention": fact.convention,
        "parameters, paper (M)": fact.params,
        "parameters, ours (M)": "",
        "parameters agree": "",
        "multiply-adds, paper (G)": fact.macs,
        "multiply-adds, ours (G)": "",
        "difference (%)": "",
        "multiply-adds agree": "",
        "note": "; ".join(filter(None, (fact.params_exception, fact.macs_exception))),
    }
    if fact.missing:
        return {**row, "note": f"not implemented yet: {fact.missing}"}
    try:
        return {**row, **_compared(fact)}
    except Impossible as reason:
        return {**row, "note": str(reason)}


def _compared(fact: Fact) -> dict[str, str]:
    found = {}
    if fact.params:
        params = our_params(fact)
        found["parameters, ours (M)"] = _like(fact.params, params)
        found["parameters agree"] = "yes" if equal(fact.params, params) else "no"
    if fact.macs:
        macs = our_macs(fact)
        found["multiply-adds, ours (G)"] = _like(fact.macs, macs)
        found["difference (%)"] = f"{100 * (macs / float(fact.macs) - 1):+.2f}"
        found["multiply-adds agree"] = "yes" if near(fact.macs, macs) else "no"
    return found


def _like(printed: str, ours: float) -> str:
    """Our number with one digit more than was printed."""
    return f"{ours:.{len(printed.partition('.')[2]) + 1}f}"
