"""Globus Compute on this machine: the real SDK, a real RabbitMQ, a real endpoint."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from globus_compute_sdk import Executor
from globus_compute_sdk.serialize import ComputeSerializer, PureSourceTextInspect

from parsl_context.testing.globus import Broker, LocalEndpoint, LocalService

PROJECT = Path(__file__).parent / "project"
sys.path.insert(0, str(PROJECT))  # where a user's script lies


def pytest_configure(config: pytest.Config) -> None:
    for kind in ("UserWarning", "DeprecationWarning"):  # of the SDK, in its threads: about versions that differ
        config.addinivalue_line("filterwarnings", f"ignore::{kind}")
    config.addinivalue_line("filterwarnings", "ignore::ResourceWarning")  # its sessions are left to the collector


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(180))  # endpoints take their time to start


def environment_of(name: str, default: Path) -> Path:
    """A virtual environment that `make test-globus` has made."""
    return Path(os.environ.get(name, default))


def as_text(service: LocalService) -> Executor:
    """An executor that sends ordinary functions as text, because the endpoint has not the modules of ours."""
    return service.executor(serializer=ComputeSerializer(strategy_code=PureSourceTextInspect()))


def wait_for(condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
    """Wait until something holds."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"waited for {timeout_s} s"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    with Broker() as made:
        yield made


@pytest.fixture
def service(broker: Broker) -> Iterator[LocalService]:
    with LocalService(broker.url) as made:
        yield made


@pytest.fixture(scope="session")
def stock_service(broker: Broker) -> Iterator[LocalService]:
    with LocalService(broker.url) as made:
        yield made


@pytest.fixture(scope="session")
def stock(stock_service: LocalService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """The service of an endpoint that has nothing of ours, with one worker; all tests share it, as users do."""
    environment = environment_of("GLOBUS_ENDPOINT_ENVIRONMENT", Path(".venv-endpoint"))
    with LocalEndpoint(stock_service, tmp_path_factory.mktemp("endpoint") / "stock", environment):
        yield stock_service


@pytest.fixture
def marks(tmp_path: Path) -> Any:
    """A folder for marks, and how many there are of a kind."""

    class Marks:
        folder = str(tmp_path)

        def count(self, what: str) -> int:
            return len(list(tmp_path.glob(f"{what}-*")))

    return Marks()
