"""Rankings over several tables: known answers, scipy's, and what is said where the tables are few."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from attnbench import report
from attnbench.report.pages import across
from attnbench.report.statistics import ranking
from attnbench.report.tables.table import tables
from tests.factories import put, record

NOISE = (0.1, -0.1, 0.05, -0.05, 0.0)


def test_ranks_share_ties_and_start_with_the_largest() -> None:
    gains = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]])
    assert_array_equal(ranking.ranked(gains), [[1, 3, 2], [1.5, 1.5, 3]])
    drawn = np.random.default_rng(0).integers(0, 4, (20, 6)).astype(float)
    assert_allclose(ranking.ranked(drawn), stats.rankdata(-drawn, axis=1))


def test_a_profile_is_the_share_of_tables_near_the_best() -> None:
    gains = np.array([[1.0, 0.9, 0.0], [0.5, 1.0, 0.4]])
    assert_array_equal(ranking.profile(gains, (0.0, 0.2, 0.6)), [[0.5, 0.5, 1], [0.5, 1, 1], [0, 0, 0.5]])


def test_friedman_is_scipys_and_the_critical_difference_demsars() -> None:
    gains = np.random.default_rng(1).normal(size=(14, 4)) + np.array([0.0, 0.3, 0.6, 0.9])
    found = ranking.friedman(ranking.ranked(gains))
    chi, _ = stats.friedmanchisquare(*gains.T)
    assert found and found.statistic == pytest.approx(13 * chi / (14 * 3 - chi))
    assert found.p == pytest.approx(stats.f.sf(found.statistic, 3, 39))
    # Demsar 2006: q = 2.569 for four classifiers, and CD = 1.25 on fourteen data sets.
    assert found.critical_difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=1e-3)


def test_friedman_bears_ties_and_needs_enough_tables() -> None:
    tied = np.random.default_rng(2).integers(0, 3, (12, 5)).astype(float)
    found = ranking.friedman(ranking.ranked(tied))
    chi, _ = stats.friedmanchisquare(*tied.T)
    assert found and found.statistic == pytest.approx(11 * chi / (12 * 4 - chi))
    assert ranking.friedman(ranking.ranked(tied[:9])) is None
    assert ranking.friedman(ranking.ranked(tied[:, :2])) is None
    same = ranking.friedman(np.tile([1.0, 2.0, 3.0], (10, 1)))
    assert same and same.p == 0
    none = ranking.friedman(np.full((10, 3), 2.0))
    assert none and none.p == 1


def test_friedman_finds_nothing_where_there_is_nothing() -> None:
    rng = np.random.default_rng(3)
    found = [ranking.friedman(ranking.ranked(rng.normal(size=(10, 5)))) for _ in range(1000)]
    assert 0.03 < np.mean([f.p < 0.05 for f in found if f]) < 0.07


def made(order: dict[str, tuple[str, ...]], seeds: int = 5) -> list[dict[str, Any]]:
    """Backbone -> its rows from the best to the worst, half a point apart."""
    found = []
    for backbone, attns in order.items():
        where = {"table": f"of {backbone}", "cell__backbone": backbone}
        found += [record("none", s, 60.0, **where) for s in range(seeds)]
        for place, attn in enumerate(attns):
            gain = 2 - 0.5 * place
            found += [record(attn, s, 60 + gain + NOISE[(s + place) % 5], **where) for s in range(seeds)]
    return found


THREE = {
    "resnet20": ("se", "eca", "gc"),
    "resnet56": ("se", "gc", "eca"),
    "vgg": ("eca", "gc", "se"),
}


def test_mean_ranks_over_tables(tmp_path: Path) -> None:
    (board,) = across.boards(tables(made(THREE)))
    found = across.lines(board)
    assert [line.name for line in found] == ["se at residual", "eca at residual", "gc at residual"]
    assert found[0].within[0] == pytest.approx(2 / 3)
    assert all(line.rank == (None, None, None) for line in found)  # three are too few for a mean rank
    report.write(put(tmp_path, *made(THREE)))
    text = (tmp_path / "across.md").read_text(encoding="utf-8")
    assert "need 10 backbones or data sets with 3 rows in common; there are 3 backbones with 3" in text
    assert "[across.md](across.md)" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert (tmp_path / "across.csv").read_text().count("\n") == 4


def test_a_ranking_that_hangs_on_one_backbone_is_told() -> None:
    (board,) = across.boards(tables(made(THREE)))
    said = dict(line.removeprefix("without ").split(": ", 1) for line in across.stability(board))
    assert said["vgg"] == "Kendall's tau +0.82 to the whole ranking, the same row is first"
    assert said["resnet56"].endswith("eca at residual is first instead of se at residual")


def test_one_backbone_alone_says_so() -> None:
    one = made({"resnet20": ("se", "eca")})
    other = [{**r, "table": "other", "key": f"{r['key']}-2"} for r in one]
    (board,) = across.boards(tables(one + other))
    assert across.stability(board) == [
        "All tables are of resnet20, so they do not show anything about other backbones."
    ]


def test_rows_of_few_seeds_and_of_few_tables_are_not_ranked(tmp_path: Path) -> None:
    assert across.boards(tables(made(THREE, seeds=4))) == []
    assert across.boards(tables(made({"resnet20": ("se", "eca")}))) == []
    rare = made({**THREE, "resnet20": ("se", "eca", "gc", "simam")})
    (board,) = across.boards(tables(rare))
    assert len(board.tables) == 3 and board.rows_left_out == ["simam at residual"]
    report.write(put(tmp_path, *made(THREE, seeds=4)))
    assert not (tmp_path / "across.md").exists()


def test_a_table_that_lacks_a_usual_row_is_no_block() -> None:
    lacking = made({**THREE, "vgg": ("eca", "gc")})
    (board,) = across.boards(tables(lacking))
    assert [t.backbone for t in board.tables] == ["resnet20", "resnet56"]
    assert [t.backbone for t in board.tables_left_out] == ["vgg"]
    assert "left out: cls · cifar10 · vgg" in across.page([board])


def test_tables_of_one_backbone_and_one_set_are_averaged_before_those_of_one_backbone() -> None:
    """Three recipes on one set are one vote of that set, and two sets one vote of their backbone."""
    from attnbench.report.tables.table import Table

    places = [
        ("net0", "a", "x"),
        ("net0", "a", "y"),
        ("net0", "a", "z"),
        ("net0", "b", "x"),
        ("net1", "a", "x"),
    ]
    each = [Table("", "cls", data, net, recipe, []) for net, data, recipe in places]
    gains = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [0.0, 6.0], [1.0, 2.0]])
    board = across.Board("cls", each, ["se", "eca"], gains, [], [])
    assert_allclose(board.blocks("backbone"), [[1.0, 3.0], [1.0, 2.0]])
    assert_allclose(board.blocks("data"), [[1.5, 1.0], [0.0, 6.0]])
    first, second = across.lines(board)
    assert (first.name, first.gain, second.gain) == ("eca", 2.5, 1.0)
    assert (first.tables, first.blocks, first.within[0]) == (5, 2, 1.0)


def test_controls_of_equal_cost_are_not_ranked() -> None:
    from tests.report.test_equal import wide

    where = {"resnet20": ("se", "eca"), "vgg": ("se", "eca")}
    cells = made(where)
    for backbone in where:
        for one in wide("se", [70.0] * 5):
            own = {**one, "table": f"of {backbone}", "cell": {**one["cell"], "backbone": backbone}}
            cells.append({**own, "key": f"{one['key']} {backbone}"})
    (board,) = across.boards(tables(cells))
    assert board.names == ["eca at residual", "se at residual"]


def test_rows_of_few_seeds_and_tables_of_few_rows_are_named_where_others_are_ranked() -> None:
    few = [record("gc", s, 70.0, table="of vgg", cell__backbone="vgg") for s in range(3)]
    other = [r for r in made({"wide": ("se",)})]
    (board,) = across.boards(tables([*made({n: ("se", "eca") for n in ("vgg", "resnet20")}), *few, *other]))
    assert "gc at residual" in board.rows_left_out
    assert [t.backbone for t in board.tables_left_out] == ["wide"]


def test_a_row_whose_seeds_diverged_is_named() -> None:
    lost = record("se", 5, 10.0, status="diverged", metrics=None, table="of vgg", cell__backbone="vgg")
    (board,) = across.boards(tables([*made({n: ("se", "eca") for n in ("vgg", "resnet20")}), lost]))
    assert across.unstable(board) == [
        "se at residual: 1 of 6 seeds diverged and 0 collapsed in cls · cifar10 · vgg · short"
    ]
    assert "a diverged one enters no difference:\n\n- se at residual: 1 of 6" in across.page([board])


def test_enough_tables_have_a_critical_difference() -> None:
    many = made({f"net{i}": ("se", "eca", "gc") for i in range(10)})
    (board,) = across.boards(tables(many))
    assert "p <0.001. Critical difference of mean ranks (Nemenyi, 5 %): 1.05." in across.judgement(board)


def test_a_mean_rank_has_an_interval_that_ends_where_places_do() -> None:
    (board,) = across.boards(tables(made({f"net{i}": ("se", "eca", "gc") for i in range(5)})))
    first, *_, last = across.lines(board)
    assert first.rank == (1.0, 1.0, 1.0) and last.rank == (3.0, 3.0, 3.0)
    assert across._rank(np.array([1.0, 1, 1, 2, 1]), 3)[1] == 1.0
    assert across._rank(np.array([3.0, 3, 3, 2, 3]), 3)[2] == 3.0


def shared_effects(backbones: int, sets: int, rng: np.random.Generator) -> across.Board:
    """Rows that differ by nothing but what each backbone and each data set favors."""
    from attnbench.report.tables.table import Table

    effects = rng.normal(0, 1, (backbones, 1, 5)) + rng.normal(0, 1, (1, sets, 5))
    gains = (effects + rng.normal(0, 0.3, (backbones, sets, 5))).reshape(-1, 5)
    each = [Table("", "cls", f"data{j}", f"net{i}", "", []) for i in range(backbones) for j in range(sets)]
    return across.Board("cls", each, [f"row{i}" for i in range(5)], gains, [], [])


def test_what_a_backbone_favors_is_one_vote_however_many_tables_it_has() -> None:
    """Over all tables Friedman's test would find a difference in half of such worlds."""
    rng = np.random.default_rng(11)
    found, naive = [], []
    for _ in range(200):
        board = shared_effects(10, 10, rng)
        found.append("p <" in across.judgement(board) or float(p_of(across.judgement(board))) < 0.05)
        every = ranking.friedman(ranking.ranked(board.gains))
        naive.append(every is not None and every.p < 0.05)
    assert np.mean(naive) > 0.5
    assert np.mean(found) < 0.09


def p_of(text: str) -> str:
    return text.partition("p = ")[2].partition(".  ")[0].partition(" Critical")[0].rstrip(".")
