"""What is offered in the place of a cell that cannot be is a cell that can be."""

import pytest

from attnbench import mechanisms
from attnbench.cli import fitting
from attnbench.errors import UserError
from attnbench.sweeping.experiment import cell


@pytest.mark.parametrize("task", ["cls", "seg", "clip", "sequence"])
def test_what_is_offered_is_possible(task: str) -> None:
    offered = {}
    for name in mechanisms.entries():
        words = [f"attn={name}", f"task={task}", "recipe=none"]
        asked = cell(words)
        if asked.impossible is None:
            continue
        offered[name] = fitting.first(asked)
        more = offered[name].split()
        changed = {word.partition("=")[0] for word in more}
        fits = cell([word for word in words if word.partition("=")[0] not in changed] + more)
        assert fits.impossible is None and fits.mechanism == name, offered[name]
    assert all(offered.values())
    assert offered["sta_lstm"] == "task=skeleton backbone=lstm"
    assert offered["ram"] == ("backbone=whole" if task in ("cls", "sequence") else "task=cls backbone=whole")


def test_what_reads_skeletons_and_what_reads_images_are_told_apart() -> None:
    with pytest.raises(UserError, match="takes skeletons"):
        cell(["attn=sta_lstm", "backbone=lstm"])
    asked = cell(["attn=ram", "task=skeleton", "backbone=lstm"])
    assert asked.impossible == "it reads images, and skeleton has none"
    assert cell(["attn=sta_lstm", "task=skeleton", "backbone=lstm"]).impossible is None
    assert cell(["attn=sta_lstm", "backbone=whole"]).impossible == "it reads skeletons, and cls has none"
