"""The mirror to wandb, read back from its own file, and what happens where it fails."""

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attnbench.config.files import folder, names
from attnbench.config.launch import Track
from attnbench.errors import UserError
from attnbench.tracking import Tracker, flat, tracker
from tests.factories import record

CELL = {
    "task": "cls",
    "data": "scenes",
    "backbone": "resnet8",
    "attn": "se",
    "site": "residual",
    "recipe": "quick",
}
OFFLINE, ONLINE = Track(name="wandb", mode="offline"), Track(name="wandb", mode="online")
BEGIN = """
import sys
from pathlib import Path
from attnbench.config.launch import Track
from attnbench.tracking import QUIET, tracker
folder, track = Path(sys.argv[1]), Track(name=sys.argv[2], mode=sys.argv[3])
"""
ONE = """
with tracker(track, folder, {}, {}) as t:
    t.log({"loss": 1.0}, 1)
    t.finish({"status": "done"})
"""
BLOCK, HEAD = 32768, 7  # bytes of LevelDB's log format: blocks, and the head of each chunk in them


def chunks(content: bytes) -> Iterator[bytes]:
    """The messages of a `.wandb` file: LevelDB's log format behind a head of seven bytes."""
    assert struct.unpack("<4sHB", content[:HEAD])[:2] == (b":W&B", 0xBEE1)
    position, message = HEAD, b""
    while position + HEAD <= len(content):
        left = BLOCK - position % BLOCK
        if left < HEAD:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", content[position : position + HEAD])
        body = content[position + HEAD : position + HEAD + size]
        message = body if kind in (1, 2) else message + body  # 1: whole, 2: first, 3: middle, 4: last
        if kind in (1, 4):
            yield message
        position += HEAD + size


def read_back(run_folder: Path) -> dict[str, Any]:
    """Configuration, history, summary and exit code of the one offline run in a folder."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = run_folder.glob("wandb/offline-run-*/run-*.wandb")
    found: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "exit": None}
    for message in chunks(file.read_bytes()):
        told = Record()
        told.ParseFromString(message)
        kind = told.WhichOneof("record_type")
        if kind == "run":
            found["run"] = told.run
            found["config"] |= {c.key: json.loads(c.value_json) for c in told.run.config.update}
        elif kind == "history":
            found["history"].append(values(told.history.item))
        elif kind == "summary":
            found["summary"] |= values(told.summary.update)
        elif kind == "exit":
            found["exit"] = told.exit.exit_code
    return found


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Three runs of one process, read back: one done, one diverged, one that raised."""
    import wandb

    root = tmp_path_factory.mktemp("runs")
    with tracker(
        OFFLINE, root / "done", {**CELL, "seed": 3}, {"recipe": {"epochs": 2}, "attn": {"name": "se"}}
    ) as t:
        for epoch in (1, 2):
            t.log({"epoch": epoch, "train_objective": 2.0 / epoch, "val_top1": 30.0 * epoch}, epoch)
        t.finish(record("se", 3, 61.5))
    with tracker(OFFLINE, root / "diverged", CELL, {}) as t:
        t.log({"train_objective": float("nan")}, 1)
        t.finish(record("se", 0, status="diverged", reason="the loss is NaN", metrics=None))
    with pytest.raises(ZeroDivisionError), tracker(OFFLINE, root / "raised", CELL, {}) as t:
        t.log({"train_objective": 1 / 0}, 1)
    wandb.teardown()  # finish() returns before the file is whole
    return {run.name: read_back(run) for run in root.iterdir()}


def test_config_curves_and_metrics_are_mirrored(mirrored: dict[str, dict[str, Any]]) -> None:
    found = mirrored["done"]
    assert found["config"]["recipe"] == {"epochs": 2}
    assert found["config"]["cell"]["backbone"] == "resnet8"
    points = [
        (p["_step"], p["train_objective"], p["val_top1"]) for p in found["history"] if "train_objective" in p
    ]
    assert points == [(1, 2.0, 30.0), (2, 1.0, 60.0)]
    assert found["summary"]["metrics/test/top1"] == 61.5
    assert found["summary"]["cost/params"] == 273054
    assert found["summary"]["provenance/versions/torch"] == "2.15.0"
    assert found["exit"] == 0
    assert (found["run"].display_name, found["run"].project) == ("se residual seed 3", "attnbench")
    assert found["run"].run_group == "cls-scenes-resnet8-quick"


def test_the_row_of_the_leaderboard_is_mirrored(mirrored: dict[str, dict[str, Any]]) -> None:
    (row,) = [p for p in mirrored["done"]["history"] if "row/_type" in p]
    assert (row["row/_type"], row["row/nrows"]) == ("table-file", 1)


