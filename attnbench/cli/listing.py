"""What can be asked for, as lines of text; reads sources and YAML, never torch."""

from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from attnbench import mechanisms
from attnbench.config import files
from attnbench.config.schema import file, names
from attnbench.errors import UserError, unknown
from attnbench.sweep import experiment


def lines(kind: str | None = None, name: str | None = None, *rest: str) -> Iterator[str]:
    """All kinds, or the names of one kind, or one name in full; raises `UserError` for what is unknown."""
    if rest:
        raise UserError(f"list takes a kind and a name; '{' '.join(rest)}' is too much")
    if kind is not None and kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    for wanted in [kind] if kind else KINDS:
        if kind is None:
            yield f"\n{wanted}"
        yield from KINDS[wanted](name)


def _mechanisms(name: str | None) -> Iterator[str]:
    if name is not None:
        yield from _card(mechanisms.entry(name))
        return
    width = max(map(len, mechanisms.known()))
    category = ""
    for entry in mechanisms.known().values():
        if entry.category != category:
            category = entry.category
            yield f"  {category}"
        sites = " ".join(entry.sites)
        yield f"    {entry.name:<{width}}  {entry.card['venue']:<16} {sites:<10} {entry.summary}"


def _card(entry: mechanisms.Entry) -> Iterator[str]:
    yield f"{entry.name} ({entry.category}): {entry.summary}"
    for column, value in entry.card.items():
        yield f"  {column:<9} {', '.join(map(str, value)) if isinstance(value, tuple) else value}"
    yield "  options   " + (", ".join(f"attn.{k}={v}" for k, v in entry.options.items()) or "none")


def _backbones(name: str | None) -> Iterator[str]:
    known = names("backbone")
    if name is not None and name not in known:
        raise unknown("backbone", name, known)
    width = max(map(len, known))
    for backbone in [name] if name else known:
        content = files.read("backbone", backbone)
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
            yield f"  {each:<{width}}  {_comment(file(group, each))}".rstrip()
            if name:
                text = yaml.safe_dump(files.read(group, each), sort_keys=False)
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


KINDS: dict[str, Callable[[str | None], Iterator[str]]] = {
    "mechanisms": _mechanisms,
    "backbones": _backbones,
    "tasks": _files("task"),
    "data": _files("data"),
    "recipes": _files("recipe"),
    "experiments": _experiments,
}
