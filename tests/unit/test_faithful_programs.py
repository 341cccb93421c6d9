"""Of generated programs: a call in another process gives what a call here gives, classes and functions included.

A program is a script, or a script with a module or a package beside it: classes of many kinds that derive from and hold
one another, functions of many kinds, and a `check` that is called with values made of them. What the call gives there,
what comes back, what it raises, and what a value is after a way there and back, must be what they are here. One process
takes all programs, as a worker does.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.describing import describe, describe_raised
from tests.unit.far import Far, ProjectFolder, main_module, project_in, run_cell

# Kinds of classes: their text, and a value of one. {n} is the name, {b} a class to derive from, {o} a value.
CLASSES = {
    "plain": (
        "class {n}{b}:\n    def __init__(self, x={o}): self.x = x\n    def me(self): return {n}",
        "[{n}(), {n}.me]",
    ),
    "made again with names of the script": (
        "class {n}{b}:\n    def __init__(self): self.x = [{o}]\n"
        "    def __setstate__(self, state): self.__dict__ |= state; assert salted(LIMIT)",
        "{n}()",
    ),
    "with members": (
        "class {n}{b}:\n    shared = [{o}]\n    @classmethod\n    def make(cls): return cls()\n"
        "    @property\n    def p(self): return {n}.shared\n    @staticmethod\n    def s(x): return x, {n}",
        "{n}.make()",
    ),
    "nested": (
        "class {n}{b}:\n    class In:\n        def __init__(self): self.y = {o}\n        def up(self): return {n}\n"
        "    class E(Exception): pass\n    def __init__(self): self.i = self.In()",
        "[{n}(), {n}.In(), {n}.E({n}), {n}.In.up, {n}().i.up]",
    ),
    "derived from what is told": (
        "class {n}{b}:\n    told = []\n    def __init_subclass__(cls, **options):\n"
        "        {n}.told.append(cls.__name__)\n        super().__init_subclass__(**options)\n"
        "class {n}_d({n}): size = LIMIT",
        "[{n}(), {n}_d(), {n}_d.size]",
    ),
    "equal by content": (
        "class {n}{b}:\n    def __init__(self): self.x = {o}\n"
        "    def __eq__(self, other): return type(self) is type(other)\n"
        "    def __hash__(self): return hash(salted('{n}'))",
        "{{{n}(): {n}()}}",
    ),
}
ALONE = {
    "dataclass": (
        "@dataclasses.dataclass\nclass {n}:\n    x: int = 1\n    y: list = dataclasses.field(default_factory=list)\n"
        "    z: '{n}' = None",
        "{n}(2, [{o}], {n}())",
    ),
    "frozen": ("@dataclasses.dataclass(frozen=True, slots=True)\nclass {n}:\n    x: object = 1", "{n}({n}({o}))"),
    "slots": (
        "class {n}:\n    __slots__ = ('x', '__y')\n    def __init__(self, x=3): self.x = self.__y = x\n"
        "    def y(self): return self.__y",
        "{n}({o})",
    ),
    "enum": (
        "class {n}(enum.Enum):\n    A = enum.auto()\n    B = enum.auto()\n    C = 1\n"
        "    def next(self): return {n}.B, LIMIT",
        "[{n}.A, {n}.C, {n}.B]",
    ),
    "own enum": (
        "class {n}(enum.Enum):\n    def __init__(self, a, b): self.a, self.b = a, b\n"
        "    A = (1, 'a')\n    B = (2, 'b')",
        "[{n}.A, {n}.B, {n}.A.b]",
    ),
    "flag": ("class {n}(enum.IntFlag):\n    A = 1\n    B = 2\n    AB = 3", "[{n}.A | {n}.B, {n}.AB, {n}.A]"),
    "named tuple": (
        "class {n}(typing.NamedTuple):\n    x: object\n    y: '{n}' = None\n"
        "    def swap(self): return {n}(self.y, self.x)",
        "{n}({o}).swap()",
    ),
    "other named tuple": ("{n} = collections.namedtuple('{n}', 'a b')", "{n}({o}, [])"),
    "list": ("class {n}(list):\n    tag = 't'\n    def last(self): return self[-1]", "{n}([{o}, 2])"),
    "dict": ("class {n}(dict):\n    def __missing__(self, key): return {n}, key", "[{n}(a={o}), {n}()['b']]"),
    "int": ("class {n}(int):\n    def half(self): return {n}(self // 2)", "{n}(8).half()"),
    "abstract": (
        "class {n}(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\n"
        "class {n}_c({n}):\n    def f(self): return super().f(), __class__",
        "[{n}_c().f(), isinstance({n}_c(), {n})]",
    ),
    "metaclass": (
        "class {n}_m(type):\n    made = []\n    def __init__(cls, name, bases, names, **o): {n}_m.made.append(name)\n"
        "    def __new__(kind, name, bases, names, tag): return super().__new__(kind, name, bases, names)\n"
        "class {n}(metaclass={n}_m, tag=LIMIT): pass",
        "[{n}(), type({n}), {n}_m.made]",
    ),
    "generic": ("class {n}(typing.Generic[T]):\n    def __init__(self, x: T): self.x = x", "[{n}({o}), {n}[int]]"),
    "error": (
        "class {n}(Exception):\n    def __init__(self, code, *, hint=None):\n"
        "        super().__init__(f'code {{code}}')\n"
        "        self.code, self.hint = code, hint",
        "{n}(3, hint=[{o}])",
    ),
    "local": (
        "def {n}_of():\n    class Local:\n        def me(self): return Local\n    return Local\n{n} = {n}_of()",
        "{n}()",
    ),
    "one object": (
        "class {n}_k:\n    def __reduce__(self): return '{n}_one'\n{n}_one = {n}_k()\n{n} = {n}_k",
        "[{n}_one, {n}_one is {n}_one]",
    ),
}  # fmt: skip
# Kinds of functions: their text, and what to do with one; {c} is a class, {o} a value, {f} a function defined before.
FUNCTIONS = {
    "plain": ("def {n}(x=1): return {c}, LIMIT, x", "{n}({o})"),
    "defaults": ("def {n}(x, k={c}, *, seen=({o},)): return x is k, seen", "{n}({c})"),
    "recursive": ("def {n}(n=4): return n and [{c}, {n}(n - 1)]", "{n}()"),
    "closures": (
        "def {n}_of(n):\n    def turn():\n        nonlocal n\n        n = -n\n    def get(): return n, {c}\n"
        "    return turn, get\n{n}_turn, {n} = {n}_of(1)\n"
        "def {n}_turns(): return [{n}(), {n}_turn(), {n}(), {n}_turn()]",
        "[{n}_turns(), {n}]",
    ),
    "itself": ("def {n}_of():\n    def me(n): return n and me(n - 1)\n    return me\n{n} = {n}_of()", "[{n}(3), {n}]"),
    "lambda": ("{n} = lambda x={c}: [x, {c}]\n{n}_all = {{'f': {n}}}", "[{n}(), {n}_all['f'] is {n}]"),
    "wrapped": (
        "def {n}_w(f):\n    @functools.wraps(f)\n    def inner(*a): return f(*a)\n    return inner\n"
        "@{n}_w\ndef {n}(x={c}): return x",
        "[{n}(), {n}.__wrapped__()]",
    ),
    "cached": ("@functools.lru_cache\ndef {n}(x=3): return {c}, x", "[{n}(), {n}()[0] is {c}]"),
    "partial": ("def {n}_f(a, b): return [a, b]\n{n} = functools.partial({n}_f, {c})", "{n}({o})"),
    "calls another": ("def {n}(*a): return [{f}, LIMIT, callable({f})]", "{n}()"),
    "annotated": ("def {n}(x: '{c}' = None) -> T: return typing.get_type_hints({n})", "{n}()['return'] is T"),
    "with attributes": ("def {n}(x=1): return {n}.held\n{n}.held = [{c}]", "{n}()"),
    "dispatch": (
        "@functools.singledispatch\ndef {n}(x): return 'other'\n@{n}.register\ndef {n}_i(x: int): return {c}",
        "[{n}(1), {n}('')]",
    ),
    "generator": ("def {n}():\n    yield from [{c}, LIMIT]", "list({n}())"),
    "raises": ("def {n}():\n    try: raise KeyError({c})\n    except KeyError as e: return type(e), e.args", "{n}()"),
}
# What a call has made is not known to be what an import makes there, so of modules such things travel as values.
MADE_BY_CALLS = ("closures", "itself")
IMPORTS = "import abc, collections, dataclasses, enum, functools, typing\nT = typing.TypeVar('T')\n"
GLOBALS = "LIMIT = {limit}\ndef salted(x): return (x, SALT)\nSALT = 'salt'\n"
CHECKS = "def same(a, b): return [x is y for x, y in zip(a, b)]\n"
_numbers = itertools.count()


@dataclass
class Part:
    """A file of the program."""

    text: str
    names: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)  # expressions


@dataclass
class Program:
    modules: dict[str, str]
    script: str
    given: str  # expressions of the script: arguments
    raises: bool
    again: str | None  # a cell that is run before a second call

    def __repr__(self) -> str:
        files = "".join(f"\n# --- {name}\n{text}" for name, text in self.modules.items())
        return f"{files}\n# --- script, check({self.given}), {self.again}\n{self.script}"


@st.composite
def parts(draw: st.DrawFn, prefix: str, known: list[str]) -> Part:
    """Classes and functions; `known` are expressions of classes that are there already."""
    part = Part("")
    classes = list(known)
    plain: list[str] = []
    functions = ["salted"]
    atoms = ["1", "'t'", "None", "LIMIT", "(1, [2])"]
    for number in range(draw(st.integers(1, 4))):
        # A class that a call has made is no object of the module, and its name there is not told.
        kind = draw(st.sampled_from([each for each in (*CLASSES, *ALONE) if prefix == "S" or each != "local"]))
        text, value = CLASSES.get(kind) or ALONE[kind]
        name = f"{prefix}{number}"
        base = f"({draw(st.sampled_from(plain))})" if plain and kind in CLASSES and draw(st.booleans()) else ""
        held = draw(st.sampled_from([*atoms, *classes, *(f"[{each}]" for each in part.values)]))
        part.text += text.format(n=name, b=base, o=held) + "\n"
        part.values.append(value.format(n=name, o=held))
        classes.append(name)
        if kind == "plain":
            plain.append(name)
        part.names.append(name)
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(list(FUNCTIONS)))
        text, value = FUNCTIONS[kind]
        name = f"{prefix}f{number}"
        words = {
            "n": name,
            "c": draw(st.sampled_from(classes)),
            "o": draw(st.sampled_from([*atoms, *classes])),
            "f": draw(st.sampled_from(functions)),
        }
        part.text += text.format(**words) + "\n"
        part.values.append(value.format(**words))
        functions.append(name)
        if kind != "partial" and not (prefix == "M" and kind in MADE_BY_CALLS):  # that is a value
            part.names.append(name)
    return part


@st.composite
def programs(draw: st.DrawFn) -> Program:
    number = next(_numbers)
    modules: dict[str, str] = {}
    known: list[str] = []
    values: list[str] = []
    names: list[str] = []
    head = IMPORTS
    start = GLOBALS.format(limit=draw(st.integers(1, 9)))
    where = draw(st.sampled_from(["script", "module", "package"]))
    if where != "script":
        part = draw(parts("M", []))
        module = f"module_{number}" if where == "module" else f"package_{number}.sub.part"
        modules[module] = IMPORTS + start + part.text
        if where == "package":
            package = module.partition(".")[0]
            modules[f"{package}.__init__"] = "from .sub import part\nfrom .sub.part import *\n"
            modules[f"{package}.sub.__init__"] = ""
        names += part.names
        chosen = draw(st.booleans())
        if chosen:
            head += f"import {module} as m\n"
            known = [f"m.{name}" for name in part.names if name[1:].isdigit()]
            values += [f"m.called({number})" for number in range(len(part.values))]
            names = [f"m.{name}" for name in names]
        else:
            head += f"from {module} import {', '.join([*part.names, 'called as m_called'])}\n"
            known = [name for name in part.names if name[1:].isdigit()]
            values += [f"m_called({number})" for number in range(len(part.values))]
        made = ", ".join(f"lambda: {value}" for value in part.values)
        modules[module] += f"def called(n): return [{made}][n]()\n"
    part = draw(parts("S", known))
    values += part.values
    names += part.names
    some = st.lists(st.sampled_from(values), min_size=1, max_size=4)
    given_values, inside = draw(some), draw(some)
    objects = ", ".join(draw(st.lists(st.sampled_from([*names, "salted"]), min_size=1, max_size=4)))
    twice = "[x := [1], x]"  # what is one object in the arguments
    given_text = f"[{', '.join(given_values)}], [{objects}], {twice}"
    error = f"ValueError({values[0]})" if not draw(st.booleans()) else "KeyError('key')"
    raises = draw(st.integers(0, 4)) == 0
    failing = f"    try: failing()\n    except LookupError as e: raise {error} from e\n" if raises else ""
    check = (
        f"def failing(): raise LookupError('no')\ndef check(values, objects, twice):\n{failing}"
        f"    return [values, objects, same(objects, [{objects}]), twice[0] is twice[1],\n"
        f"        {', '.join(inside)}]\n"
    )
    again = draw(
        st.sampled_from([None, "LIMIT = LIMIT + 100", f"def salted(x): return {[*names, 'same'][-1]}, x, LIMIT"])
    )
    return Program(modules, head + CHECKS + start + part.text + check, given_text, raises, again)


@contextlib.contextmanager
def running(program: Program, folder: ProjectFolder) -> Iterator[types.ModuleType]:
    for name, text in program.modules.items():
        folder.write(f"{name.replace('.', '/')}.py", text)
    importlib.invalidate_caches()
    with main_module(folder.path) as main:
        run_cell(program.script)
        yield main


def outcome(call: Any) -> tuple[Any, Any]:
    """What a call gives, or raises; and the value."""
    try:
        value = call()
    except Exception as error:
        return ("raised", describe_raised(error)), None
    return ("value", describe(value)), value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectFolder]:
    with project_in(tmp_path_factory.mktemp("generated") / "programs") as made:
        yield made


def check_program(far: Far, folder: ProjectFolder, program: Program) -> None:
    with running(program, folder) as main:
        for change in (None, program.again):
            if change is not None:
                run_cell(change)
            arguments = f"({program.given})"
            wanted, _ = outcome(lambda: main.check(*eval(arguments, vars(main))))  # noqa: B023
            found, value = outcome(lambda: far.call(main.check, *eval(arguments, vars(main))))  # noqa: B023
            assert found == wanted
            assert far.described == wanted[1]
            if value is not None:
                run_cell("def identity(x): return x")
                assert describe(far.call(main.identity, value)) == wanted[1]
            if program.again is None:
                break


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(programs())
def test_a_call_elsewhere_gives_what_a_call_here_gives(far, folder, program):
    check_program(far, folder, program)
