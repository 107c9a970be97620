"""Sizes of maps: numbers, or left open in a graph that is being exported."""


def known(*sizes: int) -> bool:
    """Whether all sizes are numbers, on which code may decide; those that an export leaves open are not."""
    return all(isinstance(size, int) for size in sizes)
