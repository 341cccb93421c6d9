"""When a manager's job began."""

from __future__ import annotations

import pytest

from parsl_context.pool.job_age import job_age_s

MANAGER = ("python3", 2.0)


def test_what_slurm_says_counts() -> None:
    assert job_age_s({"SLURM_JOB_START_TIME": "1000"}, [MANAGER, ("slurmstepd", 90.0)], 1030.5) == 30.5
    assert job_age_s({"SLURM_JOB_START_TIME": "2000"}, [MANAGER], 1030.5) == 0.0, "clocks differ"


@pytest.mark.parametrize("said", [{}, {"SLURM_JOB_START_TIME": "soon"}])
def test_else_the_oldest_process_of_the_job(said: dict[str, str]) -> None:
    script = [MANAGER, ("bash", 3.0), ("slurm_script", 31.0)]
    assert job_age_s(said, [*script, ("slurmstepd", 32.0), ("init", 1e6)], 0.0) == 31.0
    assert job_age_s(said, [*script, ("pbs_mom", 9e5), ("init", 1e6)], 0.0) == 31.0


def test_outside_a_job_nothing_is_known() -> None:
    assert job_age_s({}, [MANAGER, ("bash", 9e5), ("systemd", 1e6)], 0.0) == 0.0
    assert job_age_s({}, [], 0.0) == 0.0
