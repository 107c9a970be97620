"""Every operator's rule, and which operators are counted whole.

The convention is stated in `matrix` and `elementwise`. An operator without a rule is taken apart where torch
can do so; one that is left over makes the count null, and the record names it.
"""

from attnbench.cost import elementwise, matrix
from attnbench.cost.matrix import Rule

RULES: dict[str, Rule] = {**elementwise.table(), **matrix.table()}

_COMPOSITE = """
    scaled_dot_product_attention lstm gru rnn_tanh rnn_relu batch_norm instance_norm layer_norm group_norm
    rms_norm softmax log_softmax cdist fft_fft fft_ifft fft_fft2 fft_ifft2 fft_fftn fft_ifftn fft_rfft
    fft_irfft fft_rfft2 fft_irfft2 fft_rfftn fft_irfftn
"""
WHOLE = frozenset("aten::" + name for name in _COMPOSITE.split())
"""Composite operators with a definition of their own, whatever kernels a device runs for them."""
