"""Grafting changes what it should, where it should, and nothing else."""

import copy
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn

from attnbench.config.schema import Site
from attnbench.errors import Impossible, UserError
from attnbench.grafting.graft import graft, lr_scale, mechanisms, no_weight_decay, places
from attnbench.mechanisms import entries
from attnbench.mechanisms.base import Place
from tests.networks import (
    AFTER,
    IMAGE,
    Counted,
    GatedConv,
    Scale,
    Shared,
    backbone,
    hooks,
    images,
    network,
)

RESNET8 = backbone("resnet8")
RESNET18 = backbone("resnet18")


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    Counted.calls.clear()


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
    before, keys, hooked = model(images()), list(model.state_dict()), hooks(model)
    assert graft(model, "none", {}, backbone(name).sites["residual"], IMAGE) == []
    assert torch.equal(model(images()), before)
    assert (list(model.state_dict()), hooks(model)) == (keys, hooked)


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
    with pytest.raises(Impossible, match=r"layer1\.0\.conv2: \w+ cannot replace a convolution"):
        graft(model, name, {}, RESNET18.sites["conv"], IMAGE)
    assert dict(model.named_modules()) == before


class Ending(nn.Module):
    """Names a class off a map, as the controls of tasks do."""

    classes, width = 3, 8

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))[:, :3]


def test_what_returns_a_map_does_not_stand_instead_of_a_control() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), Ending())
    with pytest.raises(
        Impossible, match=r"^1: SE returns a map and cannot replace a head, which outputs logits$"
    ):
        graft(network, "se", {}, Site(instead=["1"]), (3, 8, 8), seed=0)


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


# What stays as it was


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
    assert hooks(model) == 0
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


# Several mechanisms at one place


class Add(Scale):
    """Adds its weight."""

    def g(self, x: Tensor) -> Tensor:
        return self.weight

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        return x + g


@pytest.mark.parametrize("how", ["after", "before"])
def test_of_several_at_one_place_those_grafted_first_act_first(how: str) -> None:
    model, site = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Identity()), Site(**{how: ["1"]})
    plain = model(images())
    for kind, start in ((Scale, 2.0), (Add, 3.0), (Scale, 5.0)):
        graft(model, kind, {"start": start}, site, IMAGE)
    assert torch.allclose(model(images()), (2 * plain + 3) * 5)
    names = {f"1.{name}.weight" for name in ("attention", "attention_2", "attention_3")}
    assert names == {key for key in model.state_dict() if key.startswith("1.")}
    assert [type(m).__name__ for m in mechanisms(model)] == ["Scale", "Add", "Scale"]


def test_one_at_a_stage_and_one_in_it_find_each_other_s_places() -> None:
    model = network()
    graft(model, Scale, {"start": 0.5}, RESNET8.sites["stage"], IMAGE)
    graft(model, "se", {}, AFTER, IMAGE)
    graft(model, GatedConv, {}, Site(instead=["layer1.0.conv2"]), IMAGE)
    assert len(mechanisms(model)) == 7
    assert {"layer1.0.attention.weight", "layer1.0.bn2.attention.reduce.weight"} < set(model.state_dict())
    assert not any("wrapped" in key for key in model.state_dict())


class Named(nn.Module):
    """Has a child of the name that mechanisms take."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.attention = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(self.conv(x))


class Holder(nn.Module):
    """Keeps its parts a second time in a plain list, and runs those."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.parts = [self.first, self.second]
        self.named = {"second": (self.second,)}

    def forward(self, x: Tensor) -> Tensor:
        return self.parts[1](self.parts[0](x)) + self.named["second"][0](self.first(x))


def test_the_network_s_own_attention_keeps_its_name() -> None:
    model = nn.Sequential(Named(), nn.Conv2d(4, 4, 1))
    keys, plain = list(model.state_dict()), model(images())
    graft(model, Scale, {"start": 3.0}, Site(after=["0"]), IMAGE)
    assert [key for key in model.state_dict() if "attention_" not in key] == keys
    assert "0.attention_2.weight" in model.state_dict()
    assert torch.allclose(model[1](model[0].wrapped(images())), plain)


def test_what_a_network_holds_in_plain_lists_is_grafted_too() -> None:
    model = Holder()
    plain = model(images())
    graft(model, Scale, {"start": 2.0}, Site(after=["second"]), IMAGE)
    assert torch.allclose(model(images()), 2 * plain)


# Modules that are no mechanisms


def test_any_module_for_maps_can_be_grafted() -> None:
    from timm.layers import SEModule

    model = network()
    new = graft(model, SEModule, {"rd_channels": 5}, AFTER, IMAGE)
    assert [module.module.fc1.out_channels for module in new] == [5] * 3
    assert mechanisms(model) == new
    by_function = graft(model, lambda channels: nn.Conv2d(channels, channels, 1), {}, AFTER, IMAGE)
    assert [m.module.in_channels for m in by_function] == [16, 32, 64]
    model(images()).sum().backward()


def test_a_blank_is_not_replaced_where_others_are_there() -> None:
    model = network("mobilenetv3_small")
    site = Site(instead=["blocks.*.*.se"])
    blank = [name for name, m in model.named_modules() if name.endswith(".se") and isinstance(m, nn.Identity)]
    new = graft(model, "eca", {}, site, IMAGE)
    assert blank and all(isinstance(model.get_submodule(name), nn.Identity) for name in blank)
    assert len(new) == 9 and not [m for m in model.modules() if type(m).__name__ == "SqueezeExcite"]


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
    from attnbench.config.recipe import Optimizer
    from attnbench.training.optim import optimizer

    model = network()
    (module, *_) = graft(model, "dcn", {"offset_lr": 0.25}, Site(instead=["layer1.0.conv2"]), IMAGE)
    settings = Optimizer(name="sgd", lr=0.4)
    groups = optimizer(model, settings).param_groups
    slow = next(group for group in groups if group["lr"] == 0.25 * 0.4)
    assert {id(p) for p in slow["params"]} == {id(p) for p in module.offset.parameters()}
    assert groups[0]["lr"] == 0.4 and len(groups) == 2
    assert lr_scale(network()) == {} and len(optimizer(network(), settings).param_groups) == 1


# What is refused


def test_the_impossible_names_the_place_and_leaves_the_network() -> None:
    model = network()
    with pytest.raises(Impossible, match=r"^layer3\.0\.bn2: no more than 8 rows$"):
        graft(model, Picky, {}, AFTER, IMAGE)
    assert mechanisms(model) == []
    assert hooks(model) == 0


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
