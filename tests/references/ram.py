"""RAM, from its equations, glimpse by glimpse, in NumPy; and what its policy gradient must be."""

import numpy as np
import pytest
import torch

from attnbench.checks.case import seeded
from attnbench.errors import UserError
from attnbench.mechanisms.layers.glimpse import Retina
from attnbench.mechanisms.layers.reinforce import earned, hits, log_density, mean_log_softmax, reinforce
from attnbench.mechanisms.spatial.ram import RAM
from tests.references._draws import Draws, crop
from tests.references._layers import linear, relu, softmax

CASES = [
    {"glimpse": 3, "std": 0.4},
    {"glimpse": 2, "scales": 3, "steps": 3, "std": 0.4, "locator": "linear", "copies": 4},
]
CHANNELS = 3
SIZE = (11, 9)
COUNTS = [(1, {}, 242_317), (1, {"glimpse": 12, "scales": 3}, 289_421), (3, {"scales": 3}, 307_853)]
LINEAR = [(128, 64), (256, 128), (128, 2), (256, 128), (256, 256), (256, 256), (128, 256), (2, 128)]
OFFICIAL = (1, {}, [s for o, i in [*LINEAR, (10, 256), (1, 256)] for s in ((o, i), (o,))])


def forward(x, p, options, training):
    steps, copies = options.get("steps", 6), options.get("copies", 1)
    if training:
        draws = Draws()
        noise = None
        starts = 2 * draws.uniform(len(x), 1, 2) - 1
        copies = 1
    elif copies == 1:
        noise, starts = np.zeros((1, steps - 1, 2)), np.zeros((len(x), 1, 2))
    else:
        fixed = [torch.Generator().manual_seed(0) for _ in range(2)]
        noise = torch.randn(copies, steps - 1, 2, generator=fixed[0]).double().numpy()
        starts = 2 * torch.rand(copies, 2, generator=fixed[1]).numpy() - 1
        starts = np.broadcast_to(starts.astype(np.float64), (len(x), copies, 2))
    h, at = np.zeros((len(x), copies, 256)), starts
    for step in range(steps):
        seen = [[glimpse(x[b], at[b, m], options) for m in range(copies)] for b in range(len(x))]
        what = linear(relu(linear(np.array(seen), p, "what.0")), p, "what.2")
        where = linear(relu(linear(at, p, "where.0")), p, "where.2")
        h = relu(linear(relu(what + where), p, "input") + linear(h, p, "recur"))
        if step < steps - 1:
            draw = draws.normal(len(x), 1, 2) if training else noise[None, :, step]
            at = np.clip(means(h, p, options) + options["std"] * draw, -1, 1)
    logits = linear(h, p, "classify")
    return logits[:, 0] if copies == 1 else np.log(softmax(logits, 2).mean(1))


def glimpse(image, point, options):
    return crop(image, point, options["glimpse"], options.get("scales", 1), 2).ravel()


def means(h, p, options):
    if options.get("locator") == "linear":
        return np.tanh(linear(h, p, "locate.0"))
    return np.tanh(linear(relu(linear(h, p, "locate.0")), p, "locate.2"))


@pytest.mark.parametrize(("size", "scales", "factor"), [(3, 1, 2), (4, 2, 2), (2, 3, 3)])
def test_glimpses_are_crops_also_over_the_border(size, scales, factor):
    images = torch.randn(2, 3, 7, 10, dtype=torch.float64)
    points = 2.4 * torch.rand(2, 5, 2, dtype=torch.float64) - 1.2
    ours = Retina(size, scales, factor)(images, points).unflatten(0, (2, 5))
    for b in range(2):
        for m in range(5):
            expected = crop(images[b].numpy(), points[b, m].numpy(), size, scales, factor)
            np.testing.assert_allclose(ours[b, m].numpy(), expected, atol=1e-12)


def test_a_glimpse_is_one_gather_however_many_images_and_scales():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    counts = []
    for batch in (2, 16):
        names = []
        images, points = torch.randn(batch, 3, 9, 9), torch.zeros(batch, 1, 2)
        retina = Retina(4, 3)
        with Calls():
            retina(images, points)
        assert names.count("gather") == 1
        counts.append(len(names))
    assert counts[0] == counts[1]


def test_what_a_prediction_reads():
    assert RAM(1, 10).pixels_seen() == 6 * 64
    assert RAM(1, 10, scales=3, steps=4, copies=10).pixels_seen() == 10 * 4 * (64 + 256 + 1024)


