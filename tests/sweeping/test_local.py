"""The pool, with stand-ins for workers; clusters, with a stand-in for a cluster; status and board."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from attnbench import records
from attnbench.config.launch import Launch
from attnbench.errors import UserError
from attnbench.sweeping.executors import cluster as remote
from attnbench.sweeping.executors import local as pool
from attnbench.sweeping.executors import seats
from attnbench.sweeping.executors.chunk import Chunk
from attnbench.sweeping.executors.events import Event, Waiting, Work
from attnbench.sweeping.plan import Plan
from attnbench.sweeping.progress import heartbeat, registry, status
from attnbench.sweeping.progress.display import Board
from attnbench.sweeping.signals import Stop
from tests.factories import cells

STAND_IN = """
import json, os, signal, sys, time
{before}
for line in sys.stdin:
    order = json.loads(line)
    {each}
"""


def stand_in(monkeypatch, each: str, before: str = "") -> None:
    code = STAND_IN.format(before=before, each=each)
    monkeypatch.setattr(pool, "COMMAND", [sys.executable, "-c", code])


def work(wanted: list, **launch) -> Work:
    return Work(wanted, Launch(**{"jobs": 1, **launch}), Stop())


def heard(one: Work) -> list[Event]:
    events: list[Event] = []
    pool.Pool(one).run(events.append)
    return events


def test_what_a_worker_says_is_heard_and_every_cell_ends(tmp_path, monkeypatch):
    stand_in(
        monkeypatch,
        'print(json.dumps({"state": "running", "share": 0.5}), flush=True);'
        'print(json.dumps({"state": "refused", "reason": order["config"]["attn"]["name"]}), flush=True)',
    )
    events = heard(work(cells(tmp_path, attn=("none", "se", "eca")), jobs=2))
    assert [e.state for e in events].count("running") == 3
    assert sorted(e.reason for e in events if e.state == "refused") == ["eca", "none", "se"]
    assert {e.worker for e in events} <= {"1", "2"}


def test_processes_forked_while_a_worker_listens_come_to_their_end():
    code = (
        "import multiprocessing, threading\n"
        "from attnbench.sweeping.executors.worker import _orders\n"
        "orders = _orders([], threading.Event())\n"
        "next(orders)\n"  # from here on a thread waits for the next
        "one = multiprocessing.get_context('fork').Process(target=int)\n"
        "one.start(); one.join(20); print(one.exitcode, flush=True); one.kill()\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdin and worker.stdout
    worker.stdin.write("{}\n")
    worker.stdin.flush()
    assert worker.stdout.readline().strip() == "0"
    worker.communicate()


def test_the_last_line_of_a_workers_error_is_passed_on(tmp_path, monkeypatch):
    stand_in(monkeypatch, 'raise ImportError("libcudart.so.12: no such file")')
    wanted = cells(tmp_path, attn=("none",))
    events = heard(work(wanted))
    how = "its process ended by exit code 1 (ImportError: libcudart.so.12: no such file)"
    assert [e.reason for e in events if e.state == "note"] == [f"{how}; it is tried again"] * 2
    assert records.find(tmp_path, wanted[0].key)["reason"] == f"{how}, 3 times"


def test_a_worker_that_leaves_after_its_cell_gets_no_other(tmp_path, monkeypatch):
    stand_in(
        monkeypatch,
        'print(json.dumps({"state": "refused", "reason": str(os.getpid()), "leaving": True}), flush=True);'
        "time.sleep(0.5); sys.exit()",
    )
    events = heard(work(cells(tmp_path, attn=("none", "se", "eca"))))
    assert len({e.reason for e in events if e.state == "refused"}) == 3
    assert not [e for e in events if e.state == "note"]


def test_a_cell_that_gets_further_each_time_is_not_given_up(tmp_path, monkeypatch):
    stand_in(
        monkeypatch,
        "file.parent.mkdir(parents=True, exist_ok=True); n = file.exists() and len(file.read_text());"
        'file.write_text("x" * (n + 1)); n < 5 and os.kill(os.getpid(), signal.SIGKILL);'
        'print(json.dumps({"state": "refused", "reason": str(n)}), flush=True)',
        "from pathlib import Path; file = Path(os.environ['CHECKPOINT'])",
    )
    wanted = cells(tmp_path, attn=("none",))
    monkeypatch.setenv("CHECKPOINT", str(tmp_path / "runs" / wanted[0].key / records.CHECKPOINT))
    events = heard(work(wanted))
    assert [e.reason for e in events if e.state == "refused"] == ["5"]
    assert [e.state for e in events].count("note") == 5


def test_a_worker_that_will_not_stop_is_killed_in_time(tmp_path, monkeypatch):
    stand_in(
        monkeypatch,
        'print(json.dumps({"state": "running", "share": 0.1}), flush=True); time.sleep(600)',
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    )
    one = work(cells(tmp_path))
    events: list[Event] = []
    asked: list[float] = []

    def hear(event: Event) -> None:
        events.append(event)
        if event.state == "running":
            asked.append(time.monotonic())
            one.stop.ask()

    pool.Pool(one).run(hear)
    assert time.monotonic() - asked[0] < 5
    assert [e.state for e in events] == ["started", "running", "stopped"]


def test_a_cell_that_does_not_answer_is_ended_at_its_time_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "OVERTIME_S", 0.2)
    stand_in(monkeypatch, "time.sleep(600)")
    wanted = cells(tmp_path, "launch.limit_min=0.001", attn=("none",))
    assert heard(work(wanted))[-1].state == "ended"
    record = records.find(tmp_path, wanted[0].key)
    assert record["status"] == "failed"
    assert record["reason"] == "took longer than the 0.001 min of launch.limit_min: killed"


def test_a_disk_that_takes_no_more_stops_all(tmp_path, monkeypatch):
    stand_in(monkeypatch, 'print(json.dumps({"state": "unwritable", "reason": "full"}), flush=True)')
    one = work(cells(tmp_path, attn=("none", "se", "eca")))
    assert [e.state for e in heard(one)] == ["started", "unwritable"]
    assert one.stop.asked


def test_a_cell_that_another_process_holds_is_waited_for(tmp_path, monkeypatch):
    wanted = cells(tmp_path, attn=("none",))
    stand_in(monkeypatch, 'print(json.dumps({"state": "busy", "reason": ""}), flush=True)')
    one, events = work(wanted), []

    def hear(event: Event) -> None:
        events.append(event.state)
        if events.count("waiting") == 2:  # then the other process has finished
            records.write(tmp_path, wanted[0].record("done"))

    pool.Pool(one).run(hear)
    assert events[:4] == ["started", "waiting", "started", "waiting"]
    assert events[-1] == "ended"


def test_cells_of_the_same_data_follow_each_other(tmp_path):
    mixed = [
        *cells(tmp_path, "data.size=16", attn=("none",)),
        *cells(tmp_path, "data.size=20", attn=("none", "se")),
        *cells(tmp_path, "data.size=16", attn=("se",)),
    ]
    waiting, taken = Waiting(mixed), []
    while (cell := waiting.take(taken[-1] if taken else None)) is not None:
        taken.append(cell)
    assert [c.config.data.size for c in taken] == [16, 16, 20, 20]
    assert waiting.empty


def test_threads_and_gpus_are_divided(monkeypatch):
    monkeypatch.setattr(seats, "cores", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [s["OMP_NUM_THREADS"] for s in seats.environments(Launch(jobs=4), 100)] == ["2"] * 4
    assert len(seats.environments(Launch(), 100)) == 8
    assert len(seats.environments(Launch(), 3)) == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    found = seats.environments(Launch(per_gpu=2), 100)
    assert [s["CUDA_VISIBLE_DEVICES"] for s in found] == ["0", "1", "0", "1"]
    assert [s["CUDA_VISIBLE_DEVICES"] for s in seats.environments(Launch(processes=2), 100)] == ["0,1"]


class Cluster:
    """Stands in for a cluster: its jobs do what the test says."""

    lasting = True
    logs = "the cluster's logs"

    def __init__(self) -> None:
        self.chunks: dict[str, Chunk] = {}
        self.living: set[str] = set()
        self.cancelled: list[str] = []

    def submit(self, chunks):
        names = [f"job{len(self.chunks) + n}" for n in range(len(chunks))]
        self.chunks |= dict(zip(names, chunks))
        self.living |= set(names)
        return names

    def alive(self):
        return set(self.living)

    def cancel(self, jobs):
        self.cancelled += jobs


def follow(one: Work, cluster: Cluster, each) -> list[Event]:
    """Run a sweep on the cluster, `each` called at every look with the number of looks so far."""
    events: list[Event] = []
    watching = remote.Remote(one, cluster)
    looks: list[int] = []

    def sleep() -> None:
        looks.append(1)
        each(len(looks))

    watching._sleep = sleep
    watching.run(events.append)
    return events


def test_a_clusters_cells_end_when_their_records_appear(tmp_path):
    wanted, cluster = cells(tmp_path, attn=("none", "se", "eca")), Cluster()

    def each(look: int) -> None:
        records.write_first(tmp_path, wanted[look - 1].record("done"))

    events = follow(work(wanted, executor="slurm", chunk=2), cluster, each)
    assert [len(chunk.configs) for chunk in cluster.chunks.values()] == [2, 1]
    assert [e.cell.key for e in events if e.state == "ended"] == [c.key for c in wanted]
    assert not cluster.cancelled


def test_cells_of_a_lost_job_run_again_alone_and_not_for_ever(tmp_path):
    wanted, cluster = cells(tmp_path, attn=("none", "se")), Cluster()

    def each(look: int) -> None:
        beat = heartbeat.Heartbeat(wanted[0], lambda **event: None)
        beat.begin()  # the first cell takes every job with it that it runs in
        if look > 6:
            records.write_first(tmp_path, wanted[1].record("done"))
        cluster.living.clear()

    events = follow(work(wanted, executor="slurm", chunk=2), cluster, each)
    assert [len(chunk.configs) for chunk in cluster.chunks.values()][:3] == [2, 1, 1]
    found = {r["key"]: r for r in records.read(tmp_path)[0]}
    assert found[wanted[0].key]["reason"] == "its job ended 3 times without a record: see the cluster's logs"
    assert found[wanted[1].key]["status"] == "done"
    assert [e.state for e in events if e.cell is wanted[0]][-1] == "ended"


def test_jobs_that_die_before_a_cell_begins_are_told_and_not_handed_in_for_ever(tmp_path):
    wanted, cluster = cells(tmp_path, attn=("none", "se")), Cluster()
    events = follow(work(wanted, executor="slurm", chunk=2), cluster, lambda look: cluster.living.clear())
    assert len(cluster.chunks) == 1 + 2 + 2  # both cells in one job, then alone, three times each
    notes = [e.reason for e in events if e.state == "note"]
    assert notes[0] == "job job0 ended before one of its 2 cells began: see the cluster's logs"
    found, _ = records.read(tmp_path)
    assert [record["status"] for record in found] == ["failed", "failed"]


def test_a_new_driver_takes_over_the_jobs_that_it_finds(tmp_path):
    wanted, cluster = cells(tmp_path, attn=("none", "se")), Cluster()
    cluster.living.add("old")
    file = tmp_path / "runs" / registry.FOLDER / "jobs-slurm"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"old": [wanted[0].key], "dead": [wanted[1].key]}))

    def each(look: int) -> None:
        records.write_first(tmp_path, wanted[look - 1].record("done"))

    events = follow(work(wanted, executor="slurm"), cluster, each)
    assert "job old with 1 cells was found" in events[0].reason
    assert [len(chunk.configs) for chunk in cluster.chunks.values()] == [1]  # of the dead job's cell
    assert json.loads(file.read_text()) == {}


def test_jobs_are_cancelled_when_someone_asks_to_stop(tmp_path):
    one, cluster = work(cells(tmp_path), executor="slurm"), Cluster()
    follow(one, cluster, lambda look: one.stop.ask())
    assert set(cluster.cancelled) == set(cluster.chunks)


@pytest.mark.parametrize(("name", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_missing_package_is_named_with_what_brings_it(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"attnbench.sweeping.executors.{name}", raising=False)
    with pytest.raises(UserError, match=rf"pip install 'attnbench\[{name}\]'"):
        importlib.import_module(f"attnbench.sweeping.executors.{name}")


def test_a_machine_without_slurm_says_so(tmp_path, monkeypatch):
    slurm = pytest.importorskip("attnbench.sweeping.executors.slurm", exc_type=(ImportError, UserError))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="this machine has no sbatch"):
        slurm.Engine(Launch(executor="slurm"), str(tmp_path))


def test_status_tells_what_is_done_runs_was_interrupted_and_failed(tmp_path):
    done, running, dead, failed = cells(tmp_path, attn=("none", "se", "eca", "simam"))
    runs = tmp_path / "runs"
    records.write(tmp_path, done.record("done"))
    records.write(tmp_path, failed.record("failed", "RuntimeError: shapes differ"))
    for cell in (running, dead):
        beat = heartbeat.Heartbeat(cell, lambda **event: None)
        beat.begin()
        beat.epoch({"epoch": 1, "train_objective": 1.25, "val_top1": 45.5})
    state = json.loads((runs / dead.key / "state.json").read_text())
    (runs / dead.key / "state.json").write_text(json.dumps({**state, "pid": 2**22 + 1}))
    registry.Book(runs, registry.Entry("processes", 2, 4)).write(ended=1, left="3 min left")
    said = "\n".join(status.lines(tmp_path, runs, [done, running, dead, failed]))
    assert "2 records (1 done, 1 failed)" in said
    assert "1 of 4 cells run, 3 min left (processes, 2 at a time" in said
    assert f"running: {running}: epoch 1/1, loss 1.250, top1 45.50 (process {os.getpid()}" in said
    assert f"interrupted: {dead}" in said
    assert "failed: cls scenes resnet8 simam seed 0: RuntimeError: shapes differ" in said
    assert "4 cells: 2 done (1 failed), 2 to run" in said


def test_the_board_shows_a_bar_and_a_line_for_each_worker(tmp_path):
    wanted = cells(tmp_path, attn=("none", "se", "eca"))
    console = Console(record=True, width=160, force_terminal=True, height=20)
    board = Board(Plan.of(wanted, False), 2, "processes", console)
    figures = {"epoch": 2, "epochs": 3, "loss": 1.234, "metric": "top1", "value": 45.5}
    board.hear(Event(wanted[0], "started", worker="1"))
    board.hear(Event(wanted[0], "running", worker="1", share=0.5, figures=figures))
    board.hear(Event(wanted[1], "started", worker="2"))
    console.print(board._draw())
    shown = console.export_text()
    assert "0/3" in shown
    assert f"1: {wanted[0]}: 50%, epoch 2/3, loss 1.234, top1 45.50" in shown
    assert f"2: {wanted[1]}" in shown
    board.hear(Event(wanted[1], "waiting", worker="2"))
    console.print(board._draw())
    assert f"2: {wanted[1]}" not in console.export_text()
    board.book.close()


def test_off_a_terminal_there_are_plain_lines(tmp_path):
    wanted = cells(tmp_path, attn=("none",))
    console = Console(record=True, width=160)
    with Board(Plan.of(wanted, False), 1, "processes", console) as board:
        assert len(registry.read(tmp_path / "runs")) == 1
        board.hear(Event(wanted[0], "started", worker="1"))
        records.write(tmp_path, wanted[0].record("done", provenance={"wall_s": 2.0}))
        board.hear(Event(wanted[0], "ended", worker="1"))
    assert console.export_text().strip() == f"[1/1] {wanted[0]}: 2 s; all done"
    assert registry.read(tmp_path / "runs") == []
    assert board.close(stopped=False) == 0


def test_a_heartbeat_counts_the_time_of_interrupted_tries(tmp_path):
    cell = cells(tmp_path, attn=("none",))[0]
    first = heartbeat.Heartbeat(cell, lambda **event: None)
    first.begin()
    first.started -= 100
    first.end("stopped", "")
    second = heartbeat.Heartbeat(cell, lambda **event: None)
    assert second.taken > 100
    second.end("ended", "")
    assert heartbeat.Heartbeat(cell, lambda **event: None).taken < 100
    assert not (Path(cell.config.runs) / cell.key / "state.json").exists()
