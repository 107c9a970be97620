"""Titles and file names of tables: no two tables of one report share either."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from attnbench.report.pages.names import names
from attnbench.report.query.selection import Selection
from attnbench.report.query.store import read
from attnbench.report.tables.table import tables
from attnbench.sweeping import experiment
from tests.factories import put, record


def titles(made: Sequence[dict[str, Any]]) -> dict[str, str]:
    """File name -> title; fails where a name or a title stands for two tables."""
    found = tables(made)
    named = names(found)
    assert len(named) == len(found) == len({table.title for table in named.values()})
    return {stem: table.title for stem, table in named.items()}


@pytest.mark.parametrize("words", [[], ["attn=none,se", "seed=0"]])
def test_a_sweep_of_the_tour_has_no_two_tables_of_one_title(words: list[str]) -> None:
    cells = [cell for cell in experiment.load("quick").cells(words) if cell.config.seed == 0]
    ran = (cell.record("done", metrics={"test": {}}, cost={}, provenance={}) for cell in cells)
    found = titles([{"schema": 2, **json.loads(json.dumps(one, default=str))} for one in ran])
    assert (
        found["seg-scenes-resnet8-seg_quick-decoder-unet"]
        == "seg · scenes · resnet8 · seg_quick · decoder=unet"
    )


def test_tables_of_the_same_settings_are_told_apart_by_their_data_then_by_their_code() -> None:
    one = record("none", 0, 60.0)
    other = {**one, "table": "feedc0ffee00", "key": "other"}
    data = {**other, "provenance": {**one["provenance"], "data_checksum": "files:0123456789abcdef"}}
    code = {**other, "provenance": {**one["provenance"], "commit": "b" * 40}}
    base = "cls · cifar10 · resnet20 · short · "
    assert set(titles([one, data]).values()) == {
        f"{base}data checksum=c0ffee",
        f"{base}data checksum=0123456789",
    }
    assert set(titles([one, code]).values()) == {f"{base}commit=aaaaaaaaaa", f"{base}commit=bbbbbbbbbb"}
    assert set(titles([one, other]).values()) == {f"{base}0123456789ab", f"{base}feedc0ffee00"}


def test_three_tables_of_which_two_are_alike_in_what_tells_the_third() -> None:
    one = record("none", 0, 60.0)
    longer = {**one["config"], "recipe": {**one["config"]["recipe"], "epochs": 9}}
    made = [
        one,
        {**one, "table": "b" * 12, "key": "b"},
        {**one, "table": "c" * 12, "key": "c", "config": longer},
    ]
    titles(made)


def test_a_name_that_spells_the_settings_of_another_takes_no_table_away() -> None:
    lr = {"name": "sgd", "lr": 0.5}
    one, other = (
        record("none", 0, 60.0),
        record("none", 0, 60.0, config__recipe__optimizer=lr, table="b" * 12),
    )
    spelled = record("none", 0, 60.0, cell__recipe="short-lr0.5", table="c" * 12)
    titles([one, other, spelled])


def test_answers_call_tables_as_the_pages_do(tmp_path: Path) -> None:
    wide = record("none", 0, 60.0, config__data__size=64, table="b" * 12)
    store = read(Selection({}, put(tmp_path, record("none", 0, 60.0), wide)))
    assert sorted(t.title for t in store.tables) == [
        "cls · cifar10 · resnet20 · short · size=32",
        "cls · cifar10 · resnet20 · short · size=64",
    ]
