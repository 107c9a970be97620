"""What a network costs: parameters, multiply-adds, element-wise work, activations, memory, time."""

from attnbench.cost import equal
from attnbench.cost.counting.count import COUNTERS, count
from attnbench.cost.counting.tree import show, tree
from attnbench.cost.measuring.latency import latency
from attnbench.cost.measuring.memory import peak_memory
from attnbench.cost.measuring.throughput import throughput
from attnbench.cost.parameters import parameters
from attnbench.cost.profile import check, profile
from attnbench.cost.store import Store

__all__ = [
    "COUNTERS",
    "Store",
    "check",
    "count",
    "equal",
    "latency",
    "parameters",
    "peak_memory",
    "profile",
    "show",
    "throughput",
    "tree",
]
