"""Under what conditions a table's numbers were measured, and where its cells differ in them."""

from dataclasses import asdict
from typing import Any

from attnbench import tasks
from attnbench.config.acting import acts
from attnbench.config.fields import flatten
from attnbench.config.recipe import Recipe
from attnbench.data.contents import FILES
from attnbench.records import Record
from attnbench.report.load import VARIES, at, distinct, images, number
from attnbench.report.tables.contents import CHECKSUM
from attnbench.report.tables.folds import FOLD
from attnbench.report.tables.metrics import chance
from attnbench.report.tables.table import Table

OPEN = ("sites",)  # of task and backbone: where attention could stand; where it does, each row says
OFF = ("", "0", "0.0", "False", "None", "[]", "[1.0]", "{}", "no", "none")  # values of what is not used
SHORT = 10  # digits of a commit
ALWAYS = (  # of a recipe, whether or not it has its default
    *("epochs", "batch_size", "optimizer.name", "optimizer.lr", "optimizer.momentum"),
    *("optimizer.weight_decay", "schedule.name", "augment.crop", "augment.flip"),
)
SPLITS = ("train", "val", "test")


def conditions(table: Table) -> list[tuple[str, str]]:
    """What is constant in a table, or the list of what is not, as (heading, text)."""
    records = table.records
    stated = [
        ("Task", _task(records)),
        ("Data", _data(records)),
        ("Constant-class baseline", _floor(records)),
        ("Backbone", _backbone(records)),
        ("Recipe", _recipe(records)),
        ("Cost", _cost(table)),
        ("Device", device(records)),
        ("Versions", _versions(records)),
        ("Commit", _commit(records)),
        ("Run dates", _dates(records)),
        ("Fingerprint", table.fingerprint),
    ]
    return [(heading, text) for heading, text in stated if text]


def differing(table: Table, others: list[Table]) -> str:
    """The settings in which tables of the same name differ, with this table's values."""
    return ", ".join(f"{key}={value}" for key, value in apart(table, others).items())


def apart(table: Table, others: list[Table]) -> dict[str, Any]:
    """This table's values of the settings in which the others have different ones, by dotted name.

    Of tables with the same settings, what else tells this one from the others: its data, then its code. None
    where there are no others.
    """
    if not others:
        return {}
    mine = dict(flatten(_config(table)))
    theirs = [dict(flatten(_config(other))) for other in others]
    keys = sorted({key for config in (mine, *theirs) for key in config})
    differ = {k: mine.get(k) for k in keys if any(config.get(k) != mine.get(k) for config in theirs)}
    facts = ((text, [_fact(t, path) for t in (table, *others)]) for text, path in FACTS.items())
    return differ or next(({text: own} for text, (own, *rest) in facts if own and own not in rest), {})


FACTS = {"data checksum": CHECKSUM, "commit": ("provenance", "commit")}  # that are no settings


def _fact(table: Table, path: tuple[str, ...]) -> str:
    return " ".join(sorted({v.removeprefix(FILES)[:SHORT] for v in distinct(table.records, *path)}))


def _config(table: Table) -> dict[str, Any]:
    config = next((c for r in table.records if isinstance(c := r.get("config"), dict)), {})
    parts = {k: v for k, v in config.items() if k not in VARIES}
    for part in ("task", "backbone"):
        if isinstance(parts.get(part), dict):
            parts[part] = {k: v for k, v in parts[part].items() if k not in OPEN}
    return parts


def _task(records: list[Record]) -> str:
    """The task's options that are on."""
    card = tasks.cards().get(records[0]["cell"]["task"]) if records else None
    on = _options(records, "task")
    settings = [text for text in on if card is None or text.partition("=")[0] in card.stated]
    return ", ".join([*distinct(records, "cell", "task"), *settings]) if settings else ""


def _options(records: list[Record], part: str, key: str = "options") -> list[str]:
    """`option=value` of those options of a part of the settings that are on."""
    names = dict.fromkeys(name for r in records for name in at(r, "config", part, key) or {})
    found = {name: _setting(records, part, key, name) for name in names if name != FOLD[-1]}
    return [f"{name}={value}" for name, value in found.items() if value not in OFF]


def _data(records: list[Record]) -> str:
    if not (name := distinct(records, "cell", "data")):
        return ""
    folds = next((f for r in records if isinstance(f := at(r, *FOLD), list)), [])
    mean = [f"mean over folds {' '.join(map(str, folds))}"] if folds else []
    parts = [*name, *_shape(records), *_sizes(records), *_options(records, "data"), *mean]
    checksum = _one_or_mixed("checksum", distinct(records, *CHECKSUM))
    return ", ".join([*parts, checksum] if checksum else parts)


def _sizes(records: list[Record]) -> list[str]:
    """How many images train, choose and test: as counted, else as the settings limit them."""
    found = {split: sorted({n for r in records if (n := images(r, split)) is not None}) for split in SPLITS}
    return [
        f"{split} {_one_or_mixed('', [f'{n:,.0f}' for n in sizes])}"
        for split, sizes in found.items()
        if sizes
    ]


