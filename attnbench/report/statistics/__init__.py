"""Paired differences, corrections, ranks."""
