"""Backbones of timm, with its stem or one for small images."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from attnbench.backbones._sizes import Size
from attnbench.config.schema import Backbone
from attnbench.errors import Impossible, UserError, unknown


def build(backbone: Backbone, classes: int, image: tuple[int, int, int]) -> nn.Module:
    """`args.model` of timm, or else the one of the backbone's name.

    `args.multi_grid` is ours: factors on the dilations of the last stage's blocks. Others are timm's own.
    """
    import timm

    args = dict(backbone.args)
    name = args.pop("model", backbone.name)
    grid = args.pop("multi_grid", None)
    if not timm.is_model(name):
        raise unknown("model of timm", name, timm.list_models())
    if backbone.stem == "cifar" and backbone.pretrained:
        raise UserError(f"backbone {backbone.name}: pretrained weights have stem=imagenet, not cifar")
    weights = timm.get_pretrained_cfg(name)
    if weights is not None and weights.fixed_input_size:
        args.setdefault("img_size", image[1:])
    if backbone.last_norm == "one":
        args.setdefault("zero_init_last", False)
    model = _create(backbone, name, num_classes=classes, in_chans=image[0], **args)
    _check_patches(backbone, model, image)
    if backbone.stem == "cifar":
        _small_stem(backbone, model, image[0])
    if grid is not None:
        _multi_grid(backbone, model, grid)
    return model


def _create(backbone: Backbone, name: str, **args: Any) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, pretrained=backbone.pretrained, **args)
    except TypeError as error:
        raise UserError(f"backbone {backbone.name}: timm's {name} refuses {args}: {error}") from error
    except (NotImplementedError, AssertionError):  # of what the network cannot do, such as to dilate
        raise
    except Exception as error:  # absent weights: the hub's client, torch and safetensors fail in many ways
        if not backbone.pretrained:
            raise
        raise UserError(_absent(backbone, name, error)) from error


def _absent(backbone: Backbone, name: str, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return (
        f"backbone {backbone.name}: no weights of timm's {name} at hand ({type(error).__name__}: {reason}). "
        f"Once, with a network: python -c \"import timm; timm.create_model('{name}', pretrained=True)\" "
        "(HF_HOME names the cache that keeps them); or set backbone.pretrained=false"
    )


def _check_patches(backbone: Backbone, model: nn.Module, image: tuple[int, int, int]) -> None:
    """Raise `Impossible` where patches do not cover the image."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if patch and (image[1] % patch[0] or image[2] % patch[1]):
        raise Impossible(
            f"{backbone.name}: an image of {image[1]}x{image[2]} px does not divide into patches of "
            f"{patch[0]}x{patch[1]} px"
        )


def size(backbone: Backbone, network: Any) -> Size:
    """What makes a network of timm's wider and deeper; nothing for families that are not known here."""
    kind = type(network).__name__
    stages = [info["num_chs"] for info in getattr(network, "feature_info", [])]
    if kind == "ResNet":
        planes = tuple(backbone.args.get("channels", (64, 128, 256, 512)))
        layers = (network.layer1, network.layer2, network.layer3, network.layer4)
        return Size({"channels": planes}, {"layers": tuple(map(len, layers))})
    if kind == "ConvNeXt":
        return Size({"dims": tuple(stages)}, {"depths": tuple(len(s.blocks) for s in network.stages)})
    if kind == "VisionTransformer":
        heads = network.blocks[0].attn.num_heads
        return Size({"embed_dim": (network.embed_dim,)}, {"depth": (len(network.blocks),)}, heads)
    if kind == "SwinTransformer":
        heads = network.layers[0].blocks[0].attn.num_heads
        depths = tuple(len(layer.blocks) for layer in network.layers)
        return Size({"embed_dim": (network.embed_dim,)}, {"depths": depths}, heads)
    return Size()


def _small_stem(backbone: Backbone, model: Any, channels: int) -> None:
    """Put a 3x3 convolution of stride 1 and no pooling where timm's ResNet has 7x7, stride 2 and pooling."""
    from timm.models.resnet import ResNet

    plain = isinstance(model, ResNet) and isinstance(model.conv1, nn.Conv2d)
    if not plain:
        raise UserError(f"backbone {backbone.name}: stem=cifar is for ResNets with one convolution as stem")
    conv = nn.Conv2d(channels, model.conv1.out_channels, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    model.conv1 = conv
    model.maxpool = nn.Identity()
    for info in model.feature_info:
        info["reduction"] = max(info["reduction"] // 4, 1)


def _multi_grid(backbone: Backbone, model: nn.Module, factors: Sequence[int]) -> None:
    """Multiply the dilations of the last stage's 3x3 convolutions by a factor a block; 1 stays 1."""
    from timm.models.resnet import Bottleneck

    blocks = [block for block in getattr(model, "layer4", []) if isinstance(block, Bottleneck)]
    if not blocks or len(blocks) != len(factors):
        raise UserError(
            f"backbone {backbone.name}: backbone.args.multi_grid={list(factors)}: it is for ResNets of "
            "bottleneck blocks, with a number for each block of the last stage"
        )
    dilation = blocks[-1].conv2.dilation[0]
    for block, factor in zip(blocks, factors):
        if dilation > 1:
            block.conv2.dilation = block.conv2.padding = (dilation * factor, dilation * factor)
