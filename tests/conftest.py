"""What the tests share: where the real data lies, one thread, and warnings that are not ours."""

import os
from pathlib import Path

import pytest


def _data_root() -> Path | None:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    named = os.environ.get("ATTNBENCH_DATA")
    return next((p for p in (Path(named) if named else None, beside) if p and p.is_dir()), None)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real data sets; skips where there is none."""
    root = _data_root()
    if root is None:
        pytest.skip("no real data: set ATTNBENCH_DATA to the folder of the data sets")
    return root


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Keep torch to one thread: two on a busy machine of two cores are slower and noisier."""
    import torch

    torch.set_num_threads(1)
