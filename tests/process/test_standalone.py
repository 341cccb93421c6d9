"""Context apps as self-contained functions, in interpreters that have nothing of ours."""

from __future__ import annotations

import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.process.stock_python import interpreters, make_there, own_python, run_there

pytestmark = pytest.mark.process

SCRIPT = '''
import dataclasses
import enum
import functools
import math
import os

import shapes.round
from parsl_context import context, context_app, context_dirty
from tools import Base, twice

SCALE = 3
state = None


class Kind(enum.Enum):
    GOOD = 1


@dataclasses.dataclass
class Model:
    size: int
    kind: Kind = Kind.GOOD

    def predict(self, x):
        return self.size * x * SCALE


class OddInput(ValueError):
    pass


def doubled(x):
    return twice(x)


class Unit(Base):
    OWN = doubled(1)


@functools.lru_cache
def helper(x, y=(1,)):
    return math.floor(x) + y[0]


def note(log, word):
    with open(log, "a") as file:
        file.write(word + "\\n")


@context
def words(log):
    note(log, "words")
    return ["a", "b"]


@context(max_uses=3)
def load(size, log, vocabulary=None):
    global state
    note(log, "built")
    state = "set"
    yield Model(size)
    note(log, "ended")


@context_app(context=load(10, "log", vocabulary=words("log")))
def predict(model: Model, x, *, bias=2):
    """Predict "it"."""
    if x < 0:
        raise OddInput(f"{x} is odd")
    if x > 100:
        context_dirty()
    return [model.predict(x) + helper(bias) + Unit.VALUE, isinstance(model, Model), model.kind is Kind.GOOD, state]


@context_app
def embed(n, name="mini", *more, scale=1):
    """A block."""
    with context(max_age_s=100):
        note("log", "block " + name)
        table = {"name": name}
        if name is None:
            extra = 1

        def inner(v):
            return v + len(table)

        context.cleanup(note, "log", "block ended")
    return [inner(n) * scale, table["name"], list(more)]


@context_app(context={"area": shapes.round.areas(2)})
def measure(r, *, area):
    return [area(r), predict(1)[0]]


def made_here(offset):
    @context_app(context=words("log"))
    def shifted(words, x):
        return [len(words) + x + offset, (lambda: offset)()]

    return shifted


shifted = made_here(5)


@context_app(context=load.by("size", log="log"))
def sized(model, x, size=4, *, power=1):
    return [(model.size * x) ** power, size]


@context
def failing(log):
    with open(log) as file:
        count = file.read().count("tried")
    note(log, "tried")
    if not count:
        raise OddInput("not yet")
    return count


@context_app(context=failing("log"))
def patient(count):
    return count
'''

TOOLS = """
from parsl_context import context_app


def twice(x):
    return 2 * x


class Base:
    VALUE = twice(1)
"""
FILES = {
    "tools.py": TOOLS,
    "shapes/__init__.py": "",
    "shapes/numbers.txt": "3",
    "shapes/round.py": (
        "import pkgutil\nfrom parsl_context import context, context_app\nfrom . import base\n\n\n@context\n"
        "def areas(power):\n    factor = int(pkgutil.get_data('shapes', 'numbers.txt'))\n"
        "    return lambda r: factor * base.raised(r, power)\n\n\n"
        "@context_app(context=areas(2))\ndef area_of(areas, r):\n    return areas(r)\n"
    ),
    "shapes/base.py": "def raised(r, power):\n    return r ** power\n",
}


def script_in(folder: Path, text: str = SCRIPT) -> Path:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    (folder / "script.py").write_text(text)
    (folder / "there").mkdir()
    return folder / "script.py"


def call(*args: Any, **kwargs: Any) -> Any:
    return [args, kwargs]


def log_of(folder: Path) -> list[str]:
    return (folder / "there" / "log").read_text().split("\n")[:-1]


@pytest.mark.parametrize("how", ["source", "pickle"])
@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_it_runs_on_any_python_and_builds_once(version: str, how: str, tmp_path: Path) -> None:
    if version not in interpreters():
        pytest.skip(f"there is no Python {version} here")
    script = script_in(tmp_path)
    made = make_there(script, "predict", "embed", "measure", "shifted", "shapes.round.area_of")
    calls = [
        ("predict", [call(1), call(2, bias=7)]),
        ("embed", [call(3), call(1, "maxi", 8, scale=2), call(2)]),
        ("measure", [call(2), call(3)]),
        ("shifted", [call(1)]),
        ("area_of", [call(5)]),
    ]
    answers = run_there(interpreters()[version], made, calls, tmp_path / "there", how)
    assert answers == [
        [30 + 3 + 2, True, True, "set"],
        [60 + 8 + 2, True, True, "set"],
        [4, "mini", []],
        [4, "maxi", [8]],
        [3, "mini", []],
        [12, 35],
        [27, 35],
        [8, 5],
        75,
    ]
    log = log_of(tmp_path)
    assert log.count("words") == 1
    assert log.count("block mini") == 1
    assert log.count("ended") == log.count("built") == 2, (
        "three calls are all that one serves; `measure` makes two more"
    )
    assert log.count("block ended") == 2


