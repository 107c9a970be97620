"""A module of a network together with the mechanisms attached to it, in the module's place.

A forward hook on the module would be shorter, and is lost with it: SyncBatchNorm converters, `ultralytics`
`fuse()`, FX fusion and timm's `freeze_batch_norm_2d` all put another module where a norm was and carry over
neither its hooks nor, some of them, its children. They replace children of modules that they do not know, so
an `Attached` keeps its mechanisms while what it wraps is replaced. A class derived from the module's own, as
`parametrize` makes it, is matched by the converters' `isinstance` and replaced like the module.

The wrapper is transparent where names matter: state dicts have the keys of the network without it, beside
those of the mechanisms (`layer1.0.bn2.weight`, `layer1.0.bn2.attention.reduce.weight`), attributes are read
and set on the wrapped module, and `get_submodule` passes through. `named_modules` and `named_parameters`
have the true names (`layer1.0.bn2.wrapped.weight`), as FX and optimizers need them.

A tool that reads a norm's statistics or a convolution's weights through the wrapper is about to fold the
module into its neighbor, which would drop or misplace the mechanism: it gets an `AttributeError` that names
the place. Neither `fuse`, `reparameterize` nor `switch_to_deploy` is passed on: tools find the wrapped module
among the wrapper's children and treat it there.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from attnbench.grafting.call import Call
from attnbench.grafting.exchange import exchange
from attnbench.mechanisms.base import Mechanism

WRAPPED = "wrapped"
NAME = "attention"  # of a mechanism in the wrapper; attention_2 and so on where that is taken
REPLACING = frozenset({"fuse", "reparameterize", "switch_to_deploy"})
FOLDED: tuple[tuple[type[nn.Module], frozenset[str]], ...] = (
    (_BatchNorm, frozenset({"running_mean", "running_var"})),
    (_ConvNd, frozenset({"weight"})),
)


class Attached(nn.Module):
    """`wrapped`, with mechanisms that act on its first input or on its output, in the order of grafting."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.wrapped = module
        self.training = module.training
        self._before: dict[str, Call] = {}
        self._after: dict[str, Call] = {}
        # Hooks are numbered by process: a pickled handle keeps later hooks from taking this one's number.
        self._handles = [
            self.register_state_dict_post_hook(_outer_names),
            self.register_load_state_dict_pre_hook(_inner_names),
            self.register_load_state_dict_post_hook(_report_outer_names),
        ]

    def attach(self, how: str, mechanism: Mechanism, call: Call) -> None:
        """Add a mechanism `before` or `after` the module, behind those that are there."""
        name, number = NAME, 1
        while hasattr(self, name):
            number += 1
            name = f"{NAME}_{number}"
        self.add_module(name, mechanism)
        (self._before if how == "before" else self._after)[name] = call

    @property
    def attached(self) -> list[str]:
        """Names of the mechanisms among the children."""
        return [*self._before, *self._after]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        for name, call in self._before.items():
            if args:
                args = (call(self._modules[name], args[0]), *args[1:])
            else:
                first = next(iter(kwargs))
                kwargs = {**kwargs, first: call(self._modules[name], kwargs[first])}
        output = self.wrapped(*args, **kwargs)
        for name, call in self._after.items():
            output = call(self._modules[name], output, *args[1:])
        return output

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in REPLACING or "_modules" not in self.__dict__:
                raise
        wrapped = self._modules[WRAPPED]
        if any(isinstance(wrapped, kind) and name in names for kind, names in FOLDED):
            kind = type(wrapped).__name__
            raise AttributeError(
                f"{name} of a {kind} with {self._listed()} attached: folding the {kind} into another layer "
                f"would drop the attention; read .{WRAPPED}.{name} for anything else"
            )
        return getattr(wrapped, name)

    def __setattr__(self, name: str, value: Any) -> None:
        wrapped = self.__dict__.get("_modules", {}).get(WRAPPED)
        own = name in self.__dict__ or hasattr(type(self), name) or wrapped is None or name in self._modules
        if own or not hasattr(wrapped, name):
            super().__setattr__(name, value)
        else:
            setattr(wrapped, name, value)

    def _listed(self) -> str:
        return ", ".join(type(self._modules[name]).__name__ for name in self.attached)


class AttachedContainer(Attached):
    """As `Attached`, around a module that is a sequence or a mapping of modules, too."""

    wrapped: Any

    def __len__(self) -> int:
        return len(self.wrapped)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.wrapped)

    def __getitem__(self, index: Any) -> Any:
        return self.wrapped[index]


def inside(module: nn.Module) -> nn.Module:
    """The module itself, or what is wrapped in it."""
    return module.wrapped if isinstance(module, Attached) else module


def outer(name: str) -> str:
    """A name of `named_modules` or `named_parameters` as it is without wrappers."""
    return ".".join(part for part in name.split(".") if part != WRAPPED)


def wrap(model: nn.Module, names: Iterable[str]) -> dict[str, Attached]:
    """Wrap the modules of these names, wherever the network holds them; those wrapped already stay so."""
    there = {name: model.get_submodule(name) for name in names}
    new = {id(m): _wrapper(m) for m in there.values() if not isinstance(m, Attached)}
    exchange(model, new)
    return {name: m if isinstance(m, Attached) else new[id(m)] for name, m in there.items()}


def _wrapper(module: nn.Module) -> Attached:
    holds = hasattr(type(module), "__getitem__") and hasattr(type(module), "__len__")
    return AttachedContainer(module) if holds else Attached(module)


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put the module where another was; what is attached to that one stays."""
    parent, _, child = name.rpartition(".")
    holder = inside(model.get_submodule(parent))
    there = holder._modules[child]
    if isinstance(there, Attached):
        there.wrapped = module
    else:
        setattr(holder, child, module)


# State dicts


def _outer_names(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Name the wrapped module's entries as they are without the wrapper, in the same order."""
    below = f"{prefix}{WRAPPED}."
    own = [key for key in state if key.startswith(prefix)]
    for key, value in [(key, state.pop(key)) for key in own]:
        state[prefix + key.removeprefix(below) if key.startswith(below) else key] = value
    versions = getattr(state, "_metadata", {})
    for key in [k for k in versions if f"{k}.".startswith(below)]:
        versions[prefix[:-1] + key[len(below) - 1 :]] = versions.pop(key)


def _inner_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """The reverse, before loading; entries that have the wrapper's own names keep them."""
    kept = tuple(f"{prefix}{name}." for name in module._modules)
    own = [key for key in state if key.startswith(prefix) and not key.startswith(kept)]
    for key, value in [(key, state.pop(key)) for key in own]:
        state[f"{prefix}{WRAPPED}.{key[len(prefix) :]}"] = value


def _report_outer_names(module: nn.Module, report: Any) -> None:
    for keys in (report.missing_keys, report.unexpected_keys):
        keys[:] = [outer(key) for key in keys]