def test_the_density_is_that_of_the_sample_before_it_is_cut():
    mean, action = torch.tensor([[0.9, -0.5]]).double(), torch.tensor([[1.4, -0.4]]).double()
    expected = sum(
        -((a - m) ** 2) / 2 / 0.2**2 - np.log(0.2 * np.sqrt(2 * np.pi)) for m, a in ((0.9, 1.4), (-0.5, -0.4))
    )
    assert float(log_density(action, mean, 0.2)) == pytest.approx(expected)
    module = RAM(1, 3, std=50.0).train()
    with seeded(0):
        module(torch.randn(4, 1, 9, 9))
    density = module.episode.densities.detach().exp()
    assert float(density.max()) <= 1 / (2 * np.pi * 50.0**2) * 1.01
    assert float(density.min()) < float(density.max()) / 2


def test_no_gradient_enters_the_state_through_locations_or_baselines():
    module = RAM(1, 3, glimpse=3).train()
    module(torch.randn(4, 1, 9, 9))
    module.loss(torch.zeros(4, dtype=torch.long)).backward()
    touched = {name.partition(".")[0] for name, p in module.named_parameters() if p.grad is not None}
    assert touched == {"locate", "baseline"}
    module.zero_grad(set_to_none=True)
    module(torch.randn(4, 1, 9, 9)).sum().backward()
    untouched = {name.partition(".")[0] for name, p in module.named_parameters() if p.grad is None}
    assert untouched == {"locate", "baseline"}


def test_loss_is_the_baselines_error_and_the_policy_term():
    module = RAM(1, 3, glimpse=3, weight=0.5, std=0.3).double().train()
    logits = module(torch.randn(5, 1, 9, 9, dtype=torch.float64))
    targets = torch.tensor([0, 1, 2, 0, 1])
    reward = (logits.argmax(1) == targets).double()[:, None].numpy()
    _, densities, baselines = (part.detach().numpy() for part in module.episode)
    policy = -(densities * (reward - baselines)).sum(1).mean()
    expected = ((baselines - reward) ** 2).mean() + 0.5 * policy
    assert float(module.loss(targets).detach()) == pytest.approx(expected)


def test_copies_agree_whatever_the_global_generator_does():
    module, x = RAM(1, 3, glimpse=3, copies=5, std=0.5).eval(), torch.randn(2, 1, 9, 9)
    with seeded(1):
        first = module(x)
    with seeded(2):
        assert torch.equal(first, module(x))
    assert not torch.allclose(first, RAM.forward(_single(module), x))
    torch.testing.assert_close(first.exp().sum(1), torch.ones(2))


def _single(module):
    one = RAM(1, 3, glimpse=3, std=0.5).eval()
    one.load_state_dict(module.state_dict())
    return one


@pytest.mark.parametrize("expected", [0.0, 3.0])
def test_the_policy_gradient_is_unbiased(expected):
    """A toy whose gradient is known: E[-(a - 1)²] for a ~ N(m, s²) has the gradient -2 (m - 1) in m."""
    drawn = torch.Generator().manual_seed(0)
    mean, std, count = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True), 0.5, 400_000
    actions = mean.detach() + std * torch.randn(count, 1, generator=drawn, dtype=torch.float64)
    densities = log_density(actions, mean.expand(count, 1), std)[:, None]
    reward = -((actions - 1) ** 2)
    reinforce(densities, reward, torch.full_like(reward, expected)).backward()
    score = (actions - mean.detach()) / std**2
    error = float((score * (reward - expected)).std()) / count**0.5
    assert float(-mean.grad) == pytest.approx(-2 * (0.3 - 1), abs=4 * error)
    assert error < 0.02


def test_rewards_of_sequences_stop_at_the_first_error():
    right = torch.tensor([[1.0, 1, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0]])
    counts = torch.tensor([[1.0, 1, 1, 0]] * 3)
    assert earned(right, counts, total=False).tolist() == [[3, 2, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert earned(right, counts, total=True)[:, 0].tolist() == [3, 1, 0]


def test_soft_labels_reward_by_their_share():
    shares = torch.tensor([[0.7, 0.3], [0.0, 1.0]])
    assert hits(torch.tensor([[1.0, 0], [1.0, 0]]), shares).tolist() == pytest.approx([0.7, 0.0])


def test_predictions_are_averaged_as_probabilities():
    logits = torch.randn(3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(mean_log_softmax(logits).exp(), logits.softmax(2).mean(1))


def test_impossible_settings_are_refused():
    with pytest.raises(UserError, match="steps=1"):
        RAM(1, 3, steps=1)
    with pytest.raises(UserError, match="hidden"):
        RAM(1, 3, locator="hiden")
    with pytest.raises(UserError, match="1 is the least"):
        RAM(1, 3, scales=0)
