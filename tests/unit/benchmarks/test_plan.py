"""The plan of a session interleaves systems and lets warm cases share a process."""

from __future__ import annotations

from benchmarks.cases import CASES
from benchmarks.harness import plan
from benchmarks.systems import SYSTEMS


def order(cases: list[str], systems: list[str], repeat: int | None) -> list[tuple[str, list[str], int]]:
    runs = plan([CASES[name] for name in cases], [SYSTEMS[name] for name in systems], repeat)
    return [(run.entry.name, [case.name for case in run.cases], run.repetition) for run in runs]


def test_systems_take_turns() -> None:
    assert order(["start-1"], ["loky", "ray"], 2) == [
        ("loky", ["start-1"], 0),
        ("ray", ["start-1"], 0),
        ("loky", ["start-1"], 1),
        ("ray", ["start-1"], 1),
    ]


def test_warm_cases_of_one_job_share_a_process_and_cold_ones_do_not() -> None:
    assert order(["noop", "start-1", "latency"], ["loky"], 1) == [
        ("loky", ["noop", "latency"], 0),
        ("loky", ["start-1"], 0),
    ]


def test_systems_that_do_not_take_part_are_left_out() -> None:
    assert order(["latency"], ["mpire-map"], 1) == []


def test_what_a_target_compares_is_repeated_and_the_rest_is_measured_once() -> None:
    runs = order(["start-16"], ["htex-dfk", "loky"], None)
    assert runs.count(("loky", ["start-16"], 0)) == len([run for run in runs if run[0] == "loky"]) == 1
    assert [run for run in runs if run[0] == "htex-dfk"] == [
        ("htex-dfk", ["start-16"], repetition) for repetition in range(CASES["start-16"].repeat)
    ]
