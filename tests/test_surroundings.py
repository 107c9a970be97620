"""Other file systems, users, terminals and launches: each is served, or refused in one line."""

import errno
import fcntl
import io
import logging
import os
import pwd
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from attnbench import provenance, records
from attnbench.cell import Cell
from attnbench.cli.main import main
from attnbench.errors import Unwritable
from attnbench.sweeping.experiment import cell
from attnbench.sweeping.signals import on_signals


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    file = tmp_path / "runs" / "key" / "lock"
    with records.locked(file), pytest.raises(records.Busy), records.locked(file):
        pass
    with records.locked(file):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO])
def test_a_file_system_without_locks_is_one_warning(tmp_path, monkeypatch, caplog, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    records._warn_of_no_locks.cache_clear()
    with caplog.at_level(logging.WARNING):
        for key in ("a", "b"):
            with records.locked(tmp_path / "runs" / key / "lock"):
                pass
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'runs'} is on a file system without locks ({os.strerror(number)}): cells may run twice"
    ]


def test_a_lock_that_cannot_be_written_names_its_folder(tmp_path):
    (tmp_path / "runs").write_text("")
    with (
        pytest.raises(Unwritable, match=f"cannot write {tmp_path / 'runs'}"),
        records.locked(tmp_path / "runs" / "lock"),
    ):
        pass


def test_gits_variables_do_not_make_a_record_name_another_repository(tmp_path, monkeypatch):
    here = provenance._git("rev-parse", "HEAD")
    if here is None:
        pytest.skip("no checkout")
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "-m", "x"]
    for words in (["init", "--quiet"], commit):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert provenance._git("rev-parse", "HEAD") == here


def test_a_run_outside_the_main_thread_leaves_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    found: list[bool] = []

    def work() -> None:
        with on_signals() as stop:
            found.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_user_without_a_home_may_use_every_command(monkeypatch, capsys):
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert main(["--version"]) == 0
    assert main(["attn=ecca"]) == 2
    assert "did you mean eca" in capsys.readouterr().err


def test_output_in_another_encoding_costs_letters_and_no_command(tmp_path, monkeypatch):
    words = [f"results={tmp_path}", f"runs={tmp_path / 'runs'}"]
    done = cell(["attn=none", *words])
    records.write(tmp_path, done.record("done", provenance={"wall_s": 10.0}))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    assert main(["-m", "attn=none,se", *words, "--dry-run"]) == 0
    sys.stdout.flush()
    assert "1 done, 1 to run, ? 10 s on" in written.getvalue().decode("ascii")


@pytest.mark.parametrize(("rank", "said"), [("0", "torchrun runs one cell"), ("1", "")])
def test_a_sweep_under_torchrun_is_refused_by_one_of_its_processes(tmp_path, monkeypatch, capsys, rank, said):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    words = ["-m", "attn=none,se", f"results={tmp_path}", f"runs={tmp_path / 'runs'}"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert bool(error) is bool(said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_setting_that_json_has_no_number_for_is_recorded_as_a_word(tmp_path, value):
    config = cell(["attn=none", f"results={tmp_path}"]).config
    strange = Cell(replace(config, recipe=replace(config.recipe, clip_norm=value)))
    records.write(tmp_path, strange.record("failed", "x"))
    found = records.find(tmp_path, strange.key)
    assert found["config"]["recipe"]["clip_norm"] == str(value)
