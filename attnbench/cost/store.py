"""Counts that are kept, so that nothing is counted twice: a file for each network and version of the code."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from attnbench.cell import fingerprint
from attnbench.provenance import versions
from attnbench.records import write_whole

PACKAGE = Path(__file__).resolve().parent.parent
COUNTED = ("mechanisms", "backbones", "tasks", "cost", "grafting")  # code that decides a count
Figures = dict[str, Any]


@dataclass(frozen=True)
class Store:
    """Figures of one network in a folder; without a folder nothing is kept.

    `network` must say all that decides it: backbone, attention, site, task, classes. The code's own version
    is added. Processes may share a folder: files are written whole, and a damaged one counts as none.
    """

    folder: Path | None = None
    network: Mapping[str, Any] = field(default_factory=dict)

    def get(self, compute: Callable[[], Figures], **conditions: Any) -> Figures:
        """The figures under these conditions (input, batch): kept from before, or computed and kept."""
        if self.folder is None:
            return compute()
        what = {"network": self.network, "conditions": conditions, "code": code_version()}
        path = self.folder / f"{fingerprint(what)}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))["figures"]
        except (OSError, ValueError, KeyError, TypeError):
            figures = compute()
        text = json.dumps({**what, "figures": figures}, indent=1, sort_keys=True, default=str)
        write_whole(path, text.encode())
        return figures


@cache
def code_version() -> str:
    """Fingerprint of the sources that decide a count, and of the packages they stand on."""
    return fingerprint({"files": digests(PACKAGE, COUNTED), "versions": versions()})


def digests(package: Path, parts: Sequence[str]) -> dict[str, str]:
    """A digest of each Python file of the package's parts, which are folders or files.

    Raises `FileNotFoundError` for a part that does not exist: its changes would go unseen.
    """
    if missing := [part for part in parts if not (package / part).exists()]:
        raise FileNotFoundError(
            f"{package.name} has no {', '.join(missing)}: counts depend on other code by now"
        )
    where = [package / part for part in parts]
    files = sorted(file for path in where for file in (path.rglob("*.py") if path.is_dir() else [path]))
    return {str(file.relative_to(package)): sha256(file.read_bytes()).hexdigest() for file in files}
