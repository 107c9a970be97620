"""Checks of what others do to a mechanism: half precision, a memory layout, gradient checkpointing."""

import copy

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from attnbench.checks.assertions import Meaningless, demand, finite, same
from attnbench.checks.case import Case, draw, seeded
from attnbench.errors import UserError
from attnbench.mechanisms.base import Mechanism

HALVES = (torch.bfloat16, torch.float16)


def half(case: Case) -> None:
    """Half precision under autocast keeps dtype and stays finite, also on activations of 1000."""
    for dtype in HALVES:
        for scale in (1.0, 1e3):
            module, x = case.fresh().eval(), (case.x().detach() * scale).to(dtype)
            with torch.autocast("cpu", dtype=dtype), torch.no_grad():
                y = module(x)
            demand(case.logits or y.dtype == dtype, f"{dtype} became {y.dtype} under autocast")
            finite(f"the output in {dtype} at {scale:g}", y)


def half_training(case: Case) -> None:
    """Training under autocast gives finite gradients, in the dtypes of the input and of the parameters."""
    module, x = case.fresh(), case.x().detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)
    y.float().sum().backward()
    finite("the gradient of x in bfloat16", x.grad)
    for name, p in module.named_parameters():
        finite(f"the gradient of {name} in bfloat16", p.grad)


def channels_last(case: Case) -> None:
    """The memory layout channels_last changes no number."""
    if case.cls.reads == "skeleton":
        raise Meaningless("a skeleton is not a map: it has one layout")
    for training in (True, False):
        module, x = case.trained().train(training), case.x()
        last = copy.deepcopy(module).to(memory_format=torch.channels_last)
        with seeded(0):
            expected = module(x)
        with seeded(0):
            same("channels_last", last(_channels_last(x)), expected)


def half_network(case: Case) -> None:
    """In a network of half precision (`.half()`, `.bfloat16()`) it runs, trains and keeps the dtype."""
    for dtype in HALVES:
        module, x = case.fresh().to(dtype), case.x().detach().to(dtype).requires_grad_()
        y = module(x)
        demand(y.dtype == dtype, f"{dtype} became {y.dtype} in a network of {dtype}")
        finite(f"the output in a network of {dtype}", y)
        term = module.loss(case.targets())
        (y.float().sum() + (0 if term is None else term.float())).backward()
        finite(f"the gradient of x in a network of {dtype}", x.grad)
        for name, p in module.named_parameters():
            finite(f"the gradient of {name} in a network of {dtype}", p.grad)
        if not case.logits and case.cls.g is not Mechanism.g:
            module.eval()
            demand(module.f(module.g(x), x).dtype == dtype, f"f(g(x), x) does not keep {dtype}")


def checkpointing(case: Case) -> None:
    """Under gradient checkpointing it has the gradients that it has without, or refuses in words."""
    plain = case.trained().train()
    module = copy.deepcopy(plain)
    expected = _gradients(case, plain, rerun=False)
    try:
        found = _gradients(case, module, rerun=True)
    except UserError:
        return
    for name, gradient in found.items():
        same(f"checkpointing: the gradient of {name}", gradient, expected[name])


def _gradients(case: Case, module: Mechanism, rerun: bool) -> dict[str, Tensor | None]:
    """Of x and of all parameters in training, its own loss term included."""
    x = case.x()
    with seeded(0):
        y = checkpoint(module, x, use_reentrant=False) if rerun else module(x)
        term = module.loss(case.targets())
    ((y * draw(tuple(y.shape), 2)).sum() + (0 if term is None else term)).backward()
    return {"x": x.grad, **{name: p.grad for name, p in module.named_parameters()}}


def _channels_last(x: Tensor) -> Tensor:
    """The same maps with channels innermost; of a clip, frame by frame."""
    maps = x.flatten(0, x.ndim - 4).contiguous(memory_format=torch.channels_last)
    return maps.unflatten(0, x.shape[: x.ndim - 3])
