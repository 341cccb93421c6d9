"""The loop calls each handler when its time has come, and outlives a handler that fails."""

import socket
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import zmq

from parsl_context.wire import eventloop
from parsl_context.wire.eventloop import EventLoop


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only while the loop sleeps."""
    time = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(eventloop, "time", SimpleNamespace(monotonic=lambda: time.now))
    return time


@pytest.fixture
def loop(clock):
    made = EventLoop()
    epoll = made._epoll

    def sleep(patience_s):
        clock.now += patience_s or 0.0
        return epoll.poll(0 if patience_s is not None else 10)

    made._epoll = SimpleNamespace(
        poll=sleep, register=epoll.register, modify=epoll.modify, unregister=epoll.unregister, close=epoll.close
    )
    yield made
    made.close()


@contextmanager
def pairs(count=1):
    """Socket pairs; all are closed at the end, whatever a test has closed already."""
    made = [socket.socketpair() for _ in range(count)]
    try:
        yield made
    finally:
        for sock in [end for pair in made for end in pair]:
            sock.close()


def test_timers_run_in_the_order_of_their_times(loop, clock):
    log = []
    for delay_s in (0.3, 0.1, 0.2):
        loop.call_later(delay_s, lambda delay_s=delay_s: log.append((delay_s, clock.now - 1000)))
    loop.call_later(0.3, loop.stop)
    loop.run()
    assert [delay for delay, _ in log] == [0.1, 0.2, 0.3]
    assert all(at == pytest.approx(delay) for delay, at in log)


def test_timers_of_one_time_run_in_the_order_in_which_they_were_set(loop):
    log = []
    for name in "abc":
        loop.call_later(1, lambda name=name: log.append(name))
    loop.call_later(1, loop.stop)
    loop.run()
    assert log == ["a", "b", "c"]


def test_a_cancelled_timer_does_not_run(loop):
    log = []
    first = loop.call_later(1, lambda: second.cancel())
    second = loop.call_later(1, lambda: log.append("second"))
    third = loop.call_later(3, lambda: log.append("third"))
    third.cancel()
    loop.call_later(4, loop.stop)
    loop.run()
    first.cancel()
    assert log == []


def test_a_timer_may_set_another(loop, clock):
    def again(count):
        if count == 0:
            loop.stop()
        else:
            loop.call_later(1, lambda: again(count - 1))

    again(3)
    loop.run()
    assert clock.now == pytest.approx(1003)


def test_a_handler_that_raises_is_logged_and_the_loop_goes_on(loop, caplog):
    def fail():
        raise ValueError("odd message")

    loop.call_later(1, fail)
    loop.call_later(2, loop.stop)
    loop.run()
    assert "odd message" in caplog.text
    assert "the loop goes on" in caplog.text


def test_what_can_be_read_is_handled_until_the_loop_is_stopped(loop):
    with pairs() as [(ours, theirs)]:
        received = []

        def read():
            received.append(ours.recv(1))
            if received[-1] == b"z":
                loop.stop()

        loop.watch(ours, read)
        theirs.sendall(b"xyz...")
        loop.run()
        assert received == [b"x", b"y", b"z"]
        loop.unwatch(ours)


def test_what_can_be_written_is_handled_while_it_is_watched(loop):
    with pairs() as [(ours, theirs)]:

        def write():
            ours.sendall(b"once")
            loop.watch_writable(ours, None)
            loop.call_later(1, loop.stop)

        loop.watch(ours, lambda: None)
        loop.watch_writable(ours, write)
        loop.run()
        assert theirs.recv(100) == b"once"


def test_what_an_earlier_handler_of_the_turn_forgot_is_not_called(loop):
    """Two workers end at once, and the first handler closes the channels of both."""
    called = []
    with pairs(2) as [(a, x), (b, y)]:

        def handle(this, other):
            called.append(this)
            loop.unwatch(other)
            other.close()
            loop.stop()

        loop.watch(a, lambda: handle(a, b))
        loop.watch(b, lambda: handle(b, a))
        x.sendall(b"1")
        y.sendall(b"2")
        loop.run()
    assert len(called) == 1


def test_flushes_run_once_a_turn_and_at_the_end(loop):
    log = []
    loop.flush.append(lambda: log.append("flush"))
    loop.call_later(1, lambda: log.append("work"))
    loop.call_later(2, lambda: [log.append("last"), loop.stop()])
    loop.run()
    assert log == ["flush", "work", "flush", "last", "flush"]


@pytest.fixture
def zmq_pair():
    context = zmq.Context()
    left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    left.bind("inproc://pair")
    right.connect("inproc://pair")
    yield left, right
    context.destroy(linger=0)


def test_messages_that_came_before_the_socket_was_watched_are_taken(loop, zmq_pair):
    """The edge that ZeroMQ's descriptor announced them with may be gone."""
    left, right = zmq_pair
    received = []

    def take(parts):
        received.append(parts)
        left.send(b"answer")  # processes events of the socket, and swallows the edge
        loop.used_zmq()
        if len(received) == 3:
            loop.stop()

    right.send_multipart([b"1", b"x"])
    right.send(b"2")
    left.getsockopt(zmq.EVENTS)
    loop.watch_zmq(left, take)
    right.send(b"3")
    loop.run()
    assert received == [[b"1", b"x"], [b"2"], [b"3"]]
    loop.unwatch_zmq(left)


