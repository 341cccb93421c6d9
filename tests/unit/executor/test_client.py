"""A call that is alone, or comes some time after the last, leaves in the thread that makes it, with what it needs."""

import pytest

from parsl_context.executor.client import InterchangeClient
from parsl_context.executor.outbox import Outgoing
from parsl_context.wire import messages as m
from parsl_context.wire.codec import BATCH_FRAMES, Decoder, StreamReader
from parsl_context.wire.transfers import FileFound
from tests.unit.builders import payload, task


class Clock:
    """Shows the time that it is set to. [s]"""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def link(clock):
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
        clock=clock,
    )
    client._last_call_at = clock.now
    client._theirs.setblocking(False)
    yield client, client._theirs
    client._channel.close()
    client._loop.close()
    for end in (client._theirs, client._wake_reader, client._wake_writer):
        end.close()


def arrived(theirs):
    """What has arrived at the interchange's end."""
    decoder = Decoder(m.ToInterchange)
    try:
        return [decoder.decode(frames)[0] for frames in StreamReader().feed(theirs.recv(1 << 20))]
    except BlockingIOError:
        return []


def blob(name):
    return m.StoreBlobs(blobs=[m.Blob(m.Digest(name), name)])


def test_an_only_call_leaves_at_once(link):
    client, theirs = link
    client.submit(task(1), (), is_only=True)
    assert arrived(theirs) == [m.SubmitTasks(tasks=[task(1)])]


def test_calls_of_a_burst_wait_for_the_thread_to_leave_together(link):
    client, theirs = link
    client.submit(task(1), ())
    assert arrived(theirs) == []


def test_a_call_some_time_after_the_last_leaves_at_once_though_others_have_no_outcome(link, clock):
    client, theirs = link
    for number in (1, 2):
        clock.now += 0.001
        client.submit(task(number), ())
        assert arrived(theirs) == [m.SubmitTasks(tasks=[task(number)])]


def test_the_next_calls_of_a_burst_wait_whatever_became_of_its_first(link, clock):
    client, theirs = link
    clock.now += 0.001
    for number in (1, 2, 3):
        client.submit(task(number), ())
        clock.now += 0.00005
    assert arrived(theirs) == [m.SubmitTasks(tasks=[task(1)])]
    client._woken()
    assert arrived(theirs) == [m.SubmitTasks(tasks=[task(2), task(3)])]


def test_a_call_some_time_after_the_last_leaves_with_those_that_wait(link, clock):
    client, theirs = link
    client.submit(task(1), ())
    clock.now += 0.001
    client.submit(task(2), ())
    assert arrived(theirs) == []
    client._woken()
    assert arrived(theirs) == [m.SubmitTasks(tasks=[task(1), task(2)])]


def test_what_an_only_call_needs_leaves_at_once_before_it(link):
    client, theirs = link
    client.send(blob("context"), [b"content"])
    client.submit(task(1), ())
    client.submit(task(2), (), is_only=True)
    assert arrived(theirs) == [
        blob("context"),
        m.SubmitTasks(tasks=[task(1)]),
        m.SubmitTasks(tasks=[task(2)]),
    ]
    client._outbox.empty()
    assert arrived(theirs) == []


def test_what_is_too_large_to_leave_at_once_holds_back_what_comes_after_it(link):
    client, theirs = link
    client.send(blob("small"), [b"content"])
    client.send(blob("large"), [bytes(1 << 20)])
    client.submit(task(1), (), is_only=True)
    assert arrived(theirs) == [blob("small")]
    assert [outgoing.item for outgoing in client._outbox] == [blob("large"), task(1)]


def test_calls_that_were_gathered_leave_in_messages_below_what_a_reader_takes(link, monkeypatch):
    client, _ = link
    sent = []
    monkeypatch.setattr(client._channel, "send", lambda parts: sent.append(len(parts) - 1))
    frames = [b""] * 700
    for number in range(3_000):
        client._outbox.add(Outgoing(task(number, payload=payload(frames=700)), frames))
    client._outbox.empty()
    assert sum(sent) == 3_000 * 700
    assert max(sent) <= BATCH_FRAMES
