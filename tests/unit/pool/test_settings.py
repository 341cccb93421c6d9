"""A manager understands every launch command that HTEX's worker pool understands."""

import shlex

import pytest
from parsl.executors.high_throughput.mpi_prefix_composer import VALID_LAUNCHERS
from parsl.executors.high_throughput.process_worker_pool import get_arg_parser
from parsl.providers import SlurmProvider

from parsl_context.executor.executor import ContextExecutor
from parsl_context.pool import settings as settings_module
from parsl_context.pool.settings import parse_settings
from tests.unit.builders import GIVEN

REQUIRED = ["-a", "host1,host2", "-P", "54321", "--cert_dir", "None", "--cpu-affinity", "none"]


def launched(tmp_path, **options):
    """Settings that come of the launch command of an executor."""
    defaults = {"address": "10.0.0.1", "encrypted": False, "provider": SlurmProvider("debug")}
    executor = ContextExecutor(**{**defaults, **options})
    executor.run_dir, executor.worker_port, executor.logconf_path = str(tmp_path), 54321, None
    executor.provider.script_dir = str(tmp_path)
    executor.initialize_scaling()
    command = shlex.split(executor.launch_cmd.format(block_id="3"))
    program = command.index("parsl_context.pool")
    assert command[:program][-2:] == ["python3", "-m"]
    return parse_settings(command[program + 1 :], started_at=100.0, given=GIVEN)


def test_a_default_executor_launches_default_managers(tmp_path):
    made = launched(tmp_path)
    assert (made.addresses, made.port, made.block) == (("10.0.0.1",), 54321, "3")
    assert (made.workers, made.prefetch, made.cpu_affinity, made.accelerators) == (8, None, "none", ())
    assert (made.cert_dir, made.log_config_path, made.debug) == (None, None, False)
    assert (made.heartbeat_period_s, made.heartbeat_threshold_s) == (30, 120)
    assert (made.mpi_mode, made.mpi_launcher) == (False, "mpiexec")
    assert made.drain_in_s(0.0) is None
    assert made.log_dir.startswith(f"{tmp_path}/ContextExecutor/block-3/")


def test_what_an_executor_is_given_reaches_its_managers(tmp_path):
    made = launched(
        tmp_path,
        label="gpu",
        worker_debug=True,
        cores_per_worker=0.5,
        mem_per_worker=0.001,
        max_workers_per_node=4,
        prefetch_capacity=7,
        cpu_affinity="list:0,1:2-3:4:5",
        available_accelerators=["a", "b", "c", "d"],
        heartbeat_period=5,
        heartbeat_threshold=60,
        drain_period=300,
        address_probe_timeout=9,
        worker_logdir_root=str(tmp_path / "logs"),
    )
    assert made.debug
    assert (made.workers, made.prefetch, made.accelerators) == (4, 7, ("a", "b", "c", "d"))
    assert made.cpu_affinity == "list:0,1:2-3:4:5"
    assert (made.heartbeat_period_s, made.heartbeat_threshold_s, made.address_probe_timeout_s) == (5, 60, 9)
    assert made.drain_in_s(now=150.0) == 250.0
    assert made.log_dir == f"{tmp_path}/logs/gpu/block-3/{made.uid}"


def test_a_number_of_accelerators_stands_for_their_names(tmp_path):
    assert launched(tmp_path, available_accelerators=2).accelerators == ("0", "1")


def test_a_prefetch_capacity_of_zero_is_not_computed(tmp_path):
    assert launched(tmp_path, prefetch_capacity=0).prefetch == 0


def test_a_launch_command_of_the_user_is_understood(tmp_path):
    command = "process_worker_pool.py -a {addresses} -P {worker_port} --cert_dir={cert_dir} -b {{block_id}} -p 2"
    made = launched(tmp_path, launch_cmd=command + " -c {cores_per_worker} --cpu-affinity BLOCK", cores_per_worker=4)
    assert (made.workers, made.prefetch, made.block, made.cpu_affinity) == (2, 2, "3", "block")


def test_every_option_of_the_stock_pool_exists_here():
    stock = {option for action in get_arg_parser()._actions for option in action.option_strings}
    ours = {option for action in settings_module._parser()._actions for option in action.option_strings}
    assert stock <= ours


VALUES = {
    "--debug": [], "--addresses": ["a,b"], "--cert_dir": ["/certs"], "--logdir": ["logs"], "--logconf": ["None"],
    "--uid": ["m1"], "--block_id": ["7"], "--cores_per_worker": ["2"], "--mem_per_worker": ["None"], "--port": ["1"],
    "--max_workers_per_node": ["inf"], "--prefetch_capacity": ["3"], "--hb_period": ["1"], "--hb_threshold": ["2"],
    "--drain_period": ["None"], "--address_probe_timeout": ["4"], "--poll": ["10"], "--cpu-affinity": ["alternating"],
    "--available-accelerators": ["x", "y"], "--enable_mpi_mode": [], "--mpi-launcher": ["srun"],
}  # fmt: skip


@pytest.mark.parametrize("action", get_arg_parser()._actions[1:], ids=lambda action: action.option_strings[-1])
def test_each_option_is_taken_in_all_its_forms(action):
    forms = [[*REQUIRED, "--uid", "m0", option, *VALUES[action.option_strings[-1]]] for option in action.option_strings]
    for form in forms:
        get_arg_parser().parse_args(form)  # or Parsl would not write it so
    first, *others = [parse_settings(form, started_at=0.0, given=GIVEN) for form in forms]
    assert all(other == first for other in others)


@pytest.mark.parametrize("launcher", VALID_LAUNCHERS)
def test_mpi_mode_knows_the_launchers_of_parsl(launcher):
    made = parse_settings([*REQUIRED, "--enable_mpi_mode", "--mpi-launcher", launcher], started_at=0.0, given=GIVEN)
    assert (made.mpi_mode, made.mpi_launcher) == (True, launcher)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--cpu-affinity", "diagonal"],
        ["--cpu-affinity", "list:a"],
        ["--cpu-affinity", "list"],
        ["-P", "port"],
        ["-c", "many"],
        ["--mpi-launcher", "telnet"],
        ["--unknown"],
    ],
)
def test_what_cannot_be_understood_ends_the_command_with_a_reason(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_settings([*REQUIRED, *wrong], started_at=0.0, given=GIVEN)
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_managers_without_a_name_get_different_ones():
    made = [parse_settings(REQUIRED, started_at=0.0, given=GIVEN) for _ in range(2)]
    assert made[0].addresses == ("host1", "host2")
    assert len(made[0].uid) == 12
    assert made[0].log_dir == f"process_worker_pool_logs/block-0/{made[0].uid}"


@pytest.mark.parametrize("given", [None, "$SLURM_TMPDIR/store", ["/dev/shm/$USER", "~/a b", "/x{y}'z"]])
def test_folders_of_the_store_reach_managers_as_they_were_written(tmp_path, given):
    """No shell on the way, and no formatting, expands what is for the node."""
    made = launched(tmp_path, node_store=given)
    assert made.node_store == (() if given is None else (given,) if isinstance(given, str) else tuple(given))
