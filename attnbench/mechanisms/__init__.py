"""The zoo's registry: the folder is the survey's category, the file's name is what `attn=` takes.

Names, cards and options are read from the source text, so that asking what exists never imports torch.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnbench.errors import UserError, unknown
from attnbench.mechanisms import signature
from attnbench.mechanisms.signature import REQUIRED, Argument

if TYPE_CHECKING:
    from attnbench.mechanisms.base import Mechanism

CATEGORIES = ("none", "channel", "spatial", "temporal", "branch", "channel_spatial", "spatial_temporal")
HERE = Path(__file__).parent
COLUMNS: dict[str, tuple[type, ...]] = {  # that a card must have -> what the registry reads of them
    "title": (str,),
    "venue": (str,),
    "url": (str,),
    "tasks": (tuple,),
    "g": (),
    "range": (),
    "soft": (bool,),
    "goals": (tuple,),
    "params": (),
    "site": (str, tuple),
}


@dataclass(frozen=True)
class Entry:
    """One mechanism as its file describes it."""

    name: str
    category: str
    path: Path
    summary: str  # first line of the file's docstring
    cls: str  # name of the class that carries the card
    arguments: Mapping[str, Argument]  # option -> what may be given for it
    card: Mapping[str, Any]  # the card's columns; an expression such as `params` stays source text

    description: str = field(default="", compare=False)  # the class's docstring

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """Each option's default."""
        return {name: argument.default for name, argument in self.arguments.items()}

    @property
    def sites(self) -> tuple[str, ...]:
        """Where the paper puts it: names of sites, of which the first that a network has counts."""
        site = self.card["site"]
        return (site,) if isinstance(site, str) else tuple(site)

    @property
    def of_clips(self) -> bool:
        """Whether frames in order are what it is for."""
        return self.category in ("temporal", "spatial_temporal")

    @property
    def module(self) -> str:
        parts = self.path.relative_to(HERE).with_suffix("").parts
        return ".".join((__name__, *parts))


@cache
def entries() -> Mapping[str, Entry]:
    """All mechanisms whose files can be read, by name, in the survey's order of categories."""
    return {name: found for name, found in _found().items() if isinstance(found, Entry)}


@cache
def broken() -> Mapping[str, str]:
    """Why a mechanism's file cannot be read, by name; only asking for that mechanism fails."""
    return {name: found for name, found in _found().items() if isinstance(found, str)}


@cache
def _found() -> Mapping[str, Entry | str]:
    files = [HERE / "none.py", *(p for c in CATEGORIES[1:] for p in sorted((HERE / c).glob("[!_]*.py")))]
    return {path.stem: _try(path) for path in files}


def _try(path: Path) -> Entry | str:
    try:
        return read(path)
    except UserError as error:
        return str(error)


def entry(name: str) -> Entry:
    """The mechanism of that name; raises `UserError` with near names, or with what is wrong in its file."""
    if name in broken():
        raise UserError(f"attn={name}: {broken()[name]}")
    if name not in entries():
        raise unknown("mechanism", name, entries())
    return entries()[name]


def load(name: str) -> "type[Mechanism]":
    """The mechanism's class (imports torch)."""
    found = entry(name)
    return getattr(import_module(found.module), found.cls)


def read(path: Path) -> Entry:
    """Read one mechanism's file; raises `UserError`, with the line, where it does not keep to the form."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8: byte {error.start + 1}, {error.reason}") from None
    cards = [(c, value) for c in tree.body if isinstance(c, ast.ClassDef) and (value := _card(c))]
    if len(cards) != 1:
        lines = " and ".join(str(card.lineno) for _, card in cards)
        raise UserError(
            f"{path}{f', lines {lines}' if lines else ''}: {len(cards)} classes carry a "
            "`card = Card(...)`; a mechanism's file has one"
        )
    cls, card = cards[0]
    return Entry(
        name=path.stem,
        category="none" if path.parent == HERE else path.parent.name,
        path=path,
        summary=(ast.get_docstring(tree) or "").partition("\n")[0],
        cls=cls.name,
        arguments=_arguments(cls, tree, path),
        card=_columns(card, path),
        description=ast.get_docstring(cls) or "",
    )


def _columns(card: ast.Call, path: Path) -> dict[str, Any]:
    """The card's columns; raises `UserError` where one is missing or cannot be read."""
    columns = {k.arg: _value(k.value) for k in card.keywords if k.arg}
    where = f"{path}, line {card.lineno}: the card"
    if missing := [name for name in COLUMNS if name not in columns]:
        raise UserError(f"{where} has no {', '.join(missing)}")
    for name, kinds in COLUMNS.items():
        if kinds and not isinstance(columns[name], kinds):
            raise UserError(f"{where}'s {name} is not a literal that the command line can read")
    return columns


def _card(cls: ast.ClassDef) -> ast.Call | None:
    for node in cls.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Call):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and target.id == "card":
            return node.value
    return None


def _arguments(cls: ast.ClassDef, tree: ast.Module, path: Path) -> dict[str, Argument]:
    """Arguments of `__init__` that have a default."""
    init = next((n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is None:
        return {}
    try:
        found = signature.read(init, tree)
    except ValueError:
        raise UserError(
            f"{path}, line {init.lineno}: a default of {cls.name}.__init__ is not a literal"
        ) from None
    return {name: argument for name, argument in found.items() if argument.default is not REQUIRED}


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
