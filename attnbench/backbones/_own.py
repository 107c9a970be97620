"""Attention that a backbone has of its own, recognized by its modules."""

from torch import nn

from attnbench.mechanisms.base import Mechanism

KINDS = {  # classes of timm and torchvision -> the mechanism that they are, or what else they are called
    "SqueezeExcite": "se",
    "SqueezeExcitation": "se",
    "SEModule": "se",
    "EffectiveSEModule": "se",
    "EcaModule": "eca",
    "CecaModule": "eca",
    "CbamModule": "cbam",
    "LightCbamModule": "cbam",
    "GatherExcite": "ge",
    "GlobalContext": "gc",
    "CoordAttn": "coord",
    "SelectiveKernel": "sk",
    "SplitAttn": "resnest",
    "CondConv2d": "condconv",
    "NonLocalAttn": "non_local",
    "BatNonLocalAttn": "non_local",
    "Attention": "self-attention",
    "WindowAttention": "self-attention",
    "MultiheadAttention": "self-attention",
    "HaloAttn": "self-attention",
    "BottleneckAttn": "self-attention",
    "LambdaLayer": "self-attention",
}


def own_attention(network: nn.Module) -> list[str]:
    """What kinds of attention there are in a network outside of mechanisms, each once."""
    found: dict[str, None] = {}
    rest = [network]
    while rest:
        module = rest.pop(0)
        if isinstance(module, Mechanism):
            continue
        if kind := KINDS.get(type(module).__name__):
            found[kind] = None
        rest += module.children()
    return list(found)
