"""A code book remembers a bounded number of functions, and never forgets what is needed."""

import pytest

from parsl_context.executor import codebook
from tests.unit.executor.test_codebook import Wire, app, function, model


@pytest.fixture
def wire(monkeypatch):
    """A code book that remembers eight functions."""
    monkeypatch.setattr(codebook, "MAX_FUNCTIONS", 8)
    return Wire()


def fill(wire, count=20):
    """Call many functions; gives the functions and their digests."""
    functions = [function(number) for number in range(count)]
    return functions, [wire.code(made).digest for made in functions]


def test_the_oldest_are_forgotten_when_there_are_many(wire):
    _, digests = fill(wire)
    assert digests[0] in wire.forgotten
    assert wire.forgotten.isdisjoint(digests[-6:])


def test_much_code_is_forgotten_as_is_much_of_it(wire, monkeypatch):
    monkeypatch.setattr(codebook, "MAX_BYTES", 1000)
    _, digests = fill(wire, 5)
    assert digests[0] in wire.forgotten
    assert digests[4] not in wire.forgotten


def test_what_was_forgotten_is_sent_again(wire):
    functions, digests = fill(wire)
    sent = len(wire.labels)
    assert wire.code(functions[0]).digest == digests[0]
    assert wire.labels[sent:] == ["f0"]


@pytest.mark.parametrize("func", [function("_often"), app(model("a"))], ids=["app", "context app"])
def test_what_is_called_again_and_again_stays(wire, func):
    code = wire.code(func)
    for number in range(50):
        wire.code(function(number))
        wire.code(func)
    assert wire.forgotten.isdisjoint({code.digest, *code.contexts})


def test_what_calls_on_their_way_name_stays(wire):
    code = wire.code(app(model("a")))
    wire.in_use = {code.digest, *code.contexts}
    fill(wire, 50)
    assert wire.forgotten.isdisjoint(wire.in_use)
    wire.in_use = set()
    fill(wire, 50)
    assert wire.forgotten >= {code.digest, *code.contexts}


def test_a_context_stays_while_any_app_that_is_remembered_names_it(wire):
    often, seldom = app(model("a")), app(model("a"), function=lambda model: model)
    seldom_code, code = wire.code(seldom), wire.code(often)
    for number in range(50):
        wire.code(function(number))
        wire.code(often)
    assert seldom_code.digest in wire.forgotten
    assert code.contexts[0] not in wire.forgotten


def test_a_context_that_another_requires_stays_with_it(wire):
    func = app(model("top", model("middle", model("base"))))
    for number in range(50):
        wire.code(func)
        wire.code(function(number))
    required = {model("base").digest, model("middle", model("base")).digest}
    assert wire.forgotten.isdisjoint(required)


def test_a_context_that_was_sent_ahead_of_calls_stays(wire):
    made = model("top", model("base"))
    wire.book.provide(made)
    fill(wire, 50)
    assert wire.forgotten.isdisjoint({made.digest, model("base").digest})


def test_a_forgotten_context_is_declared_again(wire):
    func = app(model("top", model("base")))
    wire.code(func)
    fill(wire, 50)
    sent = len(wire.labels)
    wire.code(func)
    assert wire.labels[sent:] == ["model('base')", "model('top', model('base'))", "body"]


def test_functions_that_come_and_go_are_not_mixed_up(wire):
    """The id of a function that was collected may be that of the next."""
    for number in range(100):
        code = wire.code(function(number))
        assert f"f{number}".encode() in wire.blobs[code.digest]
