"""Gradient checkpointing: it runs a forward pass a second time, within the backward pass."""

import torch


def backward_pass() -> int:
    """The number of the backward pass within which this runs, as checkpointing has it; else -1."""
    return -1 if torch.compiler.is_compiling() else torch._C._current_graph_task_id()
