"""Every mechanism compiled and exported. (Half precision, channels_last, checkpointing: `attnbench.checks`.)

The default suite tries those with operators or state of their own; `-m slow` the rest.
"""

import copy
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from attnbench.checks.case import Case, seeded
from tests.references import NAMES, cases

ODD = ("gc", "hard_attention", "san", "sk")  # one each of what once fixed the batch, or a layout
OPEN_SIZES = ((16, 11), (40, 33))  # of maps that a graph of a 12x9 map is to take
FIXED_SIZE = {
    "dram": "its glimpses read the whole image on a grid that the export fixes",
    "ge": "its kernel is as large as the map",
    "mpm": "its coarse maps are shares of the map's size",
    "psa": "its masks are as large as the map",
    "residual_attention": "its pooling rounds up, which an open size cannot",
    "rga": "its layers are as wide as the map has positions",
    "stn": "its convolutions are padded on small maps only",
    "sta": "its stripes must divide the height",
    "sta_lstm": "a skeleton has no height and width",
}


def default(name: str) -> Case:
    """The mechanism at default options on the input that its reference gives it."""
    return cases(name)[0].with_(options={})


def built(case: Case) -> nn.Module:
    """In float32, evaluating, its parameters drawn: no zero hides a path."""
    return case.trained().float().eval()


def parts(names: Sequence[str], fast: Sequence[str]) -> list:
    return [pytest.param(name, marks=() if name in fast else pytest.mark.slow) for name in names]


def close(ours: Tensor, theirs: Tensor) -> None:
    theirs = theirs.detach()
    torch.testing.assert_close(ours.detach(), theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


@pytest.mark.slow
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("name", NAMES)
def test_compiled_it_gives_the_same_outputs_and_gradients(name, layout):
    torch._dynamo.reset()
    plain, x = default(name).trained().float().train(), default(name).x().detach().float()
    if x.dim() == 4:
        plain, x = plain.to(memory_format=layout), x.to(memory_format=layout)
    compiled = torch.compile(copy.deepcopy(plain))
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    with seeded(0):
        expected = plain(inputs[0])
    with torch._inductor.config.patch(fallback_random=True), seeded(0):
        found = compiled(inputs[1])
    close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    close(inputs[1].grad, inputs[0].grad)


@pytest.mark.parametrize("name", parts(NAMES, ODD))
def test_exported_its_batch_stays_open(name):
    case = default(name)
    module = built(case)
    x = case.with_(batch=3).x().detach().float()
    graph = torch.export.export(module, (x,), dynamic_shapes=({0: Dim("b", min=1, max=64)},)).module()
    for batch in (1, 5):
        x = case.with_(batch=batch).x().detach().float()
        close(graph(x), module(x))


@pytest.mark.parametrize("name", parts(NAMES, ("a2", "fca", "san")))
def test_exported_its_height_and_width_stay_open_where_its_weights_allow(name):
    if name in FIXED_SIZE:
        pytest.skip(FIXED_SIZE[name])
    case = default(name).with_(size=(12, 9))
    module, x = built(case), case.with_(batch=3).x().detach().float()
    axes = {0: Dim("b", min=1, max=64), x.dim() - 2: Dim("h", min=8), x.dim() - 1: Dim("w", min=8)}
    graph = torch.export.export(module, (x,), dynamic_shapes=(axes,)).module()
    for size in OPEN_SIZES:
        x = case.with_(size=size).x().detach().float()
        close(graph(x), module(x))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="needs onnx, onnxscript, onnxruntime"
)
@pytest.mark.parametrize("name", NAMES)
def test_as_onnx_it_gives_the_same_outputs_for_any_batch(name: str, tmp_path: Path) -> None:
    import onnxruntime

    case = default(name)
    module, x = built(case), case.with_(batch=3).x().detach().float()
    batch = ({0: Dim("b", min=1, max=64)},)
    torch.onnx.export(module, (x,), tmp_path / "m.onnx", dynamo=True, dynamic_shapes=batch, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        x = case.with_(batch=count).x().detach().float()
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        close(torch.from_numpy(found), module(x))


def test_no_reason_is_given_for_a_mechanism_that_is_not_there():
    assert set(FIXED_SIZE) | set(ODD) <= set(NAMES)
