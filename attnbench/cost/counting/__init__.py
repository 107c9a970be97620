"""Multiply-adds, element-wise work and activations, counted operator by operator."""
