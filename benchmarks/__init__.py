"""How fast attnbench itself is, measured against the plain way to do the same."""
