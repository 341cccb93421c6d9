"""Why blocks wait in the queue: what Slurm's reasons mean, and how often they are asked for and said."""

import pytest

from parsl_context.executor.slurm_queue import Queued, read_limit, read_queue
from parsl_context.executor.waiting import Outlook, Waits, meaning, told

# As Slurm 22.05 printed it.
LINES = """\
4|PD|PartitionDown
1|PD|PartitionNodeLimit
10|PD|BeginTime
11|PD|ReqNodeNotAvail, UnavailableNodes:n4
12|R|None
"""


@pytest.mark.parametrize(
    ("reason", "outlook", "advises"),
    [
        ("PartitionNodeLimit", Outlook.NEVER, "nodes_per_block"),
        ("PartitionTimeLimit", Outlook.NEVER, "walltime"),
        ("JobHeldUser", Outlook.NEVER, "scontrol release"),
        ("launch failed requeued held", Outlook.NEVER, "scontrol release"),
        ("QOSMaxNodePerJobLimit", Outlook.NEVER, "sacctmgr"),
        ("QOSMaxWallDurationPerJobLimit", Outlook.NEVER, "sacctmgr"),
        ("AssocMaxWallDurationPerJobLimit", Outlook.NEVER, "sacctmgr"),
        ("InvalidAccount", Outlook.NEVER, "account="),
        ("BadConstraints", Outlook.NEVER, "constraint="),
        ("DependencyNeverSatisfied", Outlook.NEVER, "scheduler_options"),
        ("AssocGrpCPUMinutesLimit", Outlook.PERHAPS, "at a limit"),
        ("AssocGrpNodeLimit", Outlook.PERHAPS, "at a limit"),
        ("QOSGrpGRES", Outlook.PERHAPS, "at a limit"),
        ("QOSMaxJobsPerUserLimit", Outlook.PERHAPS, "at a limit"),
        ("QOSMaxGRESPerUser", Outlook.PERHAPS, "at a limit"),
        ("AssocMaxJobsLimit", Outlook.PERHAPS, "at a limit"),
        ("ReqNodeNotAvail, Reserved for maintenance", Outlook.PERHAPS, "scontrol show res"),
        ("PartitionDown", Outlook.PERHAPS, "choose another"),
        ("Priority", Outlook.ITS_TURN, ""),
        ("Resources", Outlook.ITS_TURN, ""),
        ("None", Outlook.ITS_TURN, ""),
        ("BeginTime", Outlook.ITS_TURN, ""),
    ],
)
def test_a_reason_says_whether_a_block_will_come(reason: str, outlook: Outlook, advises: str) -> None:
    assert meaning(reason).outlook is outlook
    assert advises in meaning(reason).advice


def test_a_sentence_names_job_block_reason_and_what_to_do() -> None:
    said = told("17", "0", "PartitionNodeLimit")
    assert said.startswith("Job 17 of block 0 waits (PartitionNodeLimit): as it is, it will never start. ")
    assert told("17", "0", "Priority") == "Job 17 of block 0 waits (Priority): it waits for its turn."


def test_the_lines_of_squeue_are_read() -> None:
    assert read_queue(LINES)["11"] == Queued("PD", "ReqNodeNotAvail, UnavailableNodes:n4")
    assert read_queue(LINES)["12"].state == "R"
    assert read_queue("CLUSTER: emulated\n1|PD|None\n") == {"1": Queued("PD", "None")}


SINFO = "main*|infinite\ndebug|30:00\nlong|7-00:00:00\n"


@pytest.mark.parametrize(
    ("partition", "limit_s"), [("main", None), (None, None), ("debug", 1800.0), ("long", 604_800.0), ("mian", None)]
)
def test_the_time_limit_of_a_partition_is_read(partition: str | None, limit_s: float | None) -> None:
    assert read_limit(SINFO, partition) == limit_s


def test_it_is_asked_at_once_and_then_ever_more_seldom() -> None:
    waits = Waits()
    assert [look for look in range(1, 32) if waits.is_due(True)] == [1, 3, 7, 15, 31]


def test_a_block_that_waits_after_none_did_is_asked_for_at_once() -> None:
    waits = Waits()
    assert [waits.is_due(waiting) for waiting in (True, True, False, True)] == [True, False, False, True]


def test_each_reason_is_said_once() -> None:
    waits = Waits()
    assert waits.heard({"0": "Priority", "1": "Priority"}) == ["0"]
    assert waits.heard({"0": "ReqNodeNotAvail, UnavailableNodes:n4", "1": "Priority"}) == ["0"]
    assert waits.heard({"0": "ReqNodeNotAvail, UnavailableNodes:n3", "1": "Resources"}) == ["1"]
