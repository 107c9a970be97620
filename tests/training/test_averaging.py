"""Averaged weights are those of timm's ModelEmaV3, and a run that is too short for them is told so."""

import pytest
import torch
from torch import nn

from attnbench.config.recipe import Recipe
from attnbench.training.averaging import average, decay_at, too_slow


class Annealed(nn.Module):
    """A network with a buffer that follows a plan, beside one with statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.register_buffer("temperature", torch.tensor(30.0))

    def forward(self, x):
        return self.norm(self.layer(x)) / self.temperature


@pytest.mark.parametrize("warmup", [True, False])
def test_averages_are_timms_and_buffers_with_a_plan_are_copied(warmup):
    from timm.utils.model_ema import ModelEmaV3

    torch.manual_seed(0)
    network = Annealed()
    ours = average(network, Recipe(name="x", ema=0.9, ema_warmup=warmup))
    theirs = ModelEmaV3(network, decay=0.9, use_warmup=warmup)
    opt = torch.optim.SGD(network.parameters(), 0.5)
    for step in range(1, 41):
        network(torch.randn(8, 4)).square().sum().backward()
        opt.step()
        opt.zero_grad()
        network.temperature -= 0.5
        ours.update_parameters(network)
        theirs.update(network, step=step)
    expected = theirs.module.state_dict() | {"temperature": network.temperature}
    for name, value in ours.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert float(ours.module.temperature) == 10
    assert not torch.equal(ours.module.norm.running_mean, network.norm.running_mean)


def test_the_decay_rises_to_its_value():
    assert decay_at(0, 0.999, True) == 0  # the first weights after a step are copied
    assert decay_at(7, 0.999, True) == pytest.approx(1 - 8 ** (-2 / 3))
    assert decay_at(10**6, 0.999, True) == 0.999
    assert decay_at(1, 0.999, False) == 0.999


def test_a_run_too_short_for_its_average_is_named_with_the_share_that_is_left():
    short = Recipe(name="x", ema=0.999, ema_warmup=False)
    assert "after 372 steps 69 % of the average are still its first weights" in str(too_slow(short, 372))
    warmed = str(too_slow(Recipe(name="x", ema=0.999), 372))
    assert "recipe.ema=0.999 needs more than 372 steps" in warmed and "0.981" in warmed
    assert too_slow(Recipe(name="x", ema=0.999), 5000) is None
    assert too_slow(Recipe(name="x"), 1) is None
