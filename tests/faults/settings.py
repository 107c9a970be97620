"""Every setting of the schema with values that cannot be meant: refused in one line, or run to a record."""

import contextlib
import io
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from attnbench.cli.main import main
from attnbench.config.schema import Config

VALUES = ("0", "-1", "nan", "inf", "-inf", "1e30", "99999999999999999999999", "''", "text", "null", "[1,2]")
SKIPPED = ("request",)  # not for the user to set
LIMIT_S = 10.0  # for an answer, on a busy machine


def names(kind: Any = Config, prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings."""
    for each in fields(kind):
        if each.name in SKIPPED:
            continue
        if is_dataclass(each.default_factory):
            yield from names(each.default_factory, f"{prefix}{each.name}.")
        else:
            yield f"{prefix}{each.name}"


def ask(name: str, value: str) -> tuple[str, str]:
    """What a dry run says to a setting: `refused`, `planned`, or what is wrong with the answer."""
    out, err, started = io.StringIO(), io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([f"{name}={value}", "--dry-run"])
        except BaseException as error:
            return "raised", f"{type(error).__name__}: {error}"
    said = err.getvalue().strip()
    if time.monotonic() - started > LIMIT_S:
        return "slow", f"{time.monotonic() - started:.0f} s"
    if status == 2:
        return ("refused", said) if said and "\n" not in said else ("not one line", said)
    return ("planned", "") if status in (0, 1) else ("strange", f"exit status {status}")


def campaign() -> tuple[Counter[str], list[str]]:
    """Ask for every setting with every value; how many answers of each kind, and the bad ones."""
    ends: Counter[str] = Counter()
    bad: list[str] = []
    for name in names():
        for value in VALUES:
            end, said = ask(name, value)
            ends[end] += 1
            if end not in ("refused", "planned"):
                bad.append(f"{name}={value}: {end}: {said}")
    return ends, bad
