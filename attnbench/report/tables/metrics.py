"""What each task is judged by, on the test split; the first metric of a task is its headline."""

from collections.abc import Iterable
from dataclasses import dataclass

from attnbench.records import Record
from attnbench.report.load import at, number

CLASS_IOU = "iou_"  # before a class's name
CONSTANT = "miou_constant"  # the most that one class everywhere scores; in records, not compared


@dataclass(frozen=True)
class Metric:
    """One number of a test split."""

    key: str  # in the record
    name: str  # to a reader
    unit: str = "percent"
    digits: int = 2
    larger: bool = True  # is better
    share: bool = False  # of the test split's inputs, so that it moves in steps of 100 / n
    difference: float = 0.2  # points that matter unless the user names others

    @property
    def heading(self) -> str:
        unit = {"percent": "%"}.get(self.unit, self.unit)
        return f"test {self.name} ({unit}) {'↑' if self.larger else '↓'}"


CLASSES = (
    Metric("top1", "top-1", share=True),
    Metric("top5", "top-5", share=True),
    Metric("nll", "NLL", "nats", 4, larger=False),
    Metric("ece", "ECE", larger=False),
)
METRICS: dict[str, tuple[Metric, ...]] = {
    "cls": CLASSES,
    "clip": CLASSES,
    "skeleton": CLASSES,
    "seg": (
        Metric("miou", "mIoU", difference=0.5),
        Metric("pixel_accuracy", "pixel accuracy"),
        Metric("mean_accuracy", "mean class accuracy"),
        Metric("boundary_f1", "boundary F1"),
        Metric("loss", "loss", "nats", 4, larger=False),
    ),
    "sequence": (
        Metric("sequence_accuracy", "sequence accuracy", share=True),
        Metric("symbol_accuracy", "symbol accuracy"),
        Metric("loss", "loss", "nats", 4, larger=False),
    ),
    "retrieval": (
        Metric("rank1", "rank-1", difference=0.5),
        Metric("rank5", "rank-5"),
        Metric("map", "mAP"),
        Metric("loss", "loss", "nats", 4, larger=False),
    ),
}


def headline(task: str) -> Metric | None:
    """What a task's rows are compared by; None for costs alone and for tasks that are not known."""
    return METRICS[task][0] if task in METRICS else None


def chance(record: Record) -> float | None:
    """What a network that learned nothing scores in its task's headline; None where that is not known."""
    task = record["cell"]["task"]
    if task == "seg":
        return number(record, "metrics", "test", CONSTANT)
    if task == "sequence":
        return 0.0
    classes = number(record, "config", "data", "classes")
    return 100 / classes if classes and headline(task) and METRICS[task] is CLASSES else None


def unit(key: str) -> str:
    """Of a metric by its name in a record: `percent`, `nats`, or empty where it is not known."""
    known = {metric.key: metric.unit for metrics in METRICS.values() for metric in metrics}
    return known.get(key, "percent" if key == CONSTANT or key.startswith(CLASS_IOU) else "")


def costs_alone(record: Record) -> bool:
    """Whether a cell of this kind trains nothing, so that its costs are all there is."""
    task = record["cell"]["task"]
    trains = at(record, "config", "task", "trains")
    return trains is False or task == "profile" or task.endswith("_profile")


def class_ious(found: Iterable[Record]) -> list[Metric]:
    """The classes whose intersection over union any of the records has, by name."""
    keys = {key for r in found for key in at(r, "metrics", "test") or {} if key.startswith(CLASS_IOU)}
    return [Metric(key, f"IoU of {key.removeprefix(CLASS_IOU)}") for key in sorted(keys)]
