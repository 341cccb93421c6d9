"""What counts of code when it is digested: what it does, which names it uses, and what it imports.

Line numbers and the place of the file do not count, nor do instructions that are there for line numbers alone. This
only reads; `parsl_context.content.digests` decides what becomes of the parts.
"""

from __future__ import annotations

import dis
import importlib.machinery
import sys
import sysconfig
import types
import weakref
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from parsl_context.content.modules import is_installed

Chain = tuple[str, ...]  # attributes that are read one after the other; empty if the value itself is passed on
Uses = defaultdict[str, set[Chain]]

_JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})


def _opcodes(*names: str) -> frozenset[int]:
    return frozenset(dis.opmap[name] for name in names if name in dis.opmap)  # each Python has some of them


_FILLERS = _opcodes("NOP", "CACHE", "EXTENDED_ARG")  # the compiler leaves NOP where a line would have no instruction
_LOADS_GLOBAL = _opcodes("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_STORES_GLOBAL = _opcodes("STORE_GLOBAL")
_LOADS_FREE = _opcodes("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_LOADS_ATTRIBUTE = _opcodes("LOAD_ATTR", "LOAD_METHOD")
_IMPORTS = dis.opmap["IMPORT_NAME"]


def _pairs() -> dict[int, tuple[int, int]]:
    """Instructions that stand for two, of one line each (since Python 3.13), with these: STORE_FAST_LOAD_FAST."""
    found = {}
    for name, opcode in dis.opmap.items():
        words = name.split("_")
        for cut in range(1, len(words)):
            halves = "_".join(words[:cut]), "_".join(words[cut:])
            if all(half in dis.opmap and half.endswith(("FAST", "BORROW")) for half in halves):
                found[opcode] = (dis.opmap[halves[0]], dis.opmap[halves[1]])
    return found


_PAIRS = _pairs()
_HAS_DOCSTRING = 0x4000000  # inspect.CO_HAS_DOCSTRING, since Python 3.13: the constants say it too


@dataclass
class CodeParts:
    """What counts of code, but for its constants.

    Attributes
    ----------
    steps : bytes
        What it does, how it is called and what its variables are.
    globals, free
        Chains of attributes that are read from each global, and from each variable of an outer function, here and in
        functions within.
    imports
        Level, name and what is taken from it, of each import, here and in functions within.
    """

    steps: bytes = b""
    globals: Uses = field(default_factory=lambda: defaultdict(set))
    free: Uses = field(default_factory=lambda: defaultdict(set))
    imports: set[tuple[int, str, tuple[str, ...]]] = field(default_factory=set)


def parts_of(code: types.CodeType) -> CodeParts:
    """What counts of code. The same object is read once, as long as it lives."""
    # By identity: the equality of code does not look at everything that counts, in some versions of Python.
    key = id(code)
    found = _known.get(key)
    if found is None:
        parts = _read(code)
        _known[key] = weakref.ref(code, lambda _: _known.pop(key, None)), parts
        return parts
    return found[1]


_known: dict[int, tuple[weakref.ref[types.CodeType], CodeParts]] = {}


def _read(code: types.CodeType) -> CodeParts:
    parts = CodeParts()
    bytecode = dis.Bytecode(code)
    kept = [each for each in bytecode if each.opcode not in _FILLERS]
    parts.steps = f"{_shape(code)}\n{_steps(kept, bytecode)}".encode("utf-8", "surrogatepass")
    _find_names(kept, parts)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            within = parts_of(constant)
            for mine, its in ((parts.globals, within.globals), (parts.free, within.free)):
                for name, chains in its.items():
                    mine[name] |= chains
            parts.imports |= within.imports
    return parts


def _shape(code: types.CodeType) -> str:
    """How it is called and what its variables are."""
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~_HAS_DOCSTRING)
    return repr((code.co_name, counts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))


def _steps(kept: list[dis.Instruction], bytecode: dis.Bytecode) -> str:
    """What is done step by step, with what handles exceptions where; the same wherever lines are broken."""
    offsets: list[int] = []  # one for each step
    steps: list[tuple[int, int | None, bool]] = []  # opcode, argument, whether that is where a jump leads
    for each in kept:
        if each.opcode in _PAIRS:
            steps += ((opcode, arg, False) for opcode, arg in zip(_PAIRS[each.opcode], _halves(each.arg), strict=True))
            offsets += (each.offset, each.offset)
        else:
            is_jump = each.opcode in _JUMPS
            steps.append((each.opcode, each.argval if is_jump else each.arg, is_jump))
            offsets.append(each.offset)
    # A jump may lead to a filler before its target, and the range of a handler begin there.
    lines = [f"{opcode} {bisect_left(offsets, arg or 0) if is_jump else arg}" for opcode, arg, is_jump in steps]
    for entry in getattr(bytecode, "exception_entries", ()):  # since Python 3.11
        start, end, target = (bisect_left(offsets, place) for place in (entry.start, entry.end, entry.target))
        if start < end:
            lines.append(f"except {start} {end} {target} {entry.depth} {entry.lasti}")
    return "\n".join(lines)


def _halves(argument: int | None) -> tuple[int, int]:
    return divmod(argument or 0, 16)


def _find_names(kept: list[dis.Instruction], parts: CodeParts) -> None:
    chain: list[str] = []
    uses: set[Chain] | None = None  # of what was loaded just now
    own: set[str] = set()  # globals that the code has surely set itself by then
    is_straight = True  # so far
    for place, instruction in enumerate(kept):
        opcode = instruction.opcode
        is_straight = is_straight and opcode not in _JUMPS
        if opcode in _STORES_GLOBAL and is_straight:
            own.add(instruction.argval)
        if uses is not None:
            if opcode in _LOADS_ATTRIBUTE:
                chain.append(instruction.argval)
                continue
            uses.add(tuple(chain))
            uses = None
        if opcode in _LOADS_GLOBAL and instruction.argval not in own:
            chain, uses = [], parts.globals[instruction.argval]
        elif opcode in _LOADS_FREE:
            chain, uses = [], parts.free[instruction.argval]
        elif opcode == _IMPORTS:
            level, taken = (before.argval for before in kept[place - 2 : place])  # loaded just before
            parts.imports.add((level, instruction.argval, taken or ()))


class UserModules:
    """Modules of the user's that code imports when it runs, by their files: these are run where a context is built."""

    def __init__(self) -> None:
        self._codes: dict[str, types.CodeType | None] = {}  # by name; None where there is no source

    def imported(self, names: CodeParts, package: str | None) -> list[tuple[str, types.CodeType]]:
        """Those that code imports, by what it names, and those that they import in turn.

        Parameters
        ----------
        names
            What the code uses.
        package
            The package that the code is in, for relative imports.
        """
        found: dict[str, types.CodeType] = {}
        met: set[str] = set()
        waiting = list(_imported_names(names, package))
        while waiting:
            name = waiting.pop()
            if name not in met:
                met.add(name)
                code = self._code(name)
                if code is not None:
                    found[name] = code
                    waiting += _imported_names(parts_of(code), _package_of(name))
        return sorted(found.items())

    def _code(self, name: str) -> types.CodeType | None:
        if name not in self._codes:
            self._codes[name] = _code_of_module(name)
        return self._codes[name]


def _imported_names(names: CodeParts, package: str | None) -> Iterator[str]:
    """Full names of what code imports that is the user's, and of the packages around it. Some may be no modules."""
    for level, name, taken in names.imports:
        full = name
        if level:
            base = (package or "").rsplit(".", level - 1)[0]
            full = f"{base}.{name}" if name else base
        if full and _is_users(full):
            parts = full.split(".")
            yield from (".".join(parts[: i + 1]) for i in range(len(parts)))
            yield from (f"{full}.{each}" for each in taken)


def _package_of(name: str) -> str:
    spec = _spec(name)
    return "" if spec is None else spec.parent or ""


def _code_of_module(name: str) -> types.CodeType | None:
    spec = _spec(name)
    try:
        source = spec.loader.get_source(name) if spec is not None else None  # type: ignore[union-attr]
        return compile(source, "<module>", "exec", dont_inherit=True) if source is not None else None
    except Exception:  # no module, no source, or none that can be read
        return None


def _is_users(name: str) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == "__main__":
        return False
    if top in sys.modules:
        return not is_installed(top)
    spec = _spec(top)
    places = [] if spec is None else [*(spec.submodule_search_locations or ()), spec.origin or ""]
    return any(place and not place.startswith(_installed_places()) for place in places)


def _installed_places() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    sites = (path for path in sys.path if path.endswith(("site-packages", "dist-packages")))
    return (*sites, *(paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")))


def _spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module is; to find out must import nothing, not even the package around it."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__spec__", None)
    package = name.rpartition(".")[0]
    if not package:
        return importlib.machinery.PathFinder.find_spec(name)
    around = _spec(package)
    places = None if around is None else around.submodule_search_locations
    return None if places is None else importlib.machinery.PathFinder.find_spec(name, list(places))
