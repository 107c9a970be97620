"""Digests of what code means, by which a record is matched to the code that made it.

The digest of a class or function covers its own source and every definition of the package that it reaches
by name. It does not depend on comments, docstrings, annotations, messages of exceptions, layout, the Python
version, or the module in which a definition stands: moving or renaming a module changes no digest.
"""

import ast
import hashlib
import json
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

PACKAGE = Path(__file__).resolve().parent
LEDGER = PACKAGE / "equivalent.toml"
# Modules (and, with a point at the end, packages) that no number is computed in: they are not looked into.
UNFOLLOWED = (
    "cell",
    "cli.",
    "config.",
    "errors",
    "identity",
    "mechanisms",
    "provenance",
    "records",
    "records.",
    "report.",
)
SHAPES_ONLY = "register_fake"  # registers an operator's shapes, which its numbers do not depend on
MEANINGLESS = {
    "annotation",
    "returns",
    "ctx",
    "type_comment",
    "type_params",
    "kind",
}  # fields of syntax trees
BODIES = ("body", "orelse", "handlers", "finalbody", "cases")  # fields that statements stand in
NAMED = (ast.Name, ast.Attribute)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Definition: TypeAlias = tuple[Path, str]


@dataclass(frozen=True)
class Form:
    """One definition in normal form, with a placeholder for each definition that it refers to."""

    text: str
    references: tuple[Definition, ...]


@dataclass(frozen=True)
class Source:
    """A parsed file: what its top level binds, and where the names that it imports come from."""

    path: Path
    bound: Mapping[str, ast.stmt]
    imported: Mapping[str, str]  # name -> dotted path of a module, or of something in a module
    registered: Mapping[str, Sequence[ast.AST]]  # name -> registrations on what it is bound to


def digest(path: Path, *names: str, unfollowed: Collection[str] = UNFOLLOWED) -> str:
    """Twelve hexadecimal digits for the meaning of definitions of a file.

    `unfollowed` names modules that are not looked into, as `UNFOLLOWED` does. Raises `LookupError` where
    the file does not define a name.
    """
    hashed, stop = hashlib.sha256(), frozenset(unfollowed)
    queue = [defined(path, name) for name in names]
    numbers = {definition: index for index, definition in enumerate(queue)}
    for definition in queue:  # grows while definitions refer to others
        form = normal_form(*definition, stop)
        for reference in form.references:
            if reference not in numbers:
                numbers[reference] = len(queue)
                queue.append(reference)
        hashed.update(f"{form.text}{[numbers[r] for r in form.references]}\n".encode())
    return hashed.hexdigest()[:12]


def defined(path: Path, name: str) -> Definition:
    """Where a name of a file is defined: there, or in the module from which the file imports it."""
    found = source(path)
    if name in found.bound:
        return path, name
    module, _, original = found.imported.get(name, "").rpartition(".")
    if (file := module_file(module)) is None:
        raise LookupError(f"{path} does not define {name}")
    return defined(file, original)


def canonical(part: str, found: str) -> str:
    """The digest that stands in keys for a part of the code: its own, or the one whose numbers it repeats."""
    return ledger().get((part, found), found)


@cache
def ledger(path: Path = LEDGER) -> Mapping[tuple[str, str], str]:
    """(part, digest) -> the digest whose numbers it repeats bit by bit, as `equivalent.toml` lists them."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("same", [])
    return {(entry["part"], own): entry["as"] for entry in entries for own in entry["digests"]}


@cache
def normal_form(path: Path, name: str, unfollowed: frozenset[str]) -> Form:
    """The normal form of what a file binds to a name, with the registrations that belong to it."""
    found = source(path)
    writer = _Writer(found, unfollowed)
    parts = [writer.write(node, frozenset()) for node in (found.bound[name], *found.registered.get(name, ()))]
    return Form(json.dumps(parts, separators=(",", ":")), tuple(writer.references))


@cache
def source(path: Path) -> Source:
    """Parse a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bound: dict[str, ast.stmt] = {}
    registered: dict[str, list[ast.AST]] = {}
    for statement in _statements(tree.body):
        if (registration := _registration(statement)) is None:
            bound |= dict.fromkeys(_bound(statement), statement)
        elif registration.attr != SHAPES_ONLY and isinstance(registration.value, ast.Name):
            registered.setdefault(registration.value.id, []).append(statement)
    imported = {name: target for node in _nested(tree) for name, target in _imports(node, path)}
    return Source(path, bound, imported, registered)


@cache
def module_file(dotted: str) -> Path | None:
    """The file of a module of this package; None for other packages and for what is not a module."""
    package, *parts = dotted.split(".")
    if package != PACKAGE.name:
        return None
    place = PACKAGE.joinpath(*parts)
    return next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()), None)


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module's top level, with those inside if, try and with."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, field, []))


