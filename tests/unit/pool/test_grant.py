"""What a job was given, by what is said about it."""

import pytest

from parsl_context.pool.grant import Facts, grant

GB = 2**30
MB = 2**20


def given(environment=None, **changes):
    """Of a node with 64 cores and 256 GB, 200 GB of which are free."""
    machine = {
        "machine_cores": 64,
        "bound_cores": 64,
        "quota_cores": None,
        "machine_bytes": 256 * GB,
        "available_bytes": 200 * GB,
        "limit_bytes": None,
    }
    return grant(Facts(**{**machine, **changes}, environment=environment or {}))


def in_slurm(**variables):
    """The environment of what slurmd has started."""
    return {"SLURMD_NODENAME": "n1", **{f"SLURM_{name}": value for name, value in variables.items()}}


def test_without_limits_it_is_the_machine():
    found = given()
    assert (found.cores, found.cores_by) == (64, "the machine")
    assert (found.memory_bytes, found.memory_by, found.free_bytes) == (256 * GB, "the machine", 200 * GB)


@pytest.mark.parametrize(
    ("changes", "environment", "cores", "by"),
    [
        ({"bound_cores": 8}, {}, 8, "affinity"),
        ({"quota_cores": 2.5}, {}, 2, "processor time of the control group"),
        ({"quota_cores": 0.5}, {}, 1, "processor time of the control group"),
        ({}, in_slurm(CPUS_ON_NODE="4"), 4, "SLURM_CPUS_ON_NODE"),
        ({"bound_cores": 2}, in_slurm(CPUS_ON_NODE="4"), 2, "affinity"),
        ({"bound_cores": 4}, in_slurm(CPUS_ON_NODE="4"), 4, "affinity"),
        ({}, {"PBS_JOBID": "7.pbs", "NCPUS": "16"}, 16, "NCPUS"),
        ({}, {"PBS_JOBID": "7.pbs", "PBS_NUM_PPN": "1"}, 64, "the machine"),
        ({}, {"NCPUS": "16"}, 64, "the machine"),
        ({}, {"PBS_JOBID": "7.pbs", "NCPUS": "1"}, 64, "the machine"),
        ({}, {"SLURM_CPUS_ON_NODE": "4"}, 64, "the machine"),
        ({}, in_slurm(CPUS_ON_NODE="many"), 64, "the machine"),
        ({"bound_cores": 1}, in_slurm(CPUS_ON_NODE="4") | {"PARSL_CORES": "32"}, 32, "PARSL_CORES"),
    ],
)
def test_of_all_that_limits_cores_the_least_counts_unless_the_provider_says(changes, environment, cores, by):
    found = given(environment, **changes)
    assert (found.cores, found.cores_by) == (cores, by)


@pytest.mark.parametrize(
    ("changes", "environment", "memory", "by"),
    [
        ({"limit_bytes": 8 * GB}, {}, 8 * GB, "control group"),
        ({"limit_bytes": 512 * GB}, {}, 256 * GB, "the machine"),
        ({}, in_slurm(MEM_PER_NODE="2000"), 2000 * MB, "SLURM_MEM_PER_NODE"),
        ({"limit_bytes": GB}, in_slurm(MEM_PER_NODE="2000"), GB, "control group"),
        ({}, in_slurm(MEM_PER_NODE="0"), 256 * GB, "the machine"),
        (
            {},
            in_slurm(MEM_PER_CPU="500", CPUS_ON_NODE="4"),
            2000 * MB,
            "SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE",
        ),
        (
            {},
            in_slurm(MEM_PER_GPU="9000", GPUS_ON_NODE="2"),
            18000 * MB,
            "SLURM_MEM_PER_GPU x SLURM_GPUS_ON_NODE",
        ),
        ({}, {"SLURM_MEM_PER_NODE": "2000"}, 256 * GB, "the machine"),
        ({}, {"PARSL_MEMORY_GB": "9.5"}, int(9.5 * GB), "PARSL_MEMORY_GB"),
        ({}, {"PARSL_MEMORY_GB": "900"}, 256 * GB, "the machine"),
    ],
)
def test_of_all_that_limits_memory_the_least_counts(changes, environment, memory, by):
    found = given(environment, **changes)
    assert (found.memory_bytes, found.memory_by) == (memory, by)
    assert found.free_bytes == min(memory, 200 * GB)


def test_a_job_that_was_submitted_within_another_is_not_held_to_what_that_one_had():
    """Slurm passes the variables of the outer job on: here it had 500 MB, this one has 4,000."""
    found = given(in_slurm(MEM_PER_NODE="500", MEM_PER_CPU="1000", CPUS_ON_NODE="4"))
    assert (found.memory_bytes, found.memory_by) == (4000 * MB, "SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE")
