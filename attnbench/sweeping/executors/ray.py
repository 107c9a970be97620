"""Chunks of cells as tasks of a Ray cluster that is there already."""

from collections.abc import Sequence

from attnbench.config.launch import Launch
from attnbench.errors import UserError
from attnbench.sweeping.executors.chunk import Chunk

try:
    import ray
except ImportError:
    raise UserError("launch=ray needs Ray: pip install 'attnbench[ray]'") from None


class Engine:
    """The cluster at `launch.options.address`; the other options are those of Ray's tasks."""

    lasting = False  # Ray ends a driver's tasks with the driver
    logs = "the logs of Ray's workers"

    def __init__(self, launch: Launch, runs: str) -> None:
        options = {name: value for name, value in launch.options.items() if value is not None}
        address = options.pop("address", "auto")
        try:
            ray.init(address=address, log_to_driver=False, ignore_reinit_error=True)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"launch=ray finds no cluster at '{address}': {error}") from error
        # A chunk sees to its own retries; Ray's would run a cell again that takes its machine down.
        self.task = ray.remote(max_retries=0, **options)(_run)
        self.tasks: dict[str, ray.ObjectRef] = {}

    def submit(self, chunks: Sequence[Chunk]) -> list[str]:
        """A task for each chunk; Ray runs as many at a time as it has room for."""
        tasks = [self.task.remote(chunk) for chunk in chunks]
        names = [task.hex()[:12] for task in tasks]
        self.tasks |= dict(zip(names, tasks))
        return names

    def alive(self) -> set[str] | None:
        """The tasks that have not ended."""
        if not self.tasks:
            return set()
        _, waiting = ray.wait(list(self.tasks.values()), num_returns=len(self.tasks), timeout=0)
        self.tasks = {name: task for name, task in self.tasks.items() if task in set(waiting)}
        return set(self.tasks)

    def cancel(self, jobs: Sequence[str]) -> None:
        """Interrupt tasks; what their cells had saved stays."""
        for job in jobs:
            if job in self.tasks:
                ray.cancel(self.tasks[job])


def _run(chunk: Chunk) -> None:
    chunk.run()
