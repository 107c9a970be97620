"""Scores at a size other than the labels' own say so in their name, and stand beside no paper's figure."""

from typing import Any

import pytest

from attnbench import load_results
from attnbench.report.pages import leaderboard
from attnbench.report.papers import accuracies, beside
from attnbench.report.tables.metrics import resized
from attnbench.report.tables.sections import question
from attnbench.report.tables.table import Table, tables
from tests.factories import put, record

MARK = " at 96x128 px"


def cells(**options: Any) -> list[dict[str, Any]]:
    """DANet and its control on Cityscapes, as a paper has them, scored as the task's options say."""
    made = []
    for attn, score in (("none", 75.0), ("se", 76.0)):
        for seed in range(3):
            test = {"miou": score + seed, "pixel_accuracy": 90.0, "iou_road": 80.0, "miou_constant": 5.0}
            one = record(attn, seed, 0.0, cell__task="seg", cell__data="cityscapes", metrics={"test": test})
            one["cell"] |= {"backbone": "resnet101"}
            one["config"] |= {
                "task": {"name": "seg", "options": {"decoder": "fcn", **options}},
                "data": {"name": "cityscapes", "size": 96, "width": 128},
            }
            made.append(one)
    return made


def table(**options: Any) -> Table:
    (made,) = tables(cells(**options))
    return made


def test_at_the_labels_own_size_a_metric_has_its_plain_name() -> None:
    text = leaderboard.markdown(table(score="labels"), {})
    assert "test mIoU (%)" in text and MARK not in text
    assert "test_miou_mean_percent" in leaderboard.comma_separated([table(score="labels")])


@pytest.mark.parametrize("options", [{"score": "frame"}, {}])
def test_at_another_size_every_metric_is_named_with_it(options: dict[str, str]) -> None:
    """Records without the option are from before labels' own size was the default."""
    made = table(**options)
    text, rows = leaderboard.markdown(made, {}), leaderboard.comma_separated([made])
    for name in ("test mIoU", "test pixel accuracy", "test IoU of road", "Δ mIoU", "75.00 % mIoU"):
        assert name.replace("75.00", "5.00") + MARK in text
    assert "test_miou_at_96x128_mean_percent" in rows and "test_miou_mean_percent" not in rows
    assert ",miou_at_96x128," in rows
    assert f"mIoU{MARK} of resnet101" in question(made)


def test_such_scores_stand_beside_no_papers_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = accuracies.Figure(
        "se", "ResNet-101", "resnet101", "cityscapes", "miou", "80.1", 1, "", "", "a paper"
    )
    monkeypatch.setattr(accuracies, "on", lambda *_: {"se": [figure]})
    official, other = table(score="labels"), table(score="frame")
    assert beside.is_published(official) and leaderboard.PAPERS in leaderboard.parts(official)
    assert not beside.is_published(other) and leaderboard.PAPERS not in leaderboard.parts(other)
    assert "80.1" in leaderboard.papers([official]) and "80.1" not in leaderboard.papers([other])
    assert "76" not in leaderboard.papers([other])


def test_the_frame_of_all_records_has_the_size_in_a_column_of_its_own(tmp_path: Any) -> None:
    put(tmp_path, cells(score="frame")[0])
    assert list(load_results(tmp_path)["scored_at"]) == ["96x128"]
    assert resized(record("se")) == ""
