"""Every mechanism: each public check, each option worth checking, and its equations in NumPy.

A new mechanism needs no line here: its file under attnbench/mechanisms and tests/references/NAME.py suffice.
A reference has `forward`, CASES, COUNTS and OFFICIAL as below, and where they apply CHANNELS, SIZE, BATCH and
FRAMES of its input, CLASSES and STEPS of the control that it replaces, ON_RESNET50 (options, parameters
gained) and WAIVED (check -> why the mechanism cannot keep it). A row of COUNTS or OFFICIAL may end in
settings of its own, such as {"classes": 60}.
"""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from attnbench.backbones import build
from attnbench.checks import suite
from attnbench.checks.suite import Case
from attnbench.config.schema import Backbone
from attnbench.grafting.graft import graft
from attnbench.mechanisms import entries, load
from tests.networks import backbone
from tests.references import FOLDER, NAMES, cases, reference, settings


def fresh(name: str, channels: int, options: dict, own: dict | None = None) -> nn.Module:
    """The module at that many channels."""
    known = settings(name, "SIZE", "FRAMES", "CLASSES", "STEPS")
    return Case(load(name), options, **{**known, "channels": channels, **(own or {})}).fresh()


def row(values: tuple) -> tuple:
    """The row, with nothing of its own where it says nothing."""
    return values if len(values) == 4 else (*values, None)


def waived(name: str, check: str) -> list[pytest.MarkDecorator]:
    """A check that a reference waives, with its reason, must fail, or the test fails."""
    reason = getattr(reference(name), "WAIVED", {}).get(check)
    return [pytest.mark.xfail(reason=reason, raises=suite.Broken, strict=True)] if reason else []


CASES = [(name, case) for name in NAMES for case in cases(name)]
TRANSCRIBED = [(name, case) for name, case in CASES if reference(name)]


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_stands_beside_every_mechanism(name):
    assert reference(name), (
        f"tests/references/{name}.py is missing: CASES, COUNTS, OFFICIAL and forward(x, p, options, training)"
    )


def test_no_reference_without_a_mechanism():
    assert {path.stem for path in FOLDER.glob("[!_]*.py")} <= set(NAMES)


@pytest.mark.parametrize(
    ("check", "case"),
    [
        pytest.param(check, case, id=f"{case}-{check.__name__}", marks=waived(name, check.__name__))
        for name, case in CASES
        for check in suite.CHECKS
    ],
)
def test_check(check, case):
    check(case)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("name", "case"), TRANSCRIBED, ids=[str(case) for _, case in TRANSCRIBED])
def test_equations(name, case, training):
    """Ours and the transcription agree in float64, on parameters and running statistics drawn at random."""
    module, x = case.trained().train(training), case.x().detach()
    state = {key: value.numpy().copy() for key, value in module.state_dict().items()}
    expected = reference(name).forward(x.numpy(), state, dict(case.options), training)
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-9, atol=1e-10)


COUNTS = [(name, *row(values)) for name in NAMES for values in getattr(reference(name), "COUNTS", [])]


@pytest.mark.parametrize(("name", "channels", "options", "count", "own"), COUNTS)
def test_number_of_parameters(name, channels, options, count, own):
    module = fresh(name, channels, options, own)
    assert sum(p.numel() for p in module.parameters()) == count


def official(name: str) -> list[tuple]:
    rows = getattr(reference(name), "OFFICIAL", [])
    return [(name, *row(values)) for values in (rows if isinstance(rows, list) else [rows])]


def bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without trailing ones: a 1x1 convolution's is then a linear layer's."""
    while shape[-1:] == (1,):
        shape = shape[:-1]
    return shape


@pytest.mark.parametrize(
    ("name", "channels", "options", "shapes", "own"), [values for n in NAMES for values in official(n)]
)
def test_parameters_of_the_official_module_fit_in_order(name, channels, options, shapes, own):
    module = fresh(name, channels, options, own)
    assert [bare(tuple(p.shape)) for p in module.parameters()] == [bare(shape) for shape in shapes]


@pytest.fixture(scope="module")
def resnet50() -> tuple[Backbone, nn.Module]:
    config = backbone("resnet50")
    return config, build(config, 1000, (3, 64, 64))


ON_RESNET50 = [(name, *row) for name in NAMES for row in getattr(reference(name), "ON_RESNET50", [])]


@pytest.mark.parametrize(("name", "options", "count"), ON_RESNET50)
def test_parameters_that_a_whole_resnet50_gains(resnet50, name, options, count):
    """Placed as its paper places it."""
    config, plain = resnet50
    site = next(config.sites[site] for site in entries()[name].sites if site in config.sites)
    added = graft(copy.deepcopy(plain), name, options, site, (3, 64, 64))
    assert sum(p.numel() for module in added for p in module.parameters()) == count


SE = load("se")
CALLS = itertools.count(1)  # what a state carried from call to call comes to

DEFECTS = {
    "equation": {"forward": lambda self, x: x + self.f(self.g(x), x)},
    "images": {"g": lambda self, x: SE.g(self, x).mean(0, keepdim=True)},
    "gate": {"g": lambda self, x: 2 * SE.g(self, x)},
    "gradient": {"g": lambda self, x: SE.g(self, x).detach()},
    "shape": {"f": lambda self, g, x: g},
    "half": {"f": lambda self, g, x: g.float() * x.float()},
    "half_network": {"f": lambda self, g, x: g.float() * x.float()},
    "checkpointing": {"g": lambda self, x: SE.g(self, x) * next(CALLS)},
    "repeat": {"f": lambda self, g, x: torch.rand_like(g) * x},
    "dead": {"g": lambda self, x: x.norm(dim=(2, 3), keepdim=True) / x.norm()},
    "sizes": {"f": lambda self, g, x: (g * x).swapaxes(2, 3)},
    "point": {"g": lambda self, x: x / (x - x.mean((2, 3), keepdim=True))},
    "weight_decay": {"no_weight_decay": lambda self: {"gamma"}},
    "identity": {"f": lambda self, g, x: x},
    "channels_last": {"f": lambda self, g, x: g * x * (1 + x.is_contiguous())},
    "state": {"f": lambda self, g, x: self.reduce.bias.data.add_(1).sum() * x},
    "loss": {"loss": lambda self, targets: self.reduce.weight},
}


@pytest.mark.parametrize("check", DEFECTS)
def test_a_defect_is_found_by_the_check_meant_for_it(check):
    with pytest.raises(suite.Broken):
        getattr(suite, check)(Case(type("Defective", (SE,), DEFECTS[check])))


def test_run_reports_all_that_is_broken_and_all_that_crashes():
    cls = type("Defective", (SE,), {"g": lambda self, x: 2 + 0 * SE.g(self, x), "loss": lambda self: None})
    with pytest.raises(suite.Broken, match=r"(?s)fails 5 of .*gate: .*gradient: .*loss: TypeError"):
        suite.run(cls)


def test_run_accepts_a_sound_mechanism():
    suite.run(SE, {"reduction": 8}, channels=32, size=(4, 9), batch=3)


@suite.parametrize(Case(SE, {"reduction": 8}), Case(SE, channels=16))
def test_a_mechanism_of_ones_own(check, case):
    check(case)
