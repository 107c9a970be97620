"""Latency, throughput, memory and training steps, measured on a device."""
