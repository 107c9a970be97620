"""One forward pass, or one training step, as a function without arguments to measure."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnbench.config.recipe import Precision
from attnbench.cost.counting.readout import like_weights
from attnbench.errors import Impossible, UserError
from attnbench.grafting.clone import copied

MODES = ("eager", "compile", "cuda_graph")
CPU = torch.device("cpu")
Step = Callable[[], object]


@dataclass(frozen=True)
class Conditions:
    """What a time or a peak of memory holds for."""

    image: tuple[int, ...]  # (c, h, w)
    batch: int = 1
    device: torch.device = CPU
    training: bool = False
    mode: str = "eager"
    precision: Precision = Precision.fp32
    channels_last: bool = False

    def check(self) -> None:
        """Raise `UserError` for an unknown mode, `Impossible` for one that this device has not."""
        if self.mode not in MODES:
            raise UserError(f"unknown mode '{self.mode}': known: {', '.join(MODES)}")
        if self.mode == "cuda_graph" and self.device.type != "cuda":
            raise Impossible(f"CUDA graphs need a CUDA device, not {self.device}")
        if self.mode == "cuda_graph" and self.training:
            raise Impossible("CUDA graphs are timed for inference only")

    @property
    def layout(self) -> torch.memory_format:
        """How maps lie in memory."""
        two_axes = self.channels_last and len(self.image) == 3
        return torch.channels_last if two_axes else torch.contiguous_format

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of the multiplications."""
        if self.precision == Precision.fp32:
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, _HALVES[self.precision]))


_HALVES = {Precision.bf16: "bfloat16", Precision.fp16: "float16"}


def prepared(model: nn.Module, on: Conditions) -> tuple[nn.Module, Tensor]:
    """A copy of the model and a batch of random images, as the conditions say."""
    clone = copied(model, on.device, on.training)
    shape = (on.batch, *on.image)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(on.device, like_weights(model))
    if on.layout == torch.channels_last:
        clone, images = clone.to(memory_format=on.layout), images.to(memory_format=on.layout)
    return clone, images


def step(model: nn.Module, on: Conditions) -> Step:
    """What is to be measured of a model: a forward pass, or forward, backward and an SGD step.

    The training step's loss is the mean square of the outputs: it reaches all that the task's would.
    """
    return step_of(*prepared(model, on), on)


def step_of(model: nn.Module, images: Tensor, on: Conditions) -> Step:
    """As `step`, of a model and images that are already prepared."""
    return _training(model, images, on) if on.training else _inference(model, images, on)


def _inference(model: nn.Module, images: Tensor, on: Conditions) -> Step:
    run = torch.compile(model) if on.mode == "compile" else model

    def forward() -> object:
        with torch.inference_mode(), on.autocast():
            return run(images)

    return _captured(forward, on.device) if on.mode == "cuda_graph" else forward


def _captured(forward: Step, device: torch.device) -> Step:
    """The pass as one CUDA graph, after three passes on a side stream as capturing demands."""
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            forward()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward()
    return graph.replay


def _training(model: nn.Module, images: Tensor, on: Conditions) -> Step:
    """Forward, backward and a step of SGD with momentum, on the model itself."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    run = torch.compile(model) if on.mode == "compile" else model
    scaler = torch.amp.GradScaler(on.device.type, enabled=on.precision == Precision.fp16)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        with on.autocast():
            loss = torch.stack([out.float().square().mean() for out in _tensors(run(images))]).sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return train


def _tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, dict | list | tuple):
        for out in outputs.values() if isinstance(outputs, dict) else outputs:
            yield from _tensors(out)
