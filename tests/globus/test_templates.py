"""Templates of `configs/globus`, and what becomes of contexts when an endpoint is idle."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path
from typing import Any

import globus_compute_endpoint.engines
import inference
import psutil
import pytest
from globus_compute_endpoint.endpoint.config.config import CoreEndpointConfig
from globus_compute_endpoint.endpoint.config.utils import (
    load_config_yaml,
    load_user_config_schema,
    load_user_config_template,
    render_config_user_template,
)
from globus_compute_endpoint.endpoint.identity_mapper import MappedPosixIdentity
from globus_compute_sdk import Executor
from jsonschema import ValidationError

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


def rendered(name: str, **options: Any) -> str:
    """A template as endpoints make it, for a user that has given options."""
    me = MappedPosixIdentity(pwd.getpwuid(os.getuid()), "6b1a3a9c-0000-0000-0000-000000000000", [])
    path = TEMPLATES / f"{name}.yaml"
    schema = load_user_config_schema(TEMPLATES / "user_config_schema.json")
    text = load_user_config_template(path.with_suffix(".yaml.j2"))  # it looks for one without the last part, too
    return render_config_user_template(CoreEndpointConfig(), text, path, me, schema, options)


@pytest.fixture
def _with_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globus_compute_endpoint.engines, "ContextEngine", ContextEngine, raising=False)


@pytest.mark.usefixtures("_with_ours")
@pytest.mark.parametrize(("name", "kept"), [("stock", 1), ("ours", 0), ("launch_cmd", 1)])
def test_a_template_is_what_endpoints_take(name: str, kept: int) -> None:
    config = load_config_yaml(rendered(name))
    provider = config.engine.executor.provider
    assert config.idle_heartbeats_soft == 240
    assert type(config.engine).__name__ == ("ContextEngine" if name == "ours" else "GlobusComputeEngine")
    assert (provider.min_blocks, provider.max_blocks) == (kept, 4)
    assert (provider.account, provider.walltime) == ("ACCOUNT", "04:00:00")
    assert name != "ours" or config.engine.executor.context_max_idletime == 3600
    assert name != "launch_cmd" or "--block_id={{block_id}}" in config.engine.executor.launch_cmd


@pytest.mark.usefixtures("_with_ours")
@pytest.mark.parametrize("name", ["stock", "ours", "launch_cmd"])
def test_users_choose_what_the_schema_allows(name: str) -> None:
    config = load_config_yaml(rendered(name, account="physics", walltime="01:30:00", min_blocks=0, max_blocks=2))
    provider = config.engine.executor.provider
    assert (provider.account, provider.walltime) == ("physics", "01:30:00")
    assert (provider.min_blocks, provider.max_blocks) == (0, 2)


@pytest.mark.parametrize(
    "options",
    [{"max_blocks": 100}, {"min_blocks": "1"}, {"account": "a\n  worker_init: rm"}, {"worker_init": "rm"}],
    ids=lambda options: next(iter(options)),
)
def test_users_choose_nothing_else(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rendered("ours", **options)


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
