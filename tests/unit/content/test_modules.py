"""A worker has what is installed; what lies beside the script travels by value."""

import _thread
import email.mime.text
import json
import sys
import types

import hypothesis
import numpy as np
import parsl
import pytest

import parsl_context.retain.calls
from parsl_context.content import modules
from parsl_context.content.modules import is_installed
from tests.unit.builders import user_module


@pytest.fixture
def fresh_roots():
    """What a process that starts now would find."""
    caches = (modules.is_installed, modules._installed_roots, modules._python_path)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize(
    "module",
    [sys, _thread, json, email.mime.text, hypothesis, np, np.linalg, parsl, parsl_context, parsl_context.retain.calls],
    ids=lambda module: module.__name__,
)
def test_the_standard_library_and_distributions_are_installed(module):
    """Also built-in modules, submodules, extensions, and packages installed for editing."""
    assert is_installed(module.__name__)


@pytest.mark.parametrize("name", [None, "__main__", "a_module_that_nobody_loaded"])
def test_the_script_itself_is_not_installed(name):
    assert not is_installed(name)


def test_a_module_beside_the_script_is_not_installed(tmp_path):
    with user_module(tmp_path, "x = 1") as module:
        assert not is_installed(module.__name__)
        assert not is_installed(f"{module.__name__}.part")


def test_a_package_without_init_beside_the_script_is_not_installed(tmp_path):
    (tmp_path / "user_namespace").mkdir()
    with user_module(tmp_path, "import user_namespace"):
        try:
            assert not is_installed("user_namespace")
        finally:
            sys.modules.pop("user_namespace")


def test_a_folder_that_begins_like_an_installed_one_is_not_installed(tmp_path, monkeypatch, fresh_roots):
    (tmp_path / "libraries_of_mine").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "libraries"))
    with user_module(tmp_path / "libraries_of_mine", "x = 1") as module:
        assert not is_installed(module.__name__)


def test_what_pythonpath_names_is_installed(tmp_path, monkeypatch, fresh_roots):
    """Batch scripts export it to the workers."""
    monkeypatch.setenv("PYTHONPATH", f":{tmp_path}")
    with user_module(tmp_path, "x = 1") as module:
        assert is_installed(module.__name__)


def test_what_lies_below_a_folder_of_pythonpath_is_not_installed(tmp_path, monkeypatch, fresh_roots):
    """A worker does not find it there: the script's own folder is what led to it here."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "examples").mkdir()
    with user_module(tmp_path / "examples", "x = 1") as module:
        assert not is_installed(module.__name__)


def test_sources_that_a_site_folder_names_are_installed(tmp_path, monkeypatch, fresh_roots):
    """`pip install -e` of older days leaves a .pth file."""
    site, source = tmp_path / "site-packages", tmp_path / "source"
    site.mkdir()
    source.mkdir()
    (site / "project.pth").write_text(f"# a comment\nimport os\n/nowhere\n{source}\n")
    monkeypatch.syspath_prepend(str(site))
    with user_module(source, "x = 1") as module:
        assert is_installed(module.__name__)


def test_sources_that_an_editable_finder_names_are_installed(tmp_path, monkeypatch, fresh_roots):
    finder = types.ModuleType("__editable___project_finder")
    finder.MAPPING = {"user_project": str(tmp_path / "user_project")}
    monkeypatch.setitem(sys.modules, finder.__name__, finder)
    (tmp_path / "user_project").mkdir()
    (tmp_path / "user_project" / "__init__.py").touch()
    with user_module(tmp_path, "import user_project"):
        try:
            assert is_installed("user_project")
        finally:
            sys.modules.pop("user_project")


def test_links_are_followed_only_where_the_plain_name_does_not_tell(fresh_roots, monkeypatch):
    """A first call asks for every loaded module, and each link on the way to one is a look at the disk."""
    modules._installed_roots()
    monkeypatch.setattr(modules, "_resolved", lambda path: pytest.fail(f"{path} was followed"))
    assert is_installed(json.__name__)
    assert is_installed(parsl.__name__)


def test_a_link_in_an_installed_place_is_installed(tmp_path, monkeypatch, fresh_roots):
    """A worker finds it there too."""
    site, source = tmp_path / "site-packages", tmp_path / "source"
    site.mkdir()
    source.mkdir()
    monkeypatch.syspath_prepend(str(site))
    with user_module(source, "x = 1") as module:
        file = source / f"{module.__name__}.py"
        (site / file.name).symlink_to(file)
        monkeypatch.setattr(module, "__file__", str(site / file.name))
        assert is_installed(module.__name__)


def test_the_way_back_out_of_an_installed_place_is_not_installed(tmp_path, monkeypatch, fresh_roots):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "libraries"))
    with user_module(tmp_path, "x = 1") as module:
        monkeypatch.setattr(module, "__file__", str(tmp_path / "libraries" / ".." / f"{module.__name__}.py"))
        assert not is_installed(module.__name__)
