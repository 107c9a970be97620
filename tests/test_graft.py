"""Grafting changes what it should, where it should, and nothing else."""

import copy
import io
import pickle
from collections.abc import Hashable
from typing import Any, ClassVar, Self

import pytest
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attnbench import backbones
from attnbench.config import Layout, Site
from attnbench.errors import Impossible, UserError
from attnbench.graft import graft, lr_scale, mechanisms, no_weight_decay, places
from attnbench.mechanisms import entries
from attnbench.mechanisms.base import Place
from tests.networks import GatedConv, Scale, backbone, liven, twin

IMAGE = (3, 32, 32)
RESNET8 = backbone("resnet8")
RESNET18 = backbone("resnet18")
AFTER = Site(after=["layer*.*.bn2"])


def network(name: str = "resnet8", seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return liven(backbones.build(backbone(name), 10, IMAGE)).eval()


def images(count: int = 2) -> Tensor:
    return torch.randn(count, *IMAGE, generator=torch.Generator().manual_seed(1))


class Counted(Scale):
    """Notes each call, and each start of a pass, of any of its instances."""

    calls: ClassVar[list[str]] = []

    def start_pass(self) -> None:
        self.calls.append("start")

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append("call")
        return super().forward(x)


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    Counted.calls.clear()


class Shared(Counted):
    """One module for each width."""

    @classmethod
    def share(cls, place: Place, **options: Any) -> Hashable:
        return place.channels


class Picky(Scale):
    """Stands on maps of more than eight rows only."""

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        if place.size[0] <= 8:
            raise Impossible("no more than 8 rows")
        return cls(place.channels)


# None


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "vit_tiny_patch16_224"])
def test_none_changes_no_bit(name: str) -> None:
    model = network(name)
    before, keys, hooks = model(images()), list(model.state_dict()), _hooks(model)
    assert graft(model, "none", {}, backbone(name).sites["residual"], IMAGE) == []
    assert torch.equal(model(images()), before)
    assert (list(model.state_dict()), _hooks(model)) == (keys, hooks)


def _hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_what_returns_its_input_changes_no_bit() -> None:
    model = network()
    before = model(images())
    graft(model, Scale, {}, AFTER, IMAGE)
    assert torch.equal(model(images()), before)


# Where it stands


def test_after_and_before_act_on_the_map_that_passes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    x = images()
    plain, opposite = model(x), model(-x)
    graft(model, Scale, {"start": -2.0}, Site(after=["1"]), IMAGE)
    assert torch.equal(model(x), -2 * plain)
    graft(model, Scale, {"start": -1.0}, Site(before=["0"]), IMAGE)
    assert torch.equal(model(x), -2 * opposite)
    assert not torch.equal(plain, opposite)


def test_instead_takes_the_modules_place_and_learns_what_it_was() -> None:
    model = network("resnet18")
    stood = model.get_submodule("layer2.0.conv2")
    where = places(model, RESNET18.sites["conv"], IMAGE)
    assert where[2].name == "layer2.0.conv2"
    assert where[2].replaces is stood
    (new, *rest) = graft(model, GatedConv, {}, Site(instead=["layer2.0.conv2"]), IMAGE)
    assert rest == []
    assert model.get_submodule("layer2.0.conv2") is new
    assert not any(module is stood for module in model.modules())


@pytest.mark.parametrize("name", ["se", "gsop", "fca", "non_local", "vit"])
def test_what_weighs_a_map_stands_instead_of_no_convolution(name: str) -> None:
    model = network("resnet18")
    before = dict(model.named_modules())
    with pytest.raises(
        Impossible, match=r"layer1\.0\.conv2: \w+ stands beside a convolution, not instead of one"
    ):
        graft(model, name, {}, RESNET18.sites["conv"], IMAGE)
    assert dict(model.named_modules()) == before


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


