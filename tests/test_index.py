"""The index says what the records say, follows them, and can be thrown away at any time."""

from pathlib import Path

import pytest

from attnbench import records
from attnbench.records import index
from attnbench.records.index import FILE, opened
from tests.factories import grid, put, record


def state(results: Path) -> tuple[object, ...]:
    with opened(results) as found:
        return (
            found.ends(),
            found.damaged(),
            found.tables(),
            found.newest(["failed"], 5),
            found.pace().seconds,
        )


def test_the_index_follows_the_records(tmp_path: Path) -> None:
    put(tmp_path, *grid())
    assert state(tmp_path)[0] == {"done": 9}
    failed = record("gc", 0, 9.0, status="failed", reason="killed")
    put(tmp_path, failed)
    (records.folder(tmp_path) / "x.json").write_text("{")
    ends, damaged, _, newest, _ = state(tmp_path)
    assert ends == {"done": 9, "failed": 1} and set(damaged) == {"x.json"}  # type: ignore[call-overload]
    assert [(e.names["attn"], e.reason) for e in newest] == [("gc", "killed")]  # type: ignore[attr-defined]
    put(tmp_path, {**failed, "status": "done", "reason": None})
    records.path(tmp_path, grid()[0]["key"]).unlink()
    assert state(tmp_path)[0] == {"done": 9}


def test_it_is_the_same_after_it_was_deleted_or_damaged_or_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, *grid(), record("se", 0, None))
    first = state(tmp_path)
    (tmp_path / FILE).unlink()
    assert state(tmp_path) == first
    (tmp_path / FILE).write_bytes(b"not a database at all" * 100)
    assert state(tmp_path) == first
    monkeypatch.setattr(index.os, "access", lambda *_: False)
    (tmp_path / FILE).unlink()
    assert state(tmp_path) == first and not (tmp_path / FILE).exists()


def test_only_records_that_changed_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, *grid())
    state(tmp_path)
    read: list[str] = []
    parse = records.parse
    monkeypatch.setattr(records, "parse", lambda file: read.append(file.stem) or parse(file))
    state(tmp_path)
    assert read == []
    put(tmp_path, record("gc", 4, 61.0))
    read.clear()
    state(tmp_path)
    assert read == [record("gc", 4, 61.0)["key"]]


def test_records_of_a_table_are_those_of_its_files(tmp_path: Path) -> None:
    other = [
        record(a, s, 50.0, table="fedcba", cell__backbone="vgg") for a in ("none", "se") for s in range(2)
    ]
    put(tmp_path, *grid(), *other)
    with opened(tmp_path) as found:
        loaded = found.load(["fedcba"])
        assert {r["key"] for r in loaded} == {r["key"] for r in other}
        assert loaded == [records.find(tmp_path, r["key"]) for r in loaded]
        assert found.with_rows(["eca"]) == {grid()[0]["table"]}
        assert found.values("backbone") == {"resnet20", "vgg"}


def test_a_folder_without_records_is_an_empty_index_and_stays_as_it_was(tmp_path: Path) -> None:
    assert state(tmp_path / "none")[0] == {}
    assert not (tmp_path / "none").exists()


def test_few_files_are_read_where_few_are_allowed(tmp_path: Path) -> None:
    put(tmp_path, *grid())
    with opened(tmp_path, most=4) as found:
        assert sum(found.ends().values()) == 4
    assert state(tmp_path)[0] == {"done": 9}
