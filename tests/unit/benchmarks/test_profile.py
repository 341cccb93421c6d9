"""Samples of stacks, told apart by what they belong to."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks import profile


@pytest.mark.parametrize(
    ("frame", "part"),
    [
        ("Line.append (parsl_context/scheduling/lines.py:169)", "our scheduling.lines"),
        ("EventLoop._turn (/home/me/parsl-context/parsl_context/wire/eventloop.py:120)", "our wire.eventloop"),
        ("emit (/usr/lib/python3.11/logging/__init__.py:1100)", "logging"),
        ("wait (threading.py:320)", "threading"),
        ("launch (/home/me/.venv/lib/python3.11/site-packages/parsl/dataflow/dflow.py:700)", "parsl"),
        ("step (/home/me/benchmarks/profile.py:90)", "benchmarks"),
        ("odd", "other"),
    ],
)
def test_a_frame_belongs_to_a_part(frame: str, part: str) -> None:
    assert profile.part_of(frame) == part


def test_samples_count_for_the_function_that_runs() -> None:
    stacks = ["main (a.py:1);emit (logging/__init__.py:2) 3", "main (a.py:1) 2", "main (a.py:9);f (logging/x.py:2) 1"]
    assert profile.count(stacks) == Counter({"logging": 4, "a": 2})


def test_a_row_shares_the_time_of_a_process_out() -> None:
    one = profile.Profile("ours", "one by one", "client", 100.0, Counter({"logging": 3, "parsl": 1}))
    assert profile.rows([one]) == [["ours", "one by one", "client", "100", "logging 75, parsl 25"]]
