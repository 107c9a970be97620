"""What each task is judged by, on the test split; the first metric of a task is its headline."""

from collections.abc import Iterable
from dataclasses import replace

from attnbench import tasks
from attnbench.records import Record
from attnbench.report.load import at, number
from attnbench.tasks import Card, Metric


def of_task(task: str) -> tuple[Metric, ...]:
    """A task's metrics, the headline first; none for a task that is not known here."""
    card = tasks.cards().get(task)
    return card.metrics if card else ()


def headline(task: str) -> Metric | None:
    """What a task's rows are compared by; None for a task that is not known here."""
    return next(iter(of_task(task)), None)


def resized(record: Record) -> str:
    """HEIGHTxWIDTH, px, at which a record was scored on purpose; empty where at the size of the targets."""
    card = tasks.cards().get(record["cell"]["task"])
    options = at(record, "config", "task", "options")
    if card is None or not card.resized or not options:
        return ""
    name, _, value = card.resized.partition("=")
    if options.get(name, value) != value:  # records without the option are from before there was another way
        return ""
    height, width = (number(record, "config", "data", side) for side in ("size", "width"))
    return f"{height:.0f}x{width or height:.0f}" if height else "unknown size"


def chance(record: Record) -> Metric | None:
    """The headline of networks that learned nothing, where records measure it."""
    card = tasks.cards().get(record["cell"]["task"])
    if card is None or card.chance in ("", "classes", "zero"):
        return None
    return replace(card.metrics[0], key=card.chance).at(resized(record))


def at_chance(record: Record) -> float | None:
    """What a network that learned nothing scores in its task's headline; None where that is not known."""
    card = tasks.cards().get(record["cell"]["task"])
    if card is None or not card.chance:
        return None
    if card.chance == "classes":
        classes = number(record, "config", "data", "classes")
        return 100 / classes if classes else None
    return 0.0 if card.chance == "zero" else number(record, "metrics", "test", card.chance)


def every() -> list[Metric]:
    """The metrics of all tasks, one of each key."""
    return list({m.key: m for card in tasks.cards().values() for m in card.metrics}.values())


def unit(key: str) -> str:
    """Of a metric by its name in a record: `percent`, `nats`, or empty where it is not known."""
    known = {metric.key: metric.unit for metric in every()}
    return known.get(key, "percent" if any(_belongs(key, card) for card in tasks.cards().values()) else "")


def _belongs(key: str, card: Card) -> bool:
    """Whether a number has the headline's unit: it is of one class, or of a constant answer."""
    return key == card.chance or bool(card.classwise and key.startswith(card.classwise.key))


def costs_alone(record: Record) -> bool:
    """Whether a cell of this kind trains nothing, so that its costs are all there is."""
    return at(record, "config", "recipe", "trains") is False


def class_ious(found: Iterable[Record]) -> list[Metric]:
    """The metrics of single classes that any of the records has, by name."""
    by_task = {name: card.classwise for name, card in tasks.cards().items() if card.classwise}
    made: dict[str, Metric] = {}
    for record in found:
        each = by_task.get(record["cell"]["task"])
        for key in at(record, "metrics", "test") or {}:
            if each and key.startswith(each.key):
                name = key.removeprefix(each.key)
                made[key] = replace(each, key=key, name=f"{each.name} {name}")
    return [made[key] for key in sorted(made)]
