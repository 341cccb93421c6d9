"""What a context function may be and which options it may have; what cannot work is refused where it is written."""

import functools
from collections import OrderedDict

import pytest

from parsl_context.apps.context import as_context
from parsl_context.apps.decorator import context, replace_options
from parsl_context.apps.options import Options
from parsl_context.errors import ConfigurationError
from tests.unit.apps.test_context import model, never, pipeline


@pytest.mark.parametrize("decorate", [context, context(), lambda function: context(function)], ids="abc")
def test_any_callable_can_be_made_a_context_function(decorate):
    assert decorate(len)([1, 2]).build(never) == 2
    assert decorate(functools.partial(max, 3))(4).build(never) == 4
    assert decorate(dict)(a=1).build(never) == {"a": 1}
    assert decorate(OrderedDict.fromkeys)("ab").build(never) == {"a": None, "b": None}


def test_sharing_is_another_way_to_name_a_level():
    assert context(share="node")(never).options.reuse == "node"
    assert context(share="worker", reuse="memory")(never).options.reuse == "memory"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reuse": "always"}, "reuse='always' is no level of reuse; available are 'none', 'disk', 'memory', 'node'"),
        ({"reuse": 3}, "reuse=3"),
        ({"memory_gb": 0}, "memory_gb=0 .*positive"),
        ({"memory_gb": -1.5}, "memory_gb=-1.5"),
        ({"memory_gb": float("nan")}, "memory_gb=nan"),
        ({"memory_gb": "2"}, "memory_gb='2'"),
        ({"isolation": "process"}, "isolation='process'.*\"call\""),
        ({"max_uses": 0}, "max_uses=0 .*whole number from 1"),
        ({"max_uses": 2.0}, "max_uses=2.0"),
        ({"max_uses": True}, "max_uses=True"),
        ({"max_age_s": 0}, "max_age_s=0 .*positive number of seconds"),
        ({"max_age_s": "1h"}, "max_age_s='1h'"),
        ({"pinned": 1}, "pinned=1 .*True or False"),
        ({"environment": 3}, "environment of a context is 3, and must be a path"),
        ({"environment": ""}, "environment of a context is ''"),
        ({"share": "all"}, 'share=\'all\'.*"node" or "worker"'),
        ({"share": "node", "reuse": "none"}, "share='node'"),
        (
            {"shared": "node"},
            "no option shared; it has reuse, after_fork, memory_gb, isolation, .*, check, data, environment, share",
        ),
    ],
)
@pytest.mark.parametrize("apply", [context, functools.partial(context, never), functools.partial(context, model)])
def test_an_option_that_cannot_work_is_refused_by_name(apply, options, says):
    with pytest.raises(ConfigurationError, match=says):
        apply(**options)


def test_options_can_be_replaced_one_by_one():
    function = context(context(reuse="none", memory_gb=3)(never), memory_gb=4)
    assert function.options == Options(reuse="none", memory_gb=4)
    assert replace_options(function, reuse=None).options == Options(memory_gb=4)
    assert function(1).options.memory_gb == 4


async def asynchronous():
    yield 1


@pytest.mark.parametrize(("given", "says"), [(asynchronous, "asynchronous"), ("model", "cannot be called")])
def test_what_cannot_build_a_context_is_refused(given, says):
    with pytest.raises(ConfigurationError, match=says):
        context(given)


def test_what_stands_for_a_context_becomes_one():
    made = model("a")
    assert as_context(made) is made
    assert as_context(pipeline) == pipeline()
    assert as_context(lambda: 3).build(never) == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (model, r"missing a required argument: 'path'.*context=model\(\.\.\.\)"),
        (lambda path: path, r"context=<lambda>\(\.\.\.\)"),
        ("a.pt", "neither a context nor a function"),
        (dict, "neither a context nor a function"),
        (None, "neither"),
    ],
)
def test_what_is_no_context_is_refused(given, says):
    with pytest.raises(ConfigurationError, match=says):
        as_context(given)


def test_sharing_says_anew_what_the_level_was():
    shared = context(reuse="node", memory_gb=2)(lambda: 1)
    changed = context(shared, share="worker")
    assert (changed.options.reuse, changed.options.memory_gb) == ("memory", 2)
    assert context(context(reuse="disk")(lambda: 1), share="node").options.reuse == "node"
    with pytest.raises(ConfigurationError, match="says the same as reuse="):
        context(shared, share="worker", reuse="node")


@pytest.mark.parametrize("seconds", [0, -1, "10"])
def test_a_time_for_builds_that_is_none_is_refused(seconds):
    with pytest.raises(ConfigurationError, match="build_timeout_s"):
        context(build_timeout_s=seconds)


def test_the_time_that_a_build_may_take_does_not_make_another_context():
    assert context(model.function, build_timeout_s=5)("w").digest == context(model.function)("w").digest
