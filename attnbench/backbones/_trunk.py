"""A backbone without its classifier, for what goes on from its last map."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.backbones import build
from attnbench.config.schema import Backbone
from attnbench.errors import Impossible


def trunk(backbone: Backbone, image: tuple[int, int, int]) -> nn.Module:
    """The backbone with its classifier taken off; raises `Impossible` for one that makes no maps."""
    network = build(backbone, 2, image)
    if not hasattr(network, "forward_features"):
        raise Impossible(
            f"backbone {backbone.name} makes no maps for a head to go on from; one that does: resnet8"
        )
    if hasattr(network, "reset_classifier"):
        network.reset_classifier(0)  # type: ignore[operator]
    else:
        network.fc = nn.Identity()
    return network


def last_map(network: nn.Module, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
    """The last map of a network that `trunk` built; tokens are laid out as the grid that they cover."""
    x = network.forward_features(images)  # type: ignore[operator]
    if x.ndim == 4:
        return x.permute(0, 3, 1, 2) if getattr(network, "output_fmt", "NCHW") == "NHWC" else x
    tokens = x[:, getattr(network, "num_prefix_tokens", 0) :]
    height, width = network.patch_embed.grid_size  # type: ignore[union-attr, misc]
    return tokens.transpose(1, 2).unflatten(2, (height, width))


@torch.no_grad()
def channels_of(network: nn.Module, image: tuple[int, int, int]) -> int:
    """Channels of the last map."""
    network.eval()
    channels = last_map(network, torch.zeros(1, *image)).shape[1]
    network.train()
    return channels
