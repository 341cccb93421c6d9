"""Our constructors look like those of Parsl's executors with some arguments more."""

import inspect

from parsl_context.executor.signatures import full_signature, is_given


class Stock:
    def __init__(self, label="Stock", port=0, prefetch_capacity=0, command=None):
        pass


class Ours:
    def __init__(self, label="Ours", *args, reuse="memory", prefetch_capacity=None, **kwargs):
        pass


class Special:
    def __init__(self, label="Special", *args, **kwargs):
        pass


def test_a_signature_holds_the_stock_arguments_and_then_ours():
    expected = "(self, label='Ours', port=0, prefetch_capacity=None, command=None, *, reuse='memory')"
    assert str(full_signature(Stock.__init__, Ours.__init__)) == expected


def test_a_subclass_has_its_own_label_and_the_arguments_of_its_base():
    signature = full_signature(Stock.__init__, Ours.__init__, Special.__init__)
    assert list(signature.parameters) == ["self", "label", "port", "prefetch_capacity", "command", "reuse"]
    assert signature.parameters["label"].default == "Special"


def test_the_signature_of_an_executor_is_that_of_htex_and_more():
    from parsl.executors import HighThroughputExecutor

    from parsl_context import ContextExecutor

    stock, ours = (set(inspect.signature(kind).parameters) for kind in (HighThroughputExecutor, ContextExecutor))
    assert stock < ours
    assert {"reuse", "preload", "context_memory_gb"} <= ours - stock


def test_an_argument_is_known_to_be_given_by_position_and_by_name():
    assert is_given(Stock.__init__, (1, 2, "run"), {}, "command")
    assert is_given(Stock.__init__, (), {"command": "run"}, "command")
    assert not is_given(Stock.__init__, (1, 2), {"command": None}, "command")
