"""Limits are found wherever a kernel, a container or a batch system puts them, in both versions of control groups."""

import pytest

from parsl_context.pool.node_facts import read_facts, read_grant

GB = 2**30

V2 = "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = (
    "35 26 0:31 {top} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "36 26 0:32 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct"
)
UNLIMITED_V1 = "9223372036854771712"

TREES = {
    "Slurm with version 2": (
        {
            "proc/self/mountinfo": V2,
            "proc/self/cgroup": "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0",
            "sys/fs/cgroup/system.slice/memory.max": "max",
            "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/memory.max": str(4 * GB),
            "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/memory.max": "max",
            "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/user/task_0/memory.max": "max",
            "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/cpu.max": "max 100000",
        },
        4 * GB,
        None,
    ),
    "Slurm with version 1": (
        {
            "proc/self/mountinfo": V1.format(top="/"),
            "proc/self/cgroup": "7:memory:/slurm/uid_1000/job_7/step_0\n4:cpu,cpuacct:/slurm\n1:name=systemd:/x\n0::/y",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
            "sys/fs/cgroup/memory/slurm/uid_1000/memory.limit_in_bytes": UNLIMITED_V1,
            "sys/fs/cgroup/memory/slurm/uid_1000/job_7/memory.limit_in_bytes": str(3 * GB),
            "sys/fs/cgroup/memory/slurm/uid_1000/job_7/step_0/memory.limit_in_bytes": str(5 * GB),
            "sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_period_us": "100000",
        },
        3 * GB,
        None,
    ),
    "PBS with version 1": (
        {
            "proc/self/mountinfo": V1.format(top="/"),
            "proc/self/cgroup": "7:memory:/pbs_jobs.service/jobid/12.pbs\n4:cpu,cpuacct:/",
            "sys/fs/cgroup/memory/pbs_jobs.service/jobid/12.pbs/memory.limit_in_bytes": str(2 * GB),
        },
        2 * GB,
        None,
    ),
    "a container with version 2": (
        {
            "proc/self/mountinfo": V2,
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/memory.max": str(6 * GB),
            "sys/fs/cgroup/cpu.max": "150000 100000",
        },
        6 * GB,
        1.5,
    ),
    "a container with version 1": (
        {
            "proc/self/mountinfo": V1.format(top="/docker/abc"),
            "proc/self/cgroup": "7:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(7 * GB),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
        7 * GB,
        4.0,
    ),
    "a process above the part of the tree that is seen": (
        {
            "proc/self/mountinfo": V2,
            "proc/self/cgroup": "0::/../../other",
            "sys/fs/cgroup/memory.max": str(8 * GB),
        },
        8 * GB,
        None,
    ),
    "no control groups": ({"proc/self/cgroup": "0::/"}, None, None),
    "no /proc": ({}, None, None),
}


@pytest.mark.parametrize("kind", TREES)
def test_the_tightest_limit_at_any_level_is_found(tmp_path, kind):
    files, limit, quota = TREES[kind]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    facts = read_facts(tmp_path)
    assert (facts.limit_bytes, facts.quota_cores) == (limit, quota)


def test_this_machine_can_be_read():
    facts, found = read_facts(), read_grant()
    assert 1 <= found.cores <= facts.machine_cores
    assert 0 < found.free_bytes <= found.memory_bytes <= facts.machine_bytes
