"""What papers say beside what we measured: figures, their controls, the survey's tables, LaTeX."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnbench import mechanisms, report
from attnbench.config.files import names
from attnbench.report.files import Choice
from attnbench.report.pages import latex, leaderboard, survey
from attnbench.report.papers import accuracies, beside
from attnbench.report.tables.columns import Column
from attnbench.report.tables.table import Table, tables
from tests.factories import grid, put, record

SURVEY = Choice(survey=True)


def on_imagenet(**scores: float) -> Table:
    made = [
        record(attn, seed, top1 + seed / 10, cell__data="imagenet", cell__backbone="resnet50")
        for attn, top1 in scores.items()
        for seed in range(3)
    ]
    (table,) = tables(made)
    return table


def lines(table: Table) -> list[dict[str, Any]]:
    columns = beside.columns(table)
    return [{k: v for c in columns for k, v in zip(c.keys, c.of(x))} for x in beside.lines(table)]


def test_a_gain_is_to_the_baseline_of_the_same_source() -> None:
    eca = next(
        f
        for f in accuracies.figures()
        if (f.attn, f.ours, f.metric) == ("eca", "resnet50", "top1") and "Table 3" in f.source
    )
    assert (eca.value, eca.control, eca.gain) == ("77.48", "75.20", 2.28)
    assert (eca.params, eca.macs) == ("24.37", "3.86")
    for figure in accuracies.figures():
        if figure.control is not None:
            own = [b for b in accuracies.baselines() if b.source == figure.source]
            assert figure.control in {b.value for b in own if b.backbone == figure.backbone}


def test_every_figure_is_a_number_with_a_source_and_known_names() -> None:
    later = set()  # mechanisms that may come
    for figure in (*accuracies.figures(), *accuracies.baselines()):
        assert 0 < float(figure.value) <= 100 and figure.of >= 1 and figure.source
        assert not figure.ours or figure.ours in names("backbone"), figure
        later |= {figure.attn} - set(mechanisms.entries())
    assert len(later) < 4
    places = [(f.attn, f.backbone, f.data, f.metric, f.source) for f in accuracies.figures()]
    assert len(places) == len(set(places)) > 500


def test_the_best_figure_has_a_control_where_one_is_printed() -> None:
    best = accuracies.best("gsop")
    assert best and (best.value, best.control) == ("77.68", "75.20")  # 78.81 has none beside it
    assert "top-1 77.68 (+2.48 to 75.20), ResNet-50, imagenet; ECA-Net" in str(best)
    alone = accuracies.best("fca")
    assert alone and alone.control is None and "no control printed" in str(alone)
    assert accuracies.best("none such") is None


def test_less_error_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    ram = next(f for f in accuracies.figures() if f.attn == "ram")
    assert ram.metric == "error"
    monkeypatch.setattr(
        accuracies, "figures", lambda: [ram, replace(ram, value="1.1"), replace(ram, value="9")]
    )
    assert accuracies.best.__wrapped__("ram").value == "1.1"  # type: ignore[union-attr]


def test_papers_stand_beside_our_row_once_a_source() -> None:
    table = on_imagenet(none=70.0, se=71.0, simam=70.5)
    found = lines(table)
    se = [x for x in found if x["method"] == "se"]
    assert len({x["source"] for x in se}) == len(se) > 5
    assert all(x["top1_ours_percent"] == pytest.approx(71.1) for x in se)
    assert all(x["gain_ours_points"] == pytest.approx(1.0) for x in se)
    eca_paper = next(x for x in se if "ECA-Net" in x["source"] and "Table 3" in x["source"])
    assert (eca_paper["top1_paper_percent"], eca_paper["gain_paper_points"]) == ("76.71", 1.51)
    gsop = next(x for x in found if x["method"] == "gsop")
    assert gsop["top1_ours_percent"] is None and gsop["top1_paper_percent"] == "77.68"
    text = leaderboard.markdown(table, {})
    assert "## Papers and ours" in text and "76.71" in text


def test_a_network_of_which_nothing_is_published_has_no_such_section() -> None:
    (table,) = tables(grid())
    assert beside.is_published(table)  # ResNet-20 on CIFAR-10
    (other,) = tables(
        [record("none", 0, 60.0, cell__data="scenes"), record("se", 0, 60.0, cell__data="scenes")]
    )
    assert not beside.is_published(other)
    assert "Papers" not in leaderboard.markdown(other, {})


def test_costs_alone_stand_beside_papers_too() -> None:
    made = [record(a, 0, None, cell__data="imagenet") for a in ("none", "se")]
    (table,) = tables(made)
    told = next(x for x in lines(table) if x["method"] == "se")
    assert told["params_ours"] == 273054 and told["top1_ours_percent"] is None
    assert told["top1_paper_percent"]


def page(results: Path, category: str = "channel") -> str:
    return (results / f"survey-{category}.md").read_text(encoding="utf-8")


def test_a_category_has_its_card_what_was_measured_and_what_is_published(tmp_path: Path) -> None:
    report.write(put(tmp_path, *grid(seeds=5)), SURVEY)
    text = page(tmp_path)
    card, measured, published = (text.partition(f"## {h}")[2].partition("## ")[0] for h in HEADINGS)
    assert "| CVPR 2018" in card and "(I)(II)" in card and "Goals: (I) emphasise" in card
    se, gsop = (
        next(line for line in measured.splitlines() if line.startswith(f"| {m} "))
        for m in ("SENet", "GSoP-Net")
    )
    assert "cls · cifar10 · resnet20 · short; costs: same" in se and "+580" in se and "top-1 6" in se
    assert "not run" in gsop and set(gsop.split("|")[4:-1]) - {" "} and gsop.count("—") == 11
    assert "77.68 (+2.48 to 75.20)" in published
    with (tmp_path / "survey-channel.csv").open(newline="") as file:
        row = {line["attn"]: line for line in csv.DictReader(file)}
    assert row["se"]["delta_params"] == "580" and row["se"]["seeds_paired"] == "5"
    assert (row["gsop"]["measured"], row["gsop"]["published_control"]) == ("not run", "75.20")
    assert float(row["se"]["test_low_percent"]) < float(row["se"]["test_mean_percent"])


HEADINGS = ("As the survey has it", "Measured", "Published")


@pytest.mark.parametrize("category", survey.NAMES)
def test_every_category_has_a_page_with_all_its_mechanisms(tmp_path: Path, category: str) -> None:
    report.write(put(tmp_path, *grid()), SURVEY)
    text = page(tmp_path, category)
    for entry in mechanisms.entries().values():
        if entry.category == category:
            assert f"| {entry.name} " in text


def test_a_mechanism_is_shown_where_most_of_its_category_was_measured() -> None:
    alone = [record(a, 0, 90.0, table="other", cell__data="mnist") for a in ("none", "se")]
    (line,) = [x for x in survey.lines("channel", tables([*grid(), *alone])) if x.entry.mechanism == "se"]
    assert line.trained and line.trained[0].data == "cifar10"
    options = [record("se(reduction=8)", 0, 60.0)]
    (line,) = [x for x in survey.lines("channel", tables(options)) if x.entry.mechanism == "se"]
    assert line.trained and line.trained[1].attn == "se(reduction=8)"


def test_latex_escapes_and_has_the_rules_of_booktabs() -> None:
    columns = [
        Column(("a",), "Δ (%) ↑", lambda row: (row.attn,), text=True),
        Column(("b",), "x_1", lambda row: (None,)),
    ]
    rows = tables([record("se(mode=a_b&c)", 0, 60.0), record("none", 0, 60.0)])[0].rows
    text = latex.tabular(rows, columns)
    assert r"\toprule" in text and r"\midrule" in text and r"\bottomrule" in text
    assert r"$\Delta$ (\%) $\uparrow$" in text and r"x\_1" in text and r"se(mode=a\_b\&c)" in text
    assert "---" in text
    assert text.isascii()


def test_the_latex_of_a_report_is_ascii_and_balanced(tmp_path: Path) -> None:
    report.write(put(tmp_path, *grid()), SURVEY)
    for path in tmp_path.glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        assert text.isascii(), {c for c in text if not c.isascii()}
        assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") > 0
        for part in text.split(r"\begin{tabular}")[1:]:
            spec, _, body = part.partition("}")
            width = len(spec.strip("{"))
            rows = [line for line in body.splitlines() if line.rstrip().endswith(r"\\")]
            assert {row.replace(r"\&", "").count("&") + 1 for row in rows} == {width}
