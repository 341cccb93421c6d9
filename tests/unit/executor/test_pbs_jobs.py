"""What Parsl's providers for PBS read of their commands' output, and which blocks are over by that."""

import json

import pytest
from parsl.jobs.states import JobState, JobStatus
from parsl.providers import PBSProProvider, TorqueProvider

from parsl_context.executor.blocks import JobsOver

# As Debian's wrappers print it: 1 was deleted, 2 waits, 3 runs.
TABLE = """\
Job id              Name             Username        Time Use S Queue
------------------- ---------------- --------------- -------- - ---------------
1                   parsl.x.block-0. root            00:00:00 C main
2                   parsl.x.block-0. root            00:00:00 Q main
3                   parsl.x.block-0. root            00:00:00 R main
"""


def answers(provider, output):
    """A provider whose commands print this, with three jobs."""
    provider.execute_wait = lambda command, timeout=None: (0, output, "")
    for job in "123":
        paths = {"job_stdout_path": None, "job_stderr_path": None}
        provider.resources[job] = {"job_id": job, "status": JobStatus(JobState.PENDING), **paths}
    return provider


def over(provider):
    """Blocks, called by the ids of their jobs, that are over."""
    return JobsOver().news(dict(zip("123", provider.status(list("123")), strict=True)))


def as_json(states):
    """As `qstat -x -f -F json` of PBS Pro prints it."""
    jobs = {f"{job}.pbs": {"Job_Name": "x", "job_state": state} for job, state in states.items()}
    return json.dumps({"timestamp": 0, "pbs_version": "23.06.06", "Jobs": jobs})


def test_torque_tells_which_jobs_are_over():
    assert over(answers(TorqueProvider(), TABLE)) == {"1": "COMPLETED"}


def test_torque_forgets_jobs_that_are_over():
    without_the_first = "\n".join(line for line in TABLE.splitlines() if not line.startswith("1 "))
    assert over(answers(TorqueProvider(), without_the_first)) == {"1": "COMPLETED"}


@pytest.mark.parametrize(
    ("state", "is_over"), [("F", True), ("E", True), ("R", False), ("Q", False), ("H", False), ("S", False)]
)
def test_pbs_pro_tells_which_jobs_are_over(state, is_over):
    """A job that is suspended is not."""
    provider = answers(PBSProProvider(), as_json({1: state, 2: "R", 3: "Q"}))
    provider.resources = {f"{job}.pbs": known for job, known in provider.resources.items()}
    states = dict(zip("123", provider.status([f"{job}.pbs" for job in "123"]), strict=True))
    assert set(JobsOver().news(states)) == ({"1"} if is_over else set())
