"""DANet's dual attention, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.errors import UserError
from attnbench.mechanisms.channel_spatial.danet import DANet
from tests.references._layers import pointwise, softmax

CASES = [{}, {"branches": "pam"}, {"branches": "cam"}, {"reduction": 4}]
CHANNELS = 16
COUNTS = [
    (256, {"branches": "pam"}, 82_241),
    (512, {"branches": "pam"}, 328_321),
    (256, {"branches": "cam"}, 1),
    (256, {}, 82_242),
]
OFFICIAL = [
    (256, {"branches": "pam"}, [(1,), (32, 256), (32,), (32, 256), (32,), (256, 256), (256,)]),
    (256, {"branches": "cam"}, [(1,)]),
]


def forward(x, p, options, training):
    branches = options.get("branches", "both")
    rows = x.reshape(*x.shape[:2], -1)
    y = rows.copy()
    if branches != "cam":
        q, k, v = (pointwise(rows, p, f"position.{name}") for name in ("query", "key", "value"))
        shares = softmax(np.einsum("bdn,bdm->bnm", q, k), 2)
        y += p["position.gamma"] * np.einsum("bnm,bcm->bcn", shares, v)
    if branches != "pam":
        energy = np.einsum("bcn,bdn->bcd", rows, rows)
        shares = softmax(energy.max(2, keepdims=True) - energy, 2)
        y += p["channel.gamma"] * (shares @ rows)
    return y.reshape(x.shape)


def test_a_channel_gathers_from_those_unlike_it():
    module = DANet(2, branches="cam").double()
    torch.nn.init.ones_(module.channel.gamma)
    x = torch.tensor([[3.0, 0.0], [0.0, 3.0]], dtype=torch.float64).reshape(1, 2, 1, 2)
    torch.testing.assert_close(module.g(x), x.flip(1), rtol=1e-3, atol=1e-3)


def test_the_energies_of_a_large_map_survive_half_precision():
    module, x = DANet(8), torch.randn(1, 8, 40, 40) * 300
    for parameter in (module.position.gamma, module.channel.gamma):
        torch.nn.init.ones_(parameter)
    with torch.autocast("cpu", dtype=torch.float16), torch.no_grad():
        assert module(x.half()).isfinite().all()


def test_no_matrix_of_all_pairs_of_positions_is_kept():
    x, largest = torch.randn(1, 16, 40, 40, requires_grad=True), 0

    def note(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        DANet(16)(x)
    assert largest < 1600 * 1600 // 8


def test_an_unknown_branch_is_refused():
    with pytest.raises(UserError, match="pam"):
        DANet(16, branches="pan")
