"""Every backbone has the size that it should have, and every site of it the places."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from attnbench import backbones
from attnbench.backbones._own import own_attention
from attnbench.config.files import names
from attnbench.config.schema import Backbone, Site
from attnbench.errors import Impossible, UserError
from attnbench.grafting.graft import graft, mechanisms, places
from attnbench.mechanisms.base import Mechanism
from tests.networks import GatedConv, backbone, liven, twin

SMALL = (3, 32, 32)


def branches(
    blocks: list[int], convs: int, more_convs: int, bottleneck: bool = False, image: bool = True
) -> dict[str, int]:
    """Places of a network of residual blocks: `convs` convolutions a block and some more elsewhere.

    `image`: the network's first convolution is named as the place before which the image arrives.
    """
    total, stages = sum(blocks), len(blocks)
    return {
        **{"residual": total, "conv": total, "inner": total, "deep": total - blocks[0]},
        **{"stage": stages, "between": stages - 1, "late": 1, "last_block": stages},
        **({"bottleneck": stages - 1 + blocks[-1]} if bottleneck else {}),
        **({"input": 1} if image else {}),
        **({"gates": 1, "net2": stages} if image else {}),  # stages but the last, and the classifier
        "every_conv": convs * total + more_convs,
    }


def resnet(
    blocks: list[int], convs: int, more_convs: int, stem: int = 1, bottleneck: bool = False
) -> dict[str, int]:
    """As `branches`, and the places of layers that bring norms of their own; `stem` convolutions begin it."""
    total = sum(blocks)
    return {
        **branches(blocks, convs, more_convs, bottleneck),
        **{"conv_bn_act": total, "deep_conv": total - blocks[0], "last_conv": blocks[-1]},
        "later_conv": convs * total + more_convs - stem,
        "three_late": min((blocks[-2] + 1) // 2, 3),  # blocks 0, 2 and 4 of the stage before the last
    }


def inverted(blocks: list[int], deep: int, more_convs: int) -> dict[str, int]:
    """Places of a network of inverted residuals, the first block of which has no expansion."""
    expanded = sum(blocks) - 1
    return {
        **{"stage": 4, "between": 3, "late": 1, "last_block": 4, "deep": deep},
        **{"residual": expanded + 1, "conv": expanded + 1, "inner": expanded, "depthwise": expanded},
        "every_conv": 3 * expanded + 2 + more_convs,
    }


def without(places: dict[str, int], *sites: str) -> dict[str, int]:
    return {site: count for site, count in places.items() if site not in sites}


VIT = {"residual": 11, "stage": 1, "late": 1, "last_block": 1}
ATTENTION = {"residual": 6, "conv": 6, "stage": 4, "between": 3, "late": 1, "input": 1}
PLACES = {
    **{f"resnet{6 * n + 2}": resnet([n] * 3, 2, 1) for n in (1, 3, 5, 9, 18)},
    "patch8": resnet([1] * 3, 2, 1),
    "wrn_28_10": without(branches([4] * 3, 2, 1 + 3), "gates", "net2") | {"later_conv": 27},
    "resnet18": resnet([2, 2, 2, 2], 2, 1 + 3),
    "resnet34": resnet([3, 4, 6, 3], 2, 1 + 3),
    "resnet50": resnet([3, 4, 6, 3], 3, 1 + 4, bottleneck=True),
    "resnet101": resnet([3, 4, 23, 3], 3, 1 + 4, bottleneck=True),
    "resnet152": resnet([3, 8, 36, 3], 3, 1 + 4, bottleneck=True),
    "resnext50_32x4d": resnet([3, 4, 6, 3], 3, 1 + 4, bottleneck=True),
    "spnet50": resnet([3, 4, 6, 3], 3, 3 + 4, stem=3, bottleneck=True),
    "spnet101": resnet([3, 4, 23, 3], 3, 3 + 4, stem=3, bottleneck=True),
    "regnety_008": branches([1, 3, 8, 2], 3, 1 + 4, bottleneck=True, image=False)
    | {"se": 14, "conv_bn_act": 14},
    "densenet121": without(branches([6, 12, 24, 16], 2, 1 + 3, image=False), "late"),
    "convnext_tiny": branches([3, 3, 9, 3], 1, 1 + 3, image=False) | {"depthwise": 18},
    "swin_tiny": without(branches([2, 2, 6, 2], 0, 0, image=False), "conv", "inner", "every_conv"),
    "vit_tiny_patch16_224": VIT,
    "deit3_small": VIT,
    "vgg16_bn": {"stage": 5, "between": 4, "late": 1, "conv": 13, "every_conv": 13},
    "mobilenetv2_100": inverted([1, 2, 3, 4, 3, 3, 1], 3 + 4 + 3 + 3 + 1, 2) | {"later_conv": 51},
    "efficientnet_b0": inverted([1, 2, 2, 3, 3, 4, 1], 2 + 3 + 3 + 4 + 1, 2) | {"se": 16, "later_conv": 48},
    "mobilenetv3": inverted([1, 2, 3, 4, 2, 3], 3 + 4 + 2 + 3, 2) | {"se": 8, "later_conv": 45},
    "mobilenetv3_small": inverted([1, 2, 3, 2, 3], 2 + 3 + 2 + 3, 2) | {"se": 9, "later_conv": 33},
    "attention56": ATTENTION,
    "attention92": ATTENTION,
    "unet_small": {
        **{"residual": 5, "stage": 5, "conv": 5, "between": 4, "late": 1, "last_block": 5},
        **{"deep": 4, "inner": 5, "every_conv": 10, "input": 1},
    },
}
IMAGENET = {  # learnable parameters with 1000 classes, as torchvision, or else timm, prints them
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "mobilenetv2_100": 3_504_872,
    "mobilenetv3": 5_483_032,
    "mobilenetv3_small": 2_542_856,
    "efficientnet_b0": 5_288_548,
    "regnety_008": 6_263_168,
    "densenet121": 7_978_856,
    "vgg16_bn": 138_365_992,
    "convnext_tiny": 28_589_128,
    "vit_tiny_patch16_224": 5_717_416,
    "deit3_small": 22_059_496,
    "swin_tiny": 28_288_354,
}
PATCHES = ("vit_tiny_patch16_224", "deit3_small", "swin_tiny")  # built for one size of images
DEEPER = (  # than a network with the same sites
    "resnet32",
    "resnet56",
    "resnet110",
    "resnet34",
    "resnet101",
    "resnet152",
    "spnet101",
    "attention92",
)
LIGHT: dict[str, dict[str, float]] = {
    "vgg16_bn": {"mlp_ratio": 0.01},
    "wrn_28_10": {"width": 2},
    "attention56": {"width": 8},
    "attention92": {"width": 8},
}  # the same modules, narrower


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def light(name: str) -> Backbone:
    config = backbone(name)
    return replace(config, args={**config.args, **LIGHT.get(name, {})})


def images(count: int, *size: int) -> torch.Tensor:
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network(request: pytest.FixtureRequest) -> Iterator[tuple[Backbone, nn.Module]]:
    config = light(request.param)
    torch.manual_seed(0)
    yield config, liven(backbones.build(config, 10, SMALL)).requires_grad_(False)


def test_the_tables_name_every_backbone() -> None:
    # But for those that a mechanism replaces as a whole.
    whole = {name for name in names("backbone") if set(backbone(name).sites) == {"network"}}
    assert set(PLACES) == set(names("backbone")) - whole
    assert set(IMAGENET) | {"spnet50", "spnet101"} == {n for n in PLACES if backbone(n).source == "timm"}


USED: dict[str, tuple[str | type[Mechanism], dict[str, object]]] = {  # where not every mechanism can stand
    **dict.fromkeys(("conv", "conv_bn_act", "deep_conv", "last_conv", "later_conv"), (GatedConv, {})),
    "gates": ("attention_gate", {"variant": "sononet"}),
    "net2": ("gsop", {}),
}


# One network at a time, so that each is built once


@pytest.mark.parametrize("network", DEEPER, indirect=True)
def test_the_deeper_have_the_places_that_the_architecture_says(network: tuple[Backbone, nn.Module]) -> None:
    config, model = network
    assert {site: len(places(model, config.sites[site], SMALL)) for site in config.sites} == PLACES[
        config.name
    ]


@pytest.mark.parametrize("network", PLACES, indirect=True)
def test_each_mechanism_at_each_site_has_a_say(network: tuple[Backbone, nn.Module]) -> None:
    """As many as the architecture says, of which none has no gradient; of the deeper networks at one site."""
    config, shared = network
    assert set(config.sites) == set(PLACES[config.name])
    for site in ["residual"] if config.name in DEEPER else config.sites:
        model = twin(shared)
        mechanism, options = USED.get(site, ("se", {}))
        image = (3, 64, 64) if site == "net2" else SMALL  # a last map of one position has no covariance
        grafted = graft(model, mechanism, options, config.sites[site], image)
        logits = model.train()(images(2, *image))
        logits.logsumexp(1).sum().backward()
        slopes = [[p.grad for p in mechanism.parameters() if p.grad is not None] for mechanism in grafted]
        dead = [index for index, own in enumerate(slopes) if not any(slope.any() for slope in own)]
        finite = all(slope.isfinite().all() for own in slopes for slope in own)
        assert (site, logits.shape, len(grafted), dead, finite) == (
            site,
            (2, 10),
            PLACES[config.name][site],
            [],
            True,
        )


@pytest.mark.parametrize("network", PLACES, indirect=True)
@pytest.mark.parametrize("size", [(224, 224), (64, 64), (32, 64)], ids=str)
def test_it_runs_on_images_of_a_size(network: tuple[Backbone, nn.Module], size: tuple[int, int]) -> None:
    config, model = network
    if config.name in PATCHES:
        model = backbones.build(config, 10, (3, *size))
    with torch.inference_mode():
        logits = model.eval()(images(1, 3, *size))
    assert logits.shape == (1, 10)
    assert logits.isfinite().all()


@pytest.mark.parametrize("network", PLACES, indirect=True)
def test_every_parameter_gets_a_gradient(network: tuple[Backbone, nn.Module]) -> None:
    _, model = network
    model.train().requires_grad_(True)(images(2, *SMALL)).logsumexp(1).sum().backward()
    without_gradient = [name for name, p in model.named_parameters() if p.grad is None]
    model.requires_grad_(False).zero_grad()
    assert not without_gradient


# Parameters


@pytest.mark.parametrize(
    ("depth", "total", "paper"),
    [
        (8, 75_290, None),
        (20, 269_722, "0.27M"),
        (32, 464_154, "0.46M"),
        (56, 853_018, "0.85M"),
        (110, 1_727_962, "1.7M"),
    ],
)
def test_parameters_of_the_cifar_resnets(depth: int, total: int, paper: str | None) -> None:
    n = (depth - 2) // 6

    def stage(inputs: int, width: int) -> int:
        return 9 * width * (inputs + (2 * n - 1) * width) + 2 * 2 * n * width  # convolutions, norms

    stem, head = 9 * 3 * 16 + 2 * 16, 64 * 10 + 10
    assert stem + stage(16, 16) + stage(16, 32) + stage(32, 64) + head == total
    assert count(backbones.build(backbone(f"resnet{depth}"), 10, SMALL)) == total
    if paper:
        digits = len(paper.partition(".")[2]) - 1
        assert f"{total / 1e6:.{digits}f}M" == paper


def test_parameters_of_the_wide_resnet() -> None:
    """36.5M in the paper; the authors' own count with ten classes is 36,479,194."""
    with torch.device("meta"):
        assert count(backbones.build(backbone("wrn_28_10"), 10, SMALL)) == 36_479_194


