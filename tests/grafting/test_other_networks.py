"""Networks of other projects are grafted, trained two steps and counted; wrong layouts are refused."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from attnbench import cost
from attnbench.config.schema import Layout, Site
from attnbench.errors import UserError
from attnbench.grafting.calls import check_called
from attnbench.grafting.graft import graft, mechanisms, places

SMALL = (3, 64, 64)


def train(model: nn.Module, loss: Any) -> None:
    """Two steps; every mechanism has had a gradient."""
    optimizer = torch.optim.SGD(model.train().parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert all(any(p.grad is not None and p.grad.any() for p in m.parameters()) for m in mechanisms(model))


# Whole networks


def test_a_detector_that_takes_a_list_of_images() -> None:
    kind = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn
    model, image = kind(weights=None, weights_backbone=None, num_classes=4), torch.rand(3, 96, 128)
    site = Site(after=["backbone.fpn.layer_blocks.*"])
    with pytest.raises(UserError, match=r"one that takes something else is given example=\(input, \.\.\.\)"):
        graft(model, "se", {}, site, example=(image, image))
    assert len(graft(model, "se", {}, site, example=([image],))) == 2
    check_called(model, [image])
    target = {"boxes": torch.tensor([[1.0, 1, 40, 40]]), "labels": torch.tensor([1])}
    train(model, lambda: sum(model([image], [target]).values()))


def test_yolo_is_grafted_counted_trained_and_fused() -> None:
    ultralytics = pytest.importorskip("ultralytics", reason="ultralytics is not installed")
    model = ultralytics.YOLO("yolov8n.yaml").model
    assert len(graft(model, "se", {}, Site(after=["model.[2468]"]), SMALL)) == 4
    assert cost.count(model, SMALL)["macs"] > 0
    images = torch.rand(2, *SMALL)
    fused = copy.deepcopy(model).eval().fuse(verbose=False)
    check_called(fused, images)
    assert torch.allclose(fused(images)[0], model.eval()(images)[0], atol=1e-3)
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    boxes = {"bboxes": torch.tensor([[0.5, 0.5, 0.3, 0.3]]), "cls": torch.tensor([[1.0]])}
    batch = {"img": images, "batch_idx": torch.tensor([0.0]), **boxes}
    train(model, lambda: model(batch)[0].sum())
    graft(model, "se", {}, Site(after=["model.0.bn"]), SMALL)
    with pytest.raises(AttributeError, match="would drop the attention"):
        model.eval().fuse(verbose=False)


def test_a_unet_with_attention_of_its_own_name() -> None:
    smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is missing")
    model = smp.Unet("resnet18", encoder_weights=None, classes=3, decoder_attention_type="scse")
    site = Site(after=["decoder.blocks.*", "decoder.blocks.0.attention1"])
    assert len(graft(model, "cbam", {}, site, SMALL)) == 6
    assert any(key.startswith("decoder.blocks.0.attention1.attention_2.") for key in model.state_dict())
    train(model, lambda: model(torch.randn(2, *SMALL)).square().mean())
    check_called(model, torch.randn(1, *SMALL))
    assert cost.count(model, SMALL)["macs"] > 0


class TwoInputs(nn.Module):
    """Adds the maps of an image and of a mask, reads a value, and makes a constant on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.mask = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(1, 8, 3, padding=1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        x = self.image(image) + self.mask(mask)
        return x * 2 if x.abs().sum().item() > 1e9 else x + torch.ones(1)


def test_several_inputs_and_values_that_are_read() -> None:
    model, inputs = TwoInputs(), (torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16))
    with pytest.raises(UserError, match="the network does not run on an input of 1x3x16x16"):
        graft(model, "se", {}, Site(after=["image"]), (3, 16, 16))
    assert len(graft(model, "se", {}, Site(after=["image", "mask"]), example=inputs)) == 2
    train(model, lambda: model(*inputs).square().mean())
    check_called(model, *inputs)


# Layouts


@pytest.mark.parametrize(
    ("model", "patterns", "maps"),
    [
        ("swin_tiny_patch4_window7_224", ["layers.*"], [(96, 56), (192, 28), (384, 14), (768, 7)]),
        ("convnext_atto", ["stages.*.blocks.0.mlp"], [(40, 56), (80, 28), (160, 14), (320, 7)]),
        ("mambaout_femto", ["stages.*"], [(48, 56), (96, 28), (192, 14), (288, 7)]),
        ("resnet18", ["layer*"], [(64, 56), (128, 28), (256, 14), (512, 7)]),
    ],
)
def test_the_layout_is_read_from_the_layers_weights(
    model: str, patterns: list[str], maps: list[tuple[int, int]]
) -> None:
    found = places(timm.create_model(model), Site(after=patterns), (3, 224, 224))
    assert [(place.channels, place.size) for place in found] == [(c, (side, side)) for c, side in maps]


@pytest.mark.parametrize(
    ("model", "site", "said"),
    [
        (
            "swin_tiny_patch4_window7_224",
            Site(after=["layers.0.blocks.0.attn"], layout=Layout.BNC),
            r"64 parts of an image \(windows\?\) pass there as a batch",
        ),
        ("hiera_tiny_224", Site(after=["blocks.0"], layout=Layout.BNC), "'unroll' reorders them"),
        (
            "vit_tiny_patch16_224",
            Site(after=["blocks.0"]),
            "layout=BNC, prefix=1 it is a grid of 14x14 tokens",
        ),
        (
            "resnet18",
            Site(after=["layer1"], layout=Layout.BHWC),
            r"possible: BCHW \(64 channels, 56x56 positions\), BHWC \(56 channels, 64x56 positions\), BNC",
        ),
    ],
)
def test_a_wrong_layout_is_refused(model: str, site: Site, said: str) -> None:
    with pytest.raises(UserError, match=said):
        places(timm.create_model(model), site, (3, 224, 224))


class Sizes(nn.Module):
    """Notes the sizes of the maps that it is given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape[2:]))
        return x


def test_tokens_are_laid_out_on_the_image_of_the_pass() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=(64, 128), dynamic_img_size=True).eval()
    site = Site(after=["blocks.0"], layout=Layout.BNC, prefix=1)
    (new,) = graft(model, Sizes, {}, site, (3, 64, 128))
    for size in ((64, 128), (128, 64), (64, 64)):
        model(torch.randn(1, 3, *size))
    model.forward_features(torch.randn(1, 3, 128, 64))  # not by the network's own call
    assert new.module.seen == [(4, 8), (8, 4), (4, 4), (8, 4)]  # type: ignore[union-attr]
    duplicate = copy.deepcopy(model)
    duplicate(torch.randn(1, 3, 32, 64))
    assert mechanisms(duplicate)[0].module.seen[-1] == (2, 4)  # type: ignore[union-attr]
