"""Counts that are kept, so that nothing is counted twice: a file for each network and version of the code."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from attnbench.cell import fingerprint
from attnbench.provenance import versions
from attnbench.records import write_whole

PACKAGE = Path(__file__).resolve().parent.parent
COUNTED = ("mechanisms", "backbones", "tasks", "cost", "graft.py", "sites.py")  # code that decides a count
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
    parts = [PACKAGE / name for name in COUNTED]
    files = sorted(f for p in parts for f in (p.rglob("*.py") if p.is_dir() else [p]) if f.is_file())
    digests = {str(f.relative_to(PACKAGE)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    return fingerprint({"files": digests, "versions": versions()})
