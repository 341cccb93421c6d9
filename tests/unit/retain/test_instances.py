"""Instances are built once, found by digest, and cleaned up in the right order, whatever goes wrong."""

import logging

import pytest

from parsl_context.errors import ConfigurationError
from parsl_context.retain.instances import Instances, Upkeep, build
from tests.unit.builders import recording


def keep(instances, log, name, *requires):
    instances.add(name, build(name, recording(log, name, f"value of {name}"), requires))


def test_a_context_function_can_return_or_yield():
    assert build("returns", lambda: 3).value == 3
    assert build("yields", recording([], "x", 4)).value == 4


def test_what_a_build_took_is_measured():
    made = build("large", lambda: bytearray(b"x" * 50_000_000), ("required",))
    assert made.load_s > 0
    assert made.size_bytes > 30_000_000
    assert (made.name, made.requires) == ("large", ("required",))


def test_a_context_function_that_yields_nothing_is_an_error_that_names_it():
    def function():
        return
        yield

    with pytest.raises(ConfigurationError, match=r"Context function nothing\(\) ended without yielding"):
        build("nothing()", function)


@pytest.mark.parametrize("error", [ValueError("no such file"), StopIteration("odd")])
def test_what_a_context_function_raises_is_raised(error):
    def function():
        raise error

    with pytest.raises(type(error), match=str(error)):
        build("broken", function)


def test_an_instance_is_found_by_its_digest():
    log, instances = [], Instances()
    keep(instances, log, "a")
    keep(instances, log, "b")
    assert instances["a"] == "value of a"
    assert "a" in instances
    assert "c" not in instances
    assert (len(instances), list(instances)) == (2, ["a", "b"])


def test_the_last_used_comes_last():
    log, instances = [], Instances()
    for name in "abc":
        keep(instances, log, name)
    instances.touch("a")
    assert list(instances) == ["b", "c", "a"]


def test_an_instance_ends_after_those_that_require_it():
    log, instances = [], Instances()
    keep(instances, log, "base")
    keep(instances, log, "left", "base")
    keep(instances, log, "other")
    keep(instances, log, "top", "left", "base")
    dropped = instances.drop("base")
    assert dropped == ["top", "left", "base"]
    assert log[4:] == ["clean top", "clean left", "clean base"]
    assert list(instances) == ["other"]


def test_all_end_the_latest_first():
    log, instances = [], Instances()
    for name in "abc":
        keep(instances, log, name)
    instances.close()
    assert log[3:] == ["clean c", "clean b", "clean a"]
    assert len(instances) == 0


def test_those_that_are_required_end_last_whatever_was_used_last():
    log, instances = [], Instances()
    keep(instances, log, "base")
    keep(instances, log, "top", "base")
    instances.touch("base")
    instances.close()
    assert log[2:] == ["clean top", "clean base"]


def test_dropping_what_is_not_there_is_nothing():
    assert Instances().drop("a") == []


def test_an_instance_can_be_found_while_it_is_cleaned_up():
    instances, seen = Instances(), []

    def function():
        yield 1
        seen.append("a" in instances)

    instances.add("a", build("a", function))
    instances.close()
    assert seen == [True]
    assert "a" not in instances


def test_what_a_clean_up_raises_is_logged_and_does_not_stop_the_others(caplog):
    def function():
        yield 1
        raise OSError("connection lost")

    log, instances = [], Instances()
    keep(instances, log, "a")
    instances.add("bad", build("bad('x')", function))
    instances.close()
    assert log == ["build a", "clean a"]
    assert "Clean-up of context bad('x') failed" in caplog.text
    assert "connection lost" in caplog.text


def test_a_second_yield_is_reported(caplog):
    def function():
        yield 1
        yield 2

    with caplog.at_level(logging.ERROR):
        build("twice()", function).end()
    assert "Context function twice() yields more than once" in caplog.text


def test_a_clean_up_runs_once():
    log, instances = [], Instances()
    keep(instances, log, "a")
    assert instances.drop("a") == ["a"]
    instances.close()
    assert log == ["build a", "clean a"]


