"""Hydra composes `conf/`, the users' folders and words into one configuration."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attnbench.config import files, keys
from attnbench.config.schema import Config
from attnbench.errors import UserError
from attnbench.garbage import uncollected


def composed(words: Sequence[str], places: Sequence[Path]) -> DictConfig:
    """The whole configuration, with what it refers to unresolved; raises `UserError`."""
    with _hydra():
        try:
            return hydra_compose("config", [*words, *_search(places)])
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(reason(error)) from None


def _search(places: Sequence[Path]) -> list[str]:
    """The word that adds folders to those in which Hydra searches."""
    listed = ",".join(keys.text(f"file://{place}") for place in places)
    return [f"hydra.searchpath=[{listed}]"] if places else []


def reason(error: Exception) -> str:
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
    Plugins.instance()  # they register with the store as it is
    store, outer = ConfigStore.instance(), GlobalHydra.instance().hydra
    before, store.repo = store.repo, _repository()
    GlobalHydra.instance().hydra = None
    try:
        with uncollected(), initialize_config_dir(str(files.folder("conf").resolve()), version_base="1.3"):
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
        with _hydra():
            return _read_alone(group, name)
    whole = composed([f"{group}={name}"], files.added())
    recipe = {"recipe": whole.recipe.name} if group == "task" else {}
    return {**plain(whole[group]), **recipe}


def plain(node: Any) -> dict[str, Any]:
    """A section as a dictionary."""
    return cast(dict[str, Any], OmegaConf.to_container(node, enum_to_str=True))


def read_all(group: str) -> dict[str, dict[str, Any]]:
    """What each file of a group says, by name."""
    every = files.names(group)
    with _hydra():
        ours = {name: _read_alone(group, name) for name in every if files.is_ours(group, name)}
    return {name: ours[name] if name in ours else read(group, name) for name in every}


def _read_alone(group: str, name: str) -> dict[str, Any]:
    """The file by itself, which is quicker than in a whole configuration."""
    try:
        return plain(hydra_compose(f"{group}/{name}")[group])
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(reason(error)) from None
