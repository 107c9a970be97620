"""Layers that several mechanisms share."""
