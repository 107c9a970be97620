"""The registry of mechanisms: the folder is the survey's category, the file's name is what `attn=` takes.

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
CONTROL = "control"  # the category of what is compared with mechanisms, and is none of the survey's
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
    reads: str = "map"  # what the class says that it takes: see `base.Mechanism`

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
    def controls(self) -> bool:
        """Whether mechanisms are compared with it."""
        return self.category == CONTROL

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
    """All mechanisms of the survey and `none`, by name, in the survey's order of categories."""
    return {
        name: found for name, found in _found().items() if isinstance(found, Entry) and not found.controls
    }


@cache
def broken() -> Mapping[str, str]:
    """Why a file cannot be read, by the mechanism's name; only asking for that mechanism fails."""
    return {name: found for name, found in _found().items() if isinstance(found, str)}


@cache
def _found() -> Mapping[str, Entry | str]:
    files = [
        HERE / "none.py",
        *(p for c in (*CATEGORIES[1:], CONTROL) for p in sorted((HERE / c).glob("[!_]*.py"))),
    ]
    return {path.stem: _try(path) for path in files}


def _try(path: Path) -> Entry | str:
    try:
        return read(path)
    except UserError as error:
        return str(error)


@cache
def controls() -> Mapping[str, Entry]:
    """Controls of equal cost, by name; `none` is a mechanism."""
    return {name: found for name, found in _found().items() if isinstance(found, Entry) and found.controls}


def placed_controls() -> list[str]:
    """Names of the controls that stand where a mechanism would; the others change the whole backbone."""
    return [name for name, found in controls().items() if "of" not in found.options]


@cache
def known() -> Mapping[str, Entry]:
    """All that `attn=` takes: mechanisms and controls."""
    return {**entries(), **controls()}


def entry(name: str) -> Entry:
    """The mechanism or control of that name; raises `UserError` with near names, or the file's fault."""
    if name in broken():
        raise UserError(f"attn={name}: {broken()[name]}")
    if name not in known():
        raise unknown("mechanism", name, known())
    return known()[name]


def called(text: str) -> dict[str, Any]:
    """The mechanism that a table's row names, with all its options: `se`, `se(reduction=8)`.

    Raises `UserError` where the text names none, or an option that it does not have.
    """
    name, _, rest = text.strip().partition("(")
    options = dict(entry(name).options)
    try:
        call = ast.parse(f"f({rest.removesuffix(')')})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError
        given = {str(word.arg): _word(word.value) for word in call.keywords}
    except (SyntaxError, ValueError):
        raise UserError(f"'{text}' names no mechanism: write it like se or se(reduction=8)") from None
    for option in given:
        if option not in options:
            raise unknown(f"option of {name}", option, options)
    return {"name": name, **options, **given}


def _word(node: ast.expr) -> Any:
    """A value as a label prints it, where text has no quotes."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def candidate(attn: Mapping[str, Any]) -> dict[str, Any]:
    """The mechanism whose place and cost decide: of a control that is compared with one, that one."""
    compared = "of" in attn and entry(attn["name"]).category == CONTROL
    return called(attn["of"]) if compared else dict(attn)


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
        reads=str(_constant(cls, "reads") or Entry.reads),
    )


def _columns(card: ast.Call, path: Path) -> dict[str, Any]:
    """The card's columns; raises `UserError` where one is missing or cannot be read."""
    columns = {k.arg: _value(k.value) for k in card.keywords if k.arg}
    texts = {k.arg: ast.unparse(k.value) for k in card.keywords}
    where = f"{path}, line {card.lineno}: the card"
    if missing := [name for name in COLUMNS if name not in columns]:
        raise UserError(f"{where} has no {', '.join(missing)}")
    for name, kinds in COLUMNS.items():
        if kinds and (not isinstance(columns[name], kinds) or columns[name] == texts[name]):
            raise UserError(f"{where}'s {name} is not a literal that the command line can read")
    return columns


def _card(cls: ast.ClassDef) -> ast.Call | None:
    value = _assigned(cls, "card")
    return value if isinstance(value, ast.Call) else None


def _constant(cls: ast.ClassDef, name: str) -> Any:
    value = _assigned(cls, name)
    return value.value if isinstance(value, ast.Constant) else None


def _assigned(cls: ast.ClassDef, name: str) -> ast.expr | None:
    """What a class assigns to an attribute."""
    for node in cls.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == name:
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
