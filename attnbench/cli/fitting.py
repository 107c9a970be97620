"""Where a mechanism can stand that cannot where it was asked for. Needs no torch."""

from collections.abc import Iterator

from attnbench import mechanisms, tasks
from attnbench.cell import Cell
from attnbench.config import compose, files
from attnbench.config.files import names

WHOLE = "network"  # the site of mechanisms that are the whole network
FIRST = "cls"  # the task that is offered before others


def first(cell: Cell) -> str:
    """The first other backbone that has the cell's site, or else task, or else both; empty without any."""
    task = cell.config.task.source or cell.config.task.name
    if _offers(cell, task) and (backbone := next(_backbones(cell, task), None)):
        return f"backbone={backbone}"
    for name in _naming("task", cell.site):
        if cell.site in compose.read("task", name).get("sites", {}):
            return f"task={name}"
    for name in sorted(tasks.cards(), key=lambda name: name != FIRST):
        if _offers(cell, name) and (backbone := next(_backbones(cell, name), None)):
            return f"task={name} backbone={backbone}"
    return ""


def _offers(cell: Cell, task: str) -> bool:
    """Whether the task hands over what the mechanism reads, and has no other network around the site."""
    card = tasks.find(task).card
    reads = mechanisms.entry(mechanisms.candidate(cell.config.attn)["name"]).reads
    around = card.masks or card.reads == "clips"
    return (card.backbone == "skeletons") == (reads == "skeleton") and not (cell.site == WHOLE and around)


def _backbones(cell: Cell, task: str) -> Iterator[str]:
    """Those that take what the task hands over and have the site."""
    needs = tasks.find(task).card.backbone
    for name in _naming("backbone", cell.site):
        found = compose.read("backbone", name)
        if cell.site in found.get("sites", {}) and found.get("takes", "images") == needs:
            yield name


def _naming(group: str, site: str) -> list[str]:
    """The files of a group that name a site themselves first, so that few are composed; then the others."""
    own = [name for name in names(group) if f"{site}:" in files.find(group, name).read_text(encoding="utf-8")]
    return own if own or group == "task" else names(group)
