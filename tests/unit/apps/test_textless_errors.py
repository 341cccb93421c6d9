"""An exception that cannot be shown arrives all the same, from a stock executor of threads too."""

import parsl
import pytest

from parsl_context.apps.app import context_app
from parsl_context.apps.decorator import context
from parsl_context.errors import ContextBuildError

pytestmark = pytest.mark.timeout(30)


class Textless(Exception):
    """Whoever wants to show it gets an exception of another kind."""

    def __init__(self, raised):
        super().__init__(raised)
        self.raised = raised

    def __str__(self):
        raise self.raised

    __repr__ = __str__


@context
def setting():
    return 1


def yielding(raised):
    yield 1
    raise Textless(raised)


KINDS = [ValueError("no text"), SystemExit("no text"), KeyboardInterrupt()]


@pytest.mark.parametrize("raised", KINDS, ids=lambda raised: type(raised).__name__)
@pytest.mark.parametrize("where", ["body", "context function", "clean-up"])
@pytest.mark.usefixtures("kernel")
def test_an_exception_that_cannot_be_shown_arrives(raised, where):
    @context
    def failing():
        raise Textless(raised)

    made = {"body": setting, "context function": failing, "clean-up": context(yielding, max_uses=1)(raised)}[where]

    @context_app(context=made)
    def use(value):
        if where == "body":
            raise Textless(raised)
        return value

    future = use()
    if where == "clean-up":
        assert future.result(timeout=10) == 1
    else:
        error = future.exception(timeout=10)
        cause = error.__cause__ if isinstance(error, ContextBuildError) else error
        assert isinstance(cause, Textless)
        assert cause.raised is raised
    assert context_app(context=setting)(lambda value: value)().result(timeout=10) == 1


@pytest.mark.parametrize("raised", KINDS, ids=lambda raised: type(raised).__name__)
@pytest.mark.usefixtures("kernel")
def test_what_depends_on_a_call_with_such_an_exception_ends(raised):
    @context_app(context=setting)
    def use(value):
        raise Textless(raised)

    @context_app(context=setting)
    def after(value, before):
        return before

    assert isinstance(after(use()).exception(timeout=10), parsl.dataflow.errors.DependencyError)
