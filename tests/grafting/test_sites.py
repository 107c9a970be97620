"""Patterns find the modules that they name, every layout is a map, and what cannot be is said."""

import pytest
import torch
from torch import Tensor, nn

from attnbench.config.schema import Layout, Site
from attnbench.errors import UserError
from attnbench.grafting.graft import graft, mechanisms, places
from tests.networks import AFTER, IMAGE, Scale, backbone, network

# Patterns


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("layer*.*.bn2", ["layer1.0.bn2", "layer1.1.bn2", "layer2.0.bn2", "layer2.1.bn2"]),
        ("layer[2-3].-1.bn1", ["layer2.1.bn1", "layer3.1.bn1"]),
        ("layer3.-2.conv?", ["layer3.0.conv1", "layer3.0.conv2"]),
        ("layer-1.0.bn2", ["layer4.0.bn2"]),
        ("layer-4.0.bn2", ["layer1.0.bn2"]),
        ("layer4.*.downsample.0", ["layer4.0.downsample.0"]),
        ("layer2", ["layer2.1"]),
    ],
)
def test_patterns_match_part_by_part(pattern: str, names: list[str]) -> None:
    found = [place.name for place in places(network("resnet18"), Site(after=[pattern]), IMAGE)]
    assert found[: len(names)] == names
    assert len(found) == len(names) or pattern.startswith("layer*")


def test_before_a_sequential_is_before_its_first_module() -> None:
    (place,) = places(network("resnet18"), Site(before=["layer2"]), IMAGE)
    assert (place.name, place.channels) == ("layer2.0", 64)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (
            "layer*.*.bn9",
            "matches nothing at 'bn9': layer1.0 and 2 more hold: conv1, bn1, conv2, bn2; did you mean bn",
        ),
        (
            "leyer1.0",
            "matches nothing at 'leyer1': the network holds: conv1, bn1, layer1, .*; did you mean layer1",
        ),
        ("layer1.-2", "matches nothing at '-2': layer1 holds: 0"),
        ("layer-9", "matches nothing at 'layer-9'"),
        ("fc.0", "matches nothing at '0': fc holds no modules"),
        ("", "matches nothing at ''"),
    ],
)
def test_a_pattern_that_matches_nothing_says_what_is_there(pattern: str, said: str) -> None:
    model = network()
    for site in (Site(after=[pattern]), Site(before=["layer1.0"], instead=[pattern])):
        with pytest.raises(UserError, match=said):
            graft(model, "se", {}, site, IMAGE)
    assert mechanisms(model) == []


def test_a_site_without_patterns_is_refused() -> None:
    with pytest.raises(UserError, match="names no module"):
        graft(network(), "se", {}, Site(), IMAGE)


# Places


def test_a_replaced_convolution_of_stride_two_counts_by_its_output() -> None:
    model = network("resnet50")
    first = places(model, backbone("resnet50").sites["conv"], IMAGE)[3]
    assert (first.name, first.size, first.stage) == ("layer2.0.conv2", (8, 8), 1)


def test_places_tell_channels_sizes_and_stages_in_running_order() -> None:
    seen = places(network("resnet20"), AFTER, (3, 32, 48))
    assert [p.name for p in seen] == [f"layer{s}.{b}.bn2" for s in (1, 2, 3) for b in (0, 1, 2)]
    assert [(p.channels, p.size, p.stage) for p in seen[::3]] == [
        (16, (32, 48), 0),
        (32, (16, 24), 1),
        (64, (8, 12), 2),
    ]
    assert {p.stages for p in seen} == {3}


def test_places_know_the_network() -> None:
    model = network()
    assert all(place.model is model for place in places(model, AFTER, IMAGE))


# Layouts


class Held(nn.Module):
    """Holds every second pixel of an image in some layout, tokens behind one that is their sum."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.inner = nn.Identity()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, ::2, ::2]
        if self.layout == Layout.BHWC:
            return self.inner(x.permute(0, 2, 3, 1))
        if self.layout == Layout.BNC:
            tokens = x.flatten(2).transpose(1, 2)
            return self.inner(torch.cat([tokens.sum(1, keepdim=True), tokens], 1))
        return self.inner(x)


class Numbered(Scale):
    """Adds to each position its number, row by row, and to each channel a hundred times its own."""

    def forward(self, x: Tensor) -> Tensor:
        _, channels, height, width = x.shape
        positions = torch.arange(height * width).reshape(height, width)
        return x + positions + 100 * torch.arange(channels)[:, None, None]


@pytest.mark.parametrize("how", ["after", "before"])
@pytest.mark.parametrize("layout", [Layout.BCHW, Layout.BHWC, Layout.BNC])
def test_layouts_are_one_map_to_the_mechanism(layout: Layout, how: str) -> None:
    prefix = 1 if layout == Layout.BNC else 0
    site = Site(**{how: ["inner"]}, layout=layout, prefix=prefix)
    model, image = Held(layout), torch.randn(2, 3, 4, 12)
    plain = model(image)
    (place,) = places(model, site, (3, 4, 12))
    assert (place.channels, place.size) == (3, (2, 6))
    graft(model, Numbered, {}, site, (3, 4, 12))
    number = torch.arange(12.0).reshape(1, 1, 2, 6) + 100 * torch.arange(3.0).reshape(1, 3, 1, 1)
    added = {
        Layout.BCHW: number,
        Layout.BHWC: number.permute(0, 2, 3, 1),
        Layout.BNC: torch.cat([torch.zeros(1, 1, 3), number.flatten(2).transpose(1, 2)], 1),
    }[layout]
    assert torch.allclose(model(image), plain + added)


# What is refused


class Odd(nn.Module):
    """Has parts that never run, that run on no tensor, and that hold modules."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Conv2d(3, 3, 1)
        self.pairs = Pair()
        self.held = nn.ModuleList([nn.Conv2d(3, 3, 1)])
        self.flat = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        return self.flat(self.pairs([x, self.held[0](x)])[0])


class Pair(nn.Module):
    def forward(self, x: list[Tensor]) -> list[Tensor]:
        return x


@pytest.mark.parametrize(
    ("site", "said"),
    [
        (Site(after=["idle"]), "idle: never runs on an image of 32x32 px"),
        (Site(after=["pairs"]), "pairs: a list passes there"),
        (Site(before=["pairs"]), "pairs: a list passes there"),
        (Site(after=["held"]), "held: a ModuleList takes no attention"),
        (Site(after=["flat"]), "flat: a tensor of shape .1, 3072. passes there, no map of layout BCHW"),
        (Site(after=["held.0"], layout=Layout.BNC), "held.0: a tensor of shape .* no map of layout BNC"),
        (
            Site(instead=["held.0"], layout=Layout.BHWC),
            "held.0: a module can be replaced in layout BCHW only",
        ),
    ],
)
def test_where_nothing_can_stand_is_said(site: Site, said: str) -> None:
    model = Odd()
    with pytest.raises(UserError, match=said):
        graft(model, "se", {}, site, IMAGE)
    assert mechanisms(model) == []


def test_a_wrong_prefix_is_refused() -> None:
    site = Site(after=["inner"], layout=Layout.BNC)
    with pytest.raises(
        UserError, match="inner: 13 tokens are no grid over 4x12 px; is the site's prefix right"
    ):
        places(Held(Layout.BNC), site, (3, 4, 12))
