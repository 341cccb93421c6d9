"""A cluster for all tests, started by the first that wants it, and executors whose blocks are its jobs."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider
from parsl.providers.base import ExecutionProvider

from parsl_context import ContextExecutor
from tests.process.conftest import run_dir
from tests.slurm.cluster import ACCOUNTING_PACKAGES, PACKAGES, Cluster, missing_programs, running

__all__ = ["run_dir"]

BIN = Path(sys.executable).parent
# Jobs end when their managers have: that takes clean-ups, and Slurm a while to notice. [s]
JOBS_END_WITHIN_S = 20.0


class AttentiveProvider(SlurmProvider):
    """Asks every second how jobs are, so that tests are short; Parsl's asks every minute."""

    every_s = 1.0

    @property
    def status_polling_interval(self) -> float:
        return self.every_s


def in_path(environment: str = "") -> str:
    """What a block runs first: our Python is the first that it finds."""
    return f"export PATH={BIN}:$PATH {environment}"


@pytest.fixture(scope="session")
def plain_cluster() -> Iterator[Cluster]:
    if missing := missing_programs():
        pytest.fail(f"{', '.join(missing)} not installed. On Debian: apt-get install {' '.join(PACKAGES)}")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, running(Path(folder)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def accounted_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if missing := missing_programs(accounting=True):
        reason = f"{', '.join(missing)} not installed. On Debian: apt-get install {' '.join(ACCOUNTING_PACKAGES)}"
        pytest.fail(reason) if request.config.getoption("--all-libraries") else pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, running(Path(folder), accounting=True) as cluster:
        yield cluster


@pytest.fixture
def slurm(plain_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Slurm without accounting: `sacct` fails, `squeue` is what Parsl asks."""
    yield from _used(plain_cluster, monkeypatch)


@pytest.fixture
def accounted(accounted_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Slurm with accounting: `sacct`, QOS and ``--clusters`` work."""
    yield from _used(accounted_cluster, monkeypatch)


def _used(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    yield cluster
    with contextlib.suppress(RuntimeError):
        cluster.wait_for(lambda: not cluster.jobs(), "all jobs are over", JOBS_END_WITHIN_S)
    left = cluster.jobs()
    cluster.end_jobs()
    cluster.wait_for(lambda: cluster.idle_nodes() == list(cluster.layout.nodes), "all nodes are idle again", 30)
    assert not left, f"jobs {left} were left in the queue"


@pytest.fixture
def load(slurm: Cluster, run_dir: Path) -> Iterator[Callable[..., ContextExecutor]]:
    yield from _loader(run_dir)


@pytest.fixture
def load_accounted(accounted: Cluster, run_dir: Path) -> Iterator[Callable[..., ContextExecutor]]:
    yield from _loader(run_dir)


def _loader(run_dir: Path) -> Iterator[Callable[..., ContextExecutor]]:
    """Loads Parsl with an executor on the cluster; options of the executor, of its provider or of the Config.

    Another provider may stand for Slurm's.
    """
    loaded = []

    def start(
        *,
        provider: dict[str, Any] | ExecutionProvider | None = None,
        config: dict[str, Any] | None = None,
        every_s: float = 1.0,
        **options: Any,
    ) -> ContextExecutor:
        if not isinstance(provider, ExecutionProvider):
            blocks = {"partition": "main", "launcher": SrunLauncher(), "worker_init": in_path(), "max_blocks": 1}
            provider = AttentiveProvider(**{**blocks, **(provider or {})})
            provider.every_s = every_s
        executor = ContextExecutor(
            **{
                "label": "contexts",
                "address": "127.0.0.1",
                "max_workers_per_node": 2,
                "provider": provider,
                **options,
            }
        )
        run = {"run_dir": str(run_dir), "strategy": "none", "strategy_period": 0.2, "usage_tracking": 0}
        loaded.append(parsl.load(parsl.Config(executors=[executor], **{**run, **(config or {})})))
        return executor

    yield start
    for kernel in loaded:
        if not kernel.cleanup_called:
            kernel.cleanup()
    parsl.clear()
