"""The form of an experiment's file: what it may say, and where."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnbench.config import strict
from attnbench.errors import UserError
from attnbench.sweeping import controls, words

PART = ("base", "grid", "exclude", "controls")


def read(file: Path) -> tuple[str, Mapping[str, Any]]:
    """A file's text and content; raises `UserError` where it is not an experiment."""
    text = strict.text(file)
    content = strict.load(file, text)
    if not isinstance(content, dict) or not content.keys() <= {"title", "parts", *PART}:
        raise UserError(
            f"{file.name}: an experiment has title, base, grid, exclude and controls, or parts of these"
        )
    return text, content


def parts(content: Mapping[str, Any], file: str) -> list[Mapping[str, Any]]:
    """The experiment's parts, each with a grid; raises `UserError` naming the first that is none."""
    if "parts" not in content:
        _check_part({k: v for k, v in content.items() if k in PART}, file)
        return [content]
    found, beside = content["parts"], [name for name in PART if name in content]
    if beside:
        raise UserError(f"{file}: {' and '.join(beside)} beside parts: each part has its own")
    if not isinstance(found, list) or not found:
        raise UserError(f"{file}: parts is a list, each with a grid of setting: values")
    for number, part in enumerate(found, 1):
        _check_part(part, f"{file}, part {number}")
    return found


def _check_part(part: Any, where: str) -> None:
    if not isinstance(part, dict) or not part.keys() <= set(PART) or not isinstance(part.get("grid"), dict):
        raise UserError(
            f"{where}: each part has a grid of setting: values; base, exclude and controls may follow"
        )
    base, exclude = part.get("base", []), part.get("exclude", [])
    if not isinstance(base, list) or not all(isinstance(word, str) for word in base):
        raise UserError(f"{where}: base is a list of settings, like [task=cls, data=scenes], not {base}")
    if not isinstance(exclude, list) or not all(isinstance(line, dict) for line in exclude):
        raise UserError(f"{where}: exclude is a list of coordinate: values, like - {{attn: channel}}")
    beside = part.get("controls", [])
    if not isinstance(beside, list) or not all(isinstance(name, str) for name in beside):
        raise UserError(f"{where}: controls is a list of names, like [none, wide], not {beside}")
    controls.check(beside)
    for setting, values in part["grid"].items():
        _check_axis(setting, values, where)
    for line in exclude:
        _check_excluded(line.get("attn", []), where)


def _check_axis(setting: Any, values: Any, where: str) -> None:
    if not isinstance(setting, str):
        raise UserError(f"{where}: grid: {setting} is not a setting")
    if values == []:
        raise UserError(f"{where}: grid: {setting} has no value, which leaves no cell")
    for value in _listed(values) if setting == "attn" else []:
        name = value.get("name") if isinstance(value, dict) else value
        if not isinstance(name, str):
            raise UserError(
                f"{where}: grid: attn takes mechanisms, like se or {{name: se, reduction: 8}}, not {value}"
            )


def _check_excluded(mechanisms: Any, where: str) -> None:
    """Words of `exclude` that would fit nothing, because no mechanism is called so."""
    for word in _listed(mechanisms):
        if not isinstance(word, str):
            raise UserError(f"{where}: exclude: attn takes names of mechanisms, not {word}")
        if not set(word) & set("*?[("):
            words.check(word, f"mechanism in exclude of {where}")


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
