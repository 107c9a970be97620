"""A data set's folds stand in a leaderboard as their mean, and a missing one is told."""

from pathlib import Path
from typing import Any

import pytest

from attnbench.config import load as compose
from attnbench.report.query.compare import compare
from attnbench.report.tables.table import tables
from tests.factories import put, record, reported

NAMES = ("table of fold {}", "sum of fold {}")


def of_fold(
    fold: int, attn: str = "none", seed: int = 0, top1: float = 60.0, **changes: Any
) -> dict[str, Any]:
    table, checksum = (name.format(fold) for name in NAMES)
    options = {"fold": fold, "val_share": 0.1}
    data = {"name": "sbu", "size": 3, "options": options}
    made = record(attn, seed, top1, config__data=data, table=table, **changes)
    made["provenance"]["data_checksum"] = checksum
    return made | {"key": f"{made['key']}-{fold}"}


def five(attn: str, seed: int, *scores: float) -> list[dict[str, Any]]:
    return [of_fold(fold, attn, seed, top1) for fold, top1 in enumerate(scores)]


def test_a_seed_scores_the_mean_over_its_folds_and_is_paired_once() -> None:
    (table,) = tables([*five("none", 0, 50.0, 60.0, 80.0), *five("se", 0, 56.0, 60.0, 80.0)])
    none, se = table.rows
    assert none.score("top1") == {0: pytest.approx(190 / 3)}
    assert se.effect and se.effect.mean == pytest.approx(2.0)
    assert se.effect.pairs == 1
    assert none.middle("provenance", "wall_s") == 900.0  # 300 s a fold


def test_seeds_of_folds_are_seeds() -> None:
    runs = [
        one for seed in range(5) for one in (*five("none", seed, 50.0, 70.0), *five("se", seed, 51.0, 70.5))
    ]
    (table,) = tables(runs)
    assert table.rows[1].effect and table.rows[1].effect.pairs == 5


@pytest.mark.parametrize("missing", [0, 2])
def test_a_cell_without_one_of_the_folds_scores_nothing_and_says_which(tmp_path: Path, missing: int) -> None:
    runs = [*five("none", 0, 50.0, 60.0, 80.0), *five("se", 0, 56.0, 60.0, 80.0)]
    del runs[3 + missing]
    text = reported(tmp_path, *runs)
    assert f"`se at residual`: seed 0: skipped: fold {missing} was not run." in text


def test_a_fold_that_diverged_is_the_reason_of_its_cell(tmp_path: Path) -> None:
    bad = of_fold(1, "se", 0, 9.0, status="diverged", reason="the loss is nan")
    text = reported(tmp_path, *five("none", 0, 50.0, 60.0), of_fold(0, "se"), bad)
    assert "`se at residual`: seed 0: diverged: fold 1: the loss is nan." in text


def test_conditions_say_that_folds_are_averaged(tmp_path: Path) -> None:
    text = reported(tmp_path, *five("none", 0, 50.0, 60.0))
    assert "mean over folds 0 1, checksum sum of fold 0 sum of fold 1" in text


def test_one_fold_alone_stays_what_it_is() -> None:
    (table,) = tables([of_fold(2)])
    assert table.fingerprint == NAMES[0].format(2)
    assert table.rows[0].score("top1") == {0: 60.0}


def test_folds_under_other_settings_or_another_protocol_are_not_mixed() -> None:
    other = [
        {**one, "config": {**one["config"], "recipe": {"name": "long"}}} for one in five("none", 1, 1.0, 2.0)
    ]
    assert len(tables([*five("none", 0, 50.0, 60.0), *other])) == 2
    later = [
        {**one, "table": f"later {one['table']}", "key": f"l{one['key']}"}
        for one in five("none", 0, 1.0, 2.0)
    ]
    assert len(tables([*five("none", 0, 50.0, 60.0), *later])) == 4


def test_what_lacks_is_asked_for_on_every_fold_and_in_this_table_alone(tmp_path: Path) -> None:
    runs = [*five("none", 0, 50.0, 60.0), *five("se", 0, 50.0, 60.0)]
    longer = {**runs[0]["config"]["recipe"], "epochs": 9}
    twins = [
        {**r, "config": {**r["config"], "recipe": longer}, "request": [*r["request"], "recipe.epochs=9"]}
        for r in runs
    ]
    put(tmp_path, *runs, *({**r, "key": f"twin-{r['key']}", "table": f"twin {r['table']}"} for r in twins))
    told = "\n".join(compare(["attn=se", f"results={tmp_path}"], compose.unchecked))
    assert "16 cells are missing: " in told  # of four seeds, two mechanisms and two folds
    commands = [line for line in told.splitlines() if "attnbench -m" in line]
    assert all("data.options.fold=0,1 " in line and "seed=1,2,3,4" in line for line in commands)
    assert sorted("recipe.epochs=9 " in line for line in commands) == [False, True]
