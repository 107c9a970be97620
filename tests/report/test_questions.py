"""`compare` and `recommend`: answered from the records, with what is missing and how long it would take."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from attnbench.cli.main import main
from attnbench.config import load as compose
from attnbench.errors import UserError
from attnbench.report.query import limits, selection
from attnbench.report.query.compare import compare
from attnbench.report.query.recommend import recommend
from tests.factories import put, record, row

NOISE = (0.1, -0.1, 0.05, -0.05, 0.0)
TABLE = "task=cls data=cifar10 backbone=resnet20 recipe=short"


def table(seeds: int = 5, **gains: float) -> list[dict[str, Any]]:
    """A control and mechanisms that gain that many points, but for a little noise."""
    made = [record("none", s, 60.0 + s) for s in range(seeds)]
    for i, (attn, gain) in enumerate(gains.items()):
        made += [record(attn, s, 60.0 + s + gain + NOISE[(s + i) % 5]) for s in range(seeds)]
    return made


def said(verb: Any, results: Path, words: str) -> str:
    return "\n\n".join(filter(None, verb([*words.split(), f"results={results}"], compose.unchecked)))


def test_a_comparison_shows_rows_verdicts_seeds_and_each_against_the_other(tmp_path: Path) -> None:
    put(tmp_path, *table(se=1.0, eca=-1.0, gc=0.0))
    text = said(compare, tmp_path, "attn=se,eca backbone=resnet20 data=cifar10")
    assert "se at residual: significant gain" in text
    assert "eca at residual: significant loss" in text
    assert "gc" not in text
    assert "61.10 (+1.10)" in text  # seed 0 of SE
    against = next(line for line in text.splitlines() if "eca at residual - se at residual" in line)
    assert against.split(": ")[1].startswith("-2.00 [") and "5 seeds, p (Holm)" in against
    assert "Fingerprint: 0123456789ab" in text
    assert "missing" not in text


def test_what_a_comparison_lacks_is_named_with_its_time(tmp_path: Path) -> None:
    put(tmp_path, *table(seeds=3, se=1.0))
    text = said(compare, tmp_path, "attn=se,gc backbone=resnet20")
    assert "9 cells are missing: about 45 min one after another" in text  # 300 s each
    first, second = (line for line in text.splitlines() if f"attnbench -m {TABLE} " in line)
    assert " attn=none,se site=residual seed=3,4 data.root=FOLDER" in first
    assert " attn=gc seed=0,1,2,3,4 data.root=FOLDER" in second


def test_a_comparison_that_was_never_run_says_what_to_run(tmp_path: Path) -> None:
    put(tmp_path, *table(se=1.0))
    text = said(compare, tmp_path, "attn=se backbone=resnet50")
    assert "No record answers attn=se, backbone=resnet50. There are: cls · cifar10 · resnet20" in text
    assert "10 cells are missing: duration unknown (no comparable cell has run)" in text
    assert "backbone=resnet50 data=scenes attn=none,se seed=0,1,2,3,4" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("attn=see", "unknown attn 'see': did you mean se"),
        ("backbone=resnet21", "unknown backbone 'resnet21': did you mean .*resnet20"),
        ("data=cifar11", "unknown data 'cifar11': did you mean cifar10"),
        ("backbon=resnet20", "unknown key 'backbon': did you mean backbone"),
        ("resnet20", "KEY=VALUE was expected"),
        ("attn=", "KEY=VALUE was expected"),
        ("recipe=shot", "unknown recipe 'shot': did you mean short"),
        ("site=residul", "unknown site 'residul': did you mean residual"),
    ],
)
def test_wrong_words_are_refused_with_near_names(tmp_path: Path, words: str, message: str) -> None:
    put(tmp_path, *table(se=1.0))
    with pytest.raises(UserError, match=message):
        said(compare, tmp_path, words)


def test_no_records_and_a_wrong_word_end_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", f"results={tmp_path}"]) == 2
    assert "no records" in capsys.readouterr().err
    assert main(["recommend", "max_latency=+5%"]) == 2
    assert "recommend requires backbone=NAME" in capsys.readouterr().err
    put(tmp_path, *table(se=1.0))
    assert main(["recommend", "backbone=resnet20", f"results={tmp_path}"]) == 0
    assert "Take se at residual" in capsys.readouterr().out


def test_options_are_part_of_a_name_and_a_comma_in_them_parts_nothing() -> None:
    assert selection.listed("se,gc(ratio=4, pool=att),eca") == ["se", "gc(ratio=4, pool=att)", "eca"]
    chosen = selection.parse(["attn=se"])
    assert chosen.row(row("se(reduction=8)", record("se(reduction=8)", 0, 60.0)))
    assert not selection.parse(["attn=se(reduction=4)"]).row(
        row("se(reduction=8)", record("se(reduction=8)", 0, 60.0))
    )


def test_the_largest_gain_within_the_limits_is_recommended(tmp_path: Path) -> None:
    made = table(se=1.0, eca=0.8, gc=2.0)
    for one in made:
        low, ratio, high = {"gc": (1.4, 1.5, 1.6)}.get(one["cell"]["attn"], (1.01, 1.02, 1.03))
        one["cost"]["latency"] |= {"ratio": ratio, "ratio_low": low, "ratio_high": high, "noise": 0.001}
    put(tmp_path, *made)
    text = said(recommend, tmp_path, "backbone=resnet20 max_latency=+5%")
    assert "Take se at residual: significant gain, +1.00 [" in text
    assert "Beyond the limits: gc at residual." in text
    assert "Take gc at residual" in said(recommend, tmp_path, "backbone=resnet20")
    for limit in ("max_latency=+60%", "max_latency=1.6x", "max_latency=160%"):
        assert "Take gc at residual" in said(recommend, tmp_path, f"backbone=resnet20 {limit}")


def test_a_cost_that_only_its_interval_holds_is_said_to_be_unsure(tmp_path: Path) -> None:
    put(tmp_path, *table(se=1.0))
    for file in (tmp_path / "cells").glob("*-se-*"):
        one = json.loads(file.read_text())
        one["cost"]["latency"]["ratio"] += 0.1 * (one["cell"]["seed"] - 2)
        file.write_text(json.dumps(one))
    text = said(recommend, tmp_path, "backbone=resnet20 max_latency=+25%")
    assert "Take se at residual" in text and "Its cost is unsure." in text


def test_too_few_seeds_are_no_advice(tmp_path: Path) -> None:
    put(tmp_path, *table(seeds=3, se=1.0))
    text = said(recommend, tmp_path, "backbone=resnet20")
    assert "No advice yet: 0 of " in text and "stay with none" not in text.lower()
    assert "attn=none,se site=residual seed=3,4" in text
    assert "cells are missing: about" in text


def test_none_is_advised_where_enough_candidates_were_judged_and_none_helps(tmp_path: Path) -> None:
    put(tmp_path, *table(se=0.0, eca=-1.0))
    text = said(recommend, tmp_path, "backbone=resnet20 attn=se,eca")
    assert "Stay with none: 2 of 2 candidates within the limits have enough seeds" in text
    one = said(recommend, tmp_path, "backbone=resnet20")
    assert "No advice yet: 2 of 5" in one or "No advice yet: 2 of 6" in one


def test_rows_that_cannot_be_told_from_the_winner_are_named(tmp_path: Path) -> None:
    put(tmp_path, *table(se=1.0, eca=0.98, gc=0.4))
    text = said(recommend, tmp_path, "backbone=resnet20")
    assert "Take se at residual: significant gain, +1.00 [" in text
    assert "Not distinguishable from it: eca at residual.\n" in text
    assert "gained with 5 of 5 seeds" in text


def test_a_disturbed_latency_is_not_known(tmp_path: Path) -> None:
    made = table(se=1.0)
    for one in made:
        one["cost"]["latency"] |= {"disturbed": True, "cpu_ratio": 1.01, "steady": False}
    text = said(recommend, put(tmp_path, *made), "backbone=resnet20 max_latency=+50%")
    assert "Its cost is not measured." in text and "1.01 [1.01, 1.01] CPU ‡" in text


def test_what_has_no_place_in_the_network_is_not_missing(tmp_path: Path) -> None:
    made = table(se=1.0)
    for one in made:
        one["config"]["backbone"]["sites"] = {"residual": {}, "conv": {}}
    text = said(recommend, put(tmp_path, *made), "backbone=resnet20")
    missing = text.partition("attn=")[2].partition(" ")[0].split(",")
    assert {"eca", "sk", "sasa"} <= set(missing)
    assert not {"stn", "bam", "non_local", "tam", "none", "se"} & set(missing)


def test_costs_alone_answer_half_of_the_question(tmp_path: Path) -> None:
    put(tmp_path, record("none", 0, None), record("se", 0, None), record("gc", 0, None, cost__params=9**9))
    text = said(recommend, tmp_path, "backbone=resnet50 max_params=+1%")
    assert "Nothing was trained on resnet50 so far" in text
    assert "1 of 2 rows are within the limits" in text
    assert "task=cls backbone=resnet50 data=scenes attn=none,se seed=0,1,2,3,4" in text


def test_a_backbone_of_which_nothing_is_known_needs_its_costs_first(tmp_path: Path) -> None:
    text = said(recommend, put(tmp_path, *table(se=1.0)), "backbone=resnet50 max_latency=+5%")
    (line,) = [line for line in text.splitlines() if "python -m attnbench -m" in line]
    assert "backbone=resnet50" in line and "data=" in line and "seed=0,1,2,3,4" in line
    names = line.partition("attn=")[2].partition(" ")[0].split(",")
    assert {"none", "se", "cbam"} <= set(names) and len(set(names)) == len(names) > 30


def test_a_latency_measured_apart_counts(tmp_path: Path) -> None:
    made = table(se=1.0)
    for one in made:
        one["cost"]["latency"] = None
    apart = [record(a, 0, None, cell__backbone="resnet20") for a in ("none", "se")]
    put(tmp_path, *made, *apart)
    assert "Beyond the limits: se" in said(recommend, tmp_path, "backbone=resnet20 max_latency=+5%")
    assert "Take se" in said(recommend, tmp_path, "backbone=resnet20 max_latency=+40%")


@pytest.mark.parametrize(
    ("key", "text", "most", "relative"),
    [
        ("max_latency", "+5%", 1.05, True),
        ("max_latency", "-5%", 0.95, True),
        ("max_latency", "105%", 1.05, True),
        ("max_latency", "1.05", 1.05, True),
        ("max_latency", "1.05x", 1.05, True),
        ("max_params", "30M", 30e6, False),
        ("max_params", "270000", 270000, False),
        ("max_macs", "4.1G", 4.1e9, False),
        ("max_memory", "+0.5%", 1.005, True),
    ],
)
def test_limits_are_shares_of_the_control_or_amounts(
    key: str, text: str, most: float, relative: bool
) -> None:
    found = limits.parse(key, text)
    assert (found.most, found.relative) == (pytest.approx(most), relative)


@pytest.mark.parametrize("text", ["cheap", "5 percent", "", "+5%%", "30M"])
def test_other_limits_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"\+5% or 1\.05x"):
        limits.parse("max_latency", text)


@pytest.mark.parametrize(
    ("key", "text", "right"),
    [
        ("max_latency", "+5", "+5%"),
        ("max_latency", "-5", "-5%"),
        ("max_latency", "+1.05x", " 1.05x"),
        ("max_params", "+30M", " 30M"),
        ("max_latency", "5", "5x"),
        ("max_latency", "5", "+5%"),
        ("max_latency", "105", "105x"),
    ],
)
def test_a_limit_whose_sign_for_per_cent_was_left_out_is_refused(key: str, text: str, right: str) -> None:
    with pytest.raises(UserError, match=f"{key}={re.escape(text)}: .*{re.escape(right)}"):
        limits.parse(key, text)


def test_a_latency_of_several_times_the_controls_needs_its_unit() -> None:
    assert limits.parse("max_latency", "5x").most == 5.0
    assert limits.parse("max_latency", "3").most == 3.0
