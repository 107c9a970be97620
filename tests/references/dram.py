"""DRAM, from its equations, glimpse by glimpse, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.checks.case import Case
from attnbench.errors import UserError
from attnbench.mechanisms.layers.reinforce import log_density
from attnbench.mechanisms.spatial.dram import DRAM
from tests.references._draws import Draws, crop
from tests.references._layers import adaptive_mean, conv2d, linear, relu
from tests.references._recurrent import lstm_step

SMALL = {"glimpse": 9, "width": 10, "hidden": 8, "std": 0.4}
CASES = [SMALL, {**SMALL, "glimpses": 2, "returns": "to_come"}]
CHANNELS = 3
SIZE = (13, 11)
LSTMS = 4 * 512 * (1024 + 512 + 2) + 4 * 512 * (512 + 512 + 2)
COUNTS = [(3, {}, 4800 * 3 + LSTMS + 1_159_936 + 2_209_024 + 3_072 + 1_026 + 513 + 512 * 513 + 5_130)]


def convolutions(x, p, name):
    for index in (0, 2, 4):
        x = relu(conv2d(x, p, f"{name}.{index}"))
    return relu(linear(x.reshape(len(x), -1), p, f"{name}.7"))


def forward(x, p, options, training, steps=None):
    glimpses, size, draws = options.get("glimpses", 3), options["glimpse"], Draws()
    h2 = convolutions(adaptive_mean(x, size, size), p, "context")
    c2, h1, c1 = (np.zeros_like(h2) for _ in range(3))
    named = []
    for count in range(glimpses * (steps or 1)):
        at = np.tanh(linear(h2, p, "emit"))
        if training:
            at = at + options["std"] * draws.normal(*at.shape)
        at = np.clip(at, -1, 1)
        seen = np.stack([crop(image, point, size, 2, 2) for image, point in zip(x, at)])
        g = convolutions(seen, p, "what") * relu(linear(at, p, "where.0"))
        h1, c1 = lstm_step(g, h1, c1, p, "reader")
        h2, c2 = lstm_step(h1, h2, c2, p, "leader")
        if count % glimpses == glimpses - 1:
            named.append(linear(relu(linear(h1, p, "classify.0")), p, "classify.2"))
    return named[0] if steps is None else np.stack(named, 1)


def built(**options):
    case = Case(DRAM, {**SMALL, **options}, channels=3, size=SIZE, classes=4)
    return case.trained(), case.x().detach()


@pytest.mark.parametrize("training", [True, False])
def test_sequences_name_a_label_after_each_group_of_glimpses(training):
    module, x = built(glimpses=2)
    module.steps = 3
    p = {key: value.numpy() for key, value in module.train(training).state_dict().items()}
    expected = forward(x.numpy(), p, {**SMALL, "glimpses": 2}, training, steps=3)
    ours = module(x).detach()
    assert ours.shape == (2, 3, 4)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-10)


def test_the_place_tells_how_many_labels():
    case = Case(DRAM, SMALL, channels=3, size=SIZE)
    assert case.fresh().steps is None
    assert case.with_(steps=4).fresh().steps == 4


def test_the_whole_image_does_not_reach_the_classifier():
    """With the path held, another context changes no score; without, it moves the path."""
    module, x = built()
    module.eval()
    before = module(x)
    with torch.no_grad():
        module.context[-2].bias.add_(3.0)
    assert not torch.allclose(module(x), before)
    with torch.no_grad():
        module.emit.weight.zero_()
    held = module(x)
    with torch.no_grad():
        module.context[-2].bias.add_(3.0)
    torch.testing.assert_close(module(x), held, rtol=0, atol=0)


def test_the_classifiers_loss_trains_neither_context_nor_leader_but_the_policys_does():
    module, x = built()
    module.train()(x).sum().backward(retain_graph=True)
    parts = {name.partition(".")[0] for name, p in module.named_parameters() if p.grad is None}
    assert parts == {"context", "emit", "leader", "baseline"}
    module.loss(torch.zeros(2, dtype=torch.long)).backward()
    assert all(p.grad is not None for p in module.parameters())


def test_what_and_where_are_multiplied():
    module, x = built()
    at = torch.rand(2, 2, dtype=torch.float64)
    with torch.no_grad():
        module.where[0].weight.zero_()
        module.where[0].bias.zero_()
    assert not module.see(x, at).any()


@pytest.mark.parametrize("returns", ["total", "to_come"])
def test_loss_counts_labels_before_the_first_error_and_nothing_after_the_end(returns):
    module, x = built(glimpses=2, returns=returns, weight=0.5)
    module.steps = 3
    best = module.train()(x).argmax(2)
    _, densities, baselines = (part.detach().numpy() for part in module.episode)
    targets = torch.stack([best[0], torch.tensor([best[1, 0], (best[1, 1] + 1) % 4, -100])])
    total = np.array([[3.0] * 6, [1, 1, 1, 1, 0, 0]])
    to_come = np.array([[3.0, 3, 2, 2, 1, 1], [1, 1, 0, 0, 0, 0]])
    reward = total if returns == "total" else to_come
    counts = np.array([[1.0] * 6, [1, 1, 1, 1, 0, 0]])
    policy = -(densities * (reward - baselines) * counts).sum(1).mean()
    error = ((baselines - reward) ** 2 * counts).sum() / 10
    assert float(module.loss(targets).detach()) == pytest.approx(error + 0.5 * policy)


def test_a_path_of_means_has_the_density_of_its_means():
    module, x = built()
    module.eval()(x)
    assert module.loss(torch.zeros(2)) is None
    mean = torch.zeros(1, 2).double()
    top = -2 * (np.log(0.4) + np.log(2 * np.pi) / 2)
    assert float(log_density(mean, mean, 0.4)) == pytest.approx(top)


def test_what_a_prediction_reads():
    case = Case(DRAM, SMALL, channels=3, size=SIZE)
    assert case.fresh().pixels_seen() == 13 * 11 + 3 * (81 + 18 * 18)


def test_impossible_settings_are_refused():
    with pytest.raises(UserError, match="glimpse=8"):
        DRAM(3, 4, None, glimpse=8)
    with pytest.raises(UserError, match="did you mean total"):
        DRAM(3, 4, None, returns="totl")