def _floor(records: list[Record]) -> str:
    """What a network that gives every pixel the same class would score, where the records have it."""
    measured = chance(records[0]) if records else None
    scores = (number(r, "metrics", "test", measured.key) for r in records) if measured else ()
    found = sorted({f"{score:.2f} %" for score in scores if score is not None})
    return f"a constant class scores {_one_or_mixed('', found)} {measured.name}" if measured and found else ""


def _shape(records: list[Record]) -> list[str]:
    """Height and width of images, frames of clips, joints of skeletons, labels of sequences at most."""
    found = {key: _setting(records, "data", key) for key in ("frames", "joints", "length")}
    sides = [_setting(records, "data", key) for key in ("size", "width") if not found["joints"]]
    pixels = [f"{'x'.join(filter(None, sides))} px"] if any(sides) else []
    return [*pixels, *(f"{key} {value}" for key, value in found.items() if value)]


def _backbone(records: list[Record]) -> str:
    parts = distinct(records, "cell", "backbone")
    parts += _options(records, "backbone", "args")
    if stem := _setting(records, "backbone", "stem"):
        parts.append(f"stem {stem}")
    if _setting(records, "backbone", "pretrained") == "True":
        parts.append("pretrained")
    if own := _setting(records, "backbone", "contains") or _own_attention(records):
        parts.append(f"contains {own} of its own, in the control too")
    if _setting(records, "backbone", "last_norm") == "one":
        parts.append("the last norm of each block starts at 1, in the control too")
    return ", ".join(parts)


def _own_attention(records: list[Record]) -> str:
    """What was recognized in the control, where the backbone's settings name none."""
    controls = (r for r in records if r["cell"]["mechanism"] == "none")
    return next((" and ".join(own) for r in controls if (own := at(r, "cost", "own_attention"))), "")


def _recipe(records: list[Record]) -> str:
    """The recipe's name, then every setting that differs from its default, as the command line takes it."""
    names = distinct(records, "cell", "recipe")
    kinds = _unlike(records, "config", "recipe")
    usual = dict(flatten(asdict(Recipe())))
    flats = [dict(flatten(at(r, "config", "recipe") or {})) for r in kinds]
    keys = dict.fromkeys(key for flat in flats for key in flat if key != "name" and acts(key, flat))
    found = {key: _values(flats, key) for key in keys}  # also of settings that are no longer there
    if "sgd" in found.get("optimizer.name", ""):
        found["optimizer.name"] = found["optimizer.name"].replace("sgd", "sgd (Nesterov)")
    stated = [k for k, v in found.items() if v and (k in ALWAYS or k not in usual or v != str(usual[k]))]
    order = [*usual, *found]  # that of the schema
    settings = [f"{key}={found[key]}" for key in sorted(stated, key=order.index)]
    return ": ".join([*names, ", ".join(settings)]) if names and settings else ", ".join(names)


def _cost(table: Table) -> str:
    """At what input it was counted, and how latency was timed."""
    records = table.records
    parts = [f"input {table.side}"] if table.side else []
    for key, text in (("batch", "latency at batch"), ("threads", "threads"), ("rounds", "rounds")):
        if found := distinct(records, "cost", "latency", key):
            parts.append(f"{text} {' and '.join(found)}")
    if timed := distinct(records, "cost", "latency", "device"):
        parts.append(_one_or_mixed("timed on", timed))
    return ", ".join(parts)


def device(records: list[Record]) -> str:
    """What the cells ran on, and with how many threads."""
    name = _one_or_mixed("", distinct(records, "provenance", "device"))
    threads = _one_or_mixed("threads", distinct(records, "provenance", "threads"))
    return ", ".join(part for part in (name, threads) if part)


def _versions(records: list[Record]) -> str:
    """Each library's version, or all of its versions where the cells differ."""
    libraries = sorted({k for r in records for k in (at(r, "provenance", "versions") or {})})
    found = [_one_or_mixed(name, distinct(records, "provenance", "versions", name)) for name in libraries]
    return ", ".join(text for text in found if text)


def _commit(records: list[Record]) -> str:
    dirty = sum(at(r, "provenance", "dirty") is True for r in records)
    commits = sorted({c[:SHORT] for c in distinct(records, "provenance", "commit")})
    text = _one_or_mixed("", commits)
    return f"{text}; {dirty} of {len(records)} cells with uncommitted changes" if dirty else text


def _dates(records: list[Record]) -> str:
    days = sorted({start[:10] for start in distinct(records, "provenance", "started")})
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""


def _setting(records: list[Record], *path: str) -> str:
    return " and ".join(distinct(records, "config", *path))


def _values(flats: list[dict[str, Any]], key: str) -> str:
    """The different values of a setting, as `_setting` has them."""
    return " and ".join(sorted({str(v) for flat in flats if (v := flat.get(key)) not in (None, "")}))


def _unlike(records: list[Record], *path: str) -> list[Record]:
    """Of records that agree in the part at that path one each."""
    parts: list[Any] = []
    kept = []
    for record in records:
        if (part := at(record, *path)) not in parts:
            parts.append(part)
            kept.append(record)
    return kept


def _one_or_mixed(name: str, values: list[str]) -> str:
    """`name value`, or, where the cells differ, all values behind the word mixed."""
    if len(values) > 1:
        return f"{name} mixed ({', '.join(values)})".strip()
    return f"{name} {values[0]}".strip() if values else ""
