"""Soft attention, from its equations, label by label, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.checks.case import Case, Control
from attnbench.errors import UserError
from attnbench.mechanisms import entry
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.layers.caption import Additive
from attnbench.mechanisms.spatial.soft_attention import SoftAttention
from tests.references._tell import expectation, told

SMALL = {"word": 6, "width": 5}
CASES = [
    SMALL,
    {"word": 6, "layers": 2, "selector": True, "state": 7},
    {**SMALL, "form": "tutorial", "penalty": 0.0},
]
CHANNELS = 8
COUNTS = [
    (
        256,
        {"state": 128},
        256**2
        + 128 * 256
        + 2 * 256
        + 1
        + 2 * 257 * 128
        + 4 * 128 * 486
        + 1_000
        + 129 * 100
        + 257 * 100
        + 1_010,
    )
]


def forward(x, p, options, training):
    return told(x, p, options, expectation)[0]


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("sizes", "form", "expected"),
    [
        ((2048, 512, 512), "tutorial", 1_312_257),
        ((256, 256, 256), "tutorial", 131_841),
        ((512, 1000, 512), "official", 775_169),
    ],
)
def test_counts_of_the_scores(sizes, form, expected):
    assert count(Additive(*sizes, form)) == expected


def test_count_of_the_authors_model_for_coco():
    module = SoftAttention(512, 10, 4, state=1800, layers=2, selector=True)
    assert count(module.attention) + count(module.selector) == 1_449_226


def at(**options):
    case = Case(SoftAttention, {**SMALL, **options}, channels=8)
    module, x = case.trained(), case.x().detach()
    return module, x, {key: value.numpy() for key, value in module.state_dict().items()}


def test_targets_teach_the_labels_before():
    module, x, p = at()
    targets = torch.tensor([[3, 1, 2], [0, 9, -100]])
    expected = told(x.numpy(), p, SMALL, expectation, targets=targets.clamp(min=0).numpy())[0]
    ours = module(x, targets).detach()
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(ours[:, 0], module(x)[:, 0].detach())


def test_each_labels_state_moves_the_next_look():
    module, x, _ = at()
    module(x)
    assert not torch.allclose(module.weights[:, 0], module.weights[:, 1])
    torch.testing.assert_close(module.weights.sum(2), torch.ones(2, 3, dtype=torch.float64))


def test_doubly_stochastic_term_ends_with_the_sequence():
    module, x, p = at(penalty=0.5)
    targets = torch.tensor([[3, 1, 9], [0, 9, -100]])
    module(x, targets)
    weights = told(x.numpy(), p, SMALL, expectation, targets=targets.clamp(min=0).numpy())[1]
    weights[1, 2] = 0
    expected = 0.5 * ((1 - weights.sum(1)) ** 2).mean()
    assert float(module.loss(targets).detach()) == pytest.approx(expected)
    module.eval()(x)
    assert module.loss(targets) is None


@pytest.mark.parametrize("frames", [None, 4])
def test_as_a_recurrent_head_it_names_one_class(frames):
    place = Place("probe", 8, (5, 4), replaces=Control(10, None, 6), frames=frames)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = SoftAttention.at(place, **SMALL, passes=2).double()
        x = torch.randn(2, *([frames] if frames else []), 8, 5, 4, dtype=torch.float64)
    assert module.reads == ("map" if frames is None else "clip")
    assert module.decoder.cell.hidden_size == 6
    p = {key: value.numpy() for key, value in module.state_dict().items()}
    expected = told(x.numpy(), p, {**SMALL, "passes": 2}, expectation, steps=None)[0]
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-9, atol=1e-10)
    for targets in (torch.tensor([1, 0]), torch.full((2, 10), 0.1)):
        assert float(module.loss(targets).detach()) > 0


def test_features_are_projected_once():
    module, x, _ = at()
    seen = []
    module.attention.item.register_forward_hook(lambda *args: seen.append(1))
    module(x)
    assert len(seen) == 1


def test_impossible_settings_are_refused():
    with pytest.raises(UserError, match="did you mean tutorial"):
        SoftAttention(8, 3, None, form="tutorail")
    with pytest.raises(UserError, match="at least once"):
        SoftAttention(8, 3, None, passes=0)


@pytest.mark.parametrize("name", ["soft_attention", "hard_attention", "dram"])
def test_how_many_labels_is_no_option_but_told_by_the_place(name):
    assert not {"steps", "classes"} & set(entry(name).options)