@pytest.mark.parametrize("name", IMAGENET)
def test_timms_networks_are_as_they_were_published(name: str) -> None:
    config = backbone(name)
    with torch.device("meta"):
        model = backbones.build(config, 1000, (3, 224, 224))
        original = timm.create_model(config.args.get("model", name))
    assert count(model) == IMAGENET[name]
    assert {k: v.shape for k, v in model.state_dict().items()} == {
        k: v.shape for k, v in original.state_dict().items()
    }
    assert own_attention(model) == (
        ["self-attention"] if name in PATCHES else [config.contains] * bool(config.contains)
    )


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "vit_tiny_patch16_224", "spnet50"])
def test_the_seed_makes_the_weights(name: str) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return backbones.build(backbone(name), 10, SMALL).state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


# SPNet: a mechanism that the backbone has of its own


@pytest.mark.parametrize(
    ("depth", "plain", "whole"), [(50, 23_631_808, 29_748_864), (101, 42_623_936, 48_740_992)]
)
def test_spnets_encoder_has_the_official_number_of_parameters(depth: int, plain: int, whole: int) -> None:
    """Of houqb/SPNet's encoders with spm_on=False and True."""
    config = backbone(f"spnet{depth}")
    with torch.device("meta"):
        assert count(backbones.build(replace(config, contains_at=Site()), 0, SMALL)) == plain
        model = backbones.build(config, 0, SMALL)
    assert count(model) == whole
    assert {type(m).__name__ for m in mechanisms(model)} == {"SPM"}
    last = {50: 5, 101: 22}[depth]
    blocks = ["layer1.2", "layer2.3", f"layer3.{last}", "layer4.0", "layer4.1", "layer4.2"]
    names = {m: name for name, m in model.named_modules()}
    assert [names[m] for m in mechanisms(model)] == [f"{block}.act2.attention" for block in blocks]


