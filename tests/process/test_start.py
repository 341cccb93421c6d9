"""What stands between a user and the first result: imports, and blocks that wait to be asked for."""

import os
import socket
import subprocess
import sys
import time

import parsl
import psutil
import pytest
from parsl.providers import LocalProvider

from parsl_context import ConfigurationError, ContextExecutor
from tests.process.conftest import wait_for

MANAGER = "parsl_context.pool.__main__, parsl_context.pool.manager"


@pytest.mark.parametrize("entry", ["parsl_context.interchange.__main__", MANAGER])
def test_processes_that_somebody_waits_for_import_no_kernel_and_no_database(entry):
    assert imported(entry, "parsl.dataflow.dflow", "sqlalchemy") == []


def test_the_zygote_does_not_wait_for_what_only_a_manager_needs():
    assert imported("parsl_context.pool.__main__", "parsl_context.pool.manager", "parsl_context.scheduling") == []


def imported(entry, *names):
    """Those of these modules that are there when the modules of an entry have been imported."""
    return output_of(f"import sys, {entry}; print(*[name for name in {names} if name in sys.modules])")


def output_of(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_all_of_parsl_is_there_for_the_code_of_users():
    code = (
        f"import {MANAGER}; from parsl_context.parsl_parts import lightly; lightly.settle();"
        "import parsl; from parsl.dataflow.memoization import id_for_memo;"
        "from parsl.providers import LocalProvider; from parsl.executors import HighThroughputExecutor;"
        "print(parsl.python_app.__name__, parsl.File.__name__, parsl.Config.__name__, LocalProvider.__name__)"
    )
    assert output_of(code) == ["python_app", "File", "Config", "LocalProvider"]


def test_no_module_hides_a_public_name():
    code = (
        "import pkgutil, importlib, parsl_context;"
        "names = [module.name for module in pkgutil.walk_packages(parsl_context.__path__, 'parsl_context.')];"
        "names = [name for name in names if not name.endswith('__main__') and 'globus.' not in f'{name}.'];"
        "modules = [importlib.import_module(name) for name in names];"
        "assert len(modules) > 60;"
        "print(*[name for name in parsl_context.__all__ if getattr(parsl_context, name).__name__ != name])"
    )
    assert output_of(code) == []


def where(_):
    import os

    return os.environ["PARSL_WORKER_BLOCK_ID"]


def test_first_blocks_are_launched_at_once_and_counted_once(run_dir):
    provider = LocalProvider(init_blocks=1, min_blocks=0, max_blocks=3)
    executor = ContextExecutor(max_workers_per_node=1, provider=provider, address="127.0.0.1")
    config = parsl.Config([executor], run_dir=str(run_dir), strategy="none", strategy_period=1.0)
    with parsl.load(config):
        assert list(executor.status_facade) == ["0"]
        assert executor.submit(where, {}, None).result() == "0"
        time.sleep(1.5)  # Parsl's scaling asks for the first blocks now
        assert list(executor.status_facade) == ["0"]
        assert executor.scale_out_facade(1) == ["1"]


def test_without_a_kernel_blocks_are_launched_when_asked_for(run_dir):
    executor = ContextExecutor(max_workers_per_node=1, address="127.0.0.1")
    executor.run_dir = executor.provider.script_dir = str(run_dir)
    executor.start()
    try:
        assert executor.status_facade == {}
    finally:
        executor.shutdown()


def test_an_address_that_is_not_of_this_host_is_refused_before_anything_starts(run_dir, make_executor):
    executor = make_executor(address="192.0.2.1")
    executor.run_dir = str(run_dir)
    with pytest.raises(ConfigurationError, match=r"'192.0.2.1' of executor 'contexts' is not one of this host"):
        executor.start()


def test_a_port_that_is_taken_is_refused_before_anything_starts(run_dir, make_executor):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        executor = make_executor(worker_port=port)
        executor.run_dir = str(run_dir)
        with pytest.raises(ConfigurationError, match=f"Port {port}, .* executor 'contexts' .* is in use"):
            executor.start()
    executor.shutdown()  # to no effect; the fixture looks for what is left


def test_nothing_is_left_of_an_executor_whose_interchange_ends_as_it_starts(run_dir, make_executor):
    executor = make_executor(interchange_launch_cmd=["sh", "-c", "sleep 1; exit 3"])
    with pytest.raises(RuntimeError, match="The interchange ended as it started, status 3"):
        parsl.load(parsl.Config(executors=[executor], run_dir=str(run_dir), usage_tracking=0))
    parsl.clear()
    (job,) = executor.blocks_to_job_id.values()  # of a block that was launched meanwhile
    wait_for(lambda: not psutil.pid_exists(int(job)) or psutil.Process(int(job)).status() == psutil.STATUS_ZOMBIE)
    executor.shutdown()


def test_blocks_do_not_wait_for_the_interchange(run_dir, make_executor):
    slow = f"sleep 3; date +%s.%N > {run_dir}/listens; exec {sys.executable} -m parsl_context.interchange"
    executor = make_executor(interchange_launch_cmd=["sh", "-c", slow])
    with parsl.load(parsl.Config(executors=[executor], run_dir=str(run_dir), usage_tracking=0)):
        assert executor.submit(os.getppid, {}).result(timeout=30) != os.getpid()
        assert len(executor.connected_managers()) == 1
    (log,) = run_dir.rglob("manager.log")
    assert float(log.read_text().split()[0]) < float((run_dir / "listens").read_text())
