"""Every operator's rule, and which operators are counted whole.

The convention is stated in `matrix` and `elementwise`. An operator without a rule is taken apart where torch
can do so; one that is left over is named beside the sum of all others.
"""

from attnbench.cost.counting import elementwise, integer, matrix
from attnbench.cost.counting.matrix import Rule

RULES: dict[str, Rule] = {**elementwise.table(), **matrix.table(), **integer.table()}

_OPENED = """
    linear matmul einsum bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
"""
OPENED = frozenset("aten::" + name for name in _OPENED.split())
"""Operators that the quick counter takes apart although they have a rule: torch counts their kernels."""
