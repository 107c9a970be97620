"""All records as one tidy data frame: a row a record, a column a number, units in the columns' names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnbench.report.load import at, images, load, micro_batch, number
from attnbench.report.tables.metrics import class_ious, every, resized
from attnbench.tasks import Metric

if TYPE_CHECKING:
    import pandas as pd

    from attnbench.records import Record


@dataclass(frozen=True)
class Field:
    """One column of the frame."""

    name: str
    says: str
    of: "Callable[[Record], Any]"


def _text(name: str, says: str, *path: str) -> Field:
    return Field(name, says, lambda record: at(record, *path))


def _number(name: str, says: str, *path: str) -> Field:
    return Field(name, says, lambda record: number(record, *path))


def _score(split: str, metric: Metric) -> Field:
    says = f"{metric.name} on the {split} split, {metric.unit}"
    return _number(f"{split}_{metric.key}_{metric.unit}", says, "metrics", split, metric.key)


SCORES = every()
FIELDS = [
    _text("key", "name of the record's file", "key"),
    _text("status", "done, failed, diverged, out_of_memory or skipped", "status"),
    _text("reason", "why it is not done", "reason"),
    _text("task", "what the network was asked to do", "cell", "task"),
    _text("data", "data set", "cell", "data"),
    _text("backbone", "network without attention", "cell", "backbone"),
    _text("recipe", "how it was trained", "cell", "recipe"),
    _text("category", "of the survey", "cell", "category"),
    _text("mechanism", "name of the attention", "cell", "mechanism"),
    _text("attn", "the same with the options that differ from their defaults", "cell", "attn"),
    _text("site", "kind of place in the network", "cell", "site"),
    _number("seed", "of initial weights and data order", "cell", "seed"),
    Field(
        "scored_at",
        "HEIGHTxWIDTH, px, where that is not the targets' on purpose",
        lambda r: resized(r) or None,
    ),
    *(_score(split, metric) for split in ("test", "val") for metric in SCORES),
    *(
        Field(f"{split}_images", f"inputs of the {split} split", partial(images, split=split))
        for split in ("train", "val", "test")
    ),
    Field(
        "micro_batch",
        "inputs at a time of a batch that memory has no room for",
        partial(micro_batch, whatever_norm=True),
    ),
    Field(
        "dead_parameters",
        "how many never had a gradient other than zero",
        lambda r: float(len(at(r, "provenance", "dead_parameters") or ())) if at(r, "metrics") else None,
    ),
    _number("params", "learnable parameters of the network", "cost", "params"),
    _number("params_attention", "those of the attention", "cost", "params_attention"),
    _number("params_head", "those of the task's head", "cost", "params_head"),
    _number("macs", "multiply-adds of matrix work for one input", "cost", "macs"),
    _number("macs_fvcore", "the same by fvcore, the second counter", "cost", "macs_fvcore"),
    _number("macs_head", "those of the task's head", "cost", "macs_head"),
    _number("elementwise_operations", "all other arithmetic for one input", "cost", "elementwise"),
    _number("activations", "elements of all convolutions' and products' outputs", "cost", "activations"),
    _number("pixels_seen", "of one input, by a network that sees parts of it", "cost", "pixels_seen"),
    _number("peak_memory_bytes", "of inference", "cost", "peak_memory_bytes"),
    _number("peak_memory_training_bytes", "of a training step", "cost", "peak_memory_training_bytes"),
    _number("latency_ms", "median of inference", "cost", "latency", "median_ms"),
    _number("latency_ratio", "to the control in the same process", "cost", "latency", "ratio"),
    _number("latency_low_ratio", "lower end of its 95 % interval", "cost", "latency", "ratio_low"),
    _number("latency_high_ratio", "upper end", "cost", "latency", "ratio_high"),
    _number("latency_noise_ratio", "of the control against itself", "cost", "latency", "noise"),
    _number("training_latency_ms", "median of a training step", "cost", "latency_training", "median_ms"),
    _number("training_latency_ratio", "to the control", "cost", "latency_training", "ratio"),
    _number("images_per_s", "of inference at its best batch", "cost", "throughput", "images_per_s"),
    _number("train_images_per_s", "of the training run", "provenance", "images_per_s"),
    _number("wall_s", "of the whole cell", "provenance", "wall_s"),
    _text("device", "what it ran on", "provenance", "device"),
    _text("commit", "of the code", "provenance", "commit"),
    _text("started", "ISO 8601", "provenance", "started"),
    _text("digest", "fingerprint of the mechanism's code", "digest"),
    _text("table", "fingerprint of what the cells of one leaderboard share", "table"),
]


def load_results(results: str | Path = "results") -> "pd.DataFrame":
    """The records of a results folder, a row each in the order of their keys; without torch.

    What was not measured is NaN (None in text). Classes' intersections over union, where there are any,
    are columns `test_iou_NAME_percent`. `frame.attrs["columns"]` says what each column is. Columns:
    """
    return framed(load(Path(results)).records)


def framed(found: "Sequence[Record]") -> "pd.DataFrame":
    """Records as `load_results` has them."""
    import pandas as pd

    fields = [*FIELDS, *(_score("test", metric) for metric in class_ious(found))]
    frame = pd.DataFrame({field.name: [field.of(r) for r in found] for field in fields})
    frame.attrs["columns"] = {field.name: field.says for field in fields}
    return frame


if load_results.__doc__:
    load_results.__doc__ += "\n".join(f"    {field.name}: {field.says}" for field in FIELDS)
