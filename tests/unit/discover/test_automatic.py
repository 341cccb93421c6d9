"""Functions split by themselves do what they do undivided."""

import collections
import contextlib
import importlib
import io
import linecache
import os
import pickle
import random
import re
import sqlite3
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from parsl_context import context_app
from parsl_context.discover import (
    automatic,
    calls,
    compound,
    computing,
    given_out,
    inside,
    leading,
    lineage,
    moving,
    users_objects,
    uses,
)
from parsl_context.discover.automatic import split_by_itself
from parsl_context.discover.sources import source_of
from parsl_context.errors import SplitError
from parsl_context.retain import terms
from parsl_context.retain.terms import why_not_kept
from parsl_context.retain.undivided import EitherWay, LeadingWork
from tests.unit.discover import generated, guarded_samples, lively_samples, object_samples, passing_samples
from tests.unit.discover.automatic_samples import SAMPLES

_FILE = "1,2\n3,4\n"
_MORE = (guarded_samples, lively_samples, object_samples, passing_samples)  # their functions are among SAMPLES, too
CALLS = (0, 1, 2, 3, 4, 6, 1, 2)


class Runner:
    """One worker: builds the context of a function when it is first needed; if that fails, the call runs undivided."""

    def __init__(self, found):
        self._build = LeadingWork(found.context, found.terms)
        self._body = EitherWay(found.body, found.function, terms=found.terms)
        self._built = ()

    def __call__(self, x):
        if not self._built:
            self._built = (self._build(),)
        return self._body(self._built[0], x)


def outcome(module, function, x):
    """What a call gives, as it would arrive, and what it does that others see."""
    del module.EFFECTS[:], module.STORE[:]
    module.TICKS[0] = 0
    module.remembers.__defaults__[0].clear()
    module.TABLE.clear()
    module.TABLE.update(k=[1], n=1)
    module.ROWS[:] = [3, 1, 2, *([9] if x > 2 else [])]
    random.seed(x)
    os.environ["MARK"] = str(x % 3)
    module.Common.rows.clear()
    module.CODES.clear()
    module.CODES.update(a=1, b=2)
    if not os.path.exists(module.FILE) or os.path.getsize(module.FILE) != len(_FILE):
        Path(module.FILE).write_text(_FILE)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            result = pickle.dumps(("gives", function(x)))
        except Exception as error:
            result = pickle.dumps(("raises", type(error).__name__, str(error)))
    seen = module.EFFECTS, module.STORE, module.TICKS, module.TABLE, module.ROWS, module.CODES
    return result, printed.getvalue(), pickle.dumps(seen), Path(module.FILE).read_text()


def compare(folder, seed, count, runner=Runner, most_wrong=None, only=None):
    """Functions that do otherwise when they are split, and how many are split at all."""
    name = f"generated_{seed}"
    (folder / f"{name}.py").write_text(generated.module(seed, count, folder / "file"))
    sys.path.insert(0, str(folder))
    wrong, split = [], 0
    try:
        module = importlib.import_module(name)
        for number in range(count) if only is None else [only]:
            function = getattr(module, f"f{number}")
            try:
                found = split_by_itself(function)
            except SplitError:
                continue
            split += 1
            run = runner(found)
            calls = list(CALLS)
            random.Random(number).shuffle(calls)
            for x in calls:
                if outcome(module, run, x) != outcome(module, function, x):
                    wrong.append(f"f{number}({x})")
                    break
            if len(wrong) == most_wrong:
                break
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(name, None)
    return wrong, split


@pytest.fixture(autouse=True)
def _compiled(monkeypatch):
    """A decorator that needs no library counts as one that compiles."""
    monkeypatch.setattr(compound, "COMPILERS", ("numba.", "jax.jit", "functools.singledispatch"))
    monkeypatch.setattr(uses, "_PLAIN_DECORATORS", ("numba.", "functools.singledispatch"))


@pytest.mark.parametrize("seed", range(4))
def test_generated_functions_do_the_same_when_they_are_split(tmp_path, seed):
    wrong, split = compare(tmp_path, seed, 500)
    assert split >= 40
    assert not wrong


class Careless(Runner):
    """Without the rule that a call runs undivided if the context cannot be built."""

    def __init__(self, found):
        super().__init__(found)
        self._build = found.context


