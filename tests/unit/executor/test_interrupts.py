"""Ctrl-C while a call is made: that call leaves once or never, what was sent before leaves once, later calls go."""

import dataclasses
import itertools
import select
import threading
from contextlib import contextmanager

import pytest

from parsl_context import ContextExecutor
from parsl_context.apps.app import context_app
from parsl_context.apps.decorator import context
from parsl_context.discover.packages import Packager
from parsl_context.executor.client import InterchangeClient
from parsl_context.executor.codebook import CodeBook
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Decoder, StreamReader
from parsl_context.wire.transfers import FileFound
from tests.unit.builders import task
from tests.unit.executor.interrupts import interrupted

CLIENT = ("executor/client", "executor/outbox", "wire/channel")


@contextmanager
def link():
    """A client whose thread has not begun to run, and the interchange's end of its link."""
    client = InterchangeClient(
        on_result=lambda result, frames: None,
        on_failed=lambda failed, frames: None,
        on_cancelled=lambda tasks, is_cancelled: None,
        on_versions_differ=lambda message: None,
        on_death=lambda code: None,
        on_said=lambda said, frames: None,
        on_block=lambda news: None,
        on_sought=lambda sought: FileFound(url=sought.url, identity=None),
    )
    client._theirs.setblocking(False)
    try:
        yield client, client._theirs
    finally:
        client._channel.close()
        client._loop.close()
        for end in (client._theirs, client._wake_reader, client._wake_writer):
            end.close()


def run_the_thread(client):
    """What the thread of the client does, if it was woken. False if it hangs."""
    if not select.select([client._wake_reader], [], [], 0)[0]:
        return True
    thread = threading.Thread(target=client._woken, daemon=True)
    thread.start()
    thread.join(5.0)
    return not thread.is_alive()


def arrived(theirs):
    """The numbers of the calls that have arrived, and labels of content, in order."""
    decoder = Decoder(m.ToInterchange)
    found = []
    try:
        for frames in StreamReader().feed(theirs.recv(1 << 20)):
            message, _ = decoder.decode(frames)
            found += [t.id for t in message.tasks] if isinstance(message, m.SubmitTasks) else ["content"]
    except BlockingIOError:
        pass
    return found


def content():
    return m.StoreBlobs(blobs=[m.Blob(m.Digest("content"), "content")])


@pytest.mark.parametrize("is_only", [True, False])
@pytest.mark.parametrize("waits", [True, False], ids=["something waits", "nothing waits"])
def test_an_interrupted_call_leaves_once_or_never_and_later_calls_leave(is_only, waits):
    for number in range(10_000):
        with link() as (client, theirs):
            if waits:
                client.send(content(), [b"content"])
            where = interrupted(lambda: client.submit(task(1), (), is_only=is_only), number, *CLIENT)
            client.submit(task(2), ())
            assert run_the_thread(client), f"the thread hangs after an interrupt at {where}"
            client.submit(task(3), (), is_only=True)
            client.submit(task(4), ())
            assert run_the_thread(client), f"the thread hangs after an interrupt at {where}"
            sent = arrived(theirs)
            expected = ["content"] * waits + [1] * (1 in sent) + [2, 3, 4]
            assert sent == expected, f"after an interrupt at {where}"
        if where is None:
            assert number > 10
            return


def test_what_is_sent_when_another_message_was_interrupted_leaves():
    for number in range(10_000):
        with link() as (client, theirs):
            where = interrupted(lambda: client.send(content(), [b"content"]), number, *CLIENT)
            client.submit(task(1), (), is_only=False)
            assert run_the_thread(client)
            sent = arrived(theirs)
            assert sent == ["content"] * ("content" in sent) + [1], f"after an interrupt at {where}"
        if where is None:
            assert number > 3
            return


@context
def setting():
    return 1


@context_app(context=setting)
def body(value):
    return value


def plain():
    return 1


class LightPackager(Packager):
    """Gives a few of the parts that code needs, as each is sent by the same lines; finds them once."""

    def __init__(self):
        super().__init__()
        self._found = {}

    def package(self, needs, *, is_code=True):
        key = (needs.key, is_code)
        if key not in self._found:
            found = super().package(needs, is_code=is_code)
            if found is not None:  # as where PYTHONPATH has the tests, too
                found = dataclasses.replace(found, content=dict(itertools.islice(found.content.items(), 3)))
            self._found[key] = found
        return self._found[key]


@pytest.mark.parametrize("function", [plain, body.func], ids=["ordinary", "with a context"])
def test_the_code_of_a_call_is_sent_whatever_was_interrupted_before(function):
    packager = LightPackager()
    for number in range(10_000):
        stored, declared = set(), set()

        def send(message, frames, stored=stored, declared=declared):
            if isinstance(message, m.StoreBlobs):
                stored.update(blob.digest for blob in message.blobs)
            elif isinstance(message, m.DeclareContext):
                declared.add(message.context)

        book = CodeBook(send, lambda: (), "memory", packager)
        where = interrupted(lambda: book.code(function, (), {}), number, "executor/codebook")  # noqa: B023
        code, *_ = book.code(function, (), {})
        assert stored.issuperset(code.names), f"after an interrupt at {where}"
        assert declared.issuperset(code.contexts), f"after an interrupt at {where}"
        if where is None:
            assert number > 10
            return


class Client:
    """Remembers what was submitted."""

    def __init__(self):
        self.submitted = []

    def submit(self, task, frames, *, is_only):
        self.submitted.append(task.id)


def test_no_call_stays_in_the_books_that_was_not_sent():
    """It would keep its block from being scaled in, and nothing would ever settle it."""
    for number in range(10_000):
        executor = ContextExecutor(address="127.0.0.1")
        executor._client = Client()
        executor._codes = CodeBook(lambda message, frames: None, lambda: (), "memory")
        where = interrupted(lambda: executor.submit(plain, {}), number, "executor/executor")  # noqa: B023
        if where is None:
            assert number > 3
            assert len(executor.tasks) == 1
            return
        assert set(executor.tasks) <= set(executor._client.submitted), f"after an interrupt at {where}"
