"""The random numbers that a module draws next from torch's global generator, or always, as arrays."""

import numpy as np
import torch


class Draws:
    """As torch would give them, in float64; the generator stays where it was."""

    def __init__(self):
        with torch.random.fork_rng():
            torch.rand(0)
            self.state = torch.get_rng_state()

    def __call__(self, draw, *shape):
        with torch.random.fork_rng():
            torch.set_rng_state(self.state)
            drawn = draw(shape, dtype=torch.float64)
            self.state = torch.get_rng_state()
        return drawn.numpy()

    def uniform(self, *shape):
        return self(torch.rand, *shape)

    def normal(self, *shape):
        return self(torch.randn, *shape)


def crop(image, point, size, scales, factor):
    """One image's (c h w) glimpse at a point (x, y): scales size size, by slices of a padded copy."""
    parts = []
    for scale in range(scales):
        n = size * factor**scale
        wide = np.pad(image, ((0, 0), (n, n), (n, n)))
        x, y = (int(np.floor((p + 1) / 2 * length)) for p, length in zip(point, image.shape[:0:-1]))
        top, left = y - n // 2 + n, x - n // 2 + n
        part = wide[:, top : top + n, left : left + n]
        k = n // size
        parts.append(part.reshape(-1, size, k, size, k).mean((2, 4)))
    return np.concatenate(parts)
