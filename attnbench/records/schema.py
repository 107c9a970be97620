"""What a record is: its parts and their types, the versions that were, and the way from one to the next."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

VERSION = 2
Status = Literal["done", "failed", "diverged", "out_of_memory", "skipped"]
STATUSES: tuple[str, ...] = get_args(Status)


class Names(TypedDict, total=False):
    """What a person calls a cell."""

    task: str
    data: str | None
    backbone: str
    attn: str
    mechanism: str
    category: str
    site: str | None
    recipe: str | None
    seed: int


class Latency(TypedDict, total=False):
    """Time of one step beside the control's, in the same process."""

    batch: int
    threads: int
    rounds: int
    device: str
    mode: str
    precision: str
    channels_last: bool
    training: bool
    median_ms: float
    q1_ms: float
    q3_ms: float
    control_ms: float
    control_q1_ms: float
    control_q3_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    noise: float
    cv: float
    steady: bool
    cpu_ratio: float | None
    disturbed: bool | None
    foreign: float | None
    gpu_before: dict[str, Any] | None
    gpu_after: dict[str, Any] | None


class Throughput(TypedDict, total=False):
    """Images a second at the best batch."""

    images_per_s: float
    batch: int


class Cost(TypedDict, total=False):
    """What a network costs for one input; None where it was not measured."""

    input: list[int]
    params: int
    params_attention: int
    params_head: int
    params_auxiliary: int
    params_no_decay: int
    buffers: int
    macs: int | None
    macs_head: int
    macs_auxiliary: int
    macs_head_fvcore: int
    macs_auxiliary_fvcore: int
    macs_fvcore: int | None
    elementwise: int | None
    elementwise_fvcore: int | None
    activations: int | None
    activations_fvcore: int | None
    pixels_seen: int
    pixels: int
    own_attention: list[str]  # mechanisms that the network has of itself, in the control too
    uncounted: list[str]
    uncounted_fvcore: list[str]
    unmeasured: dict[str, str]
    peak_memory_bytes: int | None
    peak_memory_training_bytes: int | None
    peak_memory_training_batch: int
    latency: Latency | None
    latency_training: Latency | None
    throughput: Throughput | None
    throughput_of_control: Throughput | None


class Images(TypedDict, total=False):
    """How many inputs each split has."""

    train: int
    val: int
    test: int


class Provenance(TypedDict, total=False):
    """Where the numbers come from."""

    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    device: str
    threads: int
    processes: int
    flush_denormal: bool
    started: str  # ISO 8601
    wall_s: float
    seconds: dict[str, float]
    micro_batch: int
    images_per_s: float | None
    data_checksum: str | None
    images: Images | None
    batch_norm: bool  # whether batch norm is at work in the network
    dead_parameters: list[str]  # that no gradient reached
    stated: list[str]  # what the mechanism's paper states for its own parameters


class Record(TypedDict, total=False):
    """One cell's record."""

    schema: int
    key: str  # name of its file
    status: Status
    reason: str | None
    cell: Names
    table: str  # fingerprint of what the cells of one leaderboard share
    digest: str
    code: dict[str, str]
    request: list[str]  # the words that asked for it
    config: dict[str, Any]
    metrics: dict[str, dict[str, float | None]] | None
    cost: Cost | None
    provenance: Provenance | None
    curve: list[dict[str, float]]
    traceback: str


NEEDED = ("key", "status", "cell", "table")
NAMED = ("task", "backbone", "attn", "mechanism", "category", "seed")  # of a cell, never None
TASKS_BEFORE = {  # cost-only tasks, which are recipe=none now -> the task whose network they were of
    "profile": "cls",
    "seg_profile": "seg",
    "clip_profile": "clip",
    "retrieval_profile": "retrieval",
    "sequence_profile": "sequence",
    "skeleton_profile": "skeleton",
}


def current(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record in the present version; raises `ValueError` for a version that is not known."""
    version = record.get("schema")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(f"schema {version}, this version reads 1 to {VERSION}")
    made = dict(record)
    for step in range(version, VERSION):
        made = MIGRATIONS[step](made)
    return {**made, "schema": VERSION}


def _with_present_names(record: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: cost-only tasks became `recipe=none`, which says that nothing is trained."""
    names, config = record.get("cell"), record.get("config") or {}
    if not isinstance(names, dict) or not isinstance(config, dict):
        return record
    task, trained = TASKS_BEFORE.get(str(names.get("task"))), config.get("task") or {}
    if not isinstance(trained, dict) or (task is None and trained.get("trains") is not False):
        return record
    parts: dict[str, Any] = {"task": {"name": task or trained.get("name")}, "recipe": {"trains": False}}
    changed = {name: {**(config.get(name) or {}), **part} for name, part in parts.items()}
    return {**record, "cell": {**names, "task": task or names["task"]}, "config": {**config, **changed}}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _with_present_names}


