"""SCA-CNN, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.checks import suite
from attnbench.checks.suite import Case
from attnbench.errors import UserError
from attnbench.mechanisms.channel_spatial.sca_cnn import SCACNN, Decoding
from tests.references._layers import linear, softmax
from tests.references._recurrent import lstm_step

CASES = [{}, {"state": 0}, {"hidden": 6, "state": 10}]
CHANNELS = 16
RELEASED = {"hidden": 512, "state": 1000}
COUNTS = [
    (512, RELEASED, 513_537 + 775_169 + 513 * 1000),
    (2048, RELEASED, 513_537 + 1_561_601 + 2049 * 1000),
    (64, {"state": 0}, 4 * 16 + 1 + 64 * 16 + 2 * 16 + 1 - 16),
]


def forward(x, p, options, training):
    h = np.tanh(linear(x.mean((2, 3)), p, "guess")) if "guess.weight" in p else None
    return attended(x, p, h)


def attended(x, p, h):
    """By a state h, or none."""

    def score(items, name):
        z = linear(items, p, f"{name}.item")
        if h is not None:
            z = z + linear(h, p, f"{name}.state")[:, None]
        return linear(np.tanh(z), p, f"{name}.score")[..., 0]

    b, c, height, width = x.shape
    beta = softmax(score(x.mean((2, 3))[:, :, None], "channel"), 1)[:, :, None, None]
    rows = (c * beta * x).reshape(b, c, -1).swapaxes(1, 2)
    alpha = softmax(score(rows, "position"), 1).reshape(b, 1, height, width)
    return c * height * width * alpha * beta * x


def unit(v):
    return v / (np.linalg.norm(v, axis=1, keepdims=True) + 1e-8)


def test_both_levels_of_the_released_model_have_its_count():
    """But for the layer that guesses a state, which the released model has in its decoder."""
    modules = [SCACNN(channels, **RELEASED) for channels in (512, 2048)]
    parts = [part for module in modules for part in (module.channel, module.position)]
    assert sum(p.numel() for part in parts for p in part.parameters()) == 3_363_844


def test_a_decoders_state_steers_both_maps():
    case = Case(SCACNN, channels=8)
    module, x = case.trained(), case.x().detach()
    h = torch.randn(2, 2, dtype=torch.float64)
    p = {key: value.numpy() for key, value in module.state_dict().items()}
    np.testing.assert_allclose(
        module(x, h).detach().numpy(), attended(x.numpy(), p, h.numpy()), rtol=1e-9, atol=1e-10
    )
    with pytest.raises(UserError, match="5 numbers came, built for 2"):
        module(x, torch.zeros(2, 5).double())


@suite.parametrize(Case(Decoding, channels=8), Case(Decoding, {"state": 6, "hidden": 3}, channels=8))
def test_as_a_decoder_it_keeps_every_check(check, case):
    if check.__name__ not in ("parameters", "equation", "gate"):  # of the map's form, or of one step
        check(case)


def test_as_a_decoder_its_own_state_steers_the_maps():
    case = Case(Decoding, channels=8)
    module, x = case.trained(), case.x().detach()
    assert module.guess is None
    assert module.decoder.cell.hidden_size == 8
    p = {key: value.numpy() for key, value in module.state_dict().items()}

    def step(h, c, y):
        z = unit(attended(x.numpy(), p, h).mean((2, 3)))
        h, c = lstm_step(np.concatenate([y, z], 1), h, c, p, "decoder.cell")
        mixed = np.tanh(y + linear(h, p, "decoder.of_state") + linear(z, p, "decoder.of_seen"))
        return linear(mixed, p, "decoder.classify"), h, c

    mean = unit(x.numpy().mean((2, 3)))
    h, c = (np.tanh(linear(mean, p, f"decoder.{name}")) for name in ("hidden", "memory"))
    y, targets = np.zeros((2, 100)), np.array([[1, 4, 9], [3, 9, 0]])
    for index in range(3):
        scores, h, c = step(h, c, y)
        ours = module(x, torch.from_numpy(targets)).detach()
        np.testing.assert_allclose(ours[:, index].numpy(), scores, rtol=1e-9, atol=1e-10)
        y = p["decoder.symbol.weight"][targets[:, index]]


def test_the_factor_keeps_the_mean_of_the_map_at_one():
    module, x = Case(SCACNN, channels=8).trained(), torch.randn(2, 8, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(module.g(x).mean((1, 2, 3)), torch.ones(2, dtype=torch.float64))
