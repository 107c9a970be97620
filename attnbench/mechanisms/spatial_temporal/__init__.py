"""Spatial and temporal attention together."""
