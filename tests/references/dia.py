"""DIANet, from its equations, in NumPy."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from attnbench.checks.suite import randomise
from attnbench.config.schema import Site
from attnbench.grafting.graft import graft
from attnbench.mechanisms.channel.dia import DIA
from tests.references._layers import linear, relu, sigmoid

CASES = [{}, {"reduction": 20}]
COUNTS = [(64, {}, 10_784), (128, {}, 42_048), (256, {}, 166_016), (256, {"reduction": 20}, 32_792)]
OFFICIAL = (64, {}, 2 * [(16, 64), (16,), (256, 16), (256,)])
WAIVED = {"gradient": "without a block before it, h is 0: `recall` then has its gradient in the biases only"}


def mlp(z, p, name):
    return linear(relu(linear(z, p, f"{name}.0")), p, f"{name}.2")


def step(x, p, hidden, cell):
    gates = mlp(x.mean((2, 3)), p, "see") + mlp(hidden, p, "recall")
    into, keep, new, out = np.split(gates, 4, axis=1)
    cell = sigmoid(keep) * cell + sigmoid(into) * np.tanh(new)
    return sigmoid(out) * sigmoid(cell), cell


def forward(x, p, options, training):
    hidden, _ = step(x, p, np.zeros(x.shape[:2]), 0)
    return x * hidden[:, :, None, None]


class Blocks(nn.Module):
    """Two stages of three residual blocks, the second at half the size, and a switch that makes one fail."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(32) for _ in range(6))
        self.fails = False

    def forward(self, x):
        for i, norm in enumerate(self.norms):
            if i == 3:
                x = x[:, :, ::2, ::2]
            if i == 1 and self.fails:
                raise RuntimeError("out of luck")
            x = x + norm(x)
        return x


@pytest.fixture
def grafted():
    model = Blocks().double().eval()
    modules = graft(model, "dia", {}, Site(after=["norms.*"]), (32, 8, 8))
    for i, module in enumerate(modules):
        randomise(module, i)
    return model, modules


def image(seed):
    return torch.randn(2, 32, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def chained(model, modules, x):
    """What the grafted blocks are to give, by the transcription."""
    for i in range(6):
        if i in (0, 3):
            p = {k: v.numpy() for k, v in modules[i // 3].state_dict().items()}
            hidden = cell = np.zeros(x.shape[:2])
        x = x[:, :, ::2, ::2] if i == 3 else x
        branch = x / np.sqrt(1 + 1e-5)
        hidden, cell = step(branch, p, hidden, cell)
        x = x + branch * hidden[:, :, None, None]
    return x


def agrees(model, modules, x):
    return np.allclose(model(x).detach().numpy(), chained(model, modules, x.numpy()), rtol=1e-9, atol=1e-12)


def test_one_module_serves_all_places_of_a_shape(grafted):
    model, modules = grafted
    assert len(modules) == 2
    alone = sum(p.numel() for p in DIA(32).parameters())
    assert sum(p.numel() for p in model.parameters()) == 6 * 64 + 2 * alone


def test_each_pass_starts_afresh_and_steps_from_block_to_block(grafted):
    model, modules = grafted
    assert agrees(model, modules, image(0)) and agrees(model, modules, image(1)[:1])
    assert agrees(model, modules, image(0))


def test_an_aborted_pass_leaves_nothing_behind(grafted):
    model, modules = grafted
    model.fails = True
    with pytest.raises(RuntimeError):
        model(image(0))
    model.fails = False
    assert agrees(model, modules, image(1))


def test_copies_between_and_after_passes_are_whole_and_apart(grafted):
    model, modules = grafted
    model(image(0)).sum().backward()
    twin = copy.deepcopy(model)
    loaded = pickle.loads(pickle.dumps(model))
    expected = model(image(1))
    twin(image(2))
    assert torch.equal(loaded(image(1)), expected) and torch.equal(twin(image(1)), expected)
    first = {id(p) for p in modules[0].parameters()}
    assert not first & {id(p) for p in twin.parameters()}


def test_training_reaches_the_recurrent_map(grafted):
    model, modules = grafted
    for _ in range(2):
        model.zero_grad()
        model.train()(image(0)).square().sum().backward()
        assert all(p.grad.abs().max() > 0 for m in modules for p in m.parameters() if p.dim() > 1)


def test_alone_it_remembers_nothing():
    module, x = DIA(8), torch.randn(2, 8, 3, 3)
    assert torch.equal(module(x), module(x)) and module.state is None
