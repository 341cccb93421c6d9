"""Contexts name files and folders as their data, and are others when these have changed."""

import os
from pathlib import Path

import pytest

from parsl_context import context, context_app, local_path
from parsl_context.apps.needs import needs_of
from parsl_context.content.serialization import unpack_value
from parsl_context.errors import ConfigurationError


def model(name="a"):
    return Path(local_path("w.pt")).read_bytes()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").write_bytes(b"weights")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a").write_bytes(b"1")
    return tmp_path


def test_the_state_of_data_counts(here):
    digest = context(data=["w.pt", "set/"])(model)().digest
    assert context(data=("./w.pt", here / "set"))(model)().digest == digest
    assert context(data=["w.pt"])(model)().digest != digest != context(model)().digest
    os.utime("set/a", ns=(1, 1))
    changed = context(data=["w.pt", "set/"])(model)().digest
    assert changed != digest
    Path("set/b").touch()
    assert context(data=["w.pt", "set/"])(model)().digest not in (digest, changed)


def test_where_it_was_written_counts_and_not_where_it_is_used(here, monkeypatch):
    function = context(data="w.pt")(model)
    digest = function().digest
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert function().digest == digest


def test_the_same_context_has_the_same_data_however_often_it_is_asked(here):
    made = context(data=["w.pt"])(model)()
    digest = made.digest
    (here / "w.pt").write_bytes(b"renewed weights")
    assert (made.digest, made.renewed().digest != digest) == (digest, True)
    *_, (data,) = unpack_value([made.packed("memory")[0]])
    assert data.state.stamp.startswith("7 ")


@pytest.mark.parametrize(("reuse", "is_kept"), [("none", False), ("disk", True), ("memory", True), ("node", True)])
def test_data_travels_as_what_is_wanted(here, reuse, is_kept):
    *_, (data,) = unpack_value([context(data=[Path("w.pt")])(model)().packed(reuse)[0]])
    assert (data.given, data.state.path, data.is_kept) == ("w.pt", str(here / "w.pt"), is_kept)


def test_data_that_is_not_there_is_an_error_where_the_context_is_used():
    made = context(data=["gone.pt"])(model)()
    with pytest.raises(ConfigurationError, match=r"data of context model\(\): there is no .*gone.pt here"):
        made.digest  # noqa: B018


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (7, "must be a list of paths"),
        ({"a": 1}, "must be a list of paths"),
        ([7], "must be paths of files and folders, and 7 is none"),
        ([b"a"], "must be paths"),
        ([""], "must be paths"),
        (["https://host/w.pt"], r"is an address. Give it as an argument of the context: File\('https://host/w.pt'\)"),
    ],
)
def test_what_is_no_path_is_refused_where_it_is_written(data, says):
    with pytest.raises(ConfigurationError, match=says):
        context(data=data)(model)


def test_options_may_be_changed_later_and_keep_the_data():
    function = context(context(data=["w.pt"])(model), memory_gb=1)
    assert [each.given for each in function.options.data] == ["w.pt"]


def test_a_block_has_data_too():
    @context_app
    def length(extra):
        with context(data=["w.pt"]):
            content = Path(local_path("w.pt")).read_bytes()
        return len(content) + extra

    assert length.contexts[0].options.data[0].given == "w.pt"


def test_on_other_executors_data_is_where_it_is(here, monkeypatch):
    app = context_app(context=context(data=["w.pt"])(model)())(read)
    monkeypatch.chdir("/")
    assert app.func(1) == (b"weights", 1)


def read(content, i):
    return content, i


def yields():
    yield Path(local_path("set/a")).read_bytes()


def test_a_generator_asks_too(here, monkeypatch):
    app = context_app(context=context(data=["set"])(yields)())(read)
    monkeypatch.chdir("/")
    assert app.func(2) == (b"1", 2)


def test_data_is_among_what_an_app_needs(here):
    app = context_app(context=context(data=["w.pt", "set/"])(model)())(read)
    found = {each.path: each.size_bytes for each in needs_of(app).paths}
    assert found[str(here / "w.pt")] == 7
    assert str(here / "set") in found
