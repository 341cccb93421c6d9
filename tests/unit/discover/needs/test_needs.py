"""What a function needs is found in its code and in what it knows."""

import importlib.machinery
import shutil
import sys
import time
from importlib import metadata

import numpy as np
import pytest
from parsl import bash_app, python_app
from parsl.data_provider.files import File

from parsl_context import context, context_app
from parsl_context.apps.needs import needs_of
from parsl_context.discover import needs
from parsl_context.discover.needs import Where
from tests.unit.far import new_name

NUMPY = f"numpy=={metadata.version('numpy')}"


def names(parts):
    return {part.name for part in parts}


def captured(found):
    return {(each.kind, each.owner, each.name) for each in found.captured}


# --- modules


def test_modules_are_found_at_any_depth(project):
    """Six modules, by relative imports, imports in functions and in classes, stars, and names that are texts."""
    project.write("six/__init__.py", "__all__ = ['starred']")
    project.write("six/relative.py", "class C:\n    from .inner import deep\n    import numpy as np")
    project.write("six/inner/__init__.py")
    project.write("six/inner/deep.py", "def f():\n    from .. import lazy\n    import json")
    project.write("six/lazy.py", "import importlib\ndef g(): return importlib.import_module('six.texted')")
    project.write("six/texted.py", "from six import *")
    project.write("six/starred.py", "def h():\n    return 1\n\ndef i():\n    import gone_from_here")
    project.write("six/unused.py", "import gone_too")
    function = project.load("six_user", "from six import relative\ndef use(): return relative").use
    found = needs_of(function)
    wanted = {"six_user", "six", *(f"six.{name}" for name in ("relative", "inner", "lazy", "texted", "starred"))}
    assert names(found.modules) == {*wanted, "six.inner.deep"}
    assert {module.name: module.file for module in found.modules}["six.lazy"] == str(project.path / "six/lazy.py")
    assert all(module.is_carried for module in found.modules)
    assert found.requirements == [NUMPY]
    (lacking,) = found.lacking
    assert lacking.name == "gone_from_here"
    assert not lacking.is_optional
    assert lacking.wanted_by == Where(str(project.path / "six/starred.py"), 5)


def test_each_module_says_which_line_wants_it(project):
    project.write("lined_b.py", "\n\nimport numpy")
    module = project.load("lined_a", "\ndef f():\n    import lined_b")
    found = needs_of(module.f)
    (lined,) = [each for each in found.modules if each.name == "lined_b"]
    assert lined.wanted_by == Where(str(project.path / "lined_a.py"), 3)
    (numpy,) = found.distributions
    assert numpy.wanted_by == Where(str(project.path / "lined_b.py"), 3)
    assert numpy.imports == ("numpy",)


def test_a_text_that_names_a_loaded_module_of_the_user_wants_it(project):
    """As in `importlib.resources.files("package.data")`; texts that name libraries are just texts."""
    project.write("texts/__init__.py")
    project.load("texts.data", "")
    module = project.load("user_of_texts", "def f(): return read('texts.data'), 'numpy'\ndef g(): 'json'")
    found = needs_of(module.f)
    assert names(found.modules) == {"texts", "texts.data", "user_of_texts"}
    assert found.requirements == []


def test_only_what_code_of_the_user_imports_is_required(project):
    """Not what libraries import, nor the standard library, nor what only type checkers read."""
    source = "from __future__ import annotations\nimport typing, json\nif typing.TYPE_CHECKING:\n import pandas\n"
    module = project.load("checked_types", source + "import hypothesis.strategies\ndef f(x: pandas.Series): pass")
    assert needs.requirements(module.f) == [f"hypothesis=={metadata.version('hypothesis')}"]


@pytest.mark.parametrize(
    ("source", "lacking"),
    [
        ("import gone", {"gone": False}),
        ("import gone.inner", {"gone": False}),
        ("try:\n import gone\nexcept ImportError:\n gone = None", {"gone": True}),
        ("try:\n import json\nexcept ImportError:\n import gone", {}),
        ("try:\n import gone\nexcept ImportError:\n import numpy", {"gone": True}),
        ("try:\n import gone\nexcept ImportError:\n pass\ndef g():\n import gone", {"gone": False}),
        ("import numpy.gone", {}),
        ("from numpy import gone", {}),
        ("def g():\n from halves import gone", {"halves.gone": False}),
        ("def g():\n from halves import there, made", {}),
        ("def g():\n import halves.gone", {"halves.gone": False}),
    ],
)
def test_what_is_not_there_is_lacking(project, source, lacking):
    project.write("halves/__init__.py", "def make():\n global made\n made = 1")
    project.write("halves/there.py")
    name = new_name("lacks")
    project.write(f"{name}.py", source)
    main = project.load(f"user_of_{name}", f"def f():\n import {name}")
    assert {each.name: each.is_optional for each in needs_of(main.f).lacking} == lacking


def test_a_compiled_module_of_the_user_is_lacking(project):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    project.write(f"machine{suffix}", b"")
    module = project.load("uses_machine", "def f():\n import machine")
    found = needs_of(module.f)
    assert names(found.modules) == {"machine", "uses_machine"}
    (lacking,) = found.lacking
    assert lacking.name == "machine"
    assert "compiled" in lacking.reason


