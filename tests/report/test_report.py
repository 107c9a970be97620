"""What leaderboards say of records: pairing, intervals, failures, replaced records, conditions."""

from pathlib import Path
from typing import Any

import pytest

from attnbench import report
from attnbench.report.tables import notes
from attnbench.report.tables.table import tables
from attnbench.sweeping import experiment
from tests.factories import grid, line, page, put, record, reported, row


def test_pixels_seen_are_told_where_a_row_of_the_table_counts_them(tmp_path: Path) -> None:
    assert "pixels seen" not in reported(tmp_path / "without", *grid())
    seen = [record("gc", seed, 60.0, cost__pixels_seen=18144, cost__pixels=3600) for seed in range(3)]
    text = reported(tmp_path, *grid(), *seen)
    assert "| pixels seen ↓ |" in text.replace("  ", "") and "18,144 of 3,600" in text
    told = line(tmp_path / "cls-cifar10-resnet20-short.csv", "gc")
    assert (told["pixels_seen"], told["pixels"]) == ("18144", "3600")


def test_differences_are_paired_by_seed() -> None:
    controls = [record("none", seed, 60.0 + 5 * seed) for seed in range(3)]
    found = row("se", *controls, *(record("se", s, 60.5 + 5 * s + 0.1 * (s == 1)) for s in range(3))).effect
    assert found and found.mean == pytest.approx(0.5 + 0.1 / 3)
    assert found.low and found.high and found.high - found.low < 1  # the seeds' own spread of 5 is gone
    assert found.pairs == 3


def test_a_seed_without_a_control_enters_no_difference(tmp_path: Path) -> None:
    made = [record("none", 0, 60.0), record("se", 0, 61.0), record("se", 1, 80.0)]
    assert row("se", *made).effect.mean == 1.0  # type: ignore[union-attr]
    text = reported(tmp_path, *made)
    assert "`se at residual`: seed 1: no control with that seed, so no difference." in text
    assert "+1.00 (no interval)" in text
    assert "2 (1 paired)" in text


def test_a_control_that_failed_is_no_control(tmp_path: Path) -> None:
    diverged = record("none", 0, 10.0, status="diverged", reason="the loss is NaN at step 7")
    text = reported(tmp_path, diverged, record("se", 0, 61.0))
    told = line(tmp_path / "cls-cifar10-resnet20-short.csv", "se")
    assert (told["delta_points"], told["test_top1_mean_percent"], told["seeds_paired"]) == ("", "61.0", "0")
    assert "`none`: seed 0: diverged: the loss is NaN at step 7." in text


def test_a_table_without_any_control_says_so(tmp_path: Path) -> None:
    text = reported(tmp_path, record("se", 0, 61.0))
    assert "There is no control here" in text
    assert line(tmp_path / "cls-cifar10-resnet20-short.csv", "se")["delta_points"] == ""


def test_fewer_than_five_seeds_are_exploratory_and_not_ranked(tmp_path: Path) -> None:
    few = [record("gc", seed, 69.0 + seed) for seed in range(4)]
    report.write(put(tmp_path, *grid(seeds=5), *few))
    csv_file = tmp_path / "cls-cifar10-resnet20-short.csv"
    found = {attn: line(csv_file, attn) for attn in ("none", "se", "eca", "gc")}
    assert {attn: (f["verdict"], f["rank"]) for attn, f in found.items()} == {
        "none": ("", "3"),
        "gc": ("exploratory", ""),  # however large its difference
        "eca": ("helps", "1"),
        "se": ("helps", "2"),
    }


def test_csv_has_the_numbers_of_the_page_in_full(tmp_path: Path) -> None:
    text = reported(tmp_path, *grid())
    told = line(tmp_path / "cls-cifar10-resnet20-short.csv", "se")
    mean, low, high = (float(told[k]) for k in ("delta_points", "delta_low_points", "delta_high_points"))
    assert f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]" in text
    assert low < mean < high
    assert mean != round(mean, 3)
    assert float(told["p"]) > 0 and told["p_holm"] == ""  # exploratory: in no family
    assert (told["params"], told["delta_params"], told["macs"]) == ("273054", "580", "41000000")


def test_rows_stand_in_the_order_of_the_survey(tmp_path: Path) -> None:
    text = reported(
        tmp_path, *(record(a, 0, 60.0) for a in ("simam", "gc", "se(reduction=8)", "eca", "none", "se"))
    )
    first = text.partition("## Verdicts")[2].partition("## ")[0]
    names = [cells.split("|")[1].strip().removesuffix(" at residual") for cells in first.splitlines()[4:-1]]
    assert names[:6] == ["none", "eca", "se", "se(reduction=8)", "gc", "simam"]


