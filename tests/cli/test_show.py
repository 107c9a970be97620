"""A record as lines for the terminal."""

import pytest

from attnbench import tasks
from attnbench.cli.show import record_lines
from attnbench.report.tables.metrics import of_task
from tests.factories import record


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