def test_a_module_without_a_file_is_lacking(project):
    shutil.make_archive(str(project.path / "zipped"), "zip", project.write("held/held_in_zip.py", "def f(): 1").parent)
    sys.path.insert(0, str(project.path / "zipped.zip"))
    try:
        module = project.load("held_in_zip")
    finally:
        sys.path.pop(0)
    (lacking,) = needs_of(module.f).lacking
    assert lacking.name == "held_in_zip"
    assert "no file of its own" in lacking.reason


def test_an_editable_distribution_is_looked_into_and_named_by_its_folder(project, monkeypatch):
    """Its modules do not travel: workers must find them where they lie here."""
    folder = project.path / "source"
    project.write("source/edited_here/__init__.py", "import numpy")
    info = project.write("site-packages/edited-1.0.dist-info/METADATA", "Name: edited\nVersion: 1.0\n").parent
    (info / "direct_url.json").write_text(f'{{"url": "file://{folder}", "dir_info": {{"editable": true}}}}')
    for path in (folder, project.path / "site-packages"):
        monkeypatch.syspath_prepend(str(path))
    monkeypatch.setattr("parsl_context.content.modules._installed_roots", lambda: (f"{folder}/", "/usr/", sys.prefix))
    module = project.load("uses_edited", "def f():\n import edited_here")
    found = needs_of(module.f)
    assert {each.name: each.is_carried for each in found.modules} == {"edited_here": False, "uses_edited": True}
    assert found.requirements == [f"edited @ file://{folder}", NUMPY]


# --- what a script defines


@pytest.mark.library("pandas")
def test_code_of_a_script_needs_the_modules_that_it_uses(cell):
    """Not what else the script imports."""
    main = cell(
        "import numpy as np, pandas, os.path\nfrom hypothesis import given as g\ndef f(): return np.ones(os, g)"
    )
    assert names(needs_of(main.f).distributions) == {"numpy", "hypothesis"}


@pytest.mark.library("pandas")
def test_functions_and_classes_that_code_knows_count(cell):
    main = cell("""
import numpy, pandas
class Base:
    def method(self): import gone_in_a_method
class Made(Base):
    import json as held
    table = [1]
    @property
    def shown(self): return helper()
def helper(): return numpy
def wrapped(x): return Made
def f(): return wrapped
""")
    found = needs_of(main.f)
    assert names(found.distributions) == {"numpy"}
    assert names(found.lacking) == {"gone_in_a_method"}
    assert captured(found) == {("attribute", "Made", "table")}


def test_annotations_count_because_they_travel(cell):
    main = cell("import numpy\ndef f(x: numpy.ndarray): pass\ndef g(x: 'numpy.ndarray'): pass")
    assert needs.requirements(main.f) == needs.requirements(main.g) == [NUMPY]


def test_captured_values_are_named_with_their_sizes(cell):
    main = cell("""
import numpy as np
TABLE = np.zeros((1000, 1000))
WORDS = ["a" * 10] * 3
def make():
    inner = b"x" * 5000
    def f(x=bytes(300), *, y="kw"): return TABLE, WORDS, inner
    f.note = 1.5
    return f
f = make()
""")
    found = needs_of(main.f)
    sizes = {each.name: (each.kind, each.type, each.size_bytes) for each in found.captured}
    assert sizes["TABLE"] == ("global", "numpy.ndarray", 8_000_000)
    assert sizes["inner"] == ("closure", "bytes", 5000)
    assert sizes["x"] == ("default", "bytes", 300)
    assert sizes["y"] == ("default", "str", 2)
    assert sizes["note"][:2] == ("attribute", "float")
    assert found.captured[0].name == "TABLE"
    assert {each.owner for each in found.captured} == {"make.<locals>.f"}


def test_equal_values_are_named_each(cell):
    main = cell("A = 1\nB = 1\ndef f(x=1): return A + B + g()\ndef g(): return A")
    assert captured(needs_of(main.f)) == {("global", "f", "A"), ("global", "f", "B"), ("default", "f", "x")}


def test_what_python_makes_of_classes_is_no_captured_value(cell):
    main = cell("""
import abc, dataclasses, enum, typing
class Mode(enum.Enum):
    FAST = 1
class Base(abc.ABC):
    __slots__ = ("x",)
    @abc.abstractmethod
    def use(self): pass
@dataclasses.dataclass
class Config:
    depth: int = 3
class Point(typing.NamedTuple):
    x: int = 4
class Shape(typing.Protocol):
    def area(self): ...
def f(): return Mode, Base, Config, Point, Shape
""")
    assert captured(needs_of(main.f)) == {
        ("attribute", "Config", "depth"),
        ("default", "Config.__init__", "depth"),
        ("default", "Point.__new__", "x"),
    }


