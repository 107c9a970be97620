"""The decoder of soft and hard attention, label by label, in NumPy."""

import numpy as np

from tests.references._layers import linear, relu, sigmoid, softmax
from tests.references._recurrent import lstm_step

STEPS = 3


def told(x, p, options, see, steps=STEPS, targets=None):
    """Scores (b steps k), or (b k) without steps; `see(step, α, rows)` -> what is seen (b c)."""
    port = options.get("form") == "tutorial"
    b, c = x.shape[0], x.shape[-3]
    rows = x.reshape(b, -1, c, x.shape[-2] * x.shape[-1]).swapaxes(2, 3).reshape(b, -1, c)
    h, memory = (linear(rows.mean(1), p, f"decoder.{name}") for name in ("hidden", "memory"))
    if not port:
        h, memory = np.tanh(h), np.tanh(memory)
    keys = linear(rows, p, "attention.item")
    for layer in range(options.get("layers", 1) - 1):
        keys = np.tanh(linear(keys, p, f"attention.deeper.{layer}"))
    y = np.zeros((b, options["word"] if steps else 0))
    scores, weights = [], []
    for step in range(steps or options.get("passes", 3)):
        z = keys + linear(h, p, "attention.state")[:, None]
        alpha = softmax(linear(relu(z) if port else np.tanh(z), p, "attention.score")[..., 0], 1)
        weights.append(alpha)
        z = see(step, alpha, rows)
        if "selector.weight" in p:
            z = sigmoid(linear(h, p, "selector")) * z
        h, memory = lstm_step(np.concatenate([y, z], 1), h, memory, p, "decoder.cell")
        mixed = h
        if steps and not port:
            mixed = np.tanh(y + linear(h, p, "decoder.of_state") + linear(z, p, "decoder.of_seen"))
        scores.append(linear(mixed, p, "decoder.classify"))
        if steps:
            labels = scores[-1].argmax(1) if targets is None else targets[:, step]
            y = p["decoder.symbol.weight"][labels]
    return (np.stack(scores, 1) if steps else scores[-1]), np.stack(weights, 1)


def expectation(step, alpha, rows):
    return np.einsum("bl,blc->bc", alpha, rows)
