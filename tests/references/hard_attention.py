"""Hard attention, from its equations, label by label, in NumPy; and what its gradient must be on average."""

import numpy as np
import pytest
import torch

from attnbench.checks.case import Case, Control, seeded
from attnbench.errors import UserError
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.spatial.hard_attention import HardAttention, drawn, negentropy
from tests.references._draws import Draws
from tests.references._layers import softmax
from tests.references._tell import expectation, told

SMALL = {"word": 6, "width": 5}
CASES = [
    {**SMALL, "expect": 0.0},
    {**SMALL, "expect": 1.0, "penalty": 0.5, "form": "tutorial"},
    {**SMALL, "expect": 0.0, "copies": 3, "selector": True},
]
CHANNELS = 8
COUNTS = [(64, {}, 12 * 64**2 + 612 * 64 + 2211)]


def chosen(alpha, uniform):
    """Where the running sum of the weights passes a number."""
    return np.array([np.searchsorted(np.cumsum(row), u) for row, u in zip(alpha, uniform)])


def forward(x, p, options, training):
    copies = options.get("copies", 1)
    if training:
        draws = Draws()
        if float(draws(single, 1)[0]) < options["expect"]:
            return told(x, p, options, expectation)[0]
        return told(x, p, options, lambda _, alpha, rows: at(rows, chosen(alpha, draws(single, len(x)))))[0]
    if copies == 1:
        return told(x, p, options, lambda _, alpha, rows: at(rows, alpha.argmax(1)))[0]
    fixed = torch.rand(3, copies, generator=torch.Generator().manual_seed(0)).numpy()
    return committee(x, p, options, fixed)


def single(shape, dtype):
    return torch.rand(shape).to(dtype)


def at(rows, position):
    return rows[np.arange(len(rows)), position]


def committee(x, p, options, uniform):
    """Copies name a label together: at each step all are told the one that they find likeliest."""
    steps, copies = uniform.shape
    labels = np.zeros((len(x), steps), int)
    for step in range(steps):
        each = [
            told(
                x,
                p,
                options,
                lambda s, a, rows, m=m: at(rows, chosen(a, [uniform[s, m]] * len(x))),
                targets=labels,
            )
            for m in range(copies)
        ]
        mean = np.mean([softmax(scores, 2) for scores, _ in each], 0)
        labels[:, step] = mean[:, step].argmax(1)
    return np.log(mean)


def module_and_map(**options):
    case = Case(HardAttention, {**SMALL, "expect": 0.0, **options}, channels=8)
    return case.trained(), case.x().detach()


def test_loss_is_reinforce_with_a_moving_average_and_entropy():
    module, x = module_and_map(weight=0.3, entropy=0.05)
    module.average.fill_(2.0)
    targets = torch.tensor([[3, 1, 9], [0, 9, -100]])
    scores = module(x, targets).detach()
    alpha, positions = module.weights.detach().numpy(), torch.stack(module.chosen, 1).numpy()
    likelihood = np.log(np.take_along_axis(alpha, positions[..., None], 2)[..., 0])
    nll = -scores.log_softmax(2).numpy()
    cost = np.array([(nll[0, 0, 3] + nll[0, 1, 1] + nll[0, 2, 9]) / 3, (nll[1, 0, 0] + nll[1, 1, 9]) / 2])
    policy = ((cost - 2.0) * np.array([likelihood[0].sum(), likelihood[1, :2].sum()])).sum()
    entropy = (alpha * np.log(alpha)).sum(2)
    expected = 0.3 * policy + 0.05 * (entropy[0].sum() + entropy[1, :2].sum())
    assert float(module.loss(targets).detach()) == pytest.approx(expected)
    assert float(module.average) == pytest.approx(0.9 * 2.0 + 0.1 * cost.mean())


def test_an_expected_batch_has_no_policy_term_and_leaves_the_average():
    module, x = module_and_map(expect=1.0, entropy=0.0)
    module(x)
    assert float(module.loss(torch.zeros(2, 3, dtype=torch.long)).detach()) == 0
    assert float(module.average) == 0


def test_the_gradient_is_unbiased():
    """A toy whose gradient is known: E[cost] over three positions, by their scores."""
    count = 300_000
    scores = torch.tensor([[0.2, -0.4, 0.7]], dtype=torch.float64, requires_grad=True)
    price = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
    (scores.softmax(1)[0] * price).sum().backward()
    exact, scores.grad = scores.grad, None
    alpha = scores.softmax(1).expand(count, 3)
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    position = drawn(alpha, uniform)
    cost = price[position]
    terms = (cost - 1.7) * alpha.gather(1, position[:, None])[:, 0].log()
    terms.mean().backward()
    torch.testing.assert_close(scores.grad, exact, rtol=0, atol=4 * 2 / count**0.5)


def test_positions_are_drawn_by_their_weights():
    weights = torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64).expand(100_000, 4)
    uniform = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    shares = drawn(weights, uniform).bincount(minlength=4) / 100_000
    torch.testing.assert_close(shares.double(), weights[0], rtol=0, atol=0.01)
    assert drawn(weights[:1], torch.ones(1)).tolist() == [3]


def test_entropy_of_certain_weights_is_zero_and_has_a_gradient():
    weights = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]], requires_grad=True)
    value = negentropy(weights, torch.ones(1, 2))
    assert float(value.detach()) == pytest.approx(-np.log(2))
    value.backward()
    assert bool(weights.grad.isfinite().all())


def test_copies_agree_whatever_the_global_generator_does():
    module, x = module_and_map(copies=4)
    module.eval()
    with seeded(1):
        first = module(x)
    with seeded(2):
        assert torch.equal(first, module(x))
    torch.testing.assert_close(first.exp().sum(2), torch.ones(2, 3, dtype=torch.float64))


def test_as_a_recurrent_head_of_clips_it_learns_by_reward():
    place = Place("probe", 8, (5, 4), replaces=Control(10, None, 6), frames=3)
    module = HardAttention.at(place, **SMALL, expect=0.0, copies=2)
    x = torch.randn(2, 3, 8, 5, 4)
    assert module(x).shape == (2, 10)
    module.loss(torch.tensor([1, 0])).backward()
    assert module.attention.score.weight.grad.any()
    assert module.eval()(x).shape == (2, 10)


def test_impossible_settings_are_refused():
    with pytest.raises(UserError, match="copies=0"):
        HardAttention(8, 3, None, copies=0)