def problem(record: Mapping[str, Any]) -> str | None:
    """What keeps this from being a record of the present version; None where nothing does."""
    if missing := [key for key in NEEDED if key not in record]:
        return f"not a record: {', '.join(missing)} missing"
    if record["status"] not in STATUSES:
        return f"status {record['status']!r}; known: {', '.join(STATUSES)}"
    cell = record["cell"]
    if not isinstance(cell, dict) or type(cell.get("seed")) is not int:
        return "no cell with a whole number as its seed"
    names, parts = _kinds(Names), _kinds(Record)
    wrong = [f"cell.{k}" for k, kinds in names.items() if not isinstance(cell.get(k), kinds)]
    wrong += [k for k in record if k in parts and not isinstance(record[k], parts[k])]
    wrong += [] if wrong else _misshapen(record)
    return f"of a type that no record has: {', '.join(wrong)}" if wrong else None


def _misshapen(record: Mapping[str, Any]) -> list[str]:
    """Dotted names of what is no mapping, or no list, where every record has one."""
    found = [".".join(path) for path, kind in _branches() if not isinstance(_at(record, path), kind)]
    splits = record.get("metrics") or {}
    return found + [f"metrics.{k}" for k, scores in splits.items() if not isinstance(scores, dict)]


def _at(record: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What is there; None where it, or what it would be a part of, is missing or of another kind."""
    value: Any = record
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


@cache
def _branches() -> tuple[tuple[tuple[str, ...], tuple[type, ...]], ...]:
    """Paths, below a record's parts, at which there is a mapping or a list, or nothing."""
    return tuple(
        branch for key, hint in get_type_hints(Record).items() for branch in _below((key,), _part(key, hint))
    )


def _part(key: str, hint: Any) -> Any:
    return _config() if key == "config" else hint


def _below(path: tuple[str, ...], place: Any) -> Iterator[tuple[tuple[str, ...], tuple[type, ...]]]:
    for key, hint in (_inside(place) or {}).items():
        hints = [kind for kind in (get_args(hint) if _is_union(hint) else (hint,)) if kind is not type(None)]
        kind = dict if is_dataclass(hints[0]) else _outermost(hints[0])
        if kind in (dict, list):
            yield (*path, key), (kind, type(None))
            if get_origin(hints[0]) is None:  # in a mapping whose keys are free nothing is known
                yield from _below((*path, key), hints[0])


@cache
def _kinds(part: type) -> dict[str, tuple[type, ...]]:
    """Key -> classes that its value may be of; what is not needed may be None."""
    needed = NAMED if part is Names else NEEDED
    return {
        key: tuple({_outermost(kind) for kind in (get_args(hint) if _is_union(hint) else (hint,))})
        + (() if key in needed else (type(None),))
        for key, hint in get_type_hints(part).items()
    }


def _is_union(hint: Any) -> bool:
    return isinstance(hint, UnionType) or get_origin(hint) is Union


def _outermost(hint: Any) -> type:
    origin = get_origin(hint)
    if origin is Literal:
        return str
    if origin is None:
        return dict if is_typeddict(hint) else hint
    return origin


@cache
def check(path: tuple[str, ...]) -> None:
    """Raise `LookupError` for a path of keys that no record has: a name in a string is a name, too."""
    place: Any = Record
    for depth, key in enumerate(path):
        hints = _inside(place)
        if hints is None:
            return
        if key not in hints:
            raise LookupError(f"records have no {'.'.join(path[: depth + 1])}; there: {', '.join(hints)}")
        place = hints[key] if path[: depth + 1] != ("config",) else _config()


def _inside(place: Any) -> dict[str, Any] | None:
    """Key -> type of a part; None for one whose keys are free."""
    for kind in (place, *get_args(place)):
        if is_typeddict(kind) or is_dataclass(kind):
            return get_type_hints(kind)
    return None


def _config() -> type:
    from attnbench.config.schema import Config

    return Config