def test_errors_name_the_lines_of_the_script(tmp_path: Path) -> None:
    script = script_in(tmp_path)
    made = make_there(script, "predict")
    script.unlink()
    answers = run_there(own_python(), made, [("predict", [call(-1)])], tmp_path / "there")
    assert answers[0]["error"] == "OddInput"
    line = SCRIPT.split("\n").index('        raise OddInput(f"{x} is odd")') + 1
    assert f'script.py", line {line}, in predict\n    raise OddInput(f"{{x}} is odd")' in answers[0]["text"]


def test_a_failed_build_is_not_kept(tmp_path: Path) -> None:
    made = make_there(script_in(tmp_path), "patient")
    (tmp_path / "there" / "log").write_text("")
    own = own_python()
    answers = run_there(own, made, [("patient", [call(), call(), call()])], tmp_path / "there")
    assert answers[0]["error"] == "OddInput"
    assert answers[1:] == [1, 1]


def test_each_value_of_a_key_has_a_context_and_spoilt_ones_go(tmp_path: Path) -> None:
    made = make_there(script_in(tmp_path), "sized", "predict")
    own = own_python()
    calls = [("sized", [call(2), call(2, size=5), call(3, 4, power=2)]), ("predict", [call(101), call(1)])]
    answers = run_there(own, made, calls, tmp_path / "there")
    assert answers[:3] == [[8, 4], [10, 5], [144, 4]]
    log = log_of(tmp_path)
    assert log.count("built") == 4
    assert log.index("ended") < len(log) - 1


def test_made_with_another_python_it_is_the_same_there_and_back(tmp_path: Path) -> None:
    """The text goes through whatever Python made it: this one reads it with every other."""
    made = make_there(script_in(tmp_path), "embed")
    newest = interpreters()[max(interpreters(), key=lambda each: int(each[2:]))]
    text = made["sources"]["embed"]
    again = "import sys; names = {}; exec(sys.stdin.read(), names); print(names['embed'](4))"
    (tmp_path / "there" / "log").touch()
    there = subprocess.run(
        [newest, "-I", "-c", again], input=text, capture_output=True, text=True, timeout=50, cwd=tmp_path / "there"
    )
    assert there.stdout == "[5, 'mini', []]\n", there.stderr


def test_an_edited_script_keeps_its_contexts_and_sees_its_new_module(tmp_path: Path) -> None:
    """One worker process gets functions of two versions of a script, in turn."""
    script = script_in(tmp_path)
    old = make_there(script, "predict")
    (tmp_path / "tools.py").write_text(TOOLS.replace("2 * x", "20 * x"))
    new = make_there(script, "predict")
    old["sources"]["new"] = new["sources"]["predict"].replace("def predict(", "def new(", 1)
    calls = [("predict", [call(1)]), ("new", [call(1)]), ("predict", [call(1)])]
    own = own_python()
    answers = run_there(own, old, calls, tmp_path / "there")
    assert [each[0] for each in answers] == [35, 53, 35]
    assert log_of(tmp_path).count("built") == 1


def test_a_forked_child_begins_with_none(tmp_path: Path) -> None:
    made = make_there(script_in(tmp_path), "shifted")
    forking = textwrap.dedent(
        """
        import os, sys
        names = {}
        exec(sys.stdin.read(), names)
        names["shifted"](1)
        child = os.fork()
        names["shifted"](2)
        if child:
            os.waitpid(child, 0)
        else:
            os._exit(0)
        """
    )
    own = own_python()
    subprocess.run(
        [own, "-I", "-c", forking],
        input=made["sources"]["shifted"],
        text=True,
        check=True,
        timeout=50,
        cwd=tmp_path / "there",
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert log_of(tmp_path) == ["words", "words"]


def test_compiled_code_is_refused_by_another_python(tmp_path: Path) -> None:
    others = [version for version, path in interpreters().items() if path != own_python()]
    if not others:
        pytest.skip("there is one Python here")
    made = make_there(script_in(tmp_path), "shifted", codec="bytecode")
    [answer] = run_there(interpreters()[others[0]], made, [("shifted", [call(1)])], tmp_path / "there")
    assert answer["error"] == "RuntimeError"
    assert f"and this worker runs {others[0]}. Send it as source" in answer["text"]
    assert run_there(own_python(), made, [("shifted", [call(1)])], tmp_path / "there") == [[8, 5]]
