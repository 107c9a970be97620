"""The network: encoder, decoder, auxiliary head."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, cast

from jaxtyping import Float
from torch import Tensor, nn

from attnbench import backbones
from attnbench.config.schema import Backbone
from attnbench.errors import Impossible, UserError
from attnbench.tasks.segmentation.decoders import Head, atrous, plain, pyramid
from attnbench.tasks.segmentation.layers import ConvNormReLU, resize, width
from attnbench.tasks.segmentation.unet import unet

DECODERS: dict[str, Callable[..., Head]] = {"fcn": plain, "psp": pyramid, "aspp": atrous, "unet": unet}
OPTIONS: dict[str, Any] = {  # what of the task's options is read here
    "decoder": "fcn",
    "output_stride": 8,  # of the encoder's last map, at most: 8, 16 or 32; later stages dilate instead
    "width": 0,  # channels of the decoder; 0: by the encoder's (see layers.width)
    "dropout": 0.1,
    "auxiliary": 0.4,  # weight of the auxiliary head's loss; 0: no such head
}


class Outputs(NamedTuple):
    """What a network gives in training, both at the images' size."""

    logits: Float[Tensor, "b classes h w"]
    auxiliary: Float[Tensor, "b classes h w"] | None


class Segmenter(nn.Module):
    """Logits (b classes h w) of images (b c h w) of any size; in training `Outputs`.

    The encoder's own classifier is gone. The auxiliary head, on the stage before the last, runs in training
    alone, unless the head's attribute `guided` says that it needs those logits.
    """

    told_apart: ClassVar[Mapping[str, str]] = {
        "head": "head",
        "auxiliary": "auxiliary",
    }  # part -> module

    def __init__(self, encoder: nn.Module, head: nn.Module, auxiliary: nn.Module | None) -> None:
        super().__init__()
        self.encoder, self.head, self.auxiliary = encoder, head, auxiliary

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes h w"] | Outputs:
        size = images.shape[2:]
        levels = tuple(self.encoder.forward_intermediates(images, intermediates_only=True))  # type: ignore[operator]
        coarse = None
        if self.auxiliary is not None and (self.training or self.head.guided):
            coarse = self.auxiliary(levels[-2])
        logits = resize(self.head(levels[-1], levels, coarse), size)
        if not self.training:
            return logits
        return Outputs(logits, None if coarse is None else resize(coarse, size))


def build(
    backbone: Backbone, classes: int, image: tuple[int, int, int], options: Mapping[str, Any]
) -> Segmenter:
    """The network of a backbone, its weights drawn from torch's global random state.

    The options are those that `attnbench.config.options` lets through. Raises `Impossible` where the backbone
    has no maps for it.
    """
    chosen = {name: options.get(name, default) for name, default in OPTIONS.items()}
    encoder, channels = _encoder(backbone, chosen["output_stride"], image)
    decoder = DECODERS[chosen["decoder"]]
    head = decoder(channels, classes, chosen["width"], chosen["dropout"], chosen["output_stride"])
    return Segmenter(encoder, head, _auxiliary(channels, classes, chosen))


def _auxiliary(channels: Sequence[int], classes: int, chosen: Mapping[str, Any]) -> Head | None:
    if not chosen["auxiliary"]:
        return None
    if len(channels) < 2:
        raise Impossible("the auxiliary head needs a stage before the last: set task.options.auxiliary=0")
    outputs = width(channels[-2])
    return Head(ConvNormReLU(channels[-2], outputs), outputs, classes, chosen["dropout"])


def _encoder(backbone: Backbone, stride: int, image: tuple[int, int, int]) -> tuple[nn.Module, list[int]]:
    """The backbone without all that follows its last stage, and the channels of its stages' maps."""
    natural = 8 if backbone.stem == "cifar" else 32
    args = dict(backbone.args)
    if backbone.source == "timm" and stride < natural:
        args["output_stride"] = stride * 32 // natural
    refused = f"{backbone.name} cannot be dilated to task.options.output_stride={stride}"
    try:
        encoder = backbones.build(replace(backbone, args=args), 0, image)
    except (UserError, NotImplementedError, AssertionError) as error:
        if "output_stride" not in args or not _of_dilation(error):
            raise
        raise Impossible(refused) from None
    if not hasattr(encoder, "forward_intermediates"):
        raise Impossible(f"{backbone.name} gives no maps of its stages")
    info = cast(Any, encoder.feature_info)
    if backbone.source != "timm" and info[-1]["reduction"] > stride:
        raise Impossible(refused)
    if hasattr(encoder, "prune_intermediate_layers"):
        encoder.prune_intermediate_layers(list(range(len(info))), prune_norm=True, prune_head=True)  # type: ignore[operator]
    return encoder, [stage["num_chs"] for stage in info]


def _of_dilation(error: Exception) -> bool:
    """Whether it is the output stride that timm's network refused, not an argument or absent weights."""
    cause = error.__cause__ or error
    return isinstance(cause, NotImplementedError | AssertionError) or "output_stride" in str(cause)
