"""The maps of a network's stages, for what classifies from them instead of from the last one's mean."""

from typing import Any

from torch import Tensor, nn

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import ForgetsLastPass, Place


class Tap(ForgetsLastPass):
    """Remembers what a module has returned last."""

    last_pass = ("seen",)

    def __init__(self) -> None:
        super().__init__()
        self.seen: Tensor | None = None

    def watch(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """A hook that runs after the module does."""
        self.seen = output

    def map(self, name: str, x: Tensor) -> Tensor:
        """The map that it has seen in the pass that x, made from that map, belongs to."""
        if self.seen is None:
            raise UserError(f"{name}: its classifier was asked before the stages that it looks at ran")
        if x.requires_grad and not self.seen.requires_grad:
            raise UserError(
                f"{name}: reentrant gradient checkpointing hides a stage's map from its classifier's "
                "gradient: use_reentrant=False"
            )
        return self.seen


def widths(place: Place, count: int) -> list[int]:
    """Channels of the last `count` stages of a network, the last being what its classifier has the mean of.

    Raises `Impossible` where the place is not a classifier's, or the network has no `feature_info`.
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
