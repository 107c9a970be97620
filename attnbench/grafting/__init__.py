"""Putting mechanisms into networks: sites, grafting, copies."""
