"""Words in, checked configurations out.

Hydra composes once for all words that differ in attn, site and seed alone; these three are set in the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attnbench import data, mechanisms
from attnbench.config import compose, files, grammar, keys, options
from attnbench.config.rules import check_own, check_shared, check_site
from attnbench.config.schema import Config
from attnbench.errors import UserError

FREE = {"task.options": "task", "data.options": "data set", "backbone.args": "backbone"}  # -> whose they are


def configure(words: Sequence[str], any_site: bool = False) -> Config:
    """The checked configuration that the words ask for; raises `UserError`.

    `any_site`: accept a site that the network does not have, which makes a cell of a grid impossible.
    """
    own, others = _split(words)
    shared = _checked(others, files.added())
    config = _complete(shared, own)
    if shared.config is None:
        check_shared(config)
    check_own(config)
    if not any_site:
        check_site(config)
    return config


def unchecked(*words: str) -> Config:
    """As `configure`, for words that make sense only with others."""
    own, others = _split(words)
    return _complete(_shared(others, files.added()), own)


@dataclass(frozen=True)
class _Shared:
    """What many cells have in common."""

    composed: DictConfig
    config: Config | None  # None: some setting refers to others by ${...}


@cache
def _checked(words: tuple[str, ...], places: tuple[Path, ...]) -> _Shared:
    shared = _shared(words, places)
    _check_options(words, shared, places)
    if shared.config is not None:
        check_shared(shared.config)
    return shared


@cache
def _shared(words: tuple[str, ...], places: tuple[Path, ...]) -> _Shared:
    lines = [grammar.for_hydra(grammar.read(word)) for word in words]
    composed = compose.composed(lines, places)
    return _Shared(composed, None if _refers(OmegaConf.to_container(composed)) else _settings(composed))


def _refers(value: Any) -> bool:
    """Whether a setting refers to others, whose values are then not known yet."""
    if isinstance(value, dict | list):
        return any(map(_refers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and "${" in value


def _settings(composed: DictConfig) -> Config:
    """The composed settings, with the numbers of classes, frames, joints and labels known."""
    try:
        config = cast(Config, OmegaConf.to_object(composed))
    except OmegaConfBaseException as error:
        raise UserError(compose.reason(error)) from None
    return replace(config, data=data.settle(config.data, config.task.name))


def _check_options(words: tuple[str, ...], shared: _Shared, places: tuple[Path, ...]) -> None:
    """Raise `UserError` for an option that the chosen files do not have, or have with another type."""
    rest = tuple(word for word in words if not _sets(word, FREE))
    if rest == words:
        return
    defaults = _shared(rest, places).composed
    for section, whose in FREE.items():
        group = section.partition(".")[0]
        given, known = (compose.plain(OmegaConf.select(x, section)) for x in (shared.composed, defaults))
        changed = {k: v for k, v in given.items() if k not in known or v != known[k]}
        part = shared.composed[group]
        if not changed:
            continue
        options.check_section(changed, known, section, f"{whose} {part.name}", part.get("source"))


def _sets(word: str, sections: Mapping[str, str]) -> bool:
    key = grammar.read(word).key_or_group
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def _complete(shared: _Shared, own: Sequence[Override]) -> Config:
    """The shared settings with one cell's own."""
    if shared.config is not None and not any("${" in (o.input_line or "") for o in own):
        return replace(shared.config, **_own(own, shared.config.attn))
    composed = shared.composed.copy()
    OmegaConf.set_struct(composed, False)
    for name, value in _own(own, compose.plain(composed.attn)).items():
        OmegaConf.update(composed, name, value, merge=False)
    return _settings(composed)


def _own(overrides: Sequence[Override], attn: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for override in sorted(overrides, key=lambda o: "." in o.key_or_group):
        key, value = override.key_or_group, override.value()
        if key == "attn":
            attn = _mechanism(value)
        elif key.startswith("attn."):
            attn = {**attn, key.removeprefix("attn."): value}
        else:
            found[key] = _plain(key, value)
    return {**found, "attn": attn}


def _mechanism(name: Any) -> dict[str, Any]:
    """A mechanism's name and options."""
    if isinstance(name, dict):
        raise UserError(f"attn={name}: name the mechanism, then its options: attn=se attn.reduction=8")
    defaults = mechanisms.entry(str(name)).options.items()
    return {"name": name} | {k: list(v) if isinstance(v, tuple) else v for k, v in defaults}


def _plain(key: str, value: Any) -> Any:
    kind = {"seed": int, "site": str}.get(key)
    if kind and type(value) is not kind and "${" not in str(value):
        raise UserError(f"{key}={value}: must be {'a whole number' if kind is int else 'the name of a site'}")
    return value


def _split(words: Sequence[str]) -> tuple[list[Override], tuple[str, ...]]:
    """The words about one cell's own settings, and the others."""
    own: list[Override] = []
    others: list[str] = []
    for override in grammar.settings(words):
        if override.key_or_group.partition(".")[0] not in grammar.OWN:
            others.append(override.input_line or "")
            continue
        grammar.check_form(override)
        own.append(override)
    return own, tuple(others)


def attention(value: str | Mapping[str, Any]) -> list[str]:
    """The arguments that ask for one mechanism, from `eca` or `{name: eca, kernel: 3}`."""
    if isinstance(value, str):
        return [f"attn={value}"]
    return [
        f"attn={value.get('name')}",
        *(f"attn.{k}={keys.text(v)}" for k, v in value.items() if k != "name"),
    ]