def test_table_file_holds_the_row(tmp_path: Path) -> None:
    with tracker(OFFLINE, tmp_path, CELL, {}) as t:
        t.finish(record("se", 3, 61.5))
    (file,) = tmp_path.glob("wandb/offline-run-*/files/media/table/*.json")
    table = json.loads(file.read_text())
    row = dict(zip(table["columns"], table["data"][0]))
    assert (row["cell/attn"], row["metrics/test/top1"], row["status"]) == ("se", 61.5, "done")


def test_runs_that_did_not_finish_are_mirrored_as_failed(mirrored: dict[str, dict[str, Any]]) -> None:
    assert mirrored["diverged"]["exit"] == 1
    assert mirrored["diverged"]["summary"]["reason"] == "the loss is NaN"
    assert mirrored["raised"]["exit"] == 1


@pytest.mark.parametrize(
    ("track", "message"),
    [(Track(name="wnadb"), "did you mean wandb"), (Track(name="wandb", mode="onlin"), "did you mean online")],
)
def test_unknown_names_are_refused_with_near_ones(tmp_path: Path, track: Track, message: str) -> None:
    with pytest.raises(UserError, match=message), tracker(track, tmp_path, CELL, {}):
        pytest.fail("it began")


def elsewhere(code: str, tmp_path: Path, track: Track, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process without a key of wandb and without a home that could hold one."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    return subprocess.run(
        [sys.executable, "-c", BEGIN + code, str(tmp_path / "run"), track.name, track.mode],
        env={**kept, "HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), **variables},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def test_off_is_told_everything_and_imports_nothing(tmp_path: Path) -> None:
    code = f"{ONE}print([m for m in ('wandb', 'torch') if m in sys.modules])"
    ran = elsewhere(code, tmp_path, Track())
    assert ran.stdout.strip() == "[]", ran.stderr
    assert not (tmp_path / "run").exists()


def test_online_without_a_key_is_refused_within_seconds(tmp_path: Path) -> None:
    start = time.perf_counter()
    ran = elsewhere(ONE, tmp_path, ONLINE)
    assert "UserError: track.mode=online needs a key" in ran.stderr
    assert not (tmp_path / "run").exists()
    assert (
        time.perf_counter() - start < 30
    )  # about 3 s on an idle core; wandb itself would ask, or wait 100 s


def test_online_without_a_network_is_kept_offline(tmp_path: Path) -> None:
    code = f"QUIET['init_timeout'] = 1{ONE}import wandb; wandb.teardown(); print('ended')"
    nobody = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0123456789" * 4}
    ran = elsewhere(code, tmp_path, ONLINE, **nobody)
    assert ran.stdout.strip() == "ended", ran.stderr
    assert ran.stderr.count("wandb cannot start online") == 1
    assert read_back(tmp_path / "run")["history"][0]["loss"] == 1.0


def test_offline_prints_nothing_and_leaves_no_credentials(tmp_path: Path) -> None:
    ran = elsewhere(ONE, tmp_path, OFFLINE)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert not (tmp_path / "netrc").exists()
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 1


def test_offline_needs_no_home(tmp_path: Path) -> None:
    ran = elsewhere(f"{ONE}import wandb; wandb.teardown()", tmp_path, OFFLINE, HOME=os.devnull)
    assert "goes on without it" not in ran.stderr
    assert read_back(tmp_path / "run")["exit"] == 0
    assert list((tmp_path / "run").glob("wandb/offline-run-*/files/media/table/*.json"))


def test_a_failure_is_warned_about_once_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    class Broken:
        def log(self, *_: object, **__: object) -> None:
            raise OSError("no space left")

    monkeypatch.setattr(wandb, "init", lambda **_: Broken())
    with tracker(OFFLINE, tmp_path, CELL, {}) as t:
        t.log({"loss": 1.0}, 1)
        t.log({"loss": 0.5}, 2)
        t.finish(record())
    assert caplog.text.count("no space left") == 1


def test_a_folder_that_cannot_be_written_costs_the_mirror_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with tracker(OFFLINE, tmp_path / "file" / "run", CELL, {}) as t:
        t.log({"loss": 1.0}, 1)
        t.finish(record())
    assert caplog.text.count("wandb cannot start") == 1


def test_flat_joins_keys_and_leaves_out_what_is_null() -> None:
    assert flat({"a": {"b": 1, "c": None}, "d": [1, "x"], "e": True}) == {
        "a/b": 1,
        "d": "[1, 'x']",
        "e": True,
    }


def test_choices_under_conf_are_the_ones_this_file_knows() -> None:
    assert names("track") == ["off", "wandb"]
    assert "mode: offline" in (folder("conf") / "track" / "wandb.yaml").read_text()
    assert isinstance(Tracker(), Tracker)
