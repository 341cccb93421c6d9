"""A stock endpoint over a real broker: nothing of ours is there, and contexts are kept all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inference
import parsl
import pytest
from globus_compute_sdk import Executor
from globus_compute_sdk.errors import TaskExecutionFailed
from parsl.config import Config

from parsl_context.globus import GlobusContextExecutor
from parsl_context.testing.globus import LocalService
from tests.globus.conftest import as_text

WITHIN_S = 120


@pytest.fixture
def sdk(stock: LocalService) -> Iterator[Executor]:
    with stock.executor() as executor:
        yield executor


@pytest.fixture
def contexts(stock: LocalService, tmp_path: Path) -> Iterator[GlobusContextExecutor]:
    """Parsl on that endpoint."""
    executor = GlobusContextExecutor(stock.executor(), label="globus")
    with parsl.load(Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), initialize_logging=False)):
        yield executor


# --- through the SDK


def test_two_calls_make_one_build(sdk: Executor, marks: Any) -> None:
    function = inference.apps_in(marks.folder)["plain"].as_globus_function()
    first, second = (sdk.submit(function, x).result(WITHIN_S) for x in (2, 3))
    assert (first[0], second[0]) == (20, 30)
    assert first[1] == second[1]
    assert marks.count("built") == 1


def test_apps_with_the_same_context_share_it(sdk: Executor, marks: Any) -> None:
    apps = inference.apps_in(marks.folder)
    sdk.submit(apps["plain"].as_globus_function(), 2).result(WITHIN_S)
    assert len(sdk.submit(apps["large"].as_globus_function(), 1_000_000).result(WITHIN_S)) == 1_000_000
    assert marks.count("built") == 1


def test_nothing_of_ours_is_there(stock: LocalService, sdk: Executor, marks: Any) -> None:
    sdk.submit(inference.apps_in(marks.folder)["plain"].as_globus_function(), 2).result(WITHIN_S)
    with as_text(stock) as executor:
        there = executor.submit(inference.what_is_there).result(WITHIN_S)
    assert not there["has_ours"]
    assert len(there["runtimes"]) == 1, "one runtime, whatever was sent"


def test_a_build_that_failed_is_tried_again(sdk: Executor, marks: Any) -> None:
    function = inference.apps_in(marks.folder)["patient"].as_globus_function()
    with pytest.raises(TaskExecutionFailed, match="OddInput: not yet"):
        sdk.submit(function).result(WITHIN_S)
    assert [sdk.submit(function).result(WITHIN_S) for _ in range(2)] == [2, 2]


def test_an_error_names_its_type_and_the_lines_of_the_user(sdk: Executor, marks: Any) -> None:
    function = inference.apps_in(marks.folder)["predict"].as_globus_function()
    with pytest.raises(TaskExecutionFailed) as raised:
        sdk.submit(function, -1).result(WITHIN_S)
    text = str(raised.value)
    assert "OddInput: -1 is odd" in text
    assert f'File "{inference.__file__}"' in text
    assert 'raise OddInput(f"{x} is odd")' in text


def test_a_function_is_registered_once(stock: LocalService, sdk: Executor, marks: Any) -> None:
    before = stock.requests["POST", "/v3/functions"]
    app = inference.apps_in(marks.folder)["plain"]
    for future in [sdk.submit(app.as_globus_function(), x) for x in range(5)]:
        future.result(WITHIN_S)
    assert stock.requests["POST", "/v3/functions"] == before + 1


# --- through Parsl


def test_parsl_gets_objects_of_the_classes_of_the_script(contexts: GlobusContextExecutor, marks: Any) -> None:
    predict = inference.apps_in(marks.folder)["predict"]
    answers = [future.result(WITHIN_S) for future in [predict(x, bias=1) for x in range(4)]]
    assert answers == [inference.Answer(45 * x * 3 + 1, answers[0].pid) for x in range(4)]
    assert marks.count("built") == 1


def test_parsl_gets_errors_of_the_classes_of_the_script(contexts: GlobusContextExecutor, marks: Any) -> None:
    predict = inference.apps_in(marks.folder)["predict"]
    with pytest.raises(inference.OddInput, match="-1 is odd") as raised:
        predict(-1).result(WITHIN_S)
    assert "raise OddInput" in str(raised.value.__cause__)


def test_maps_keys_and_blocks(contexts: GlobusContextExecutor, marks: Any) -> None:
    apps = inference.apps_in(marks.folder)
    assert list(apps["plain"].map(range(10), chunksize=4))[9][0] == 90
    found = list(apps["predict"].map([1, -1, 2], chunksize=3, return_exceptions=True))
    assert isinstance(found[1], inference.OddInput)
    assert found[2].value == 270
    assert [apps["sized"](2, size=size).result(WITHIN_S) for size in (3, 5, 3)] == [6, 10, 6]
    assert [apps["block"](x).result(WITHIN_S) for x in (1, 2)] == [("mini", 1), ("mini", 2)]
    assert (marks.count("built"), marks.count("block")) == (3, 1)


def test_a_context_that_is_found_is_kept(contexts: GlobusContextExecutor, sdk: Executor, marks: Any) -> None:
    looked_up = inference.apps_in(marks.folder)["looked_up"]
    answers = [looked_up(word).result(WITHIN_S) for word in ("one", "three")]
    answers.append(sdk.submit(looked_up.as_globus_function(), "two").result(WITHIN_S))
    assert [length for length, _ in answers] == [3, 5, 3]
    assert len({where for _, where in answers}) == 1, "one worker, one table"


def test_calls_of_a_map_run_together(contexts: GlobusContextExecutor, sdk: Executor, marks: Any) -> None:
    together = inference.apps_in(marks.folder)["together"]
    assert list(together.map(range(6), chunksize=6)) == [*((10 * x, 4) for x in range(4)), (40, 2), (50, 2)]
    assert together(7).result(WITHIN_S) == (70, 1)
    assert sdk.submit(together.as_globus_function(), 8).result(WITHIN_S) == (80, 1)
    assert marks.count("built") == 1


def test_an_ordinary_app_runs_beside_them(stock: LocalService, tmp_path: Path) -> None:
    executor = GlobusContextExecutor(as_text(stock))
    with parsl.load(Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), initialize_logging=False)):
        assert parsl.python_app(inference.double)(4).result(WITHIN_S) == 8


def test_a_walltime_ends_a_call(contexts: GlobusContextExecutor, marks: Any) -> None:
    from parsl.app.errors import AppTimeout

    with pytest.raises(AppTimeout):
        inference.apps_in(marks.folder)["slow"](5.0, walltime=0.5).result(WITHIN_S)


def test_a_function_that_is_allowed_is_not_registered_again(stock: LocalService, marks: Any, tmp_path: Path) -> None:
    app = inference.apps_in(marks.folder)["plain"]
    function_id = stock.client().register_function(app.as_globus_function())
    before = stock.requests["POST", "/v3/functions"]
    executor = GlobusContextExecutor(stock.executor(), function_ids={app: function_id})
    with parsl.load(Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), initialize_logging=False)):
        assert app(3).result(WITHIN_S)[0] == 30
    assert stock.requests["POST", "/v3/functions"] == before


def test_requirements_are_given_to_the_template(stock: LocalService, tmp_path: Path) -> None:
    app = inference.apps_in(str(tmp_path))["needy"]
    executor = GlobusContextExecutor(stock.executor(user_endpoint_config={"nodes": 1}), requirements="requirements")
    with parsl.load(Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), initialize_logging=False)):
        app(3).exception(WITHIN_S)  # nobody installs it here
    config = stock.submissions[-1]["user_endpoint_config"]
    assert config["nodes"] == 1
    assert config["requirements"] == "\n".join(app.requirements())
    assert "pytest==" in config["requirements"]
