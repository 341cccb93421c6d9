"""Values that are used up or changed by being read: open files, iterators, generators of random numbers.

A part of the automatic split, see `parsl_context.discover.automatic`. Such a value may move if no call sees it: all
that reads it moves as well, and what is made of it holds it no longer. A generator of random numbers must begin with
what is the same each time.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from parsl_context.discover import computing, leading, shapes
from parsl_context.discover import known_names as known
from parsl_context.discover.names import Names

DEFAULTS = "makes entries when it is asked for them"
MUTABLE_DEFAULTS = "makes entries, which can be changed, when it is asked for them"
_HOLDS = "holds what is used up by reading it"
_ITERATES = "is used up by reading it"
_DRAWS = "draws other numbers each time"
_IS_OPEN = "is a file that is read"
_FACTORIES = frozenset({"list", "set", "dict", "int", "float", "str", "bool", "tuple"})
_MUTABLE = frozenset({"builtins.list", "builtins.set", "builtins.dict"})
# What these give holds none of what they read.
_USING_UP = frozenset({"sum", "min", "max", "len", "str", "int", "float", "any", "all", "next", "isinstance", "print"})
_USING_UP |= shapes.COPYING
_READING_METHODS = known.READING_FILE_METHODS | frozenset({"readline", "getvalue", "get", "items", "keys", "values"})
_IMAGES = known.IMAGE_METHODS | {"getpixel", "getdata", "tobytes", "histogram"}
# Names of what may make such values, or methods that do.
_MAYBE = re.compile(
    r"builtins\.|io\.open|itertools\.|collections\.defaultdict|csv\.|\.open$|\.manual_seed$|PIL\.Image\.open"
    r"|(gzip|bz2|lzma)\.open|numpy\.random\.|random\.Random"
)
_USING_UP_METHODS = frozenset({"extend", "update", "join", "close", "shuffle", "writerows"})
_CONTAINERS = ast.List | ast.Tuple | ast.Dict | ast.ListComp


def kind_of(value: ast.expr, names: Names) -> str | None:
    """What a value is that may move only if no call sees it; None if it is no such, or may not move at all."""
    if isinstance(value, ast.GeneratorExp):
        return _ITERATES if leading.why_not(value, names, is_used_up=True) is None else None
    if not isinstance(value, ast.Call):
        return None
    full = names.full_name(value.func) or ""
    if not _MAYBE.match(full or f".{getattr(value.func, 'attr', '')}"):
        return None
    given = [*value.args, *(each.value for each in value.keywords)]
    if is_seeded(value, names):
        return _DRAWS
    if full == "collections.defaultdict":
        is_known = bool(value.args) and _is_factory(value.args[0], names)
        if not is_known or not all(leading.why_not(each, names) is None for each in value.args[1:]):
            return None
        return MUTABLE_DEFAULTS if names.full_name(value.args[0]) in _MUTABLE else DEFAULTS
    if full in known.OPENING - {"numpy.load"} or (not full and getattr(value.func, "attr", "") == "open"):
        return _IS_OPEN if computing.why_not_opened(value, names) is None else None
    name = full.removeprefix("builtins.")
    if name in known.ITERATORS or full in known.READERS:
        return _ITERATES if leading.why_not(value, names, is_used_up=True) is None else None
    if name == "iter" or full.startswith("itertools."):
        return (
            _ITERATES
            if given and all(leading.why_not(each, names, is_used_up=True) is None for each in given)
            else None
        )
    return None


def is_seeded(value: ast.expr, names: Names) -> bool:
    """Whether a generator of random numbers is made that begins with what is the same each time."""
    match value:
        case ast.Call(func=ast.Attribute(value=inner, attr="manual_seed"), args=[seed]):
            is_made = isinstance(inner, ast.Call) and names.full_name(inner.func) == "torch.Generator"
            return is_made and leading.why_not(seed, names) is None
        case ast.Call(func=function, args=args, keywords=keywords):
            given = [*args, *(each.value for each in keywords)]
            if not given or any(isinstance(each, ast.Constant) and each.value is None for each in given):
                return False
            if names.full_name(function) == "numpy.random.Generator":
                inner = given[0]
                full = names.full_name(inner.func) if isinstance(inner, ast.Call) else None
                return full in known.BIT_GENERATORS and _is_told(inner, names)
            return names.full_name(function) in known.SEEDED and _is_told(value, names)
    return False


def _is_told(value: ast.expr, names: Names) -> bool:
    assert isinstance(value, ast.Call)
    given = [*value.args, *(each.value for each in value.keywords)]
    return bool(given) and all(leading.why_not(each, names) is None for each in given)


def _is_factory(node: ast.expr, names: Names) -> bool:
    match node:
        case ast.Name(id=name):
            return name in _FACTORIES and names.full_name(node) == f"builtins.{name}"
        case ast.Lambda(body=ast.Constant()):
            return True
    return False


def note(targets: Iterable[str], value: ast.expr, names: Names) -> None:
    """Take note of what variables hold now that a value is bound to them."""
    is_live = leaks(value, names)
    for name in targets:
        if is_live:
            names.live[name] = _HOLDS
        else:
            names.live.pop(name, None)


def note_all(statements: Iterable[ast.stmt], names: Names) -> None:
    """The same for all that is bound within some statements."""
    for each in (part for node in statements for part in shapes.walk(node)):
        match each:
            case ast.Assign(targets=targets, value=value) if leaks(value, names) and kind_of(value, names) is None:
                found = {at.id for target in targets for at in shapes.walk(target) if isinstance(at, ast.Name)}
                names.live.update(dict.fromkeys(found, _HOLDS))
            case ast.For(target=target, iter=values) if _holds(values, names):
                found = {at.id for at in shapes.walk(target) if isinstance(at, ast.Name)}
                names.live.update(dict.fromkeys(found, _HOLDS))
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method)) if gives_on(each.value, names):
                names.live[shapes.root_name(method)] = _HOLDS
            case _:
                pass


def gives_on(call: ast.expr, names: Names) -> bool:
    """Whether a call for its effect may put such a value into what it is a method of."""
    assert isinstance(call, ast.Call)
    if isinstance(call.func, ast.Attribute) and call.func.attr in _USING_UP_METHODS:
        return False
    return any(leaks(each, names) for each in (*call.args, *(one.value for one in call.keywords)))


def leaks(node: ast.expr, names: Names) -> bool:
    """Whether what an expression gives may be, or hold, such a value."""
    if names.live.keys().isdisjoint(shapes.read_in(node)):
        return False
    if _holds(node, names):
        return True
    match node:
        case ast.Name(id=name):
            return name in names.live
        case ast.Compare() | ast.JoinedStr() | ast.Subscript() | ast.BinOp() | ast.UnaryOp():
            return False
        case ast.ListComp() | ast.SetComp() | ast.DictComp():
            return any(leaks(each, names) for each in shapes.elements_of(node))
        case ast.Attribute(value=ast.Name(), attr="size" | "shape" | "mode" | "width" | "height" | "fieldnames"):
            return False
        case ast.Call(func=function) if _reads_to_its_end(function, names):
            return _is_computed_in(node, names)
        case ast.Call(func=function):
            receiver = [function.value] if isinstance(function, ast.Attribute) else [function]
            return any(leaks(each, names) for each in (*receiver, *shapes.children(node)[1:]))
        case ast.Tuple() | ast.List() | ast.Set() | ast.Dict() | ast.IfExp() | ast.BoolOp() | ast.Starred():
            return any(leaks(each, names) for each in shapes.children(node))
    return True


def _holds(node: ast.AST, names: Names) -> bool:
    """Whether some code reads what holds such a value: what it takes out of it may be one."""
    return any(names.live.get(name) == _HOLDS for name in shapes.read_in(node))


def _is_computed_in(node: ast.Call, names: Names) -> bool:
    """Whether what a call reads is itself something that holds such a value, beyond what it uses up."""
    inner = [each for each in node.args if isinstance(each, _CONTAINERS)]
    return any(leaks(each, names) for each in inner)


def _reads_to_its_end(function: ast.expr, names: Names) -> bool:
    """Whether what a callee gives holds none of what it reads."""
    full = names.full_name(function)
    if full is None:
        return isinstance(function, ast.Attribute) and _is_reading_method(function, names)
    top, _, name = full.partition(".")
    if top == "builtins":
        return name in _USING_UP
    if full in known.READING_FILES or full == "collections.Counter" or top in ("pandas", "statistics", "math"):
        return True
    return top in ("numpy", "torch") and "andom" not in name and name[:1].islower()


def _is_reading_method(function: ast.Attribute, names: Names) -> bool:
    """Whether a method of such a value gives something new; or one of something else reads it to its end."""
    match function.value:
        case ast.Name(id=name) if name in names.live:
            if names.live[name] == _DRAWS:
                return function.attr not in ("spawn", "bit_generator", "manual_seed")
            return function.attr in _READING_METHODS | _IMAGES
        case ast.Call() | ast.Subscript():  # of what such a method gives: of a line of a file
            return not leaks(function.value, names)
    return function.attr == "join"


def ways_asked(name: str, statements: Iterable[ast.stmt]) -> set[str]:
    """How a dictionary that makes entries is asked: for items, which are made if they are not there, or for the rest.

    If it is asked in one of these two ways alone, the answers do not depend on what was asked before.
    """
    ways: set[str] = set()
    for node in (part for each in statements for part in shapes.walk(each)):
        ways |= {way for child, way in _asked(node) if isinstance(child, ast.Name) and child.id == name}
    return ways


def _asked(node: ast.AST) -> list[tuple[ast.AST, str]]:
    """The parts of some code, and what each is asked for there."""
    match node:
        case ast.Subscript(value=value, slice=index, ctx=ast.Load()):
            return [(value, "item"), (index, "other")]
        case ast.Call(func=ast.Attribute(value=value, attr="get" | "items" | "keys" | "values")):
            return [(value, "all"), *((each, "other") for each in shapes.children(node)[1:])]
        case ast.Attribute(value=ast.Name(), attr="get" | "items" | "keys" | "values"):
            return []
        case ast.Call(func=ast.Name(id="len" | "sorted" | "list" | "set" | "sum" | "min" | "max"), args=[value]):
            return [(value, "all"), *((each.value, "other") for each in node.keywords)]
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[value]):
            return [(left, "other"), (value, "all")]
        case ast.For(iter=value) | ast.comprehension(iter=value):
            return [(value, "all"), *((each, "other") for each in shapes.parts(node) if each is not value)]
    return [(each, "other") for each in shapes.parts(node)]
