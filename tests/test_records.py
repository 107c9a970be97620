"""Records are whole or absent, and what is damaged is named."""

import errno
import json
import os

import pytest

from attnbench import records
from attnbench.errors import UserError

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
        ('{"key": "x"}', "lacks status, cell, table"),
        (json.dumps({**RECORD, "schema": 99}), "schema 99"),
        (json.dumps({**RECORD, "schema": records.SCHEMA}), "its key is abc"),
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
