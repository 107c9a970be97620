"""What one file of `conf/` says, read without Hydra."""

from collections.abc import Mapping
from typing import Any

import yaml

from attnbench.config.schema import file


def read(group: str, name: str) -> dict[str, Any]:
    """The file's content with the shared parts that its defaults name."""
    content = yaml.safe_load(file(group, name).read_text(encoding="utf-8")) or {}
    whole: dict[str, Any] = {}
    for part in content.pop("defaults", []):
        if isinstance(part, dict):  # a choice made in another group
            whole |= {key.split("@")[0].removeprefix("override /"): other for key, other in part.items()}
        elif part != "_self_":
            whole = _merged(whole, read(group, part))
    return _merged(whole, content)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    common = [k for k, v in above.items() if isinstance(v, dict) and isinstance(below.get(k), dict)]
    return {**below, **above, **{k: _merged(below[k], above[k]) for k in common}}
