"""Attention survives what other tools do to a network, or the tool refuses in words."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d
from timm.models import reparameterize_model
from torch import nn
from torch.ao.quantization import fuse_modules, get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import prepare_fx
from torch.fx.experimental.optimization import fuse
from torch.nn.utils.fusion import fuse_conv_bn_eval

from attnbench.config.schema import Site
from attnbench.errors import Impossible
from attnbench.grafting.calls import check_called
from attnbench.grafting.graft import graft, mechanisms
from attnbench.mechanisms import entries
from tests.networks import AFTER, IMAGE, backbone, images, network


def saved(model: nn.Module) -> nn.Module:
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    return torch.load(stored, weights_only=False)


def prepared(model: nn.Module) -> nn.Module:
    return prepare_fx(model, get_default_qconfig_mapping("x86"), (images(),))


TOOLS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deep copy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": saved,
    "SyncBatchNorm": nn.SyncBatchNorm.convert_sync_batchnorm,
    "timm's SyncBatchNorm": convert_sync_batchnorm,
    "timm's freeze": freeze_batch_norm_2d,
    "timm's reparameterize": reparameterize_model,
    "FX fusion": fuse,
    "prepare_fx": prepared,
}
SITES = {
    "after norms": ("resnet8", AFTER),
    "after convolutions": ("resnet8", Site(after=["layer*.*.conv2"])),
    "after norms with activations": ("mobilenetv3_small", Site(after=["blocks.[1-4].*.bn2"])),
    "before convolutions": ("resnet8", Site(before=["layer*.*.conv2"])),
    "of tokens": ("vit_tiny_patch16_224", backbone("vit_tiny_patch16_224").sites["residual"]),
}
LOSES = {("SyncBatchNorm", "after norms with activations")}  # torch's converter drops timm's activations
UNTRACED = {("FX fusion", "of tokens"), ("prepare_fx", "of tokens")}  # the network itself has control flow


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("tool", TOOLS)
def test_attention_survives(tool: str, site: str) -> None:
    if (tool, site) in UNTRACED:
        pytest.skip("torch.fx cannot trace this network")
    name, where = SITES[site]
    model = network(name)
    count = len(graft(model, "se", {}, where, IMAGE))
    expected = model(images())
    converted = TOOLS[tool](copy.deepcopy(model)).eval()
    check_called(converted, images())
    assert len(mechanisms(converted)) == count
    if (tool, site) not in LOSES:
        assert torch.allclose(converted(images()), expected, atol=1e-4)


@pytest.mark.parametrize("name", [n for n in entries() if n != "none"])
def test_every_mechanism_survives_conversion_and_copies(name: str) -> None:
    """The whole network is pickled, its norms are exchanged and frozen; each keeps what it gave."""
    config = backbone("resnet8")
    site = next((site for site in entries()[name].sites if site in config.sites), None)
    if site is None:
        pytest.skip(f"resnet8 has no site {entries()[name].sites[0]}")
    model = network()
    try:
        graft(model, name, {}, config.sites[site], IMAGE)
    except Impossible as reason:
        pytest.skip(f"{name}: {reason}")
    expected = model(images())
    for tool in ("pickle", "timm's SyncBatchNorm", "timm's freeze"):
        converted = TOOLS[tool](copy.deepcopy(model)).eval()
        check_called(converted, images())
        assert torch.allclose(converted(images()), expected, atol=1e-4), tool


@pytest.mark.parametrize(
    ("site", "said"),
    [
        (
            "layer1.0.bn2",
            "running_mean of a BatchNorm2d with SE attached: folding the BatchNorm2d into",
        ),
        (
            "layer1.0.conv2",
            "weight of a Conv2d with SE attached: folding the Conv2d into another layer",
        ),
    ],
)
def test_folding_a_layer_with_attention_is_refused(site: str, said: str) -> None:
    model = network()
    graft(model, "se", {}, Site(after=[site]), IMAGE)
    block = model.get_submodule("layer1.0")
    with pytest.raises(AttributeError, match=said):
        fuse_conv_bn_eval(block.conv2, block.bn2)  # type: ignore[arg-type]
    with pytest.raises((AttributeError, AssertionError)):
        fuse_modules(model, [["layer1.0.conv2", "layer1.0.bn2"]])
    check_called(model, images())


def test_a_mechanism_with_state_of_the_pass_is_refused_by_fx() -> None:
    model = network()
    graft(model, "dia", {}, AFTER, IMAGE)
    with pytest.raises(Impossible, match=r"DIA begins every pass anew, which a graph of torch.fx cannot"):
        fuse(model)


def test_scripts_are_not_made_of_wrapped_modules() -> None:
    """Tracing, torch.export and torch.compile are what works; see test_clone."""
    model = network()
    graft(model, "se", {}, AFTER, IMAGE)
    with pytest.raises(Exception, match="variable number of arguments"):
        torch.jit.script(model)


def test_what_is_wrapped_is_read_and_set_through_the_wrapper() -> None:
    model = network()
    graft(model, "se", {}, Site(after=["layer1.0", "layer1.0.bn1"]), IMAGE)
    block = model.get_submodule("layer1.0")
    assert (block.stride, block.bn1.num_features) == (1, 16)
    block.stride = 2
    assert block.wrapped.stride == 2
    weight = model.get_parameter("layer1.0.bn1.weight")
    block.bn1.weight = nn.Parameter(2 * weight.detach())
    assert torch.equal(block.bn1.wrapped.weight, 2 * weight)
    with pytest.raises(AttributeError, match="nothing"):
        _ = block.nothing


def test_state_dict_keys_are_those_without_wrappers_and_others_are_reported_so() -> None:
    plain, model = network(), network(seed=1)
    graft(model, "se", {}, Site(after=["layer1.0", "layer1.0.bn2"]), IMAGE)
    report = model.load_state_dict(plain.state_dict(), strict=False)
    assert all(".attention." in key and "wrapped" not in key for key in report.missing_keys)
    assert not report.unexpected_keys
    odd = {**model.state_dict(), "layer1.0.bn2.odd": torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "layer1.0.bn2.odd"'):
        model.load_state_dict(odd)
    by_parameters = dict(model.named_parameters())
    assert "layer1.0.wrapped.bn2.wrapped.weight" in by_parameters
    assert torch.equal(torch.func.functional_call(model, by_parameters, (images(),)), model(images()))
    assert model.state_dict()._metadata["layer1.0.bn2"] == {"version": 2}


def test_compiled_networks_note_their_calls_and_compile_once() -> None:
    from torch._dynamo.testing import CompileCounter

    from attnbench.grafting.calls import Calls

    model, counter = network(), CompileCounter()
    graft(model, "se", {}, AFTER, IMAGE)
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    calls = Calls(model)
    calls.open()
    first = compiled(images())
    calls.check("in the compiled pass")
    assert torch.equal(compiled(images()), first)  # closing the calls would compile again
    assert counter.frame_count == 1
