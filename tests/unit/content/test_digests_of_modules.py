"""The user's modules that code uses: by what it reads of them, or by their files where it imports them itself."""

import sys

import pytest

from parsl_context.content.digests import digest_content
from tests.unit.builders import script, user_module

IMPORT = "def load():\n  import first_of_mine\n  return first_of_mine.size()"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that modules are imported from; those are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def digest_of(source, folder, files):
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return digest_content(script(source, "load"))


CHANGES = {
    "what is imported": (IMPORT, {"first_of_mine": "def size(): return {}"}),
    "what is taken": (
        "def load():\n  from first_of_mine import size\n  return size()",
        {"first_of_mine": "def size(): return {}"},
    ),
    "within a nested function": (
        "def load():\n  def f():\n    import first_of_mine\n  return f",
        {"first_of_mine": "x = {}"},
    ),
    "what that imports": (
        IMPORT,
        {"first_of_mine": "from second_of_mine import size", "second_of_mine": "def size(): return {}"},
    ),
    "what that imports within a function": (
        IMPORT,
        {"first_of_mine": "def size():\n  import second_of_mine", "second_of_mine": "x = {}"},
    ),
    "in a method": (
        "class load:\n  def run(self):\n    import first_of_mine",
        {"first_of_mine": "x = {}"},
    ),
    "a package": ("def load(): import package_of_mine", {"package_of_mine/__init__": "x = {}"}),
    "a module of a package": (
        "def load(): import package_of_mine.inner",
        {"package_of_mine/__init__": "", "package_of_mine/inner": "x = {}"},
    ),
    "the package of a module": (
        "def load(): import package_of_mine.inner",
        {"package_of_mine/__init__": "x = {}", "package_of_mine/inner": ""},
    ),
    "a module taken from a package": (
        "def load(): from package_of_mine import inner",
        {"package_of_mine/__init__": "", "package_of_mine/inner": "x = {}"},
    ),
    "a relative import": (
        "def load(): import package_of_mine.inner",
        {
            "package_of_mine/__init__": "",
            "package_of_mine/inner": "from . import other",
            "package_of_mine/other": "x = {}",
        },
    ),
}


@pytest.mark.parametrize(("source", "files"), CHANGES.values(), ids=CHANGES.keys())
def test_a_module_that_code_imports_counts_by_its_file(source, files, folder):
    def digest(number, head=""):
        texts = {name: head + text.format(number) for name, text in files.items()}
        return digest_of(source, folder, texts)

    before = set(sys.modules)
    one = digest(1)
    assert digest(1) == digest(1, head="# moved\n\n") == one
    assert digest(2) != one
    assert set(sys.modules) == before, "a digest must import nothing"


def test_whether_a_module_has_been_imported_already_does_not_count(folder):
    before = digest_of(IMPORT, folder, {"first_of_mine": "calls = []\ndef size(): calls.append(1)"})
    script(IMPORT, "load")()
    assert digest_content(script(IMPORT, "load")) == before


def test_imports_that_lead_in_circles_or_nowhere_have_digests(folder):
    files = {"first_of_mine": "import second_of_mine, not_there_at_all", "second_of_mine": "import first_of_mine"}
    assert digest_of(IMPORT, folder, files) == digest_content(script(IMPORT, "load"))
    assert digest_of(IMPORT, folder, {"first_of_mine": "this is no Python"})


def test_installed_modules_that_code_imports_count_by_their_names():
    source = "def load():\n  import {}\n  return 1"
    assert digest_content(script(source.format("json"), "load")) == digest_content(
        script(source.format("json"), "load")
    )
    assert digest_content(script(source.format("json"), "load")) != digest_content(script(source.format("csv"), "load"))


READS = {
    "its attribute": ("def load(): return helper.size()", {"size"}),
    "two attributes": ("def load(): return helper.size() + helper.other", {"size", "other"}),
    "all of it": ("def load(): return vars(helper)", {"size", "other", "unused"}),
    "an attribute by a text": ("def load(): return getattr(helper, 'size')", {"size", "other", "unused"}),
    "what another function reads": (
        "def read(module): return module.size()\ndef load(): return read(helper)",
        {"size", "other", "unused"},
    ),
    "by an outer function": (
        "def outer(m):\n  def load(): return m.size()\n  return load\nload = outer(helper)",
        {"size"},
    ),
    "within a nested function": ("def load(): return lambda: helper.size()", {"size"}),
    "as an argument": ("import functools\nload = functools.partial(len, helper)", {"size", "other", "unused"}),
    "an attribute of something else": ("def load(x): return helper.other, x.size()", {"other"}),
}


@pytest.mark.parametrize(("source", "read"), READS.values(), ids=READS.keys())
def test_of_a_module_that_code_knows_what_it_reads_counts(source, read, tmp_path):
    with user_module(tmp_path, "other = 1\nunused = 1\ndef size(): return 1", "module_of_mine") as helper:
        load = script(source, "load", helper=helper)
        before = digest_content(load)
        for name in ("size", "other", "unused"):
            kept = getattr(helper, name)
            setattr(helper, name, 2)
            assert (digest_content(load) != before) == (name in read), name
            setattr(helper, name, kept)
        assert digest_content(load) == before
