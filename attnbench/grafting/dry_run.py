"""A dry run: which shapes arrive at and leave the modules of a network, without a trace in it."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from attnbench.errors import Impossible, UserError
from attnbench.grafting.clone import copied

Shape = tuple[int, ...]
FEATURES = ("num_features", "num_channels", "in_channels", "in_features")
OUTPUTS = ("num_features", "num_channels", "out_channels", "out_features")


@dataclass
class Run:
    """What a dry run has seen."""

    shapes: dict[str, tuple[Shape, Shape]] = field(
        default_factory=dict
    )  # arriving, leaving; in running order
    channels: dict[Shape, set[int]] = field(
        default_factory=dict
    )  # axes of maps that layers take for channels
    entrance: str | None = None  # the module by which the image enters, to which only parts of it are smaller


def dry_run(
    model: nn.Module, named: list[tuple[str, str]], image: Shape, example: tuple[Any, ...] | None = None
) -> Run:
    """Run a copy once, on one black input or on the example, and watch the places (how, name).

    The copy is on the meta device, which takes no time and no memory; a network that reads values or makes
    constants on the CPU runs there instead. Raises `UserError` where it does not run there either.
    """
    inputs = (torch.zeros(1, *image, dtype=_dtype(model)),) if example is None else example
    try:
        return _watched(model, named, image, inputs, torch.device("meta"))
    except (UserError, Impossible):
        raise
    except Exception:  # networks fail in many ways on a device without values; the CPU gives any true error
        pass
    try:
        with torch.random.fork_rng(devices=[]):
            return _watched(model, named, image, inputs, torch.device("cpu"))
    except (UserError, Impossible):
        raise
    except Exception as error:
        shapes = ", ".join("x".join(map(str, x.shape)) for x in tree_leaves(inputs) if isinstance(x, Tensor))
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            f"the network does not run on an input of {shapes} ({reason}); "
            "one that takes something else is given example=(input, ...)"
        ) from error


def runs(model: nn.Module, image: Shape) -> bool:
    """Whether the network runs on an input of that shape."""
    try:
        dry_run(model, [], image)
    except (UserError, Impossible):
        return False
    return True


def _dtype(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters()), torch.get_default_dtype())


def _watched(
    model: nn.Module, named: list[tuple[str, str]], image: Shape, inputs: Any, device: torch.device
) -> Run:
    run, ghost = Run(), copied(model, device)
    with torch.no_grad(), ExitStack() as hooks:
        for how, name in named:
            module = ghost.get_submodule(name)
            if how == "before":
                hooks.enter_context(
                    module.register_forward_pre_hook(partial(_before, run, name), with_kwargs=True)
                )
            else:
                hook = partial(_after if how == "after" else _instead, run, name)
                hooks.enter_context(module.register_forward_hook(hook, with_kwargs=True))
        for name, module in ghost.named_modules():
            if module._parameters and (_count(module, FEATURES) or _normalised(module)):
                hooks.enter_context(module.register_forward_hook(partial(_layer, run)))
            if name:
                hooks.enter_context(module.register_forward_pre_hook(partial(_enter, run, name, image)))
        ghost(*tree_map_only(Tensor, lambda x: x.to(device), inputs))
    return run


# Hooks


def _before(run: Run, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    shape = _shape(name, *args, *kwargs.values())
    run.shapes.setdefault(name, (shape, shape))


def _after(run: Run, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
    shape = _shape(name, output)
    run.shapes.setdefault(name, (shape, shape))


def _instead(
    run: Run, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> None:
    run.shapes.setdefault(name, (_shape(name, *args, *kwargs.values()), _shape(name, output)))


def _shape(name: str, x: Any = None, *rest: Any) -> Shape:
    if not isinstance(x, Tensor):
        raise UserError(f"{name}: a {type(x).__name__} passes there, not one tensor; nothing can stand there")
    return tuple(x.shape)


def _enter(run: Run, name: str, image: Shape, module: nn.Module, args: tuple[Any, ...]) -> None:
    """Note the innermost module with parts that the whole image enters, else the first layer."""
    whole = bool(args) and isinstance(args[0], Tensor) and args[0].ndim == 4
    if whole and tuple(args[0].shape[2:]) == tuple(image[-2:]):
        inner = run.entrance is None or name.startswith(f"{run.entrance}.")
        if inner and (run.entrance is None or next(module.children(), None) is not None):
            run.entrance = name


def _layer(run: Run, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """Note which axis of a map, by its size, is the one that a layer with weights takes for channels."""
    for x, names in ((args[0] if args else None, FEATURES), (output, OUTPUTS)):
        if isinstance(x, Tensor) and x.ndim == 4:
            count = _count(module, names) or _normalised(module)
            axes = {axis for axis in (1, 3) if x.shape[axis] == count}
            run.channels.setdefault(tuple(x.shape), set()).update(axes if len(axes) == 1 else ())


def _count(module: nn.Module, names: tuple[str, ...]) -> int:
    found = (getattr(module, name, None) for name in names)
    return next((n for n in found if isinstance(n, int)), 0)


def _normalised(module: nn.Module) -> int:
    shape = getattr(module, "normalized_shape", ())
    return int(shape[0]) if isinstance(shape, tuple) and len(shape) == 1 else 0
