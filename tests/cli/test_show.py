"""A record as lines for the terminal."""

import pytest

from attnbench import tasks
from attnbench.cli.main import main
from attnbench.cli.show import record_lines
from attnbench.report.tables.metrics import of_task
from tests.factories import put, record


@pytest.mark.parametrize("task", tasks.cards())
def test_each_metric_of_a_task_has_its_unit(task: str) -> None:
    test = {metric.key: 7.834 for metric in of_task(task)}
    (line,) = (x for x in record_lines(record("se", 0, 0.0, metrics={"test": test})) if "test" in x)
    signs = {"percent": "%", "nats": " nats"}
    told = [f"{metric.key} 7.83{signs[metric.unit]}" for metric in of_task(task)]
    assert line.split(None, 1)[1] == ", ".join(told)


def test_what_no_table_compares_has_its_unit_too() -> None:
    test = {"miou_constant": 2.44, "iou_road": 73.09, "loss": 0.8, "top1": None, "odd": 1.0}
    lines = list(record_lines(record("se", 0, 0.0, metrics={"test": test})))
    assert "  test  miou_constant 2.44%, iou_road 73.09%, loss 0.80 nats, odd 1.00" in lines


def test_names_from_records_reach_no_terminal_raw(tmp_path, capsys):
    evil = "a\x1b]0;x\x07\x1b[31mb\rc\u202ed\x9be"
    names = {f"cell__{name}": f"{name} {evil}" for name in ("data", "backbone", "recipe")}
    names |= {"provenance__device": evil, "provenance__commit": evil}
    made = [record(attn, seed, 60.0 + seed, **names) for attn in ("none", "se") for seed in range(3)]
    made.append(record("eca", 0, 60.0, status="failed", reason=evil, **names))
    put(tmp_path, *made)
    folders = [f"results={tmp_path}", f"runs={tmp_path}/runs"]
    backbone = f"backbone=backbone {evil}"
    for words in (
        ["status", *folders],
        ["compare", "attn=se,eca", folders[0]],
        ["recommend", backbone, "max_latency=+5%", folders[0]],
        ["recommend", "backbone=nosuch", folders[0]],
        ["report", folders[0]],
    ):
        main(words)
        printed = "".join(capsys.readouterr())
        assert printed and all(c.isprintable() or c == "\n" for c in printed), words
