"""What must be there before anything is computed: found in a moment, without torch."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attnbench import data, records
from attnbench.cell import Cell
from attnbench.cli import fitting
from attnbench.config.schema import Config, Origin
from attnbench.data import contents
from attnbench.errors import UserError

HERE = ("inline", "processes")  # executors whose cells run on this machine
DEVICES = ("/dev/dxg", "/dev/kfd", *(f"/dev/nvidia{n}" for n in range(16)))  # WSL's, AMD's and NVIDIA's
BYTES = 4  # a pixel of generated images, as they are drawn
GIB = 1 << 30


def check(cells: Sequence[Cell]) -> None:
    """Raise `UserError` where the data, the device or a folder that cells need is missing."""
    configs = {id(cell.config.data): cell.config for cell in cells}.values()
    for config in {c.config.hardware.device: c.config for c in cells}.values():
        check_device(config)
    for config in configs:
        if config.recipe.trains:
            data.present(config.data)
            _check_memory(config)
    for folder in {Path(config.results) for config in configs}:
        records.check_writable(folder)
    for folder in {Path(config.runs) for config in configs}:
        _check_folder(folder)
    contents.confirm(cells)


def check_device(config: Config) -> None:
    """Raise `UserError` for a device that this machine does not have, where cells run on it."""
    device, mode = config.hardware.device, config.cost.mode
    if config.launch.executor not in HERE:
        return
    if device.startswith("cuda") and (why := _no_gpu()):
        raise UserError(f"hardware.device={device}: {why}; use hardware.device=cpu")
    if device == "mps" and sys.platform != "darwin":
        raise UserError("hardware.device=mps: only a Mac has it; use hardware.device=cpu")
    if mode == "cuda_graph" and (device == "cpu" or (device == "auto" and _no_gpu())):
        raise UserError("cost.mode=cuda_graph needs a GPU; use cost.mode=eager or compile")


def _no_gpu() -> str:
    """Why torch can see no GPU here, as far as that is known without torch; empty where it may see one."""
    try:
        if "+cpu" in version("torch"):
            return f"torch {version('torch')} is built without CUDA"
    except PackageNotFoundError:
        return ""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU"
    if sys.platform == "linux" and not any(map(os.path.exists, DEVICES)):
        return "this machine has no GPU"
    return ""


def _check_memory(config: Config) -> None:
    """Raise `UserError` where a data set that is generated would not fit into this machine's memory."""
    if config.data.origin is not Origin.generated or not hasattr(os, "sysconf"):
        return
    channels, height, width = config.data.image
    each = channels * height * width * (config.data.frames or 1) * BYTES
    asked = {name: n for name in ("train", "val", "test") if (n := getattr(config.data, name))}
    needs = sum(asked.values()) * each
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needs > there:
        largest = max(asked, key=asked.__getitem__)
        raise UserError(
            f"data.{largest}={asked[largest]}: images of {height}x{width} px would take "
            f"{needs / GIB:,.0f} GiB of memory, and this machine has {there / GIB:,.0f} GiB"
        )


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"runs={folder}: cannot be written ({error.strerror}); name another folder") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"runs={folder}: the folder is read-only; name another one")


def check_possible(cell: Cell) -> None:
    """Raise `UserError`, with what fits, for a cell whose mechanism has no site in its network."""
    if cell.impossible is None:
        return
    fits = fitting.first(cell)
    where = f"stands at site '{cell.site}', which backbone={cell.config.backbone.name} does not have"
    why = f" {where}" if fits and cell.site not in cell.config.sites else f": {cell.impossible}"
    raise UserError(f"attn={cell.mechanism}{why}{f'; choose {fits}' if fits else ''}")
