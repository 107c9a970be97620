"""Spatial attention: where to attend."""
