"""`controls=[none, wide]`: beside each row of a sweep, the controls that it is to be compared with."""

from collections.abc import Iterator, Sequence

from attnbench import mechanisms
from attnbench.errors import unknown

WORD = "controls="


def taken(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without `controls=`, and the names that it gives; raises `UserError` for unknown ones."""
    others = [word for word in arguments if not word.startswith(WORD)]
    lists = [word.removeprefix(WORD).strip("[]") for word in arguments if word.startswith(WORD)]
    return others, check(name.strip() for text in lists for name in text.split(",") if name.strip())


def check(names: Iterator[str] | Sequence[str]) -> list[str]:
    """The names as a list; raises `UserError` for the first that is not a control."""
    found = list(names)
    known = ["none", *mechanisms.controls()]
    for name in found:
        if name not in known:
            raise unknown("control", name, known)
    return found


def beside(row: Sequence[str], site: str, controls: Sequence[str]) -> Iterator[list[str]]:
    """The words of a row with each control in the mechanism's place, at the mechanism's site."""
    name, options = _attention(row)
    if name == "none" or mechanisms.entry(name).category == mechanisms.CONTROL:
        return
    others = [word for word in row if not word.startswith(("attn=", "attn.", "site="))]
    label = f"{name}({', '.join(options)})" if options else name
    for control in controls:
        compared = control != "none" and "of" in mechanisms.entry(control).options
        yield [*others, f"attn={control}", *([f"attn.of='{label}'"] if compared else []), f"site={site}"]


def _attention(row: Sequence[str]) -> tuple[str, list[str]]:
    """The mechanism that the words name last, and the options that they give it."""
    names = [i for i, word in enumerate(row) if word.startswith("attn=")]
    if not names:
        return "none", []
    options = [word.removeprefix("attn.") for word in row[names[-1] :] if word.startswith("attn.")]
    return row[names[-1]].removeprefix("attn="), options