def test_strip_pooling_weighs_what_the_last_convolution_reads() -> None:
    model = backbones.build(backbone("spnet50"), 10, SMALL).eval()
    block, x = model.get_submodule("layer4.0"), torch.rand(1, 1024, 5, 7)
    (strips,) = mechanisms(block)
    read: list[torch.Tensor] = []
    block.get_submodule("conv3").register_forward_pre_hook(lambda _, args: read.append(args[0]))
    block(x)
    before = block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x))))).relu()  # type: ignore[operator]
    assert torch.allclose(read[0], before * strips.g(before), atol=1e-6)
    assert not torch.allclose(read[0], before, atol=1e-3)


def test_weights_of_the_plain_network_fit_spnet(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = timm.create_model("resnet50s").state_dict()
    torch.save(saved, tmp_path / "weights.pth")
    config = backbone("spnet50", pretrained=True)
    overlay = {"pretrained_cfg_overlay": {"file": str(tmp_path / "weights.pth")}}
    model = backbones.build(replace(config, args={**config.args, **overlay}), 1000, SMALL)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in saved.items())
    assert all(".act2.attention." in key for key in set(loaded) - set(saved))


def test_its_own_attention_differs_from_what_is_grafted_of_the_same_seed() -> None:
    torch.manual_seed(0)
    model = backbones.build(backbone("spnet50"), 10, SMALL)
    own = mechanisms(model)
    grafted = graft(model, "spm", {}, backbone("spnet50").sites["bottleneck"], SMALL, seed=0)
    assert len(own) == len(grafted) == 6 and not set(own) & set(grafted)
    for first, second in zip(own, grafted):
        assert not torch.equal(first.get_parameter("rows.weight"), second.get_parameter("rows.weight"))


