"""Attention gate: weigh positions of a map by how they agree with a coarser map, the gating signal."""

from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.taps import Tap, watch, widths

VARIANTS = ("segmentation", "classification", "sononet")


class AttentionGate(Mechanism):
    """y = BN(W (a x)), a = up(sigmoid(w relu(T x + up(P s)))): T has stride `factor`, s is the gating signal.

    In a U-Net, at site `skip`, x is a skip connection and s the decoder's coarser map. Where a network
    hands over x alone, s is x itself, averaged over 2x2 positions unless P has a stride. `signal` is the
    signal's number of channels, if not x's; `hidden` that of T x, None being half of x's. Maps are
    resized bilinearly, without aligned corners.

    `variant="classification"` is the gate of AG-Sononet: P is as T and has no bias, there are no W and norm,
    and a = (z - min z) / sum (z - min z) over the map's positions, all equal where z is. The authors
    concatenate the sums of a x over positions; y = n a x, at n positions, has them for its mean.
    `factor=None` is 2, in classification 1. `variant="sononet"`, at site `gates`, is AG-Sononet's whole
    classifier: such gates for the maps of the two stages before the last, the last stage's map being their
    signal and its channels their `hidden` ones, and one linear layer on both sums beside its mean.
    Source: ozan-oktay/Attention-Gated-Networks.
    """

    card = Card(
        title="Attention U-Net: Learning Where to Look for the Pancreas",
        venue="MIDL 2018",
        url="https://arxiv.org/abs/1804.03999",
        tasks=("Cls", "SSeg"),
        g="1x1 convolutions of map and gating signal -> sum -> ReLU -> 1x1 -> sigmoid -> upsampling",
        range=(0.0, 1.0),
        soft=True,
        goals=("suppress regions that the gating signal finds unimportant",),
        params=lambda c: c * c + 3 * c + (5 * c + 2) * max(c // 2, 1) + 1,
        site=("skip", "stage"),
    )

    gated = True

    def __init__(
        self,
        channels: int,
        hidden: int | None = None,
        signal: int | None = None,
        factor: int | None = None,
        variant: Literal["segmentation", "classification", "sononet"] = "segmentation",
    ) -> None:
        super().__init__()
        if variant == "sononet":
            raise Impossible("variant=sononet stands instead of a network's classifier: site=gates")
        self.classifies = variant == "classification"
        self.factor = factor = factor or (1 if self.classifies else 2)
        self.signal = channels if signal is None else signal
        hidden = max(channels // 2, 1) if hidden is None else hidden
        self.theta = nn.Conv2d(channels, hidden, factor, factor, bias=False)
        stride = factor if self.classifies else 1
        self.phi = nn.Conv2d(self.signal, hidden, stride, stride, bias=not self.classifies)
        self.psi = nn.Conv2d(hidden, 1, 1)
        self.out: nn.Module = nn.Identity()
        if not self.classifies:
            self.out = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
        self.initialise()

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        if options.get("variant") == "sononet" and place.replaces is not None:
            return gated_levels(place, options.get("hidden"))  # type: ignore[return-value]
        if options.get("signal") is None and place.signal:
            options["signal"] = place.signal
        module = cls(place.channels, **options)
        if min(place.size) < module.factor:
            raise Impossible(
                f"a map of {place.size[0]}x{place.size[1]} has none {module.factor} times as coarse"
            )
        return module

    def initialise(self) -> None:
        """As the authors: normal weights by fan-in; a norm's about 1."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def gating(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        """The signal in place of a missing one; raises `UserError` where x cannot serve."""
        if self.signal != x.shape[1]:
            raise UserError(
                f"attention_gate: built for a gating signal of {self.signal} channels, but none came"
            )
        return x if self.phi.stride[0] > 1 else F.avg_pool2d(x, [min(2, n) for n in x.shape[2:]])

    def g(self, x: Float[Tensor, "b c h w"], signal: Tensor | None = None) -> Float[Tensor, "b 1 h w"]:
        if min(x.shape[2:]) < self.factor:
            raise UserError(
                f"attention_gate: factor={self.factor} is more than a map of {x.shape[2]}x{x.shape[3]} has"
            )
        signal = self.gating(x) if signal is None else signal
        near = self.theta(x)
        far = F.interpolate(self.phi(signal), near.shape[2:], mode="bilinear")
        z = self.psi((near + far).relu())
        z = mean_flow(z) if self.classifies else z.sigmoid()
        return F.interpolate(z, x.shape[2:], mode="bilinear")

    def f(self, g: Float[Tensor, "b 1 h w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """BN(W (g x)); in classification n g x."""
        return g * x * (x.shape[2] * x.shape[3]) if self.classifies else self.out(g * x)

    def forward(
        self, x: Float[Tensor, "b c h w"], signal: Float[Tensor, "b s i j"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        return self.f(self.g(x, signal), x)


class GatedLevels(Mechanism):
    """Logits from the mean of the last stage's map and from two maps before it, which that map gates.

    It takes the place of a linear classifier, and the mean arrives; the maps come from the stages themselves.
    g is the gates' maps, (b, 1, h, w) each.
    """

    reads = "vector"
    returns = "logits"

    def __init__(self, levels: list[int], channels: int, classes: int, hidden: int | None) -> None:
        super().__init__()
        options: dict[str, Any] = {"signal": channels, "variant": "classification"}
        self.gates = nn.ModuleList(AttentionGate(c, hidden or channels, **options) for c in levels)
        self.classify = nn.Linear(channels + sum(levels), classes)
        self.taps = nn.ModuleList(Tap() for _ in (*levels, channels))

    def g(self, x: Float[Tensor, "b c"]) -> Any:
        *levels, signal = (tap.map("attention_gate", x) for tap in self.taps)  # type: ignore[operator]
        return [gate.g(level, signal) for gate, level in zip(self.gates, levels)]  # type: ignore[operator]

    def f(self, g: Any, x: Float[Tensor, "b c"]) -> Float[Tensor, "b classes"]:
        """The linear layer on the weighted sums over positions and the mean, in this order."""
        sums = [(a * tap.seen).sum((2, 3)) for a, tap in zip(g, self.taps)]
        return self.classify(torch.cat([*sums, x], 1))


def gated_levels(place: Place, hidden: int | None) -> GatedLevels:
    """AG-Sononet's classifier for a network that tells of its stages; raises `Impossible` for another."""
    *levels, channels = widths(place, 3)
    head = GatedLevels(levels, channels, place.replaces.out_features, hidden)  # type: ignore[union-attr, arg-type]
    watch(place, head.taps)
    return head


def mean_flow(z: Float[Tensor, "b 1 i j"]) -> Float[Tensor, "b 1 i j"]:
    """Shares of each image's positions in what exceeds its smallest; equal shares where nothing does."""
    wide = z.to(torch.promote_types(z.dtype, torch.float32))
    above = wide - wide.amin((2, 3), keepdim=True)
    total = above.sum((2, 3), keepdim=True)
    flat = total == 0
    shares = torch.where(flat, 1 / (z.shape[2] * z.shape[3]), above / total.masked_fill(flat, 1))
    return shares.to(z.dtype)
