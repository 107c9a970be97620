"""Words of the command line: Hydra's grammar, several values, and what Hydra has that attnbench does not."""

import itertools
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, OverrideType
from hydra.errors import HydraException

from attnbench.config import files, keys
from attnbench.config.schema import GROUPS, choices
from attnbench.errors import UserError, unknown

OWN = ("attn", "site", "seed")  # settings in which the cells of one table differ


def parse(arguments: Sequence[str]) -> list[Override]:
    """Read `key=value` arguments by Hydra's grammar; raises `UserError` at the first that is not one."""
    return [read(argument) for argument in arguments]


def settings(arguments: Sequence[str]) -> list[Override]:
    """As `parse`; raises `UserError` where a setting has several values."""
    overrides = parse(arguments)
    for override in overrides:
        if override.is_sweep_override():
            raise UserError(f"{override.input_line}: several values need -m (python -m attnbench -m ...)")
    return overrides


@cache
def read(argument: str) -> Override:
    """As `parse`, of one argument."""
    if "=" not in argument and not argument.startswith("~"):
        raise UserError(f"'{argument}' is not a setting: settings are given as key=value (see --help)")
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        key, _, value = argument.partition("=")
        quoted = f"'{key}=\"{value}\"'"
        raise UserError(
            f"{argument}: Hydra's grammar cannot read it; special characters need quotes: {quoted}"
        ) from None


def expand(arguments: Sequence[str]) -> list[list[str]]:
    """All combinations of the comma lists, ranges and choices in the arguments, the last varying fastest."""
    return [list(row) for row in itertools.product(*(list(_variants(o)) for o in parse(arguments)))]


def _variants(override: Override) -> Iterator[str]:
    if not override.is_sweep_override():
        yield override.input_line or ""
        return
    key, value = override.get_key_element(), override.value()
    try:
        each = _matching(override) if isinstance(value, Glob) else override.sweep_string_iterator()
        yield from (f"{key}={one}" for one in each)
    except HydraException as error:
        raise UserError(f"{override.input_line}: {error}") from None


def _matching(override: Override) -> list[str]:
    """The choices of a group that glob(...) matches."""
    group, pattern = override.key_or_group, cast(Glob, override.value())
    if group not in GROUPS:
        raise UserError(f"{override.input_line}: glob is for {', '.join(GROUPS)}, which name files")
    if not (found := pattern.filter(choices(group))):
        raise UserError(f"{override.input_line}: matches none of {', '.join(choices(group))}")
    return found


def for_hydra(override: Override) -> str:
    """The word as Hydra takes it; raises `UserError` where nothing is called so."""
    key, line = override.key_or_group, (override.input_line or "").lstrip("+~")
    check_form(override)
    if key in GROUPS:
        _check_choice(key, override.value())
        return line
    free = keys.check(key)
    if override.type == OverrideType.DEL:
        if not free:
            raise UserError(f"~{key}: a setting always has a value; give another one")
        return f"~{line}"
    return f"++{line}" if free else line


def check_form(override: Override) -> None:
    """Raise `UserError` for what Hydra's grammar has beyond settings and their values."""
    key, line = override.key_or_group, override.input_line or ""
    if override.package is not None:
        raise UserError(f"{line}: attnbench's groups have no packages; write {key}=...")
    if key.partition(".")[0].partition("/")[0] == "hydra":
        raise keys.of_hydra(line)
    if override.type == OverrideType.DEL and (key in GROUPS or key.partition(".")[0] in OWN):
        instead = "attn=none" if key == "attn" else f"{key}=..."
        raise UserError(f"{line}: a setting always has a value; write {instead}")


def _check_choice(group: str, value: Any) -> None:
    if isinstance(value, dict):
        raise UserError(f"{group} names a file; its settings are given one by one, as {group}.name=...")
    if str(value) not in choices(group):
        raise unknown(group, str(value), choices(group))
    files.check(group, str(value))