@pytest.mark.parametrize(("stride", "dilations"), [(8, [4, 8, 16]), (16, [2, 4, 8]), (32, [1, 1, 1])])
def test_dilations_grow_within_the_last_stage(stride: int, dilations: list[int]) -> None:
    config = backbone("spnet50")
    args = {**config.args, "output_stride": stride}
    with torch.device("meta"):
        model = backbones.build(replace(config, args=args), 0, (3, 65, 97))
        last = model.forward_intermediates(torch.zeros(1, 3, 65, 97), intermediates_only=True)[-1]  # type: ignore[operator]
    last_stage = model.get_submodule("layer4").modules()
    convs = [m for m in last_stage if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [conv.dilation for conv in convs] == [(dilation, dilation) for dilation in dilations]
    assert last.shape[2:] == (-(-65 // stride), -(-97 // stride))


# The stem for small images


@pytest.mark.parametrize(("name", "channels"), [("resnet18", 3), ("resnet50", 1)])
def test_small_stem_keeps_the_size(name: str, channels: int) -> None:
    config = backbone(name, stem="cifar")
    model = backbones.build(config, 10, (channels, 32, 32))
    stages = places(model, config.sites["stage"], (channels, 32, 32))
    assert [place.size for place in stages] == [(32, 32), (16, 16), (8, 8), (4, 4)]
    plain = backbones.build(backbone(name), 10, (channels, 32, 32))
    assert count(plain) - count(model) == 64 * channels * (7 * 7 - 3 * 3)
    assert set(plain.state_dict()) == set(model.state_dict())
    intermediate = model.forward_intermediates(torch.zeros(1, channels, 32, 32), intermediates_only=True)  # type: ignore[operator]
    assert [32 // x.shape[-1] for x in intermediate] == [f["reduction"] for f in model.feature_info]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["mobilenetv2_100", "vit_tiny_patch16_224", "densenet121"])
def test_small_stem_is_refused_where_it_makes_no_sense(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: stem=cifar is for ResNets"):
        backbones.build(backbone(name, stem="cifar"), 10, SMALL)


def test_a_small_stem_has_no_pretrained_weights() -> None:
    with pytest.raises(UserError, match="pretrained weights have stem=imagenet"):
        backbones.build(backbone("resnet18", stem="cifar", pretrained=True), 10, SMALL)


@pytest.mark.parametrize(
    ("changes", "said"), [({"stem": "imagenet"}, "stem=imagenet"), ({"pretrained": True}, "pretrained=true")]
)
def test_networks_of_our_own_have_one_stem_and_no_weights(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=f"resnet20: {said} does not exist"):
        backbones.build(backbone("resnet20", **changes), 10, SMALL)


# What is refused


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("resnet20", {"source": "cifar_resnets"}, "did you mean cifar_resnet"),
        ("resnet20", {"args": {"depth": 21}}, "6n \\+ 2 layers"),
        ("wrn_28_10", {"args": {"depth": 27, "width": 1}}, "6n \\+ 4 layers"),
        ("resnet20", {"args": {"depht": 20}}, "depht"),
        ("resnet18", {"args": {"model": "resnet18x"}}, "did you mean resnet18"),
        ("resnet18", {"args": {"dept": 18}}, "dept"),
        ("resnet18", {"args": {"multi_grid": [1, 2]}}, "for ResNets of bottleneck blocks"),
        ("resnet50", {"args": {"multi_grid": [1, 2]}}, "a number for each block of the last stage"),
        ("vgg16_bn", {"args": {"multi_grid": []}}, "for ResNets of bottleneck blocks"),
        ("resnet8", {"contains": "spmm", "contains_at": Site(after=["layer1"])}, "did you mean spm"),
    ],
)
def test_what_does_not_exist_is_named(name: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        backbones.build(backbone(name, **changes), 10, SMALL)


def test_patches_must_cover_the_image() -> None:
    with pytest.raises(Impossible, match="an image of 30x32 px does not divide into patches of 16x16 px"):
        backbones.build(backbone("vit_tiny_patch16_224"), 10, (3, 30, 32))


# Pretrained weights


def test_pretrained_weights_are_loaded_and_the_classifier_fits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = backbones.build(backbone("resnet18"), 1000, SMALL).state_dict()
    torch.save(saved, tmp_path / "weights.pth")
    args = {"pretrained_cfg_overlay": {"file": str(tmp_path / "weights.pth")}}
    loaded = backbones.build(backbone("resnet18", pretrained=True, args=args), 10, SMALL).state_dict()
    assert all(torch.equal(loaded[k], saved[k]) for k in saved if not k.startswith("fc."))
    assert loaded["fc.weight"].shape == (10, 512)


def test_absent_weights_are_a_users_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="resnet18 at hand") as refusal:
        backbones.build(backbone("resnet18", pretrained=True, args={"cache_dir": str(tmp_path)}), 10, SMALL)
    assert "timm.create_model('resnet18', pretrained=True)" in str(refusal.value)
    assert "backbone.pretrained=false" in str(refusal.value)
