"""How long a block lives, how it starts, and when its scheduler is asked for it."""

import types

import pytest
from parsl.jobs.states import JobState, JobStatus
from parsl.launchers import MpiExecLauncher, SimpleLauncher, SingleNodeLauncher, SrunLauncher, WrappedLauncher
from parsl.providers import LocalProvider, LSFProvider, SlurmProvider

from parsl_context.errors import ConfigurationError
from parsl_context.executor.blocks import JobsSeen, Settling, check_paths, complete_states, starts_in_shell, walltime_s


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [
        ("01:30:00", 5400.0),
        ("10:00", 600.0),
        ("45", 45.0),
        ("1:00:00:10", 86_410.0),
        ("two hours", None),
        ("1-12:00:00", None),
        ("", None),
        (None, None),
        (3600, None),
    ],
)
def test_the_walltime_of_a_provider_is_read_where_it_tells_it(walltime, seconds):
    assert walltime_s(types.SimpleNamespace(walltime=walltime)) == seconds


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [
        ("30", 1800.0),
        ("10:30", 630.0),
        ("01:30:00", 5400.0),
        ("2-0", 172_800.0),
        ("1-12", 129_600.0),
        ("1-12:30", 131_400.0),
        ("1-12:00:10", 129_610.0),
        ("-12", None),
        ("a-12", None),
        ("1-12:00:00:10", None),
        ("infinite", None),
        ("", None),
    ],
)
def test_slurm_writes_times_in_its_own_way(walltime, seconds):
    assert walltime_s(SlurmProvider(walltime=walltime)) == seconds


def test_lsf_writes_hours_and_minutes():
    walltimes = {text: walltime_s(LSFProvider(walltime=text)) for text in ("30", "01:30")}
    assert walltimes == {"30": 1800.0, "01:30": 5400.0}


def test_a_provider_without_walltime_and_no_provider_tell_nothing():
    assert walltime_s(types.SimpleNamespace()) is None
    assert walltime_s(None) is None


@pytest.mark.parametrize("label", ["my label", "a/b", "a$b", "it's", 'a"b', "a{0}", "a;b", "tab\tbed"])
def test_a_label_that_would_break_the_command_of_a_block_is_refused(label):
    with pytest.raises(ConfigurationError, match="label"):
        check_paths(label, {})


@pytest.mark.parametrize("path", ["/home/my runs", "/home/$USER/x", "/a'b", "/a{b}", "/a\nb", "/a(1)"])
def test_a_path_that_would_break_the_command_of_a_block_is_refused(path):
    with pytest.raises(ConfigurationError, match=r"the run.*run_dir"):
        check_paths("label", {"the run": path})


def test_names_that_a_shell_leaves_alone_are_taken():
    check_paths(
        "blocks-1.a_b@c", {"the run": "/home/grün/50%/a+b,c=d", "the certificates": None, "scripts": "relative"}
    )


def test_the_scheduler_is_asked_some_time_after_a_block_was_launched():
    settling = Settling()
    assert settling.is_over(0.0, 60.0)
    settling.launched(5.0)
    assert [now for now in (5.0, 10.0, 14.9, 15.0) if settling.is_over(now, 60.0)] == [15.0]


def test_blocks_that_are_launched_all_the_time_put_a_question_off_by_one_interval():
    settling = Settling()
    assert settling.is_over(0.0, 60.0)
    asked = []
    for now in range(0, 400, 5):
        settling.launched(float(now))
        if settling.is_over(float(now), 60.0):
            asked.append(now)
    assert asked == [120, 240, 360]


class OwnLauncher(SimpleLauncher):
    """Of a user's: what it does with the command is not known."""


@pytest.mark.parametrize(
    ("launcher", "starts"),
    [
        (SimpleLauncher(), True),
        (SingleNodeLauncher(), True),
        (SrunLauncher(), True),
        (MpiExecLauncher(), True),
        (WrappedLauncher("singularity exec image"), False),
        (OwnLauncher(), False),
        (None, False),
    ],
)
def test_launchers_are_known_in_whose_scripts_the_command_stands_alone(launcher, starts):
    assert starts_in_shell(launcher) is starts


def test_a_provider_of_slurm_knows_all_states_of_jobs() -> None:
    provider = SlurmProvider(partition="main")
    provider._translate_table = {"R": JobState.RUNNING, "PREEMPTED": JobState.FAILED}
    complete_states(provider)
    assert provider._translate_table["PR"] is JobState.TIMEOUT
    assert provider._translate_table["PREEMPTED"] is JobState.FAILED, "what it knows stays"
    complete_states(LocalProvider())


def test_what_a_provider_says_of_blocks_is_told_once() -> None:
    seen = JobsSeen()
    pending = {"0": JobStatus(JobState.PENDING, "Priority"), "1": JobStatus(JobState.RUNNING)}
    assert seen.news(pending) == {"0": ("PENDING", "Priority"), "1": ("RUNNING", "")}
    assert seen.news(pending) == {}
    assert seen.news({**pending, "0": JobStatus(JobState.PENDING, "Resources")}) == {"0": ("PENDING", "Resources")}
