"""Overrides in, checked configurations out. The only file that knows Hydra."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attnbench import data, mechanisms
from attnbench.config import sources
from attnbench.config.rules import check_own, check_shared, validate
from attnbench.config.schema import GROUPS, Config, choices, folder
from attnbench.errors import UserError, near, unknown

OWN = ("attn", "site", "seed")  # settings in which the cells of one table differ
ENTANGLED = object()  # a part that cannot be composed by itself
PLAIN = {"seed": int, "site": str, "results": str, "runs": str, "keep": bool}  # set by no file


def parse(arguments: Sequence[str]) -> list[Override]:
    """Read `key=value` arguments by Hydra's grammar; raises `UserError` at the first that is none."""
    return [_parse(argument) for argument in arguments]


def settings(arguments: Sequence[str]) -> list[Override]:
    """As `parse`; raises `UserError` where a setting has several values."""
    overrides = parse(arguments)
    for override in overrides:
        if override.is_sweep_override():
            raise UserError(f"{override.input_line}: several values need -m (python -m attnbench -m ...)")
    return overrides


@cache
def _parse(argument: str) -> Override:
    if "=" not in argument and not argument.startswith("~"):
        raise UserError(f"'{argument}' is no setting: settings are given as key=value (see --help)")
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        key, _, value = argument.partition("=")
        quoted = f"'{key}=\"{value}\"'"
        raise UserError(
            f"{argument}: Hydra's grammar cannot read it; special signs need quotes: {quoted}"
        ) from None


def expand(arguments: Sequence[str]) -> list[list[str]]:
    """All combinations of the comma lists, ranges and choices in the arguments, the last varying fastest."""
    return [list(row) for row in itertools.product(*(list(_variants(o)) for o in parse(arguments)))]


def _variants(override: Override) -> Iterator[str]:
    if not override.is_sweep_override():
        yield override.input_line or ""
        return
    for value in override.sweep_string_iterator():
        yield f"{override.get_key_element()}={cast(str, value)}"


@cache
def configure(*arguments: str) -> Config:
    """The checked configuration that the arguments ask for; raises `UserError` in the user's words."""
    config = unchecked(*arguments)
    validate(config)
    return config


@cache
def unchecked(*arguments: str) -> Config:
    """As `configure`, for words that need not make sense before more are said."""
    return _counted(_resolve(*arguments))


def assemble(*arguments: str) -> Config:
    """As `configure`, from parts that are composed once each: quick where configurations share parts.

    A site that the network lacks is let through: in a grid it makes a cell impossible, no request wrong.
    """
    own: dict[str, list[Override]] = {}
    others = []
    overrides = settings(arguments)
    for override in overrides:
        if (name := _part_of(override)) in OWN:
            own.setdefault(name, []).append(override)
        else:
            others.append(override.input_line or "")
    found = {name: _part(name, words) for name, words in own.items()}
    if ENTANGLED in found.values() or any(map(_refers, overrides)):
        config = unchecked(*arguments)
        check_shared(config)
    else:
        config = replace(_shared(*others), **found)
    check_own(config)
    return config


@cache
def _shared(*arguments: str) -> Config:
    """What many cells have in common, from its parts."""
    parts: dict[str, list[Override]] = {}
    for override in settings(arguments):
        parts.setdefault(_part_of(override), []).append(override)
    found = {name: _part(name, overrides) for name, overrides in parts.items()}
    entangled = {name for name, part in found.items() if part is ENTANGLED}
    config = _counted(replace(_resolve(), **{**found, **_together(entangled, arguments)}))
    check_shared(config)
    return config


def _together(names: set[str], arguments: Sequence[str]) -> dict[str, Any]:
    """These settings of the top level and all that change with them, by the arguments about them."""
    own = _resolve(*(line for line in arguments if _part_of(_parse(line)) in names))
    more = names | _changed(own)
    return {name: getattr(own, name) for name in names} if more == names else _together(more, arguments)


def _refers(override: Override) -> bool:
    """Whether what it says cannot be known without the other settings."""
    return bool(override.package) or "${" in (override.input_line or "")


def _part_of(override: Override) -> str:
    return override.key_or_group.partition(".")[0]


def _counted(config: Config) -> Config:
    """The configuration with its number of classes, frames, joints and labels known."""
    return replace(config, data=data.settle(config.data, config.task.name))


def _part(name: str, overrides: Sequence[Override]) -> Any:
    """One setting of the configuration's top level, by the overrides that are about it, or `ENTANGLED`."""
    if any(o.is_add() or o.is_force_add() or o.is_delete() for o in overrides):
        return ENTANGLED
    if name == "attn":
        return _attention(overrides)
    last = overrides[-1].value()
    if name in PLAIN and type(last) is PLAIN[name]:
        return last
    return _composed(name, *(o.input_line or "" for o in overrides))


