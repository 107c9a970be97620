"""The maps of a network's stages, for what classifies from them instead of from the last one's mean."""

from typing import Any

from torch import Tensor, nn

from attnbench.errors import Impossible
from attnbench.mechanisms.base import Place


class Tap(nn.Module):
    """Remembers what a module has returned last."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Tensor | None = None

    def watch(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """A hook that runs after the module does."""
        self.seen = output

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave the last pass behind."""
        return {**self.__dict__, "seen": None}


def widths(place: Place, count: int) -> list[int]:
    """Channels of the last `count` stages of a network, the last being what its classifier has the mean of.

    Raises `Impossible` where the place is no classifier's, or the network does not tell of its stages.
    """
    found = [info["num_chs"] for info in getattr(place.model, "feature_info", [])][-count:]
    if not isinstance(place.replaces, nn.Linear) or len(found) < count or found[-1] != place.channels:
        raise Impossible(
            f"it needs a network of {count} stages whose last map's mean a linear layer classifies"
        )
    return found


def watch(place: Place, taps: nn.ModuleList) -> None:
    """Let the taps, which the module that is built for the place holds, see the last stages' maps."""
    for info, tap in zip(place.model.feature_info[-len(taps) :], taps):  # type: ignore[union-attr, index]
        module = place.model.get_submodule(info["module"])  # type: ignore[union-attr]
        # Kept, and so pickled, with the stage: elsewhere it keeps later hooks from taking this one's number.
        module._tap_handle = module.register_forward_hook(tap.watch)  # type: ignore[arg-type]
