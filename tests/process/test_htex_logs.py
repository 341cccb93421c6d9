"""Where logs are written, and who decides what is in them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from parsl.logconfigs.file import FileLogging
from parsl.logconfigs.json import JSONLogging

from parsl_context import ContextExecutor, WorkerLost
from tests.process.conftest import wait_for
from tests.process.test_htex_scaling import managers_of

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


def say(word: str) -> None:
    import logging

    logging.getLogger("parsl.task").debug("whispered")
    logging.getLogger("parsl.task").info("quietly " + word)
    logging.getLogger("parsl.task").warning("loudly " + word)


def test_logs_of_nodes_go_where_the_user_wants_them(load: Load, run_dir: Path) -> None:
    executor = load(worker_debug=True, worker_logdir_root=str(run_dir / "local"))
    executor.submit(say, {}, "hello").result(timeout=20)
    (row,) = managers_of(executor, 1)
    pool = run_dir / "local" / "contexts" / "block-0" / row["manager"]
    expected = {"manager.log", "worker_0.log", "worker_1.log"}
    wait_for(lambda: expected <= {path.name for path in pool.iterdir()})
    written = "".join(path.read_text() for path in pool.glob("worker_*.log"))
    assert "quietly hello" in written
    assert "whispered" in written, "which worker_debug asks for"
    assert (Path(executor.logdir) / "interchange.log").stat().st_size
    assert not list(Path(executor.logdir).rglob("manager.log"))


def test_a_log_configuration_reaches_every_process(load: Load) -> None:
    executor = load(
        config={"initialize_logging": FileLogging(level=logging.WARNING)},
        max_workers_per_node=1,
    )
    executor.submit(say, {}, "hello").result(timeout=20)
    with pytest.raises(WorkerLost):
        executor.submit(os._exit, {}, 3).result(timeout=20)
    logs = {path.stem: path.read_text() for path in Path(executor.logdir).rglob("*.log")}
    assert {"interchange", "manager", "worker_0"} <= set(logs)
    assert "loudly hello" in logs["worker_0"]
    assert "died" in logs["manager"]
    assert "died" in logs["interchange"]
    for name, text in logs.items():
        assert "[INFO]" not in text, name
        assert "[DEBUG]" not in text, name


def test_logs_may_be_json(make_executor: Load, run_dir: Path) -> None:
    executor = make_executor(max_workers_per_node=1)
    executor.run_dir = executor.provider.script_dir = str(run_dir)
    executor.log_config = JSONLogging()  # what the DataFlowKernel hands on from Config(initialize_logging=...)
    executor.start()
    try:
        executor.scale_out_facade(1)
        executor.submit(say, {}, "hello").result(timeout=20)
        logs = {path.stem: path for path in run_dir.rglob("*.jsonlog")}
        for name in ("interchange", "manager", "worker_0"):
            records = [json.loads(line) for line in logs[name].read_text().splitlines()]
            assert all(record["process"] for record in records), name
            assert records or name == "worker_0", name
        assert "loudly hello" in logs["worker_0"].read_text()
        assert not list(run_dir.rglob("manager.log"))
    finally:
        executor.scale_in_facade(1)
        executor.shutdown()