def _attention(overrides: Sequence[Override]) -> dict[str, Any]:
    """A mechanism's name and options, without composing: they need no file."""
    attn = dict(_resolve().attn)
    for override in sorted(overrides, key=lambda o: "." in o.key_or_group):
        key, value = override.key_or_group, override.value()
        if key == "attn":
            options = mechanisms.entry(str(value)).options.items()
            attn = {"name": value} | {k: list(v) if isinstance(v, tuple) else v for k, v in options}
        else:
            attn[key.removeprefix("attn.")] = value
    return attn


@cache
def _composed(name: str, *arguments: str) -> Any:
    """One setting of the top level as composed by itself; `ENTANGLED` where others change with it."""
    own = _resolve(*arguments)
    return ENTANGLED if _changed(own) - {name} else getattr(own, name, ENTANGLED)


def _changed(config: Config) -> set[str]:
    """Names of the top level whose settings are not those of a request without arguments."""
    return {f.name for f in fields(Config) if getattr(config, f.name) != getattr(_resolve(), f.name)}


@cache
def _resolve(*arguments: str) -> Config:
    overrides = settings(arguments)
    chosen = [o for o in overrides if _choose(o)]
    with _hydra():
        composed = _compose(*(o.input_line or "" for o in chosen))
        for override in overrides:
            if override not in chosen and not override.is_force_add():
                _known(override, composed)
        if len(chosen) < len(overrides):
            composed = _compose(*arguments)
        config = OmegaConf.to_object(composed)
    if not isinstance(config, Config):
        raise UserError("conf/config.yaml does not start from the schema")
    return config


def _choose(override: Override) -> bool:
    """Whether it picks a file of a group; raises `UserError` where that file does not exist."""
    group, value = override.key_or_group, override.value()
    if group not in GROUPS or override.is_delete():
        return False
    if not isinstance(value, str) or value not in choices(group):
        raise unknown(group if group != "attn" else "mechanism", str(value), choices(group))
    return True


def _known(override: Override, config: DictConfig) -> None:
    key, node = override.key_or_group, config
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig) or part not in node:
            at = ".".join(parts[:depth])
            here = [str(k) for k in node] if isinstance(node, DictConfig) else []
            raise _unknown_key(key, part, at, here, list(_paths(config)))
        node = node._get_node(part)  # type: ignore[assignment]  # a missing or null node is known too


def _unknown_key(key: str, part: str, at: str, here: list[str], paths: list[str]) -> UserError:
    close = [f"{at}.{name}" if at else name for name in near(part, here)] or near(key, paths)
    where = f"{at or 'the configuration'} has: {', '.join(here)}" if here else f"{at} takes no settings"
    return UserError(
        f"unknown setting '{key}': " + (f"did you mean {' or '.join(close)}?" if close else where)
    )


def _paths(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, DictConfig) and not node._is_none():
        for name in map(str, node):
            path = f"{prefix}.{name}" if prefix else name
            yield path
            yield from _paths(node._get_node(name), path)


@cache
def _compose(*arguments: str) -> DictConfig:
    try:
        return hydra_compose("config", [*arguments, *_searched()])
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_reason(error)) from None


def _searched() -> list[str]:
    """Hydra's word for the users' folders, where there are any."""
    found = ",".join(f"'file://{folder.absolute()}'" for folder in sources.folders())
    return [f"hydra.searchpath=[{found}]"] if found else []


def _reason(error: Exception) -> str:
    """The innermost message, and the key that it is about."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    key = getattr(cause, "full_key", None)
    message = str(cause).strip().splitlines()[0]
    return f"{key}: {message}" if key else str(error).splitlines()[0]


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra set up on `conf/`, with the schema and one choice of `attn` for each mechanism."""
    _store()
    with initialize_config_dir(str(folder("conf").resolve()), version_base="1.3"):
        yield


@cache
def _store() -> None:
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for name, found in mechanisms.known().items():
        store.store(group="attn", name=name, node={"name": name, **found.options})


def attention(value: str | Mapping[str, Any]) -> list[str]:
    """The arguments that ask for one mechanism, from `eca` or `{name: eca, kernel: 3}`."""
    if isinstance(value, str):
        return [f"attn={value}"]
    options = {k: v for k, v in value.items() if k != "name"}
    return [f"attn={value.get('name')}", *(f"attn.{k}={literal(v)}" for k, v in options.items())]


def literal(value: Any) -> str:
    """A value of a YAML file as Hydra's grammar has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