def test_a_message_whose_edge_a_send_swallowed_is_taken(loop, zmq_pair):
    left, right = zmq_pair
    received = []

    def send():
        right.send(b"1")
        left.send(b"2")
        loop.used_zmq()

    loop.watch_zmq(left, lambda parts: [received.append(parts), loop.stop()])
    loop.call_later(1, send)
    loop.call_later(2, loop.stop)
    loop.run()
    assert received == [[b"1"]]


def test_another_that_took_the_descriptor_of_a_forgotten_object_is_not_called_for_it(loop):
    called = []
    with pairs(2) as [(a, x), (b, y)]:

        def handle(other):
            fd = other.fileno()
            loop.unwatch(other)
            other.close()
            third = socket.socket()
            called.append(third)
            assert third.fileno() == fd
            loop.watch(third, lambda: called.append("third"))
            loop.stop()

        loop.watch(a, lambda: handle(b))
        loop.watch(b, lambda: handle(a))
        x.sendall(b"1")
        y.sendall(b"2")
        loop.run()
    called[0].close()
    assert len(called) == 1


def test_a_busy_socket_leaves_a_turn_to_the_others(loop, zmq_pair):
    left, right = zmq_pair
    seen = []
    for number in range(600):
        right.send(b"%d" % number)
    loop.watch_zmq(left, seen.append)
    loop.call_later(0, lambda: seen.append("timer"))
    loop.flush.append(lambda: loop.stop() if len(seen) == 601 else None)
    loop.run()
    assert 0 < seen.index("timer") < 600


def test_a_socket_may_be_forgotten_by_its_own_handler(loop, zmq_pair):
    left, right = zmq_pair
    seen = []

    def take(parts):
        seen.append(parts)
        loop.unwatch_zmq(left)
        loop.call_later(1, loop.stop)

    right.send(b"1")
    right.send(b"2")
    loop.watch_zmq(left, take)
    loop.run()
    assert seen == [[b"1"]]


def test_what_is_put_at_the_end_of_a_turn_runs_once_after_the_flushes(loop):
    log = []

    def handler():
        assert loop.at_turn_end(lambda: log.append("end"))
        log.append("handler")
        loop.call_later(1, loop.stop)

    loop.flush.append(lambda: log.append("flush"))
    loop.call_later(0.1, handler)
    loop.run()
    assert log == ["flush", "handler", "flush", "end", "flush"]


def test_outside_of_a_turn_nothing_can_be_put_at_its_end(loop):
    refused = []
    assert not loop.at_turn_end(lambda: None)
    loop.call_later(0.1, lambda: loop.at_turn_end(lambda: refused.append(not loop.at_turn_end(lambda: None))))
    loop.call_later(0.2, loop.stop)
    loop.run()
    assert refused == [True]
