"""Temporal attention: when to attend."""