def _nested(tree: ast.Module) -> Iterator[ast.AST]:
    """Everything that can be or hold a statement, the outer before the inner."""
    level: list[ast.AST] = [tree]
    while level:
        yield from level
        parts = (getattr(node, field, ()) for node in level for field in BODIES)
        level = [inner for body in parts if isinstance(body, list) for inner in body]


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree in no particular order, several times as fast as `ast.walk`."""
    left = [node]
    while left:
        node = left.pop()
        yield node
        for value in vars(node).values():
            if isinstance(value, ast.AST):
                left.append(value)
            elif isinstance(value, list):
                left += [each for each in value if isinstance(each, ast.AST)]


def _registration(statement: ast.stmt) -> ast.Attribute | None:
    """The `op.register_autograd` of a call or a decorator at the top level; None for other statements."""
    calls: list[ast.expr] = []
    if isinstance(statement, ast.FunctionDef) and statement.name == "_":
        calls = statement.decorator_list
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        calls = [statement.value.func]
    return next((call for call in calls if isinstance(call, ast.Attribute)), None)


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        yield from _stored(statement)


def _stored(node: ast.AST) -> Iterator[str]:
    yield from (n.id for n in _walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _imports(node: ast.AST, path: Path) -> Iterator[tuple[str, str]]:
    """Names that an import binds, and the dotted path of what each stands for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom):
        inside = path.is_relative_to(PACKAGE.parent)
        package = path.relative_to(PACKAGE.parent).parts[: -node.level] if node.level and inside else ()
        module = ".".join((*package, *([node.module] if node.module else [])))
        for alias in node.names:
            yield alias.asname or alias.name, f"{module}.{alias.name}"


class _Writer:
    """Writes syntax trees as nested lists, and collects the definitions that they refer to."""

    def __init__(self, found: Source, unfollowed: frozenset[str]) -> None:
        self.source, self.unfollowed = found, unfollowed
        self.references: list[Definition] = []

    def write(self, node: ast.AST, local: frozenset[str]) -> Any:
        """A node as [kind, field, value, ...]; `local` are names that a function around it binds."""
        if isinstance(node, ast.Constant):
            return ["Constant", type(node.value).__name__, repr(node.value)]
        if isinstance(node, NAMED) and (chain := _chain(node)) and chain[0] not in local:
            return self._global(chain)
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Raise):  # what it says to a person does not count
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            return ["Raise", ast.unparse(raised).rpartition(".")[2] if raised else None]
        kind = type(node)
        if kind in FUNCTIONS:
            local |= _locals(node)
        elif kind in COMPREHENSIONS:
            local |= frozenset(_stored(node))
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            return self.write(ast.Assign(targets=[node.target], value=node.value), local)
        written: list[Any] = [kind.__name__]
        for name, value in _fields(node):
            if (field := self._field(value, local)) != []:
                written += (name, field)
        return written

    def _field(self, value: Any, local: frozenset[str]) -> Any:
        if isinstance(value, ast.AST):
            return self.write(value, local)
        if isinstance(value, list):
            return [self.write(v, local) if isinstance(v, ast.AST) else v for v in value]
        return value

    def _global(self, chain: Sequence[str]) -> Any:
        """What a name of the module, and the attributes behind it, stand for."""
        first, *rest = chain
        if first in self.source.bound:
            return self._attributes(self._reference(self.source.path, first), rest)
        if first not in self.source.imported:
            return self._attributes(first, rest)  # a builtin
        return self._imported([*self.source.imported[first].split("."), *rest])

    def _imported(self, parts: Sequence[str]) -> Any:
        """What a dotted path stands for: a definition of the package, or a name of another package."""
        if parts[0] != PACKAGE.name:
            return ".".join(parts)
        deepest = max(n for n in range(1, len(parts) + 1) if n == 1 or module_file(".".join(parts[:n])))
        name, *rest = parts[deepest:] or [""]
        file = module_file(".".join(parts[:deepest]))
        if file is None or not name or self._stops(parts[1:deepest]):
            return self._attributes("package", parts[deepest:] or parts[-1:])
        found = source(file)
        if name in found.bound:
            return self._attributes(self._reference(file, name), rest)
        if name in found.imported:  # handed on by the module
            return self._imported([*found.imported[name].split("."), *rest])
        return self._attributes("package", parts[deepest:])

    def _stops(self, module: Sequence[str]) -> bool:
        """Whether a module of the package, or a package that it lies in, is unfollowed."""
        packages = (".".join(module[:n]) + "." for n in range(1, len(module) + 1))
        return ".".join(module) in self.unfollowed or any(name in self.unfollowed for name in packages)

    def _reference(self, file: Path, name: str) -> str:
        self.references.append((file, name))
        return "@"

    def _attributes(self, owner: Any, names: Sequence[str]) -> Any:
        return [".", owner, *names] if names else owner


def _chain(node: ast.expr) -> list[str]:
    """The names of `a.b.c`; none where it does not start from a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def _locals(function: ast.AST) -> frozenset[str]:
    """Names that a function binds: parameters, assigned names, functions within it."""
    bound = set()
    for node in _walk(function):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler) and node is not function:
            bound.add(node.name or "")
    return frozenset(bound)


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """The fields of a node that carry meaning, in the order of their names."""
    for name in _meaningful(node._fields):
        value = getattr(node, name, None)
        if name == "body" and isinstance(value, list):
            value = [statement for statement in value if not _silent(statement)]
        if value is not None:
            yield name, value


@cache
def _meaningful(fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(fields) - MEANINGLESS))


def _silent(statement: ast.AST) -> bool:
    """Whether a statement computes nothing: a docstring, a mechanism's card, an import, an annotation."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Assign):
        return [t.id for t in statement.targets if isinstance(t, ast.Name)] == ["card"]
    return isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass)