def test_one_mechanism_at_two_sites_is_two_rows() -> None:
    elsewhere = record("se", 0, 62.0, cell__site="stage")
    (table,) = tables([record("none", 0, 60.0), record("se", 0, 61.0), elsewhere])
    assert [(r.name, r.effect and r.effect.mean) for r in table.rows] == [
        ("none", None),
        ("se at residual", 1.0),
        ("se at stage", 2.0),
    ]


@pytest.mark.parametrize("status", ["failed", "diverged", "out_of_memory", "skipped"])
def test_what_did_not_finish_is_a_row_with_its_reason(tmp_path: Path, status: str) -> None:
    lost = record("gc", 0, 10.0, status=status, reason="no map | of <7x7>\nhere.", metrics=None, cost=None)
    text = reported(tmp_path, record("none", 0, 60.0), lost)
    first = text.partition("## Accuracy")[2]
    shown = next(cells for cells in first.splitlines() if cells.startswith("| gc at residual"))
    cells = [cell.strip() for cell in shown.strip("|").split("|")]
    assert cells[:2] == ["gc at residual", status.replace("_", " ")]
    assert set(cells[2:]) == {"—"}
    assert f"seed 0: {status.replace('_', ' ')}: no map | of <7x7> here." in text
    assert "no map | of <7x7>" in report.summary([lost])


def test_a_metric_of_a_cell_that_did_not_finish_is_not_shown() -> None:
    lost = record("se", 1, 99.0, status="failed", reason="killed", provenance__wall_s=1.0)
    found = row("se", record("none", 0, 60.0), record("none", 1, 60.0), record("se", 0, 61.0), lost)
    assert found.score("top1") == {0: 61.0}
    assert found.finished.middle("provenance", "wall_s") == 300.0
    assert found.effect and found.effect.pairs == 1


def test_the_newest_of_several_records_is_used_and_said(tmp_path: Path) -> None:
    old = record("se", 0, 90.0, digest="old code", provenance__started="2026-11-22T23:30:00+00:00")
    new = record("se", 0, 61.0, digest="new code", provenance__started="2026-11-23T01:00:00+02:00")
    first = [record("none", 0, 60.0), old, new]
    assert row("se", *first).effect.mean == 30.0  # type: ignore[union-attr]  # 23:00 UTC came first
    newest = record("se", 0, 62.0, digest="newest", provenance__started="2026-11-24")
    text = reported(tmp_path, *first, newest)
    assert "`se at residual`: seed 0: the newest of 3 records." in text
    assert "62.00" in text and "90.00" not in text


def test_seeds_of_different_code_are_told() -> None:
    from attnbench.report.tables.notes import of_row

    mixed = row("se", record("se", 0, 60.0), record("se", 1, 60.0, digest="other"))
    assert "its seeds ran different versions of the mechanism's code" in of_row(mixed, "top1")
    assert of_row(row("se", record("se", 0, 60.0), record("se", 1, 60.0)), "top1") == []


def test_what_was_not_measured_is_a_dash_and_an_uncounted_operator_is_named(tmp_path: Path) -> None:
    part = record("se", 0, 61.0, cost__macs=None, cost__uncounted=["fft", "unfold"], cost__latency=None)
    text = reported(tmp_path, record("none", 0, 60.0), part)
    cost, measured = text.partition("## Cost")[2].split("## Speed and memory")
    cells = next(cells for cells in cost.splitlines() if cells.startswith("| se at")).split("|")
    assert [cell.strip() for cell in cells[2:7]] == ["273,054", "+580", "—", "0.00100", "0.190"]
    cells = next(cells for cells in measured.splitlines() if cells.startswith("| se at")).split("|")
    assert cells[2].strip() == "—"
    assert "`se at residual`: seed 0: its counts leave out fft, unfold, for which there is no rule." in text


@pytest.mark.parametrize(
    ("ratio", "noise", "shown"),
    [
        (1.009, 0.01, "≈ 1"),
        (0.992, 0.01, "≈ 1"),
        (1.2, 0.01, "1.20 [1.09, 1.31]"),
        (1.001, None, "1.00 [1.10, 1.30]"),
    ],
)
def test_latency_below_the_noise_floor_is_about_equal(
    tmp_path: Path, ratio: float, noise: float | None, shown: str
) -> None:
    one = record("se", 0, 61.0, cost__latency__ratio=ratio, cost__latency__noise=noise)
    cost = reported(tmp_path, one).partition("## Speed and memory")[2]
    cells = next(cells for cells in cost.splitlines() if cells.startswith("| se at")).split("|")
    assert cells[2].strip() == shown
    assert float(line(tmp_path / "cls-cifar10-resnet20-short.csv", "se")["latency_ratio"]) == ratio


