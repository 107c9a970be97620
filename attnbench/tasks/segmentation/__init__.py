"""Segmentation networks: an encoder of any backbone, a decoder, and an auxiliary head for training."""

from attnbench.tasks.segmentation.network import OPTIONS, Outputs, Segmenter, build

__all__ = ["OPTIONS", "Outputs", "Segmenter", "build"]
