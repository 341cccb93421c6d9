"""When an executor whose blocks fail as they start is given up, and what its calls are told."""

import pytest
from parsl.jobs.states import JobState, JobStatus

from parsl_context.errors import BlockStartError
from parsl_context.executor.starts import advice, failed_starts, last_lines, what_was_refused

LETTERS = {"P": JobState.PENDING, "R": JobState.RUNNING, "M": JobState.MISSING, "F": JobState.FAILED}
LETTERS |= {"S": JobState.SCALED_IN, "H": JobState.HELD}


def first_failed(states: str, refused: str = "") -> str | None:
    """Of blocks 0, 1, ... in these states, the one that the executor is given up for."""
    status = {str(block): JobStatus(LETTERS[letter]) for block, letter in enumerate(states)}
    failed = failed_starts(status, refused)
    return None if failed is None else failed.first


@pytest.mark.parametrize(
    ("states", "block"),
    [
        ("", None),
        ("P", None),
        ("R", None),
        ("S", None),
        ("M", "0"),
        ("PPM", "2"),  # those in the queue would fare alike
        ("MR", None),  # the other may have a better node
        ("MRM", "0"),
        ("MHM", "0"),
        ("MMRRR", None),
        ("SMS", "1"),
    ],
)
def test_more_blocks_must_have_died_than_are_on_their_way(states: str, block: str | None) -> None:
    assert first_failed(states) == block


@pytest.mark.parametrize(
    ("states", "refused", "block"), [("F", "0", "0"), ("M", "0", "0"), ("FP", "0", None), ("FR", "0", None)]
)
def test_a_refusal_counts_where_no_block_is_left(states: str, refused: str, block: str | None) -> None:
    """HTEX takes a block that was refused for missing, too."""
    assert first_failed(states, refused) == block


@pytest.mark.parametrize(
    ("said", "advised"),
    [
        (
            "/usr/bin/python3: Error while finding module specification for 'parsl_context.pool' "
            "(ModuleNotFoundError: No module named 'parsl_context')",
            "has no parsl-context",
        ),
        ("ModuleNotFoundError: No module named 'msgspec._core'", "lacks msgspec._core"),
        ("/x/job: line 7: python3: command not found", "find no python3"),
        ("sh: 1: python: not found", "find no python."),
        ("/x/job: line 9: module: command not found", "the command module"),
        ("/x/job: line 4: /no/bin/activate: No such file or directory", "do not see /no/bin/activate"),
        ("slurmstepd: error: Detected 1 oom-kill event(s)", "mem_per_node"),
        ("qsub: Unknown queue MSG=cannot locate queue", "qstat -Q"),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "qos="),
        ("slurmstepd: error: *** JOB 3 ON n1 CANCELLED AT 2026-01-01 DUE TO TIME LIMIT ***", "walltime="),
        ("Segmentation fault", "--submit what nodes are like"),
    ],
)
def test_what_to_do_follows_from_what_was_said(said: str, advised: str) -> None:
    assert advised in advice(said)


def test_the_last_lines_are_told() -> None:
    assert last_lines("\n\n".join(f"{line}  " for line in range(30))).splitlines() == [str(n) for n in range(10, 30)]


def test_of_a_refusal_what_the_scheduler_said_is_told() -> None:
    text = "Failed to start block 0: Cannot launch job j: no job id; recode=1, stdout=, stderr=sbatch: error: no\n"
    assert what_was_refused(text) == "sbatch: error: no"
    assert what_was_refused("Failed to start block 0: [Errno 28] No space left") == (
        "Failed to start block 0: [Errno 28] No space left"
    )


def test_an_error_says_what_where_and_what_to_do() -> None:
    error = BlockStartError(executor="e", block="0", job="17", said="a\nb", log="/run/x.stderr", advice="Do it.")
    assert str(error) == (
        "Job 17 of block 0 of executor 'e' ended, and its workers failed to register. The last that it wrote, in "
        "/run/x.stderr:\n    a\n    b\nDo it."
    )
    silent = BlockStartError(executor="e", block="0", job="17", said="", log=None, advice="Do it.")
    assert str(silent).endswith("failed to register. It wrote nothing. Do it.")
    refused = BlockStartError(executor="e", block="0", job=None, said="no", log=None, advice="Do it.")
    assert str(refused) == "Block 0 of executor 'e' could not be launched. It was said:\n    no\nDo it."
