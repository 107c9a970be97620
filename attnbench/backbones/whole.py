"""Whole networks on the raw image, in the place of which others can stand that see the image by glimpses."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError, unknown

WHOLE = True  # `build` takes the whole size of the images
GRID = 4  # positions a side that the fully connected layers of the convolutional network see


class Plain(nn.Module):
    """Layers, then scores (b classes), or for sequences (b steps classes)."""

    def __init__(self, layers: nn.Module, width: int, classes: int, steps: int | None) -> None:
        super().__init__()
        self.classes, self.steps, self.width = classes, steps, width
        self.layers = layers
        self.classify = nn.Linear(width, classes * (steps or 1))

    def forward(self, x: Float[Tensor, "b c h w"], targets: Tensor | None = None) -> Tensor:
        """`targets` teach others; these layers name all steps at once."""
        scores = self.classify(self.layers(x))
        return scores if self.steps is None else scores.unflatten(1, (self.steps, self.classes))


class Whole(nn.Module):
    """An image -> scores, by the child `network`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Float[Tensor, "b c h w"], targets: Tensor | None = None) -> Tensor:
        return self.network(x) if targets is None else self.network(x, targets)


def _convolutional(image: tuple[int, int, int], width: int) -> nn.Module:
    """Three convolutions of stride 2, their map pooled to a grid, one fully connected layer."""
    layers: list[nn.Module] = []
    inputs = image[0]
    for outputs in (16, 32, 64):
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    layers += [nn.AdaptiveAvgPool2d(GRID), nn.Flatten(), nn.Linear(inputs * GRID**2, width), nn.ReLU()]
    return nn.Sequential(*layers)


def _mlp(image: tuple[int, int, int], width: int) -> nn.Module:
    """Two fully connected layers."""
    pixels = image[0] * image[1] * image[2]
    first, second = nn.Linear(pixels, width), nn.Linear(width, width)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU())


KINDS = {"convolutional": _convolutional, "mlp": _mlp}


def build(
    classes: int,
    image: tuple[int, int, int],
    kind: Literal["convolutional", "mlp"] = "convolutional",
    width: int = 256,
    steps: int | None = None,
) -> Whole:
    """The network for images (channels, height, width); raises `UserError` for an unknown kind."""
    if kind not in KINDS:
        raise unknown("kind of network (backbone.args.kind)", kind, KINDS)
    if width < 1:
        raise UserError(f"backbone.args.width={width}: must be at least 1")
    return Whole(Plain(KINDS[kind](image, width), width, classes, steps))
