"""Deaths of loader processes: raised where a batch is awaited, and nowhere else.

torch's handler of SIGCHLD raises wherever the main thread happens to be, such as within the write of a file
or while an earlier error is handled.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

Batch = TypeVar("Batch")
Handler = Callable[[int, FrameType | None], Any]
REPORTED = 10  # seconds in which the system reports a death


class Deaths:
    """Wraps torch's handler of SIGCHLD; keeps what it raises until the next batch is awaited."""

    def __init__(self) -> None:
        self.waiting = False
        self.error: RuntimeError | None = None
        self._handler: Handler | None = None

    def batches(self, steps: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of a `DataLoader`; raises torch's `RuntimeError` where a loader process has died."""
        iterator = iter(steps)  # installs torch's handler
        self._install()
        self.error = None  # of an earlier iterator
        while True:
            self.waiting = True
            try:
                if self.error is not None:
                    raise self.error
                batch = self._next(iterator)
            except StopIteration:
                return
            finally:
                self.waiting = False
            yield batch

    def _next(self, iterator: Iterator[Batch]) -> Batch:
        """The next batch. A process that is killed closes its connections before its death is reported."""
        try:
            return next(iterator)
        except (ConnectionError, EOFError):
            time.sleep(REPORTED)  # the handler raises in here
            raise

    def _install(self) -> None:
        if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
            return  # torch installs none there
        present = signal.getsignal(signal.SIGCHLD)
        if callable(present) and present != self._handle:
            self._handler = present
            signal.signal(signal.SIGCHLD, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._handler is None:
            return
        try:
            self._handler(number, frame)
        except RuntimeError as error:
            if self.waiting:
                self.waiting = False
                raise
            self.error = error.with_traceback(None)


DEATHS = Deaths()  # a process has one handler of a signal