@pytest.mark.parametrize("name", ["resnet18", "regnety_008", "densenet121", "mobilenetv2_100"])
def test_each_runs_once_in_a_pass(name: str) -> None:
    """A container that ran all its children would run an attention in it twice."""
    model = network(name)
    new = graft(model, Counted, {}, backbone(name).sites["stage"], IMAGE)
    model(images())
    assert Counted.calls == ["start", "call"] * len(new)


def test_changing_its_weights_changes_the_logits() -> None:
    model = network()
    new = graft(model, "se", {}, AFTER, IMAGE)
    for module in new:
        before = model(images())
        for parameter in module.parameters():
            parameter.data.add_(0.5)
        assert not torch.allclose(model(images()), before)


def test_attention_of_the_published_networks_has_the_published_size() -> None:
    with torch.device("meta"):
        model = backbones.build(backbone("resnet50"), 1000, IMAGE)
    model = model.to_empty(device="cpu")
    every = places(model, backbone("resnet50").sites["every_conv"], IMAGE)
    assert 3 * sum(place.channels for place in every) == 67_593  # GCT: three numbers a channel
    for options, total in (({}, 28_088_024), ({"bias": False}, 28_071_976)):
        grafted = twin(model)
        graft(grafted, "se", options, backbone("resnet50").sites["residual"], IMAGE)
        assert sum(p.numel() for p in grafted.parameters()) == total


# What stays as it was


@pytest.mark.parametrize("site", ["residual", "stage", "late", "every_conv"])
def test_state_dicts_of_the_plain_network_fit(site: str) -> None:
    plain, model = network("resnet18"), network("resnet18", seed=1)
    graft(model, Scale, {}, RESNET18.sites[site], IMAGE)
    report = model.load_state_dict(plain.state_dict(), strict=False)
    assert not report.unexpected_keys
    assert report.missing_keys
    assert all("attention" in key.split(".") for key in report.missing_keys)
    assert torch.equal(model(images()), plain(images()))


