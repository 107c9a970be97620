"""Records have one definition: other paths are refused, former versions are read as the present one."""

import json
from pathlib import Path

import pytest

from attnbench import records
from attnbench.records import schema
from attnbench.report.load import at, number
from tests.factories import record

OWN = Path(records.__file__).parents[2] / "results" / "cells"


def test_a_path_that_no_record_has_is_refused() -> None:
    made = record("se", 0, 60.0)
    assert number(made, "metrics", "test", "top1") == 60.0
    assert at(made, "config", "recipe", "precision") is None
    for path in [
        ("config", "recipe", "amp"),
        ("cost", "latency", "ration"),
        ("provenence",),
        ("cell", "seeds"),
    ]:
        with pytest.raises(LookupError, match=r"records have no .*there: "):
            at(made, *path)


def test_committed_records_fit_the_schema_to_the_last_key() -> None:
    for file in sorted(OWN.glob("*.json")):
        found = records.parse(file)
        assert schema.problem(found) is None
        for part, kind in (("cell", schema.Names), ("cost", schema.Cost), ("provenance", schema.Provenance)):
            assert set(found[part] or ()) <= set(kind.__annotations__), file.name
        assert set(found) <= set(schema.Record.__annotations__)


def test_a_former_version_is_read_as_the_present_one() -> None:
    old = {**record("none", 0, None), "schema": 1}
    old["cell"] = {**old["cell"], "task": "seg_profile"}
    old["config"] = {"task": {"name": "seg_profile"}, "recipe": {"name": "none"}}
    made = schema.current(old)
    assert (made["schema"], made["cell"]["task"], made["config"]["recipe"]["trains"]) == (2, "seg", False)
    trained = schema.current({**old, "cell": {**old["cell"], "task": "seg"}})
    assert "trains" not in trained["config"]["recipe"]
    former = {"task": {"name": "weighing", "trains": False}, "recipe": {}}
    weighed = schema.current({**old, "cell": {**old["cell"], "task": "weighing"}, "config": former})
    assert weighed["config"]["recipe"]["trains"] is False and weighed["cell"]["task"] == "weighing"
    for version in (0, 3, "1", None, True):
        with pytest.raises(ValueError, match="this version reads 1 to 2"):
            schema.current({**old, "schema": version})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": "perfect"}, "status 'perfect'"),
        ({"cell": "se"}, "no cell"),
        ({"cost": [1]}, "cost"),
        ({"table": None}, "table"),
        ({"curve": {}}, "curve"),
        ({"request": "attn=se"}, "request"),
    ],
)
def test_what_is_of_another_type_is_named(change: dict[str, object], why: str) -> None:
    assert why in (schema.problem({**record("se", 0, 60.0), **change}) or "")


def test_what_is_written_is_of_the_present_version(tmp_path: Path) -> None:
    file = records.write(tmp_path, record("se", 0, 60.0))
    assert json.loads(file.read_text())["schema"] == schema.VERSION
