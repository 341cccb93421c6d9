"""Workers are counted and placed by the rules of HTEX's worker pool."""

import os
from dataclasses import replace

import pytest

from parsl_context.errors import ConfigurationError
from parsl_context.pool.hardware import (
    affinity_environment,
    cores_of_worker,
    count_workers,
)
from tests.unit.builders import GIVEN


@pytest.fixture(autouse=True)
def node(monkeypatch):
    """A node with eight cores that are not numbered from zero."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {9, 8, 10, 11, 12, 13, 14, 15})
    return monkeypatch


def count(**changes):
    unlimited = {"cores_per_worker": 1, "mem_per_worker": None, "max_workers": float("inf"), "accelerators": ()}
    return count_workers(**{**unlimited, "given": GIVEN, **changes})


@pytest.mark.parametrize(
    ("limits", "workers"),
    [
        ({}, 8),
        ({"cores_per_worker": 3}, 2),
        ({"cores_per_worker": 0.5}, 16),
        ({"cores_per_worker": 1e-3, "max_workers": 20}, 20),
        ({"max_workers": 3.0}, 3),
        ({"mem_per_worker": 10}, 6),
        ({"mem_per_worker": 0.5}, 8),
        ({"accelerators": ("0", "1")}, 2),
        ({"accelerators": tuple("0123456789")}, 8),
        ({"max_workers": 5, "mem_per_worker": 20, "cores_per_worker": 2}, 3),
        ({"mem_per_worker": 100}, 0),
    ],
)
def test_as_many_workers_as_every_limit_allows(limits, workers):
    assert count(**limits) == workers
    assert type(count(**limits)) is int


@pytest.mark.parametrize(
    ("free_gb", "memory_gb", "workers"), [(3.96, 4.2, 8), (3.94, 4.2, 7), (3.96, 3.96, 7), (4.0, 4.0, 8)]
)
def test_free_memory_is_rounded_but_not_beyond_what_was_given(free_gb, memory_gb, workers):
    given = replace(GIVEN, free_bytes=int(free_gb * 2**30), memory_bytes=int(memory_gb * 2**30))
    assert count(given=given, mem_per_worker=0.5) == workers


@pytest.mark.parametrize(
    ("policy", "cores"),
    [
        ("none", [None, None, None]),
        ("block", [[8, 9], [10, 11], [12, 13]]),
        ("block-reverse", [[12, 13], [10, 11], [8, 9]]),
        ("alternating", [[8, 11, 14], [9, 12, 15], [10, 13]]),
        ("list:0,1:2-3:4,6-7", [[0, 1], [2, 3], [4, 6, 7]]),
    ],
)
def test_a_policy_gives_each_worker_its_cores(policy, cores):
    assert [cores_of_worker(policy, worker, 3) for worker in range(3)] == cores


@pytest.mark.parametrize(
    ("policy", "workers", "says"),
    [
        ("block", 9, "'block' needs a core per worker: 8 for 9"),
        ("alternating", 9, "'alternating' needs a core per worker"),
        ("list:0:1", 3, "cores for 2 of 3 workers"),
        ("list:0-1-2:1", 2, "0-1-2"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(policy, workers, says):
    with pytest.raises(ConfigurationError, match=says):
        cores_of_worker(policy, 0, workers)


def test_threads_are_bound_to_the_cores_of_their_worker():
    assert affinity_environment([8, 9]) == {
        "OMP_NUM_THREADS": "2",
        "GOMP_CPU_AFFINITY": "8,9",
        "KMP_AFFINITY": "explicit,proclist=[8,9]",
    }