def nothing(*args, **kwargs):
    return None


def no(*args, **kwargs):
    return False


def yes(*args, **kwargs):
    return True


def found_alone(looked):
    return looked.found


@contextlib.contextmanager
def always_the_second(*args, **kwargs):
    """What was known of the first of two branches is forgotten."""
    yield nothing


# A rule, and how it is switched off.
FLAWS = {
    "methods that change": [(uses.known, "is_changing", no)],
    "stores, deletions and changes in place": [(uses.Uses, "change", nothing)],
    "what was taken out of a value": [(uses.Uses, "_bind", nothing)],
    "what is a copy in one branch alone": [(lineage.Lineage, "branches", always_the_second)],
    "what lists in other objects get": [(given_out.GivenOut, "note", nothing)],
    "objects of the user's": [(users_objects.UsersObjects, "note", nothing)],
    "what functions do to parts": [(uses.Uses, "take_over", nothing), (uses.Uses, "all_misused", found_alone)],
    "functions that others give": [(moving, "_callables_in", lambda *args: [])],
    "methods are no data": [(uses.Uses, "is_data", yes)],
    "targets that are not the function's own": [(inside, "_is_own", yes)],
    "iterators are used up": [
        (terms, "_USED_UP", ()),
        (leading.known, "PLAIN_BUILTINS", leading.known.PLAIN_BUILTINS | leading.known.ITERATORS | {"iter"}),
    ],
    "functions that change what they are given": [(calls.Calls, "_to_function", nothing)],
    "functions that do more than compute": [(inside, "why_not_function", nothing)],
    "globals that may change": [(EitherWay, "_is_outdated", no)],
    "calls of the outside world": [(leading.known, "is_outside", no), (leading.known, "is_outside_name", no)],
    "what is out of sight": [(uses.Uses, "inside", nothing)],
    "what loops and blocks change": [(compound, "_why_not_change", nothing)],
    "functions within the body": [(uses.Uses, "_define", nothing)],
    "what functions within the body are given": [(calls.Calls, "_follow", nothing), (calls.Calls, "_misuses_any", no)],
    "what compiled functions do": [(compound, "why_not_in_function", nothing)],
    "methods that change their object": [(computing, "why_not_shared", nothing)],
    "what methods of the user's are given": [(moving, "methods_of", lambda kind: [])],
    "tables are only read": [(computing, "_leaves_tables", lambda *args: True)],
    "what is given to code that is not known": [(terms, "_holds_atoms", lambda *args: True)],
}


