"""Words in, checked configurations out. The only file that knows Hydra.

Hydra composes once for all words that differ in `OWN` alone; these three are set in the result.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attnbench import data, mechanisms
from attnbench.config import files, keys, options
from attnbench.config.rules import check_own, check_shared, check_site
from attnbench.config.schema import GROUPS, Config, choices
from attnbench.errors import UserError, unknown

OWN = ("attn", "site", "seed")  # settings in which the cells of one table differ
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
    lines = [_hydra_word(_parse(word)) for word in words]
    composed = _composed(lines, places)
    refers = "${" in OmegaConf.to_yaml(composed)
    return _Shared(composed, None if refers else _settings(composed))


def _composed(lines: list[str], places: tuple[Path, ...]) -> DictConfig:
    with _hydra():
        try:
            return hydra_compose("config", [*lines, *_search(places)])
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(_reason(error)) from None


def _search(places: Sequence[Path]) -> list[str]:
    """The word that adds folders to those in which Hydra searches."""
    listed = ",".join(keys.text(f"file://{place}") for place in places)
    return [f"hydra.searchpath=[{listed}]"] if places else []


def _settings(composed: DictConfig) -> Config:
    """The composed settings, with the numbers of classes, frames, joints and labels known."""
    try:
        config = cast(Config, OmegaConf.to_object(composed))
    except OmegaConfBaseException as error:
        raise UserError(_reason(error)) from None
    return replace(config, data=data.settle(config.data, config.task.name))


def _reason(error: Exception) -> str:
    """The innermost message, and the key that it is about, in one line."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    key = getattr(cause, "full_key", None)
    if key:
        return f"{key}: {str(cause).strip().splitlines()[0]}"
    first, *more = str(error).strip().splitlines()
    return f"{first} {more[0]}" if first.endswith(":") and more else first


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra set up on `conf/` and the schema, without its launchers, loggers and help texts.

    An application around attnbench keeps its own Hydra.
    """
    store, outer = ConfigStore.instance(), GlobalHydra.instance().hydra
    before, store.repo = store.repo, _repository()
    GlobalHydra.instance().hydra = None
    try:
        with initialize_config_dir(str(files.folder("conf").resolve()), version_base="1.3"):
            yield
    finally:
        store.repo = before
        GlobalHydra.instance().hydra = outer


@cache
def _repository() -> dict[str, Any]:
    store = ConfigStore.instance()
    before, store.repo = store.repo, {}
    store.store(name="schema", node=Config)
    store.store(group="attn", name="none", node={"name": "none"})  # others are set in the result
    store.store(group="hydra", name="config", node=HydraConf(defaults=[]), provider="hydra")
    ours, store.repo = store.repo, before
    return ours


@cache
def read(group: str, name: str) -> dict[str, Any]:
    """What a file of a group says, with the shared parts that it builds on and the recipe that it chooses."""
    files.check(group, name)
    if group != "task" and files.is_ours(group, name):
        return _plain_dict(_read_alone(group, name))
    composed = _shared((f"{group}={name}",), files.added()).composed
    recipe = {"recipe": composed.recipe.name} if group == "task" else {}
    return {**_plain_dict(composed[group]), **recipe}


def _read_alone(group: str, name: str) -> DictConfig:
    """The file by itself, which is quicker than in a whole configuration."""
    with _hydra():
        try:
            return hydra_compose(f"{group}/{name}")[group]
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(_reason(error)) from None


def _check_options(words: tuple[str, ...], shared: _Shared, places: tuple[Path, ...]) -> None:
    """Raise `UserError` for an option that the chosen files do not have, or have with another type."""
    rest = tuple(word for word in words if not _sets(word, FREE))
    if rest == words:
        return
    defaults = _shared(rest, places).composed
    for section, whose in FREE.items():
        group = section.partition(".")[0]
        given, known = (_plain_dict(OmegaConf.select(x, section)) for x in (shared.composed, defaults))
        changed = {k: v for k, v in given.items() if k not in known or v != known[k]}
        part = shared.composed[group]
        options.check_section(changed, known, section, f"{whose} {part.name}", part.get("source"))


def _plain_dict(node: Any) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(node))


def _sets(word: str, sections: Mapping[str, str]) -> bool:
    key = _parse(word).key_or_group
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def _complete(shared: _Shared, own: Sequence[Override]) -> Config:
    """The shared settings with one cell's own."""
    if shared.config is not None and not any("${" in (o.input_line or "") for o in own):
        return replace(shared.config, **_own(own, shared.config.attn))
    composed = shared.composed.copy()
    OmegaConf.set_struct(composed, False)
    for name, value in _own(own, _plain_dict(composed.attn)).items():
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
    for override in settings(words):
        if override.key_or_group.partition(".")[0] not in OWN:
            others.append(override.input_line or "")
            continue
        _check_form(override)
        own.append(override)
    return own, tuple(others)


def _hydra_word(override: Override) -> str:
    """The word as Hydra takes it; raises `UserError` where nothing is called so."""
    key, line = override.key_or_group, (override.input_line or "").lstrip("+~")
    _check_form(override)
    if key in GROUPS:
        _check_choice(key, override.value())
        return line
    free = keys.check(key)
    if override.type == OverrideType.DEL:
        if not free:
            raise UserError(f"~{key}: a setting always has a value; give another one")
        return f"~{line}"
    return f"++{line}" if free else line


def _check_form(override: Override) -> None:
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


def parse(arguments: Sequence[str]) -> list[Override]:
    """Read `key=value` arguments by Hydra's grammar; raises `UserError` at the first that is not one."""
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


def attention(value: str | Mapping[str, Any]) -> list[str]:
    """The arguments that ask for one mechanism, from `eca` or `{name: eca, kernel: 3}`."""
    if isinstance(value, str):
        return [f"attn={value}"]
    return [
        f"attn={value.get('name')}",
        *(f"attn.{k}={keys.text(v)}" for k, v in value.items() if k != "name"),
    ]
