"""Options of mechanisms, tasks, data sets and backbones: what can be given for them. Needs no torch."""

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attnbench.config.files import PACKAGE
from attnbench.errors import UserError, unknown
from attnbench.mechanisms import signature
from attnbench.mechanisms.signature import Argument


def check(given: Mapping[str, Any], known: Mapping[str, Argument], setting: str, whose: str) -> None:
    """Raise `UserError` for an option that does not exist or cannot have its value.

    A count is a whole number whose default is one: 1 or more; where the default is 0, which stands for a
    rule, 0 is right too.
    """
    for name, value in given.items():
        if name not in known:
            raise unknown(f"option of {whose}", name, known)
        argument = known[name]
        if isinstance(value, str) and argument.choices and not argument.kinds and not argument.repeated:
            if value not in argument.choices:
                raise unknown(f"{name} of {whose} ({setting}.{name})", value, map(str, argument.choices))
            continue
        if why := argument.refusal(value):
            raise UserError(f"{setting}.{name}={value}: {why}")


def check_section(
    given: Mapping[str, Any], defaults: Mapping[str, Any], section: str, whose: str, source: str | None
) -> None:
    """As `check`, of the options in a section of settings, whose defaults stand in a file of `conf/`."""
    known = {name: signature.of_default(name, value) for name, value in defaults.items()}
    if section == "backbone.args":
        if source == "timm":  # whose networks take arguments of their own, checked when they are built
            given = {name: value for name, value in given.items() if name in known}
        else:
            known |= builder(str(source))
    check(given, known, section, f"{whose} ({section})")


@cache
def builder(source: str) -> Mapping[str, Argument]:
    """What the builder of a backbone's file takes beside classes and size."""
    path = PACKAGE / "backbones" / f"{source}.py"
    if source not in sources():
        raise unknown("source of a backbone (backbone.source)", source, [*sources(), "timm"])
    module = ast.parse(path.read_text(encoding="utf-8"))
    build = next(n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "build")
    return dict(list(signature.read(build, module, literal=False).items())[2:])


@cache
def sources() -> tuple[str, ...]:
    """The files under attnbench/backbones that build a network."""
    return tuple(sorted(Path(p).stem for p in (PACKAGE / "backbones").glob("[!_]*.py")))