# A generated function by which each was seen, to be tried first: the search for one takes up to two minutes.
SEEN_BY = {
    "methods that change": (0, 26),
    "stores, deletions and changes in place": (0, 15),
    "what was taken out of a value": (0, 74),
    "what is a copy in one branch alone": (5, 103),
    "what lists in other objects get": (0, 67),
    "objects of the user's": (0, 288),
    "what functions do to parts": (1, 42),
    "functions that others give": (15, 160),
    "methods are no data": (2, 201),
    "targets that are not the function's own": (0, 233),
    "iterators are used up": (0, 246),
    "functions that change what they are given": (0, 391),
    "functions that do more than compute": (0, 33),
    "globals that may change": (0, 339),
    "calls of the outside world": (0, 232),
    "what is out of sight": (0, 7),
    "what loops and blocks change": (0, 368),
    "functions within the body": (3, 200),
    "what functions within the body are given": (0, 391),
    "what compiled functions do": (0, 75),
    "methods that change their object": (0, 228),
    "what methods of the user's are given": (14, 103),
    "tables are only read": (8, 113),
    "what is given to code that is not known": (7, 137),
    "a build that fails": (0, 67),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("flaw", [*FLAWS, "a build that fails"])
def test_a_rule_that_is_left_out_is_found(tmp_path, monkeypatch, flaw):
    """A control of the test above: generated functions reach what each rule is for."""
    for owner, name, value in FLAWS.get(flaw, ()):
        monkeypatch.setattr(owner, name, value)
    runner = Careless if flaw == "a build that fails" else Runner
    seed, number = SEEN_BY[flaw]
    if compare(tmp_path, seed, 500, runner, only=number)[0]:
        return
    for seed in range(20):
        if compare(tmp_path, seed, 500, runner, most_wrong=1)[0]:
            return
    pytest.fail("nothing was seen")


def name_of(value):
    return getattr(value, "__name__", None) if callable(value) else None


def test_there_are_many_samples():
    refusals = [says for _, _, says, _ in SAMPLES if says is not None]
    assert len(SAMPLES) >= 90
    assert len(refusals) >= 45


@pytest.mark.parametrize(("function", "names", "says", "calls"), SAMPLES, ids=name_of)
def test_what_moves_is_what_leads_and_is_left_as_it_is(function, names, says, calls):
    if says is not None:
        with pytest.raises(SplitError, match=says):
            split_by_itself(function)
        return
    found = split_by_itself(function)
    assert found.names == tuple(sorted(names))
    app = context_app(discover=True)(function)
    for args in (*calls, *calls):
        assert said(app.func, args) == said(function, args)


def said(function, args):
    try:
        return repr(function(*args))
    except Exception as error:
        return type(error), str(error)


def test_each_statement_has_a_place_and_what_stays_a_reason():
    for function, *_ in SAMPLES:
        for verdict in automatic.verdicts_of(source_of(function)):
            assert verdict.place in ("context", "both", "body")
            assert bool(verdict.reason) == (verdict.place == "body")


def test_an_iterator_that_a_library_gives_is_not_shared():
    """Found when the context is built: that call, and those after it, run undivided."""

    def app(x):
        rows = re.finditer("a", "aaa")
        return x, str(rows.__class__)

    found = context_app(discover=True)(app)
    assert found.func(1) == found.func(1) == app(1)
    assert LeadingWork(found.split.context)() is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (iter([1]), "used up"),
        (io.StringIO(), "used up"),
        (random.Random(1), "used up"),
        (collections.defaultdict(list), "used up"),
        (threading.Lock(), "live"),
        (sqlite3.connect(":memory:"), "live"),
        ({"a": iter([1])}, "a container of what is used up"),
        (Runner.__new__(Runner), "an object of a class of yours"),
        (np.array([[1], {}], dtype=object), "a table of objects"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_calls_must_not_share_is_told_by_its_kind(value, says):
    assert why_not_kept(value).startswith(says)
    if isinstance(value, sqlite3.Connection):
        value.close()


@pytest.mark.parametrize("value", [1, "a", [1], {"a": [1]}, re.compile("a"), collections.Counter(), range(3), None])
def test_other_values_are_kept(value):
    assert why_not_kept(value) is None


@pytest.mark.parametrize(
    ("made", "taken", "is_shared"),
    [
        ("{'a': 1}", "made['a']", True),
        ("{'a': [1]}", "made['a']", False),
        ("{'a': [1]}", "made['a'][0]", True),
        ("{'a': [1]}", "made.get('a')", False),
        ("{'a': (1, 'b')}", "made['a']", True),
        ("{'a': ([1],)}", "made['a']", False),
        ("[[1], [2]]", "[row for row in made]", False),
        ("[[1], [2]]", "len(made[0])", True),
        ("{'a': [1]}", "dict(made)", False),
        ("{'a': 1}", "dict(made)", True),
        ("[[1], [2]]", "sum(made[0])", True),
        ("[1, 2]", "made[x]", True),
    ],
)
def test_items_that_calls_give_out_are_shared_only_if_nobody_can_change_them(made, taken, is_shared):
    """What a caller does to a result must not be seen by others, on executors where both are in one process."""
    names = cell_of(f"def app(x):\n    made = {made}\n    return {taken}\n")
    found = split_by_itself(names["app"])
    assert (LeadingWork(found.context, found.terms)() is not None) is is_shared
    app = context_app(discover=True)(names["app"])
    assert app.func(0) == names["app"](0)


def test_parts_that_functions_store_are_shared_only_if_nobody_can_change_them():
    for rows, is_shared in (("[[1], [2]]", False), ("[1, 2]", True)):
        names = cell_of(
            "from tests.unit.discover.automatic_samples import keeping_a_part\n"
            f"def app(x):\n    rows = {rows}\n    return keeping_a_part(rows, x), len(rows)\n"
        )
        found = split_by_itself(names["app"])
        assert (LeadingWork(found.context, found.terms)() is not None) is is_shared


GRADIENTS = """
import torch

def app(x):
    design = MAKE(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    weights = torch.ones(2, requires_grad=True)
    loss = ((design @ weights - x) ** 2).mean()
    loss.backward()
    return weights.grad.tolist(), design.grad is None or float(design.grad.sum())
"""


@pytest.mark.library("torch")
@pytest.mark.parametrize(("make", "learns"), [("torch.square", False), ("torch.nn.Parameter", True)])
def test_gradients_of_what_is_computed_leave_tensors_as_they_are_that_have_none(make, learns):
    names = cell_of(GRADIENTS.replace("MAKE", make))
    found = split_by_itself(names["app"])
    assert found.names == ("design",)
    assert (LeadingWork(found.context, found.terms)() is None) is learns
    app = context_app(discover=True)(names["app"])
    assert [app.func(x) for x in (1.0, 2.0, 1.0)] == [names["app"](x) for x in (1.0, 2.0, 1.0)]


DROPS = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.layer(x))

def app(x):
    net = Net()
    net.load_state_dict({"layer.weight": torch.eye(2), "layer.bias": torch.ones(2)})
    MORE
    return net(torch.ones(2) * x).tolist()
"""


@pytest.mark.library("torch")
@pytest.mark.parametrize(
    ("more", "is_shared"), [("net.eval()", True), ("net.train()", False), ("y = net(torch.ones(2)); net.eval()", False)]
)
def test_networks_that_drop_values_are_shared_if_they_are_told_not_to(more, is_shared):
    names = cell_of(DROPS.replace("MORE", more))
    try:
        found = split_by_itself(names["app"])
    except SplitError:
        assert not is_shared
        return
    if "y = " in more:
        assert "y" not in found.names
    else:
        assert (LeadingWork(found.context, found.terms)() is not None) is is_shared


COMPILED = """
import numba
import numpy as np
from numba import njit

@njit
def best(a, matrix):
    found = 0.0
    for i in range(len(a)):
        found = max(found, a[i] * matrix[i, i])
    return found

@njit
def scales(a, matrix):
    for i in range(len(a)):
        matrix[i, i] *= a[i]
    return matrix[0, 0]

def reading(x):
    matrix = np.eye(3) * 2.0
    return best(np.ones(3) * x, matrix)

def changing(x):
    matrix = np.eye(3) * 2.0
    return scales(np.ones(3) * x, matrix)
"""


@pytest.mark.library("numba")
def test_functions_that_numba_has_compiled_are_looked_into():
    names = cell_of(COMPILED)
    assert split_by_itself(names["reading"]).names == ("matrix",)
    with pytest.raises(SplitError, match="matrix is given to scales"):
        split_by_itself(names["changing"])


def test_a_build_that_fails_leaves_errors_to_python():
    def app(x):
        if x == 0:
            raise KeyError("zero")
        table = [1, 2][7:][0]
        return table + x

    found = context_app(discover=True)(app)
    assert said(found.func, (0,)) == said(app, (0,))
    assert said(found.func, (1,)) == said(app, (1,))


def test_a_file_that_is_named_counts_with_its_content(tmp_path):
    path = tmp_path / "table.json"
    path.write_text("[1]")
    lines = ["from pathlib import Path", f"table = len(Path({str(path)!r}).read_text())", "return table + x"]
    text = "def app(x):\n    " + "\n    ".join(lines) + "\n"
    names = cell_of(text)
    found = context_app(discover=True)(names["app"])
    assert found.func(1) == 4
    path.write_text("[1, 2]")
    assert found.func(1) == 7
    path.unlink()
    assert said(found.func, (1,)) == said(names["app"], (1,))


def cell_of(text):
    file = f"<cell {len(linecache.cache)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    names = {"__name__": __name__}
    exec(compile(text, file, "exec"), names)
    return names


def test_both_a_context_and_one_that_is_found_are_refused():
    with pytest.raises(ValueError, match="discover=True"):
        context_app(context=lambda: 1, discover=True)(said)


def test_requirements_are_those_of_both_halves():
    def app(x):
        import msgspec

        encoder = msgspec.json.Encoder()
        if x is None:
            import psutil

            return psutil.__name__
        return encoder.encode(x)

    found = context_app(discover=True)(app)
    assert found.split.names == ("encoder",)
    assert {"msgspec", "psutil"} <= {line.partition("==")[0] for line in found.requirements()}
