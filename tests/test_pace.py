"""How long cells take is known by the cells most like them."""

import pytest

from attnbench.records.pace import Pace, of_names, span
from tests.factories import record


def test_the_most_alike_cells_give_the_time_and_say_what_it_rests_on() -> None:
    pace = Pace()
    pace.read(
        [
            record("se", 0, 60.0, provenance__wall_s=100.0),
            record("eca", 0, 60.0, provenance__wall_s=200.0),
            record("eca", 1, 60.0, provenance__wall_s=9.0, status="failed"),
            record("eca", 0, 60.0, provenance__wall_s=900.0, cell__data="cifar100", table="other"),
        ]
    )
    cell = {"task": "cls", "data": "cifar10", "backbone": "resnet20", "recipe": "short"}

    def asked(table: str, **names: str) -> tuple[float | None, str]:
        kinds = of_names({**cell, **names}, table)
        return pace.expect(kinds), pace.basis(kinds)

    here = "0123456789ab"
    assert asked(here, mechanism="se") == (100.0, "1 done with the same mechanism in the same table")
    assert asked(here, mechanism="gc") == (pytest.approx(130.0), "2 done with the same table")
    assert asked("", mechanism="eca")[1] == "1 done with the same mechanism, data, backbone and recipe"
    assert (
        asked("", mechanism="gc", data="svhn")[1] == "3 done with the same backbone and recipe on other data"
    )
    assert asked("", mechanism="gc", backbone="vgg") == (None, "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (300, "5 min"), (12000, "3.3 h"), (216000, "2.5 days")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert span(seconds) == text
