"""The embedded data: handwritten digits over clutter, made on the fly."""
