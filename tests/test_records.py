"""Records are whole or absent, and what is damaged is named."""

import errno
import json
import os

import pytest

from attnbench import records
from attnbench.errors import Unwritable, UserError

RECORD = {"key": "abc", "status": "done", "cell": {}, "table": "t"}


def test_a_record_is_read_as_it_was_written(tmp_path):
    records.write(tmp_path, {**RECORD, "metrics": {"top1": 61.25}})
    found, damaged = records.read(tmp_path)
    assert not damaged
    assert found[0]["metrics"] == {"top1": 61.25}
    assert records.find(tmp_path, "abc") == found[0]
    assert records.find(tmp_path, "abd") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ("[]", "not a JSON object"),
        ('{"key": "x"}', "status, cell, table missing"),
        (json.dumps({**RECORD, "schema": 99}), "schema 99"),
        (json.dumps({**RECORD, "schema": records.schema.VERSION}), "its key is abc"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_read(tmp_path, text, said):
    records.write(tmp_path, RECORD)
    (records.folder(tmp_path) / "x.json").write_text(text)
    found, damaged = records.read(tmp_path)
    assert [r["key"] for r in found] == ["abc"]
    assert said in damaged["x.json"]


def test_a_full_disk_is_said_and_leaves_the_old_record_and_no_scrap(tmp_path, monkeypatch):
    records.write(tmp_path, RECORD)

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        records.write(tmp_path, {**RECORD, "status": "failed"})
    assert [p.name for p in records.folder(tmp_path).iterdir()] == ["abc.json"]
    assert records.find(tmp_path, "abc")["status"] == "done"


def test_no_number_that_json_lacks_gets_in(tmp_path):
    with pytest.raises(ValueError):
        records.write(tmp_path, {**RECORD, "metrics": {"loss": float("nan")}})
    assert records.read(tmp_path) == ([], {})


def test_only_the_first_record_of_a_cell_is_kept(tmp_path):
    assert records.write_first(tmp_path, RECORD)
    assert not records.write_first(tmp_path, {**RECORD, "status": "failed"})
    assert records.find(tmp_path, "abc")["status"] == "done"
    assert [p.name for p in records.folder(tmp_path).iterdir()] == ["abc.json"]


def test_a_file_system_without_links_keeps_the_first_record_too(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", unknown)
    test_only_the_first_record_of_a_cell_is_kept(tmp_path)


@pytest.mark.parametrize("write", [records.write, records.write_first])
def test_a_damaged_record_is_kept_aside_when_a_good_one_is_written(tmp_path, write):
    file = records.path(tmp_path, "abc")
    for number, damage in enumerate(("{", "half"), start=1):
        file.parent.mkdir(exist_ok=True)
        file.write_text(damage)
        write(tmp_path, RECORD)
        assert records.find(tmp_path, "abc")["status"] == "done"
        assert file.with_name(f"abc.json.damaged{number}").read_text() == damage
    assert records.read(tmp_path)[1] == {}


def test_a_folder_that_takes_no_record_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unwritable, match="Not a directory"):
        records.check_writable(tmp_path / "file")
    records.check_writable(tmp_path / "new")
    assert records.folder(tmp_path / "new").is_dir()