def test_values_that_can_be_called_are_values(cell):
    """As networks are; functions and apps are code."""
    main = cell("""
import functools, math
from parsl import python_app
class Network:
    def __init__(self): self.weights = bytes(1000)
    def __call__(self): pass
NETWORK = Network()
@functools.cache
def cached(): pass
@python_app
def app(): pass
PART = functools.partial(cached)
def f(): return NETWORK, cached, app, PART, math.sqrt, len
""")
    (network,) = needs_of(main.f).captured
    assert network.name == "NETWORK"
    assert network.size_bytes > 1000


def test_objects_that_have_any_attribute_are_no_wrappers(cell):
    main = cell("""
class Proxy:
    def __getattr__(self, name):
        if name == "nbytes": raise RuntimeError
        return Proxy()
PROXY = Proxy()
def f(): return PROXY
""")
    assert captured(needs_of(main.f)) == {("global", "f", "PROXY")}


def test_values_are_looked_into_as_far_as_is_worth_the_time(cell):
    main = cell("""
import numpy
class Item:
    def use(self): return numpy
ITEMS = [Item() for _ in range(100_000)]
def f(): return ITEMS
""")
    began = time.monotonic()
    found = needs_of(main.f)
    assert time.monotonic() - began < 5
    assert found.requirements == [NUMPY]


def test_a_value_that_cannot_be_pickled_says_why(cell):
    main = cell("LINES = (each for each in [])\ndef f(): return LINES")
    (lines,) = needs_of(main.f).captured
    assert lines.size_bytes is None
    assert lines.problem == "TypeError: cannot pickle 'generator' object"


def test_names_of_modules_that_were_bound_since_travel(project):
    module = project.load("bound_since", "DEBUG = False\ndef f(): return DEBUG")
    assert needs_of(module.f).captured == ()
    module.DEBUG = True
    assert captured(needs_of(module.f)) == {("changed", "bound_since", "DEBUG")}


def test_a_function_that_code_has_made_without_a_file_is_read_as_well():
    """As a cell of a notebook, whose text nobody has kept."""
    space = {"__name__": "nowhere", "np": np, "TABLE": [1]}
    exec("import json\ndef f(x=1):\n    import gone_here\n    return np.sum(TABLE), json, open('a.csv')", space)
    found = needs_of(space["f"])
    assert found.requirements == [NUMPY]
    assert captured(found) == {("global", "f", "TABLE"), ("default", "f", "x")}
    assert [path.path for path in found.paths] == ["a.csv"]
    (lacking,) = found.lacking
    assert lacking.wanted_by == Where("<string>", 3)


# --- apps and contexts


@pytest.mark.library("pandas")
def test_a_context_app_needs_what_its_body_and_its_contexts_need(cell):
    main = cell("""
import numpy as np, pandas as pd, hypothesis
def load(path, table): return np.ones(3)
def hook(instance): return hypothesis
def body(made, x): return pd.Series(made)
""")
    made = context(main.load, after_fork=main.hook)
    app = context_app(context=made(File("file:///etc/passwd"), [1, 2]))(main.body)
    found = needs_of(app)
    assert names(found.distributions) == {"numpy", "pandas", "hypothesis"}
    assert [(path.path, path.kind, path.exists) for path in found.paths] == [("/etc/passwd", "File", True)]
    assert {(each.kind, each.name, each.type) for each in found.captured} == {
        ("argument", "0", "parsl.data_provider.files.File"),
        ("argument", "1", "list"),
    }
    assert needs_of(app.contexts[0]).requirements == needs_of(made).requirements
    assert app.requirements() == needs.requirements(app) == found.requirements == sorted(found.requirements)


@pytest.mark.library("pandas")
def test_a_context_that_another_requires_and_an_app_that_the_body_calls_count(cell):
    main = cell("import numpy, pandas\ndef first(): numpy\ndef second(one): 1\ndef other(c): pandas\ndef f(c): app")
    one = context(main.first)()
    main.app = context_app(context=one)(main.other)
    assert names(needs_of(context_app(context=context(main.second)(one))(main.f)).distributions) == {"numpy", "pandas"}


@pytest.mark.parametrize("decorate", [python_app, bash_app])
def test_an_ordinary_app_needs_what_its_function_needs(cell, decorate):
    main = cell("import numpy\ndef f(x=(1, 2)): return numpy")
    found = needs.needs_of(decorate(main.f))
    assert found.requirements == [NUMPY]
    assert {each.name for each in found.captured} >= {"x"}


# --- paths


def test_paths_in_code_and_in_values_are_found(cell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("12345")
    main = cell("""
from pathlib import Path
from parsl.data_provider.files import File
FOLDER = Path("folder")
FILES = [File("https://example.org/w.pt")]
def f():
    note = "there.csv is a text, as is other/than.this"
    return "there.csv", open("gone.csv"), FOLDER, FILES
""")
    found = {each.path: each for each in needs_of(main.f).paths}
    assert set(found) == {"there.csv", "gone.csv", "folder", "https://example.org/w.pt"}
    assert (found["there.csv"].exists, found["there.csv"].size_bytes) == (True, 5)
    assert (found["gone.csv"].exists, found["gone.csv"].wanted_by.line) == (False, 8)
    assert found["https://example.org/w.pt"].kind == "File"