def test_a_dry_run_leaves_no_trace() -> None:
    model = network().train()
    model.get_submodule("layer2.0.bn1").eval()
    modes = {name: m.training for name, m in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    places(model, AFTER, IMAGE)
    drawn = torch.rand(1)
    assert {name: m.training for name, m in model.named_modules()} == modes
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert _hooks(model) == 0
    assert torch.equal(drawn, torch.rand(1, generator=torch.Generator().manual_seed(3)))
    assert all(p.grad is None for p in model.parameters())


def test_the_global_random_state_goes_on_as_without_a_graft() -> None:
    def drawn(mechanism: str, seed: int) -> tuple[dict[str, Tensor], Tensor]:
        model = network()
        graft(model, mechanism, {}, AFTER, IMAGE, seed)
        return model.state_dict(), torch.rand(3)

    plain, after_plain = drawn("none", 0)
    for seed in (0, 1):
        grafted, after = drawn("se", seed)
        assert torch.equal(after, after_plain)
        assert all(torch.equal(grafted[key], plain[key]) for key in plain)


def test_its_weights_follow_from_the_seed_alone() -> None:
    def weights(global_seed: int, seed: int) -> list[Tensor]:
        model = network()
        torch.manual_seed(global_seed)
        return [p.detach() for m in graft(model, "se", {}, AFTER, IMAGE, seed) for p in m.parameters()]

    first = weights(0, 0)
    assert all(torch.equal(a, b) for a, b in zip(first, weights(5, 0)))
    assert not all(torch.equal(a, b) for a, b in zip(first, weights(0, 1)))


def test_its_numbers_are_not_the_backbones_of_the_same_seed() -> None:
    torch.manual_seed(0)
    drawn = nn.Linear(16, 1).weight
    (first, *_) = graft(network(), "se", {}, AFTER, IMAGE, seed=0)
    assert not torch.equal(first.get_parameter("reduce.weight"), drawn)


@pytest.mark.parametrize("training", [True, False])
def test_it_takes_the_networks_mode_and_type(training: bool) -> None:
    model = network().double().train(training)
    new = graft(model, "se", {}, AFTER, IMAGE)
    assert all(p.dtype == torch.float64 for p in model.parameters())
    assert {m.training for m in new} == {training}


# Copies and tools


@pytest.fixture
def grafted() -> nn.Module:
    model = network()
    graft(model, "se", {}, AFTER, IMAGE)
    graft(model, Shared, {"start": 1.5}, Site(before=["layer2.0", "layer3.0"]), IMAGE)
    return model


def test_a_deep_copy_is_whole_and_apart(grafted: nn.Module) -> None:
    before = grafted(images())
    duplicate = copy.deepcopy(grafted)
    assert torch.equal(duplicate(images()), before)
    for module in mechanisms(duplicate):
        for parameter in module.parameters():
            parameter.data.add_(1.0)
    assert not torch.allclose(duplicate(images()), before)
    assert torch.equal(grafted(images()), before)


def test_a_pickle_is_whole(grafted: nn.Module) -> None:
    assert torch.equal(pickle.loads(pickle.dumps(grafted))(images()), grafted(images()))


def test_hooks_on_a_pickle_in_a_new_process_do_not_push_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process numbers hooks from 0 on: one set there must not take the number of one that was pickled."""
    monkeypatch.setattr(RemovableHandle, "next_id", 0)
    model = network()
    graft(model, "se", {}, Site(after=["layer1.0.bn2"]), IMAGE)
    pickled, expected = pickle.dumps(model), model(images())
    monkeypatch.setattr(RemovableHandle, "next_id", 0)
    model = pickle.loads(pickled)
    target = model.get_submodule("layer1.0.bn2")
    handles = [target.register_forward_hook(lambda m, args, output: None) for _ in range(50)]
    assert torch.equal(model(images()), expected)
    for handle in handles:
        handle.remove()
    assert torch.equal(model(images()), expected)


def test_a_state_dict_goes_round(grafted: nn.Module) -> None:
    stored = io.BytesIO()
    torch.save(grafted.state_dict(), stored)
    stored.seek(0)
    other = network(seed=1)
    graft(other, "se", {}, AFTER, IMAGE, seed=1)
    graft(other, Shared, {}, Site(before=["layer2.0", "layer3.0"]), IMAGE)
    other.load_state_dict(torch.load(stored))
    assert torch.equal(other(images()), grafted(images()))


def test_it_can_be_traced(grafted: nn.Module) -> None:
    traced = torch.jit.trace(grafted, images())
    assert torch.allclose(traced(images(5)), grafted(images(5)), atol=1e-6)


def test_it_can_be_compiled(grafted: nn.Module) -> None:
    compiled = torch.compile(grafted, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(images()), grafted(images()), atol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "swin_tiny", "convnext_tiny"])
def test_timms_intermediate_features_pass_through_it(name: str) -> None:
    model = network(name)
    plain, _ = _features(model)
    grafted = twin(model)
    graft(grafted, Scale, {"start": 0.5}, backbone(name).sites["residual"], IMAGE)
    features, final = _features(grafted)
    assert not torch.allclose(features[-1], plain[-1])
    assert torch.allclose(grafted.forward_head(final), grafted(images()), atol=1e-5)  # type: ignore[operator]


def _features(model: nn.Module) -> tuple[list[Tensor], Tensor]:
    final, features = model.forward_intermediates(images())  # type: ignore[operator]
    return features, final


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


class Rectified(Scale):
    """Ends in what keeps its output for its gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


def test_blocks_that_add_in_place_do_not_harm_the_gradient() -> None:
    model = network("resnet18").train()
    new = graft(model, Rectified, {}, RESNET18.sites["residual"], IMAGE)
    model(images()).sum().backward()
    assert all(p.grad is not None and p.grad.any() for m in new for p in m.parameters())


# Several places, one module


def test_places_of_one_key_share_one_module() -> None:
    model = network("resnet20")
    new = graft(model, Shared, {}, AFTER, IMAGE)
    assert [m.weight.numel() for m in new if isinstance(m, Scale)] == [16, 32, 64]
    assert mechanisms(model) == new
    assert sum(p.numel() for p in model.parameters()) == 269_722 + 16 + 32 + 64
    assert model.get_submodule("layer1.0.bn2.attention") is model.get_submodule("layer1.2.bn2.attention")


def test_a_pass_starts_at_the_first_place_that_shares() -> None:
    model = network("resnet20")
    graft(model, Shared, {}, AFTER, IMAGE)
    for _ in range(2):
        Counted.calls.clear()
        model(images())
        assert Counted.calls == ["start", "call", "call", "call"] * 3


# What is there


def test_mechanisms_lists_each_once_and_no_parts() -> None:
    class Whole(Scale):
        def __init__(self, channels: int) -> None:
            super().__init__(channels)
            self.part = Scale(channels)

    model = network()
    new = graft(model, Whole, {}, AFTER, IMAGE)
    assert mechanisms(model) == new
    assert mechanisms(network()) == []
    assert mechanisms(new[0]) == new[:1]


def test_exclusions_from_weight_decay_are_names_of_parameters() -> None:
    model = network()
    graft(model, Scale, {}, AFTER, IMAGE)
    assert no_weight_decay(model) == {f"layer{stage}.0.bn2.attention.weight" for stage in (1, 2, 3)}
    assert no_weight_decay(model) <= {name for name, _ in model.named_parameters()}
    assert no_weight_decay(network()) == set()


def test_a_mechanism_s_learning_rates_reach_the_optimizer_and_others_keep_the_recipe_s():
    from attnbench.config import Optimizer
    from attnbench.recipe import optimizer

    model = network()
    (module, *_) = graft(model, "dcn", {"offset_lr": 0.25}, Site(instead=["layer1.0.conv2"]), IMAGE)
    settings = Optimizer(name="sgd", lr=0.4)
    groups = optimizer(model, settings).param_groups
    slow = next(group for group in groups if group["lr_scale"] == 0.25)
    assert {id(p) for p in slow["params"]} == {id(p) for p in module.offset.parameters()}
    assert groups[0]["lr_scale"] == 1.0 and len(groups) == 2
    assert lr_scale(network()) == {} and len(optimizer(network(), settings).param_groups) == 1


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


def test_one_place_takes_one_attention() -> None:
    model = network()
    first = graft(model, "se", {}, AFTER, IMAGE)
    with pytest.raises(UserError, match="an attention stands there already"):
        graft(model, "se", {}, AFTER, IMAGE)
    assert mechanisms(model) == first


def test_the_impossible_names_the_place_and_leaves_the_network() -> None:
    model = network()
    with pytest.raises(Impossible, match=r"^layer3\.0\.bn2: no more than 8 rows$"):
        graft(model, Picky, {}, AFTER, IMAGE)
    assert mechanisms(model) == []
    assert _hooks(model) == 0


@pytest.mark.parametrize(
    ("mechanism", "options", "said"),
    [
        ("ecca", {}, "unknown mechanism 'ecca': did you mean eca"),
        ("se", {"reductoin": 8}, "unknown option of se 'reductoin': did you mean reduction"),
        ("none", {"reduction": 8}, "unknown option of none 'reduction'"),
    ],
)
def test_unknown_names_are_refused(mechanism: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        graft(network(), mechanism, options, AFTER, IMAGE)


# The zoo


@pytest.mark.parametrize("name", [n for n in entries() if n != "none"])
def test_every_mechanism_stands_where_its_paper_puts_it(name: str) -> None:
    model = network().train()
    site = next((site for site in entries()[name].sites if site in RESNET8.sites), None)
    if site is None:
        pytest.skip(f"resnet8 has no site {entries()[name].sites[0]}")
    try:
        new = graft(model, name, {}, RESNET8.sites[site], IMAGE)
    except Impossible as reason:
        pytest.skip(f"{name}: {reason}")
    model(images()).logsumexp(1).sum().backward()
    assert new
    for module in new:
        assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
