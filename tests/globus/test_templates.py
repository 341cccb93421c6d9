"""Templates of `configs/globus`, and what becomes of contexts when an endpoint is idle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import globus_compute_endpoint.engines
import inference
import psutil
import pytest
from globus_compute_endpoint.endpoint.config.utils import load_config_yaml
from globus_compute_sdk import Executor

from parsl_context.globus import ContextEngine
from parsl_context.testing.globus import Broker, LocalEndpoint, LocalService
from tests.globus.conftest import environment_of

TEMPLATES = Path(__file__).parents[2] / "configs" / "globus"
WITHIN_S = 90
IDLE = """\
display_name: idle
engine:
  type: GlobusComputeEngine
  address: 127.0.0.1
  max_workers_per_node: 1
  job_status_kwargs: {{max_idletime: 1, strategy_period: 0.5}}
  provider: {{type: LocalProvider, init_blocks: 1, min_blocks: {kept}, max_blocks: 1}}
"""


@pytest.mark.parametrize("name", ["stock", "ours"])
def test_a_template_is_what_endpoints_take(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globus_compute_endpoint.engines, "ContextEngine", ContextEngine, raising=False)
    config = load_config_yaml((TEMPLATES / f"{name}.yaml").read_text())
    assert config.idle_heartbeats_soft == 240
    assert type(config.engine).__name__ == {"stock": "GlobusComputeEngine", "ours": "ContextEngine"}[name]
    assert config.engine.executor.provider.min_blocks == {"stock": 1, "ours": 0}[name]
    assert name == "stock" or config.engine.executor.context_max_idletime == 3600


def call(executor: Executor, function: Any) -> tuple[int, float]:
    start = time.monotonic()
    _, pid = executor.submit(function, 1).result(WITHIN_S)
    return pid, time.monotonic() - start


@pytest.mark.parametrize("kept", [0, 1])
def test_contexts_go_with_an_idle_block(kept: int, broker: Broker, marks: Any, tmp_path: Path) -> None:
    environment = environment_of("GLOBUS_ENDPOINT_ENVIRONMENT", Path(".venv-endpoint"))
    function = inference.apps_in(marks.folder)["plain"].as_globus_function()
    with (
        LocalService(broker.url) as service,
        LocalEndpoint(service, tmp_path / "idle", environment, IDLE.format(kept=kept)),
        service.executor() as executor,
    ):
        pid, _ = call(executor, function)
        _, warm_s = call(executor, function)
        worker = psutil.Process(pid)
        if kept:
            time.sleep(4)  # four times as long as a block may be idle
        else:
            psutil.wait_procs([worker], timeout=30)
        again, cold_s = call(executor, function)
    print(f"min_blocks={kept}: a warm call took {warm_s:.1f} s, one after a pause {cold_s:.1f} s")
    assert (again == pid) is bool(kept)
    assert marks.count("built") == 2 - kept
