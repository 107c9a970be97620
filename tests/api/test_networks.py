"""Mechanisms are grafted into networks of anyone's and taken out again, without a trace."""

import copy
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import attnbench
from attnbench import UserError
from attnbench.config.schema import Site
from tests.networks import hooks, liven

IMAGE = (3, 64, 64)


class Gate(nn.Module):
    """A module of a user's own."""

    def __init__(self, channels: int, start: float = 0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return liven(torchvision.models.resnet18(num_classes=10)).eval()


def test_a_torchvision_network_is_grafted_and_restored() -> None:
    model, images = resnet(), torch.randn(2, *IMAGE)
    before, names, expected = (
        copy.deepcopy(model.state_dict()),
        list(dict(model.named_modules())),
        model(images),
    )
    done = attnbench.graft(model, "se", at="layer*.*.bn2", image=IMAGE, reduction=8)
    assert [place.name for place in done.places][:2] == ["layer1.0.bn2", "layer1.1.bn2"]
    assert done.places[0].channels == 64 and done.places[0].size == (16, 16)
    said = "<se at 8 places, after layer1.0.bn2 ... layer4.1.bn2: 64 to 512 channels, "
    assert repr(done) == f"{said}{done.params:,} parameters>"
    assert len(done.modules) == 8 and not torch.allclose(model(images), expected)
    attnbench.ungraft(model)
    assert list(dict(model.named_modules())) == names and hooks(model) == 0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(model(images), expected)
    attnbench.ungraft(model)  # nothing is left to undo
    assert list(dict(model.named_modules())) == names


@pytest.mark.parametrize(
    ("mechanism", "how", "pattern"),
    [("cbam", "before", "layer3"), ("sk", "instead", "layer*.*.conv2"), (Gate, "after", "layer2")],
)
def test_each_way_to_stand_is_undone(mechanism: Any, how: Any, pattern: str) -> None:
    model, images = resnet(), torch.randn(2, *IMAGE)
    expected, keys = model(images), list(model.state_dict())
    attnbench.graft(model, mechanism, at=pattern, how=how, image=IMAGE)
    attnbench.graft(model, "eca", at=["layer2", "layer3.0"], image=IMAGE)
    assert list(model.state_dict()) != keys
    attnbench.ungraft(model)
    assert list(model.state_dict()) == keys and torch.equal(model(images), expected)


def test_a_module_that_was_replaced_comes_back_where_the_network_is_now() -> None:
    model = resnet()
    attnbench.graft(model, "sk", at="layer4.1.conv2", how="instead", image=IMAGE)
    model.double().train()
    attnbench.ungraft(model)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert all(module.training for module in model.modules())


def test_tokens_and_maps_with_channels_last_need_no_layout() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=10).eval()
    images = torch.randn(1, 3, 224, 224)
    expected = vit(images)
    done = attnbench.graft(vit, "eca", at="blocks.*.attn")
    assert {(place.channels, place.size) for place in done.places} == {(192, (14, 14))} and len(
        done.places
    ) == 12
    assert not torch.equal(vit(images), expected)
    attnbench.ungraft(vit)
    assert torch.equal(vit(images), expected) and hooks(vit) == 0
    next_ = timm.create_model("convnext_atto", num_classes=10)
    (first, *_) = attnbench.graft(next_, "se", at="stages.*.blocks.*.mlp").places
    assert (first.channels, first.size) == (40, (56, 56))


def test_a_copy_is_ungrafted_unless_modules_of_it_were_replaced() -> None:
    model, images = resnet(), torch.randn(1, *IMAGE)
    expected = model(images)
    attnbench.graft(model, "se", at="layer*", image=IMAGE)
    twofold = copy.deepcopy(model)
    attnbench.ungraft(twofold)
    assert torch.equal(twofold(images), expected)
    attnbench.graft(model, "sk", at="layer4.1.conv2", how="instead", image=IMAGE)
    with pytest.raises(UserError, match=r"layer4\.1\.conv2: stands instead of a module that a copy"):
        attnbench.ungraft(copy.deepcopy(model))


def test_none_touches_nothing_and_wrong_requests_are_refused() -> None:
    model = resnet()
    assert repr(attnbench.graft(model, "none", at="layer*", image=IMAGE)) == "<none: nothing changed>"
    with pytest.raises(UserError, match="matches nothing at 'layr"):
        attnbench.graft(model, "se", at="layr*", image=IMAGE)
    with pytest.raises(UserError, match=r"give the shape of one input: image=\(channels, height, width\)"):
        attnbench.graft(model, "se", at="layer*")
    with pytest.raises(UserError, match="name modules by at=PATTERN"):
        attnbench.graft(model, "se", image=IMAGE)
    with pytest.raises(UserError, match="unknown way to stand"):
        attnbench.graft(model, "se", at="layer1", how="behind", image=IMAGE)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="SE cannot replace a convolution"):
        attnbench.graft(model, "se", at="layer*.*.conv2", how="instead", image=IMAGE)
    assert not [m for m in model.modules() if "attnbench" in type(m).__module__]


def test_a_site_says_where_as_conf_does() -> None:
    model = resnet()
    done = attnbench.graft(model, "se", site=Site(before=["layer3.-1"]), image=IMAGE)
    assert [(p.how, p.name) for p in done.places] == [("before", "layer3.1")]
    assert repr(Site(before=["layer3.-1"])) == "Site(before=['layer3.-1'])"


def test_costs_are_counted_and_timed_beside_each_other() -> None:
    plain, model = resnet(), resnet()
    attnbench.graft(model, "se", at="layer*.*.bn2", image=IMAGE)
    before, after = attnbench.count(plain, IMAGE), attnbench.count(model, IMAGE)
    assert before.params_attention == 0 and after.params - before.params == after.params_attention > 0
    assert after.macs > before.macs and not after.uncounted and "\n" not in repr(after)
    found = attnbench.latency(model, plain, IMAGE, rounds=2)
    assert found.low <= found.ratio <= found.high and found.ms > 0 and found.details["batch"] == 1
    assert "details" not in repr(found)
    assert attnbench.count(timm.create_model("resnet18")).macs == 1_814_073_344
    with pytest.raises(UserError, match="the network does not run on an input of 1x1x64x64"):
        attnbench.count(plain, (1, 64, 64))
    with pytest.raises(UserError, match="CUDA graphs need a CUDA device"):
        attnbench.latency(plain, plain, IMAGE, mode="cuda_graph")
