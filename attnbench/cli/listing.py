"""What can be asked for, as lines of text; reads sources and YAML, never torch."""

import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from attnbench import mechanisms
from attnbench.config import compose, files
from attnbench.config.files import names
from attnbench.errors import UserError, unknown
from attnbench.mechanisms.signature import Argument
from attnbench.sweeping import experiment, words


def lines(kind: str | None = None, name: str | None = None, *rest: str) -> Iterator[str]:
    """All kinds, or the names of one kind, or one name in full; raises `UserError` for what is unknown."""
    if rest:
        raise UserError(f"list takes a kind and a name; '{' '.join(rest)}' is too much")
    if kind is not None and kind.startswith("attn="):
        kind, name = "mechanisms", kind.partition("=")[2]
    if kind is not None and kind not in KINDS:
        kind, name = _named(kind)
    for wanted in [kind] if kind else KINDS:
        if kind is None:
            yield f"\n{wanted}"
        # Sites take composing each backbone's file: printed where backbones alone are asked for.
        listed = _files("backbone") if kind is None and wanted == "backbones" else KINDS[wanted]
        yield from listed(name)


def _named(name: str) -> tuple[str, str]:
    """The kind of what is called so, and its name; raises `UserError` where nothing is."""
    if all(word in words.known() for word in name.split(",")):
        return "mechanisms", name
    for kind, group in FOLDERS.items():
        if name in names(group):
            return kind, name
    if name in experiment.names():
        return "experiments", name
    raise unknown("kind", name, KINDS)


def _mechanisms(name: str | None) -> Iterator[str]:
    name = name and name.removeprefix("attn=")
    if name is not None and (name in mechanisms.known() or name in mechanisms.broken()):
        yield from _card(mechanisms.entry(name))
        return
    chosen = _meant(name) if name is not None else list(mechanisms.known())
    width = max(map(len, chosen))
    category = ""
    for entry in map(mechanisms.entry, chosen):
        if entry.category != category:
            category = entry.category
            yield f"  {category}"
        sites = " ".join(entry.sites)
        yield f"    {entry.name:<{width}}  {entry.card['venue']:<16} {sites:<10} {entry.summary}"
    for broken, reason in mechanisms.broken().items() if not name else ():
        yield f"  broken: {broken}: {reason}"


def _meant(words_given: str) -> list[str]:
    """The mechanisms that words stand for as in sweeps: names, categories and tags, separated by commas."""
    for word in words_given.split(","):
        words.check(word, "mechanism")
    return list(dict.fromkeys(str(n) for word in words_given.split(",") for n in words.expand(word)))


def _card(entry: mechanisms.Entry) -> Iterator[str]:
    yield f"{entry.name} ({entry.category}): {entry.summary}"
    for column, value in entry.card.items():
        yield f"  {column:<9} {', '.join(map(str, value)) if isinstance(value, tuple) else value}"
    yield "  options" + ("" if entry.arguments else "   none")
    for argument in entry.arguments.values():
        yield from _option(argument, entry.description)


def _option(argument: Argument, description: str) -> Iterator[str]:
    """An option with its default, what it can be, and what the mechanism's docstring says of it."""
    default = "null" if argument.default is None else argument.default
    yield f"    attn.{argument.name}={default}   ({argument.kind})"
    sentences = re.split(r"(?<=[.:])\s+(?=[A-Z`])", " ".join(description.split()))
    about = [s for s in sentences if re.search(rf"`{argument.name}\b", s)]
    yield from textwrap.wrap(" ".join(about), 100, initial_indent=" " * 8, subsequent_indent=" " * 8)


def _backbones(name: str | None) -> Iterator[str]:
    known = names("backbone")
    if name is not None and name not in known:
        raise unknown("backbone", name, known)
    width = max(map(len, known))
    chosen = {name: compose.read("backbone", name)} if name else compose.read_all("backbone")
    for backbone, content in chosen.items():
        own = f"  (contains {content['contains']})" if content.get("contains") else ""
        yield f"  {backbone:<{width}}  {' '.join(content.get('sites', {}))}{own}"
        if name:
            yield from (f"    {site:<11} {where}" for site, where in content["sites"].items())


def _files(group: str) -> Callable[[str | None], Iterator[str]]:
    def listed(name: str | None) -> Iterator[str]:
        known = names(group)
        if name is not None and name not in known:
            raise unknown(group, name, known)
        width = max(map(len, known))
        for each in [name] if name else known:
            yield f"  {each:<{width}}  {_comment(files.find(group, each))}".rstrip()
            if name:
                text = yaml.safe_dump(compose.read(group, each), sort_keys=False)
                yield from (f"    {line}" for line in text.splitlines())

    return listed


def _comment(path: Path) -> str:
    """The comment on top of a file, as one line."""
    comments = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comments.append(line.lstrip("# ").strip())
    return " ".join(comments)


def _experiments(name: str | None) -> Iterator[str]:
    known = [experiment.load(name)] if name else [experiment.load(n) for n in experiment.names()]
    width = max((len(e.name) for e in known), default=0)
    for each in known:
        yield f"  {each.name:<{width}}  {each.title}: {each.question}"
        if name:
            yield from (f"    {cell}" for cell in each.cells())


FOLDERS = {"backbones": "backbone", "tasks": "task", "data": "data", "recipes": "recipe"}
KINDS: dict[str, Callable[[str | None], Iterator[str]]] = {
    "mechanisms": _mechanisms,
    "backbones": _backbones,
    "tasks": _files("task"),
    "data": _files("data"),
    "recipes": _files("recipe"),
    "experiments": _experiments,
}
