"""Asking a run to stop: the first interrupt lets it save where it is, the second ends it at once."""

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE_S = 4.5  # from the first interrupt until the second comes by itself


class Stop:
    """Whether a stop was requested, and the callbacks to notify."""

    def __init__(self) -> None:
        self.asked = False
        self.tell: list[Callable[[], object]] = []

    def __call__(self) -> bool:
        return self.asked

    def ask(self) -> None:
        """Ask to stop, and tell those who wanted to know."""
        self.asked = True
        for callback in self.tell:
            callback()


@contextmanager
def on_signals(patience: float = PATIENCE_S) -> Iterator[Stop]:
    """A `Stop` that an interrupt or a termination asks; where it takes too long, `KeyboardInterrupt`."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # no other thread can handle signals
        yield stop
        return
    last = threading.Timer(patience, _thread.interrupt_main)
    last.daemon = True

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        print("\nstopping: what is done is kept, the same command goes on from here", file=sys.stderr)
        stop.ask()
        last.start()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        last.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
