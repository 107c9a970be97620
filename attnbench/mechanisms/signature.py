"""Arguments of a function as its source declares them: types, choices, defaults. Reads text, runs no code."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

REQUIRED = object()
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
MOST = 1_000_000  # of counts: more units, kernels or steps than any network has
LARGEST = 1e12  # of numbers


@dataclass(frozen=True)
class Argument:
    """What may be given for one argument."""

    name: str
    default: Any = REQUIRED
    kinds: tuple[str, ...] = ()  # of KINDS; none, and no choices: anything
    choices: tuple[Any, ...] = ()  # values named one by one
    repeated: bool = False  # a list of such values
    nullable: bool = False
    steps: range | None = None  # the numbers that are meant: `Annotated[int, range(8, 1000, 6)]`
    length: int | None = None  # of the list: `Annotated[Sequence[int], 3]`
    text: str = field(default="", compare=False)  # the annotation

    def refusal(self, value: Any) -> str | None:
        """What the value would have to be; None where it is right."""
        if self.repeated and not isinstance(value, list | tuple):
            return None if value is None and self.nullable else f"must be {self.meaning}"
        if self.length is not None and value is not None and len(value) != self.length:
            return f"must be {self.length} numbers"
        each = value if self.repeated else [value]
        if not all(self._fits(one) for one in each):
            return f"must be {self.meaning}"
        return next(filter(None, map(self._outside, each)), None)

    def _fits(self, value: Any) -> bool:
        if value is None:
            return self.nullable or not (self.kinds or self.choices)
        if any(value == choice and type(value) is type(choice) for choice in self.choices):
            return True
        if isinstance(value, bool):
            return "bool" in self.kinds or not (self.kinds or self.choices)
        kinds = tuple(kind for name in self.kinds for kind in TYPES[name])
        return isinstance(value, kinds) or not (self.kinds or self.choices)

    def _outside(self, value: Any) -> str | None:
        """The bound that a number breaks: counts are 1 or more, or 0 where their default is."""
        if isinstance(value, bool) or not isinstance(value, int | float) or value in self.choices:
            return None
        if not isfinite(value) or abs(value) > LARGEST:
            return f"must be finite and at most {LARGEST:g}"
        if self.steps is not None:
            return None if value in self.steps else f"must be {', '.join(map(str, self.steps[:3]))}, ..."
        if (least := self.least) is None or "float" in self.kinds:
            return None
        return f"must be {least} or more" if value < least else f"must be at most {MOST:,}" * (value > MOST)

    @property
    def least(self) -> int | None:
        """The lowest count that can be meant; None where the default is not a count."""
        default = self.default if isinstance(self.default, list | tuple) else [self.default]
        numbers = [v for v in default if v is not None and v is not REQUIRED]
        if "int" not in self.kinds or any(type(v) is not int or v < 0 for v in numbers):
            return None
        return min([*numbers, 1])

    @property
    def meaning(self) -> str:
        """The values that it takes, in words, with an example."""
        example = "" if self.default in (REQUIRED, None) or self.choices else f", such as {self.default!r}"
        return self.kind + example

    @property
    def kind(self) -> str:
        """The values that it takes, in words."""
        kinds = [KINDS[kind] for kind in self.kinds if not (kind == "int" and "float" in self.kinds)]
        words = [*map(str, self.choices), *kinds] or ["anything"]
        some = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
        some = f"a list, each {some}" if self.repeated else some
        return f"{some}{' or null' if self.nullable else ''}"


def of_default(name: str, default: Any) -> Argument:
    """The argument that a default in a YAML file stands for; null, or an empty list, takes anything."""
    inner = default[:1] if isinstance(default, list | tuple) else [default]
    kinds = tuple(type(value).__name__ for value in inner if value is not None)
    known = all(kind in KINDS for kind in kinds)
    return Argument(
        name, default, kinds if known else (), repeated=isinstance(default, list | tuple) and bool(kinds)
    )


def read(function: ast.FunctionDef, module: ast.Module, literal: bool = True) -> dict[str, Argument]:
    """The arguments of a function by name; raises `ValueError` at a default that is not `literal`."""
    aliases = dict(_aliases(module))
    given = function.args
    defaults = [None] * (len(given.args) - len(given.defaults)) + [*given.defaults]
    pairs = [*zip(given.args, defaults), *zip(given.kwonlyargs, given.kw_defaults)]
    found = {}
    for argument, default in pairs:
        value = REQUIRED if default is None else _default(default, literal)
        found[argument.arg] = _argument(argument, value, aliases)
    return found


def _default(node: ast.expr, literal: bool) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        if literal:
            raise
        return REQUIRED


def _aliases(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names that the module gives to annotations: `Mode = Literal["a", "b"]`."""
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _argument(node: ast.arg, default: Any, aliases: Mapping[str, ast.expr]) -> Argument:
    annotation = node.annotation
    if annotation is None:
        return Argument(node.arg, default)
    kinds, choices, known = list[str](), list[Any](), True
    nullable = repeated = False
    bounds: dict[str, Any] = {}
    for part in _parts(annotation, aliases, bounds):
        name = _generic(part)
        if isinstance(part, ast.Constant) and part.value is None:
            nullable = True
        elif isinstance(part, ast.Name) and part.id in KINDS:
            kinds.append(part.id)
        elif name == "Literal":
            choices += _literals(part)
        elif name in ("tuple", "list", "Sequence"):
            repeated = True
            kinds += [k.id for k in ast.walk(part.slice) if isinstance(k, ast.Name) and k.id in KINDS]  # type: ignore[attr-defined]
        else:
            known = False
    kinds = list(dict.fromkeys(kinds))
    if not known:
        kinds, choices = [], []
    text = ast.unparse(annotation)
    return Argument(node.arg, default, tuple(kinds), tuple(choices), repeated, nullable, text=text, **bounds)


def _parts(
    annotation: ast.expr, aliases: Mapping[str, ast.expr], bounds: dict[str, Any]
) -> Iterator[ast.expr]:
    """The members of a union; what `Annotated` says of them is added to the bounds."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        yield from _parts(annotation.left, aliases, bounds)
        yield from _parts(annotation.right, aliases, bounds)
    elif isinstance(annotation, ast.Name) and annotation.id in aliases:
        yield from _parts(aliases[annotation.id], aliases, bounds)
    elif isinstance(annotation, ast.Subscript) and _generic(annotation) == "Annotated":
        inner, bound = annotation.slice.elts  # type: ignore[attr-defined]  # a type and one bound
        numbers = [ast.literal_eval(number) for number in getattr(bound, "args", [bound])]
        bounds |= {"steps": range(*numbers)} if isinstance(bound, ast.Call) else {"length": numbers[0]}
        yield from _parts(inner, aliases, bounds)
    else:
        yield annotation


def _generic(part: ast.expr) -> str:
    """`Literal` of `Literal["a"]`; empty for what is not of this form."""
    return part.value.id if isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name) else ""


def _literals(node: ast.expr) -> list[Any]:
    inner = node.slice if isinstance(node, ast.Subscript) else node
    members = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    return [ast.literal_eval(member) for member in members]
