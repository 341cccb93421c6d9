"""A module belongs to the distribution that has its file."""

from importlib import metadata
from importlib.util import find_spec

import pytest

from parsl_context.discover.needs.distributions import installed


def owners(name, *locations):
    return [each.requirement for each in installed().of_module(name, locations)]


def install(folder, name, files=(), origin=None):
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    if origin is not None:
        (info / "direct_url.json").write_text(origin)
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
        (info / "top_level.txt").write_text(file.partition("/")[0].partition(".")[0])


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.library("pandas")
def test_a_module_is_found_by_its_top_level_name():
    assert owners("pandas.core", find_spec("pandas").origin) == [f"pandas=={metadata.version('pandas')}"]


@pytest.mark.library("pandas")
def test_an_extension_with_a_name_of_its_own_is_found_by_its_place():
    path = find_spec("pandas").origin.replace("__init__.py", "_libs/_made_up.so")
    assert owners("_made_up", path) == [f"pandas=={metadata.version('pandas')}"]


def test_what_belongs_to_no_distribution_has_no_owner(tmp_path):
    assert owners("nothing_of_this_name") == []
    assert owners("nothing_of_this_name", str(tmp_path / "nothing_of_this_name.py")) == []


def test_distributions_that_share_a_package_are_told_apart_by_the_file(site):
    install(site, "first", ["shared/one.py"])
    install(site, "second", ["shared/two.py"])
    assert owners("shared.two", str(site / "shared/two.py")) == ["second==1.0"]
    assert owners("shared", str(site / "shared")) == ["first==1.0", "second==1.0"]


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        ('{"url": "https://a.b/c.whl", "archive_info": {}}', "other @ https://a.b/c.whl"),
        ('{"url": "https://a.b/c", "vcs_info": {"vcs": "git", "commit_id": "f00"}}', "other @ git+https://a.b/c@f00"),
        ('{"url": "file:///c", "dir_info": {"editable": true}}', "other @ file:///c"),
        ("no JSON", "other==1.0"),
    ],
)
def test_what_did_not_come_from_an_index_is_named_by_where_it_came_from(site, origin, requirement):
    install(site, "other", ["other.py"], origin)
    assert owners("other", str(site / "other.py")) == [requirement]


def test_what_was_installed_meanwhile_is_found(site):
    assert owners("late") == []
    install(site, "late", ["late.py"])
    assert owners("late") == ["late==1.0"]
