"""What moves depends on nothing that stays: checked by beniget's chains of definitions and uses, which are not ours."""

from __future__ import annotations

import ast
import bisect
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import beniget
import gast
import pytest

from parsl_context.discover.automatic import split_by_itself
from parsl_context.discover.halves import Verdict
from parsl_context.discover.sources import source_of
from parsl_context.errors import SplitError
from tests.unit.discover import automatic_samples, generated

SETS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
PARAMETER = "a parameter"


def wrong_uses(node: ast.FunctionDef, verdicts: Sequence[Verdict]) -> list[str]:
    """Variables that statements which move get from statements that do not, or from the call."""
    module = gast.ast_to_gast(ast.Module(body=[node], type_ignores=[]))
    chains = beniget.DefUseChains()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chains.visit(module)
    starts = [(each.node.lineno, each.node.col_offset) for each in verdicts]
    inside = range(len(verdicts))

    def place(at: Any) -> str:
        number = bisect.bisect_right(starts, (at.lineno, at.col_offset)) - 1
        return verdicts[number].place if number in inside else PARAMETER

    found = []
    for definition in chains.locals[module.body[0]]:
        if not (_is_parameter(definition.node) or hasattr(definition.node, "lineno")):
            continue  # not of the text
        where = PARAMETER if _is_parameter(definition.node) else place(definition.node)
        if where not in (PARAMETER, "body"):
            continue
        found += [
            f"{definition.name()}, line {user.node.lineno}"
            for user in definition.users()
            if hasattr(user.node, "lineno") and place(user.node) == "context"
        ]
    return found


def _is_parameter(node: Any) -> bool:
    return isinstance(getattr(node, "ctx", None), gast.Param)


def checked(function: Callable[..., Any]) -> bool:
    """Whether a function is split; raises if what moves depends on what stays."""
    try:
        verdicts = split_by_itself(function).verdicts
    except SplitError:
        return False
    wrong = wrong_uses(source_of(function).node, verdicts)
    assert not wrong, f"{function.__qualname__}: {wrong}"
    return True


def functions_of(module: ModuleType) -> Iterator[Callable[..., Any]]:
    for value in vars(module).values():
        if callable(value) and getattr(value, "__module__", None) == module.__name__ and hasattr(value, "__code__"):
            yield value


@pytest.mark.library("torch", "numba", "pandas", "sklearn", "rdkit")
@pytest.mark.parametrize("name", SETS)
def test_functions_that_people_wrote(name: str) -> None:
    module = importlib.import_module(f"benchmarks.found.{name}")
    split = [checked(getattr(module, function)) for function in module.EXPECTED]
    assert sum(split) >= 8


def test_samples() -> None:
    assert sum(map(checked, functions_of(automatic_samples))) >= 20


@pytest.mark.parametrize("seed", range(3))
def test_generated_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    name = f"generated_for_oracle_{seed}"
    (tmp_path / f"{name}.py").write_text(generated.module(seed, 150, tmp_path / "file"))
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, name, module)  # and gone afterwards
    assert sum(map(checked, functions_of(module))) >= 20


def depends(x: int) -> int:
    table = [1, 2, 3]
    size = len(table)
    more = size + x
    less = more - 1
    return table[less % size]


def test_a_statement_that_moves_too_early_is_found() -> None:
    node = source_of(depends).node
    moved = [Verdict(each, "context") for each in node.body[:-1]]
    assert [use.partition(",")[0] for use in wrong_uses(node, [*moved, Verdict(node.body[-1], "body")])] == ["x"]
    right = [*moved[:2], *(Verdict(each, "body") for each in node.body[2:])]
    assert wrong_uses(node, right) == []
    late = [moved[0], Verdict(node.body[1], "body"), Verdict(node.body[2], "body"), moved[3], right[-1]]
    assert [use.partition(",")[0] for use in wrong_uses(node, late)] == ["more"]
