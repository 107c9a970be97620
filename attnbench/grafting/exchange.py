"""Exchanging modules of a network for others, wherever it holds them."""

from collections.abc import Mapping
from typing import Any

from torch import nn


def exchange(model: nn.Module, new: Mapping[int, nn.Module]) -> None:
    """Put new modules, by the `id` of the old ones, wherever the network refers to those.

    Not only children are exchanged: some networks keep their parts a second time in lists, tuples and
    dictionaries, and run those.
    """
    for holder in list(model.modules()):
        for attribute, value in list(vars(holder).items()):
            changed = _exchanged(value, new)
            if changed is not value:
                vars(holder)[attribute] = changed


def _exchanged(value: Any, new: Mapping[int, nn.Module]) -> Any:
    """The value with the new modules for the old ones: in place in lists and dictionaries, else a new one."""
    if isinstance(value, nn.Module):
        return new.get(id(value), value)
    if isinstance(value, list | dict):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            changed = _exchanged(item, new)
            if changed is not item:
                value[key] = changed
    elif type(value) is tuple:
        items = [_exchanged(item, new) for item in value]
        return tuple(items) if any(a is not b for a, b in zip(items, value)) else value
    return value
