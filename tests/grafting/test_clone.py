"""A network with attention in it is copied, stored, traced and compiled like any other."""

import copy
import io
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attnbench.config.schema import Site
from attnbench.grafting.graft import graft, mechanisms
from tests.networks import AFTER, IMAGE, Scale, Shared, backbone, images, network, twin


@pytest.mark.parametrize("site", ["residual", "stage", "late", "every_conv"])
def test_state_dicts_of_the_plain_network_fit(site: str) -> None:
    plain, model = network("resnet18"), network("resnet18", seed=1)
    graft(model, Scale, {}, backbone("resnet18").sites[site], IMAGE)
    report = model.load_state_dict(plain.state_dict(), strict=False)
    assert not report.unexpected_keys
    assert report.missing_keys
    assert all("attention" in key.split(".") for key in report.missing_keys)
    assert torch.equal(model(images()), plain(images()))


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
