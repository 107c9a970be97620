"""What a network costs: parameters, multiply-adds, element-wise work, activations, memory, time."""

from attnbench.cost.counting import COUNTERS, count
from attnbench.cost.parameters import parameters

__all__ = ["COUNTERS", "count", "parameters"]
