"""YAML read strictly: a key given twice and a number that is not what it looks like are errors."""

import re
from pathlib import Path
from typing import Any

import yaml

from attnbench.errors import UserError

OCTAL = re.compile(r"[-+]?0[0-9_]+")
SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its surprises."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            name = str(getattr(key, "value", key))
            if name in seen and name != "<<":
                raise _error(key, f"{name} is given twice, first in line {seen[name]}")
            seen[name] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def _number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    """A whole number or, by its tag, another."""
    digits = str(node.value)
    if OCTAL.fullmatch(digits):
        raise _error(node, f"YAML reads {digits} as an octal number: leave out the 0 in front, or quote it")
    if SEXAGESIMAL.fullmatch(digits):
        raise _error(node, f"YAML reads {digits} as a number in base 60: quote it")
    if node.tag.endswith("int"):
        return loader.construct_yaml_int(node)
    return loader.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _number)


def _error(node: yaml.Node, what: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=node.start_mark)


def text(path: Path) -> str:
    """A file's text; raises `UserError` where it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8: byte {error.start + 1}, {error.reason}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def load(path: Path, content: str | None = None) -> Any:
    """A file's content; raises `UserError` with the line where it is not strictly YAML."""
    try:
        return yaml.load(text(path) if content is None else content, _Loader)  # a safe loader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
