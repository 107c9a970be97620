"""What a network costs: parameters, multiply-adds, element-wise work, activations, memory, time."""

from attnbench.cost.counting import COUNTERS, count
from attnbench.cost.memory import peak_memory
from attnbench.cost.parameters import parameters
from attnbench.cost.profile import check, profile
from attnbench.cost.store import Store
from attnbench.cost.throughput import throughput
from attnbench.cost.timing import latency
from attnbench.cost.tree import show, tree

__all__ = [
    "COUNTERS",
    "Store",
    "check",
    "count",
    "latency",
    "parameters",
    "peak_memory",
    "profile",
    "show",
    "throughput",
    "tree",
]
