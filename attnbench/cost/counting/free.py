"""Operators that cost nothing by our convention: views, copies and indexing, constants."""

VIEWS = """
    view _unsafe_view reshape _reshape_alias view_as reshape_as flatten unflatten ravel squeeze
    unsqueeze permute transpose t numpy_T mT adjoint movedim moveaxis swapaxes swapdims expand expand_as
    broadcast_to broadcast_tensors select narrow slice split split_with_sizes chunk tensor_split unbind
    unfold as_strided diagonal real imag view_as_real view_as_complex detach alias lift lift_fresh conj
    _conj resolve_conj resolve_neg unsafe_chunk unsafe_split unsafe_split_with_sizes atleast_1d
    atleast_2d meshgrid size numel
"""
COPIES = """
    contiguous clone copy to type_as _to_copy cat concat stack hstack vstack repeat repeat_interleave
    tile roll flip rot90 pad constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d
    replication_pad2d index _unsafe_index index_select gather take take_along_dim embedding
    masked_select nonzero index_put scatter index_copy tril triu im2col pixel_shuffle pixel_unshuffle
    channel_shuffle native_channel_shuffle diag_embed diag one_hot complex view_copy _local_scalar_dense
    item feature_dropout alpha_dropout upsample_nearest1d upsample_nearest2d upsample_nearest3d
"""
CONSTANTS = """
    empty empty_like new_empty empty_strided new_empty_strided zeros zeros_like new_zeros ones ones_like
    new_ones full full_like new_full fill zero arange linspace eye scalar_tensor tril_indices
    triu_indices randperm randint fft_fftfreq fft_rfftfreq
"""
PACKING = "_pack_padded_sequence _pad_packed_sequence"
FREE = (VIEWS + COPIES + CONSTANTS + PACKING).split()
MARKS = ("profiler::_record_function_enter_new", "profiler::_record_function_exit")
