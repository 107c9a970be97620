"""The layers that several references are made of, in NumPy and float64, for maps (b, c, h, w)."""

import numpy as np


def sigmoid(z):
    return np.exp(-np.logaddexp(0, -z))


def relu(z):
    return np.maximum(z, 0)


def softmax(z, axis):
    z = np.exp(z - z.max(axis, keepdims=True))
    return z / z.sum(axis, keepdims=True)


def linear(z, p, name):
    """(…, c) -> (…, d) by the parameters NAME.weight and, if there is one, NAME.bias."""
    weight = p[f"{name}.weight"]
    return z @ weight.reshape(weight.shape[0], -1).T + p.get(f"{name}.bias", 0)


def pointwise(x, p, name):
    """A 1x1 convolution of (b, c, …)."""
    return np.moveaxis(linear(np.moveaxis(x, 1, -1), p, name), -1, 1)


def conv2d(x, p, name, padding=0, dilation=1, stride=1, groups=1):
    """A convolution of (b, c, h, w) as a sum over the kernel's offsets; zeros outside the map."""
    weight = p[f"{name}.weight"]
    d, _, kh, kw = weight.shape
    b, c, h, w = x.shape
    ph, pw = np.broadcast_to(padding, 2)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw))).reshape(
        b, groups, c // groups, h + 2 * ph, w + 2 * pw
    )
    oh = (h + 2 * ph - dilation * (kh - 1) - 1) // stride + 1
    ow = (w + 2 * pw - dilation * (kw - 1) - 1) // stride + 1
    weight = weight.reshape(groups, d // groups, c // groups, kh, kw)
    y = np.zeros((b, groups, d // groups, oh, ow))
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation, j * dilation
            part = x[..., top : top + stride * oh : stride, left : left + stride * ow : stride]
            y += np.einsum("bgchw,gdc->bgdhw", part[..., :oh, :ow], weight[..., i, j])
    bias = p.get(f"{name}.bias")
    return y.reshape(b, d, oh, ow) + (0 if bias is None else bias[:, None, None])


def batch_norm(x, p, name, training, eps=1e-5):
    """Normalise the channels of (b, c, …), by the batch's own statistics in training."""
    axes = (0, *range(2, x.ndim))
    along = (1, -1) + (1,) * (x.ndim - 2)
    mean = x.mean(axes) if training else p[f"{name}.running_mean"]
    var = x.var(axes) if training else p[f"{name}.running_var"]
    z = (x - mean.reshape(along)) / np.sqrt(var.reshape(along) + eps)
    return z * p[f"{name}.weight"].reshape(along) + p[f"{name}.bias"].reshape(along)


def max_pool(x, k, stride=None, padding=0):
    """Largest value of each kxk window of (b, c, h, w), without padding by default."""
    stride = stride or k
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=-np.inf)
    h, w = ((n - k) // stride + 1 for n in x.shape[2:])
    rows = [x[:, :, i : i + stride * h : stride][:, :, :h] for i in range(k)]
    return np.max([row[..., j : j + stride * w : stride][..., :w] for row in rows for j in range(k)], axis=0)


def adaptive_mean(x, height, width):
    """Means of (b, c, h, w) over windows from floor(i n / k) to ceil((i + 1) n / k) along both axes."""
    for axis, k in ((2, height), (3, width)):
        n = x.shape[axis]
        ends = [(i * n // k, -(-(i + 1) * n // k)) for i in range(k)]
        x = np.stack([x.take(range(*end), axis).mean(axis) for end in ends], axis)
    return x


def bilinear(x, height, width):
    """(b, c, h, w) drawn to another size by linear interpolation, the corners staying corners."""
    for axis, k in ((2, height), (3, width)):
        n = x.shape[axis]
        at = np.arange(k) * ((n - 1) / max(k - 1, 1))
        low = np.minimum(at.astype(int), n - 1)
        high = np.minimum(low + 1, n - 1)
        share = (at - low).reshape((-1,) + (1,) * (3 - axis))
        x = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
    return x
