"""Recurrent layers of several references, step by step, in NumPy and float64."""

import numpy as np

from tests.references._layers import sigmoid


def lstm_step(x, h, c, p, name, layer=None):
    """One step of an LSTM, whose gates stand in the order input, forget, candidate, output."""
    of = "" if layer is None else f"_l{layer}"
    z = x @ p[f"{name}.weight_ih{of}"].T + p[f"{name}.bias_ih{of}"]
    z = z + h @ p[f"{name}.weight_hh{of}"].T + p[f"{name}.bias_hh{of}"]
    i, f, g, o = np.split(z, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm(x, p, name, layer=0):
    """The hidden states (b t h) of one layer on (b t c), from zeros."""
    h = c = np.zeros((len(x), p[f"{name}.weight_hh_l{layer}"].shape[1]))
    states = []
    for t in range(x.shape[1]):
        h, c = lstm_step(x[:, t], h, c, p, name, layer)
        states.append(h)
    return np.stack(states, 1)


def conv1d(x, p, name, padding=0, dilation=1):
    """A convolution of (b c t) as a sum over its taps; zeros outside."""
    weight = p[f"{name}.weight"]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding)))
    length = x.shape[2] - dilation * (weight.shape[2] - 1)
    y = sum(
        np.einsum("bct,dc->bdt", x[:, :, k * dilation : k * dilation + length], weight[:, :, k])
        for k in range(weight.shape[2])
    )
    bias = p.get(f"{name}.bias")
    return y + (0 if bias is None else bias[:, None])


def layer_norm(x, p, name, eps=1e-5):
    """Normalise the last axis."""
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + eps) * p[f"{name}.weight"] + p[f"{name}.bias"]
