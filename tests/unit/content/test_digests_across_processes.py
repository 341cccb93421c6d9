"""A digest is the same in every process, whatever its hash seed and folder, and wherever the lines stand."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
import collections, dataclasses, enum, functools, pathlib, sys, weakref
from parsl_context.content.digests import digest_content
NAMES = {"alpha", "beta", "gamma", "delta"}
class Model:
    sizes = {"small", "large", "huge"}
    def run(self):
        return NAMES & {"one", "two", "three"}
class Tags(set):
    pass
class Kind(enum.Flag):
    A = 1
    B = 2
class Secret(str):
    def __repr__(self):
        return hex(id(self))
@dataclasses.dataclass
class Settings:
    kinds: frozenset = frozenset("abcdef")
    make: object = Model
    call: object = lambda: 1
@functools.lru_cache
def help(x):
    try: return x
    finally: print(x)
def load(path="x", *, kinds=frozenset("abcdef")):
    import beside
    return Model().run(), sys.path, kinds in {"a", "b", "c"}, help(1), beside.size()
known = weakref.WeakSet([Model, Tags, Kind, Secret])
objects = [Model(), Tags(NAMES), Kind.A | Kind.B, Secret("x"), Settings(), known]
more = [NAMES, {n: {n} for n in NAMES and sorted(NAMES)}, pathlib.Path("a/b"), sys, collections.Counter("abc")]
print(digest_content([load, objects, more, Settings, Kind, {Secret: Model}, {Model, Tags, Kind}]))
"""
LIBRARIES = """
import functools, inspect
import numba, numpy as np, pandas as pd, pydantic, torch
from sklearn.tree import DecisionTreeClassifier
from parsl_context.content.digests import digest_content
class Model(pydantic.BaseModel):
    x: int = pydantic.Field(1, gt=0)
    names: set[str] = {"alpha", "beta", "gamma"}
    _private: int = pydantic.PrivateAttr(3)
    @pydantic.field_validator("x")
    @classmethod
    def check(cls, value):
        return value
@numba.njit
def add(x):
    return x + 1
@numba.vectorize
def double(x):
    return 2 * x
def load():
    return add(1), double(np.ones(1))
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
tree = DecisionTreeClassifier(random_state=0).fit(np.arange(20.0).reshape(10, 2), np.arange(10) % 2)
frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["u", "v"])})
print(digest_content([Model, Model(), load, add, network, torch.eye(3).to_sparse(), tree, frame]))
"""


def digests(folder, *programs):
    """Of each program, with a module beside it if one is given, in a process and a folder of its own."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = [pool.submit(digest, folder / str(seed), *each, seed=seed) for seed, each in enumerate(programs, 1)]
    return [each.result() for each in started]


def digest(folder, program, beside="def size(): return 1\n", *, seed):
    folder.mkdir()
    (folder / "script.py").write_text(program)
    (folder / "beside.py").write_text(beside)
    environment = {"PYTHONHASHSEED": str(seed), "PATH": "", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
    command = [sys.executable, "-W", "ignore", str(folder / "script.py")]
    done = subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def moved(program):
    """The same program further down, with more lines between its statements and a comment on each."""
    return "# a comment\n\n\n" + program.replace("\n", "  # a comment\n\n")


@pytest.mark.process
def test_a_digest_is_the_same_in_every_process(tmp_path):
    first, again, further_down, *others = digests(
        tmp_path,
        (PROGRAM,),
        (PROGRAM,),
        (moved(PROGRAM), "# moved\n\ndef size():\n\n  return 1\n"),
        (PROGRAM, "def size(): return 2\n"),
        (PROGRAM.replace("return x", "return x, x"),),
    )
    assert first == again == further_down
    assert first not in others


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.library("torch", "numba", "pydantic", "pandas", "sklearn")
def test_digests_of_libraries_are_the_same_in_every_process(tmp_path):
    used = LIBRARIES.replace("print(", "inspect.signature(Model), Model(), load(), add(1.0)\nprint(")
    assert len(set(digests(tmp_path, (LIBRARIES,), (LIBRARIES,), (used,)))) == 1
