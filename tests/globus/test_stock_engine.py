"""A stock engine whose blocks run our workers: the endpoint itself has nothing of ours."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inference
import psutil
import pytest
import yaml
from globus_compute_endpoint.engines import GlobusComputeEngine
from globus_compute_sdk import Executor
from globus_compute_sdk.errors import TaskExecutionFailed
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

from parsl_context import ConfigurationError, ContextExecutor
from parsl_context.testing.globus import Broker, LocalEndpoint, LocalService
from tests.globus.conftest import as_text, environment_of, wait_for
from tests.globus.test_templates import rendered

WITHIN_S = 120
PROVIDER = {"type": "LocalProvider", "init_blocks": 1, "min_blocks": 1, "max_blocks": 1}


def launch_command() -> str:
    """As in the template, which sites copy."""
    return str(yaml.safe_load(rendered("launch_cmd"))["engine"]["launch_cmd"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the endpoint and its workers write."""
    return tmp_path_factory.mktemp("endpoint") / "launched"


@pytest.fixture(scope="module")
def service(broker: Broker, folder: Path) -> Iterator[LocalService]:
    """The service of a stock endpoint with two of our workers, which are in an environment of their own."""
    environment = environment_of("GLOBUS_ENDPOINT_ENVIRONMENT", Path(".venv-endpoint"))
    engine = {
        "type": "GlobusComputeEngine",
        "address": "127.0.0.1",
        "max_workers_per_node": 2,
        "cores_per_worker": 0.1,
        "launch_cmd": launch_command().replace("python", sys.executable, 1),
        "provider": PROVIDER,
    }
    config = yaml.safe_dump({"display_name": "ours below", "heartbeat_period": 5, "engine": engine})
    with LocalService(broker.url) as service:
        with LocalEndpoint(service, folder, environment, config):
            yield service
        wait_for(lambda: not processes_in(folder))


def processes_in(folder: Path) -> list[psutil.Process]:
    """Processes whose command names a folder."""
    return [each for each in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(each.info["cmdline"] or ())]


@pytest.fixture
def sdk(service: LocalService) -> Iterator[Executor]:
    with service.executor() as executor:
        yield executor


def test_the_launch_command_takes_what_parsls_does() -> None:
    ours = " ".join(launch_command().split())
    own = "python -m parsl_context.globus.pool"
    assert ours.startswith(own)
    assert ours.replace(f"{own} --option context_max_idletime=3600", "process_worker_pool.py") == " ".join(
        DEFAULT_LAUNCH_CMD.split()
    )


def test_calls_go_to_the_worker_that_is_warm(sdk: Executor, marks: Any) -> None:
    apps = inference.apps_in(marks.folder)
    plain, block = apps["plain"].as_globus_function(), apps["block"].as_globus_function()
    answers = [sdk.submit(plain, x).result(WITHIN_S) for x in range(4)]
    assert [value for value, _ in answers] == [0, 10, 20, 30]
    assert [sdk.submit(block, x).result(WITHIN_S)[1] for x in range(4)] == [0, 1, 2, 3]
    assert len({pid for _, pid in answers}) == 1
    assert (marks.count("built"), marks.count("block")) == (1, 1), "two workers, and each context is in one of them"
    assert psutil.Process(answers[0][1]).exe() == os.path.realpath(sys.executable)


def test_it_runs_ordinary_functions_and_says_what_they_raise(service: LocalService) -> None:
    with as_text(service) as executor:
        assert executor.submit(inference.double, 4).result(WITHIN_S) == 8
        with pytest.raises(TaskExecutionFailed, match="TypeError"):
            executor.submit(inference.double, None).result(WITHIN_S)


def test_a_worker_that_is_killed_fails_its_call_alone(sdk: Executor, service: LocalService, marks: Any) -> None:
    slow = inference.apps_in(marks.folder)["slow"].as_globus_function()
    plain = inference.apps_in(marks.folder)["plain"].as_globus_function()
    _, pid = sdk.submit(plain, 1).result(WITHIN_S)
    lost = sdk.submit(slow, 60)
    wait_for(lambda: marks.count("slow"))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(TaskExecutionFailed, match="WorkerLost"):
        lost.result(WITHIN_S)
    assert sdk.submit(plain, 2).result(WITHIN_S)[0] == 20, "and the next one is built for anew"
    assert marks.count("built") == 2


def test_an_engine_that_would_start_another_interchange_is_refused(tmp_path: Path) -> None:
    engine = GlobusComputeEngine(executor=ContextExecutor(address="127.0.0.1"))
    with pytest.raises(ConfigurationError, match="use ContextEngine"):
        engine.start(endpoint_id=uuid.uuid4(), run_dir=str(tmp_path))


def test_a_manager_that_is_killed_takes_its_workers_along(sdk: Executor, folder: Path, marks: Any) -> None:
    """The last test: an endpoint gives up when the only block that it has had is killed."""
    plain = inference.apps_in(marks.folder)["plain"].as_globus_function()
    _, pid = sdk.submit(plain, 1).result(WITHIN_S)
    worker = psutil.Process(pid)
    pool = [worker, *(each for each in worker.parents() if each.name().startswith("parsl:"))]
    [manager] = [each for each in processes_in(folder) if "parsl_context.globus.pool" in each.cmdline()]
    below = manager.children(recursive=True)
    manager.kill()
    _, left = psutil.wait_procs([*pool, *below], timeout=30)
    assert not left