def test_conditions_name_what_is_constant_and_what_is_mixed(tmp_path: Path) -> None:
    other = record(
        "se", 0, 61.0, provenance__commit="b" * 40, provenance__dirty=True, provenance__device="H200"
    )
    other["provenance"] |= {"versions": {"torch": "2.6.0"}, "started": "2026-12-01T00:00:00+00:00"}
    text = reported(tmp_path, record("none", 0, 60.0), other).partition("## Conditions")[2]
    for told in (
        "Data: cifar10, 32 px, checksum c0ffee",
        "Recipe: short: epochs=3, batch_size=128, optimizer.name=sgd (Nesterov), optimizer.lr=0.1",
        "Device: mixed (H200, cpu), threads 1",
        "Versions: torch mixed (2.15.0, 2.6.0)",
        "Commit: mixed (aaaaaaaaaa, bbbbbbbbbb); 1 of 2 cells with uncommitted changes",
        "Run dates: 2026-11-22 to 2026-12-01",
        "Fingerprint: 0123456789ab",
    ):
        assert f"- {told}\n" in text
    assert reported(tmp_path / "same", record("none", 0, 60.0)).count("mixed") == 0


def test_tables_of_one_question_are_told_apart_by_their_settings_alone(tmp_path: Path) -> None:
    def with_decoder(decoder: str) -> dict[str, Any]:
        options = {"decoder": decoder, "output_stride": 16, "ohem": None}
        task = {"name": "seg", "options": options, "sites": {decoder: "somewhere"}}
        made = record("none", 0, 40.0, config__task=task, config__data__width=160, table=f"of {decoder}")
        return {**made, "cell": {**made["cell"], "task": "seg"}}

    report.write(put(tmp_path, with_decoder("fcn"), with_decoder("unet")))
    index = page(tmp_path, "README")
    assert "recipe short, task.options.decoder=fcn, cpu" in index
    assert "recipe short, task.options.decoder=unet, cpu" in index
    pages = [file.read_text() for file in sorted(tmp_path.glob("seg-cifar10-*.md"))]
    assert ["- Task: seg, decoder=fcn, output_stride=16\n" in text for text in pages].count(True) == 1
    assert all("- Data: cifar10, 32x160 px, " in text for text in pages)


def test_conditions_of_joints_say_how_many_and_how_long(tmp_path: Path) -> None:
    joints = {"name": "sbu", "size": 3, "frames": 32, "joints": 30}
    text = reported(tmp_path, record("none", 0, 40.0, config__data=joints))
    assert "- Data: cifar10, frames 32, joints 30, " in text


def test_costs_alone_have_a_table_by_backbone_and_input(tmp_path: Path) -> None:
    report.write(put(tmp_path, record("none", 0, None), record("se", 0, None)))
    text = page(tmp_path, "cls-costs-resnet50-224")
    assert "# cls · costs · resnet50 · 224 px" in text
    assert "top-1" not in text
    assert line(tmp_path / "cls-costs-resnet50-224.csv", "se")["delta_params"] == "580"


def test_nan_and_text_where_a_number_belongs_count_as_not_measured() -> None:
    found = row(
        "se", record("se", 0, float("nan")), record("se", 1, 61.0, cost__params="many", cost__macs=True)
    )
    assert found.score("top1") == {1: 61.0}
    assert found.middle("cost", "params") == 273054  # of the other seed
    assert found.middle("cost", "macs") == 41000000


def test_summary_counts_ends_and_shows_main_columns() -> None:
    text = report.summary(
        [*grid(), record("gc", 0, 9.0, status="diverged", reason="NaN"), record("se", 0, None)]
    )
    assert text.startswith("11 cells: 10 done, 1 diverged\n")
    assert "gc at residual: seed 0: diverged: NaN" in text
    assert "cls · costs · resnet50 · 224 px" in text
    assert max(map(len, text.splitlines())) < 170
    assert report.summary([]) == "0 cells"


def test_a_terminal_tells_tables_of_one_name_apart() -> None:
    tasks = ("seg", "seg_unet")
    heads = [experiment.cell([f"task={task}", "recipe=seg_quick"]).record("done") for task in tasks]
    titles = [line for line in report.summary(heads).splitlines() if line.startswith("seg · scenes")]
    assert (
        len(titles) == 2
        and "decoder=fcn" in titles[0] + titles[1]
        and "decoder=unet" in titles[0] + titles[1]
    )


@pytest.mark.parametrize(
    ("dead", "note"),
    [
        (["a.weight"], "seed 0: no gradient ever reached a.weight"),
        (list("abcde"), "seed 0: no gradient ever reached a, b, c and 2 more"),
    ],
)
def test_dead_parameters_are_named(dead: list[str], note: str) -> None:
    assert note in notes.of_row(row("se", record("se", 0, 60.0, provenance__dead_parameters=dead)), "top1")