def test_leaves_are_those_that_no_other_requires():
    log, instances = [], Instances()
    keep(instances, log, "base")
    keep(instances, log, "top", "base")
    keep(instances, log, "a")
    instances.touch("top")
    assert instances.leaves() == ["a", "top"]


def test_what_a_clean_up_belongs_to_is_told_before_it_runs():
    log, instances = [], Instances()
    instances.on_clean_up = lambda digest: log.append(f"told {digest}")
    keep(instances, log, "a")
    instances.add("returned", build("returned", lambda: 1))
    instances.close()
    assert log[1:] == ["told returned", "told a", "clean a"], "the end of a value that has none may take time too"


def test_what_was_inherited_is_not_cleaned_up_in_any_way():
    log, instances = [], Instances()

    def function():
        try:
            yield []
        finally:
            log.append("clean")

    upkeep = Upkeep(after_fork=lambda value: value.append("renewed"))
    instances.add("a", build("a", function, (), upkeep))
    instances.inherit()
    assert instances["a"] == ["renewed"]
    assert instances.drop("a") == ["a"]
    assert log == []


# --- between calls


def looked_after(instances, name, *requires, **upkeep):
    instances.add(name, build(name, lambda: name, requires, Upkeep(**upkeep)))


def test_ordinary_instances_need_no_attention_between_calls():
    instances = Instances()
    looked_after(instances, "a")
    assert not instances.watched
    assert instances.after_call(["a"]) == []


@pytest.mark.parametrize("upkeep", [{"isolated": True}, {"max_uses": 2}, {"max_age_s": 1.0}], ids=str)
def test_some_need_attention_between_calls(upkeep):
    instances = Instances()
    looked_after(instances, "a", **upkeep)
    assert instances.watched


def test_an_instance_serves_as_many_calls_as_it_may():
    instances = Instances()
    looked_after(instances, "base", max_uses=2)
    looked_after(instances, "top", "base")
    looked_after(instances, "other")
    assert instances.after_call(["other"]) == []
    assert instances.after_call(["top"]) == []
    assert instances.after_call(["top", "other"]) == ["base", "top"], "what requires it goes with it"


def test_an_instance_that_is_too_old_serves_no_further_call(monkeypatch):
    instances = Instances()
    looked_after(instances, "base", max_age_s=10)
    looked_after(instances, "top", "base")
    built_at = instances.get("base").built_at
    monkeypatch.setattr("time.monotonic", lambda: built_at + 9.9)
    assert instances.outdated(["top"]) == []
    monkeypatch.setattr("time.monotonic", lambda: built_at + 10)
    assert instances.outdated(["top"]) == ["base"]
    instances.inherit()
    assert instances.outdated(["top"]) == [], "the age of what came from a template is not the worker's concern"


def test_a_spoilt_call_ends_its_contexts_and_what_they_require_and_no_others():
    instances = Instances()
    for name, *requires in [("base",), ("top", "base"), ("other",)]:
        looked_after(instances, name, *requires)
    instances.mark_dirty()
    assert instances.watched
    assert sorted(instances.after_call(["top"])) == ["base", "top"]
    assert instances.after_call(["other"]) == [], "the next call is not the one that was spoilt"
    assert instances.after_call(["other"], is_dirty=True) == ["other"]


def test_a_call_is_isolated_for_the_sake_of_any_of_its_contexts():
    instances = Instances()
    looked_after(instances, "base", isolated=True)
    looked_after(instances, "top", "base")
    looked_after(instances, "other")
    assert instances.isolated(["other", "top"]) == ["base"]
    assert instances.isolated(["other"]) == []


def test_instances_can_be_detached_without_being_ended():
    log, instances = [], Instances()
    keep(instances, log, "base")
    keep(instances, log, "top", "base")
    keep(instances, log, "other")
    assert [digest for digest, _ in instances.detach("base")] == ["top", "base"]
    assert (list(instances), log[3:]) == (["other"], [])
    assert instances.detach("base") == []
