"""Asking a run to stop: the first interrupt lets it save where it is, the second ends it at once."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether someone asked to stop, and who wants to be told."""

    def __init__(self) -> None:
        self.asked = False
        self.tell: list[Callable[[], object]] = []

    def __call__(self) -> bool:
        return self.asked

    def ask(self) -> None:
        """Ask to stop, and tell those who wanted to know."""
        self.asked = True
        for told in self.tell:
            told()


@contextmanager
def on_signals() -> Iterator[Stop]:
    """A `Stop` that an interrupt or a termination asks."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        print("\nstopping: what is done is kept, the same command goes on from here", file=sys.stderr)
        stop.ask()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
