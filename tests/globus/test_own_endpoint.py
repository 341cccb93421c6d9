"""An endpoint whose engine is ours: calls go where their contexts are warm."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inference
import parsl
import pytest
from parsl.config import Config

from parsl_context.globus import GlobusContextExecutor
from parsl_context.testing.globus import Broker, LocalEndpoint, LocalService
from tests.globus.conftest import as_text, wait_for

WITHIN_S = 120
TWO_WORKERS = """\
display_name: ours
heartbeat_period: 5
engine:
  type: ContextEngine
  address: 127.0.0.1
  max_workers_per_node: 2
  cores_per_worker: 0.1
  provider:
    type: LocalProvider
    init_blocks: 1
    min_blocks: 1
    max_blocks: 1
"""


@pytest.fixture(scope="module")
def ours(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """The service of an endpoint with our engine and two of our workers."""
    folder = tmp_path_factory.mktemp("endpoint") / "ours"
    command = ("python", "-m", "parsl_context.globus.endpoint")
    with LocalService(broker.url) as service, LocalEndpoint(service, folder, Path(sys.prefix), TWO_WORKERS, command):
        yield service


def test_calls_go_where_their_context_is_warm(ours: LocalService, marks: Any, tmp_path: Path) -> None:
    apps = inference.apps_in(marks.folder)
    executor = GlobusContextExecutor(ours.executor())
    with parsl.load(Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), initialize_logging=False)):
        answers = [apps["plain"](x).result(WITHIN_S) for x in range(6)]
        sized = [apps["sized"](1, size=size).result(WITHIN_S) for size in (3, 4, 3, 4, 3, 4)]
        with pytest.raises(inference.OddInput):
            apps["predict"](-1).result(WITHIN_S)
    assert [value for value, _ in answers] == [10 * x for x in range(6)]
    assert sized == [3, 4, 3, 4, 3, 4]
    assert len({pid for _, pid in answers}) == 1, "one at a time, they all go to the worker that is warm"
    assert marks.count("built") <= 1 + 2 + 1, "one for `plain`, one for each size; `predict` may go elsewhere"


def test_it_serves_the_sdk_and_ordinary_functions(ours: LocalService, marks: Any) -> None:
    function = inference.apps_in(marks.folder)["plain"].as_globus_function()
    with as_text(ours) as executor:
        assert [executor.submit(function, x).result(WITHIN_S)[0] for x in (1, 2, 3)] == [10, 20, 30]
        assert executor.submit(inference.double, 4).result(WITHIN_S) == 8
    assert marks.count("built") == 1


def test_a_build_that_fails_says_so_and_is_tried_again(ours: LocalService, marks: Any, tmp_path: Path) -> None:
    patient = inference.apps_in(marks.folder)["patient"]
    executor = GlobusContextExecutor(ours.executor())
    with parsl.load(Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), initialize_logging=False)):
        assert patient().result(WITHIN_S) == 2, "the first attempt was made ahead of the call"


def test_two_contexts_on_two_managers_are_built_once_each(broker: Broker, marks: Any, tmp_path: Path) -> None:
    config = TWO_WORKERS.replace("max_workers_per_node: 2", "max_workers_per_node: 1").replace(
        "_blocks: 1", "_blocks: 2"
    )
    command = ("python", "-m", "parsl_context.globus.endpoint")
    apps = inference.apps_in(marks.folder)
    kinds = [apps[name].as_globus_function() for name in ("plain", "block")]
    with (
        LocalService(broker.url) as service,
        LocalEndpoint(service, tmp_path / "two", Path(sys.prefix), config, command),
        as_text(service) as ordinary,
        service.executor() as executor,
    ):
        pids = set()
        while len(pids) < 2:  # both are there
            pids |= {future.result(WITHIN_S) for future in [ordinary.submit(inference.who, 0.2) for _ in range(4)]}
        busy = executor.submit(apps["slow"].as_globus_function(), 3.0)  # where `plain` is at home, from now on
        wait_for(lambda: marks.count("slow"), WITHIN_S)
        executor.submit(kinds[1], 1).result(WITHIN_S)
        busy.result(WITHIN_S)
        for each in kinds * 4:  # one at a time: both managers are free
            executor.submit(each, 1).result(WITHIN_S)
    assert (marks.count("built"), marks.count("block")) == (1, 1)
