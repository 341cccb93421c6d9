"""Two ends of the bulk road, over a real connection: what comes is what went, or nothing is left of it."""

import contextlib
import os
import random
import socket
import time

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parsl_context.content.serialization import pack_value, unpack_value
from parsl_context.distribute.bulk import channel as module
from parsl_context.distribute.bulk.channel import BulkChannel, Lack
from parsl_context.wire import messages as m
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.segments import create_segments


class Pair:
    """The ends of a node and of the script's host, in one loop."""

    def __init__(self, folder):
        self.loop = EventLoop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        self.ended = {}
        self.hellos = []
        self.segments = {}
        self.ends = {}
        for name, sock, keys in (("node", ours, b"ab"), ("script", theirs, b"ba")):
            sock.setblocking(False)
            (folder / name).mkdir()
            self.segments[name] = create_segments([str(folder / name)])
            self.ends[name] = BulkChannel(
                self.loop,
                sock,
                self.segments[name],
                (AESGCM(keys[:1] * 32), AESGCM(keys[1:] * 32)),
                most=None,
                on_hello=lambda name=name: self.hellos.append(name),
                on_end=lambda reason, name=name: self.ended.setdefault(name, reason),
            )
        self.sockets = {"node": ours, "script": theirs}
        self.outcomes = {}

    @property
    def node(self):
        return self.ends["node"]

    def put(self, where, value, task=None):
        payload, _ = self.segments[where].make_payload(*pack_value(value), task)
        assert payload.segment is not None
        return payload

    def done(self, key):
        return lambda lack: self.outcomes.__setitem__(key, lack)

    def run_until(self, condition, within_s=20.0):
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, (self.outcomes, self.ended)
            self.loop.call_later(0.01, lambda: None)
            self.loop._turn()
            self.loop._end_turn()

    def files(self, name):
        return sorted(set(os.listdir(self.segments[name].path)) - {"token"})

    def being_written(self, name):
        """Files that are open, beside the folder."""
        folder = self.segments[name].path
        found = []
        for each in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"/proc/self/fd/{each}"))
        return [path for path in found if path.startswith(f"{folder}/") and " (deleted)" in path]

    def close(self):
        for end in self.ends.values():
            end.close("the test is over")
        for segments in self.segments.values():
            segments.close()
        self.loop.close()


@pytest.fixture
def pair(tmp_path):
    made = Pair(tmp_path)
    yield made
    made.close()


def test_both_ends_greet(pair):
    for end in pair.ends.values():
        end.hello()
    pair.run_until(lambda: sorted(pair.hellos) == ["node", "script"])


def test_many_values_of_all_sizes_come_and_go_at_once(pair):
    choose = random.Random(1)
    values = [
        np.frombuffer(os.urandom(choose.choice([32_768, 262_144, 262_145, 5_000_000])), np.uint8) for _ in range(40)
    ]
    payloads = []
    for number, value in enumerate(values):
        payloads.append(pair.put("script", value) if number % 2 else pair.put("node", value, number))
        start = pair.node.want if number % 2 else pair.node.offer
        start(payloads[-1].segment, pair.done(number))
    pair.run_until(lambda: len(pair.outcomes) == len(values))
    assert set(pair.outcomes.values()) == {None}
    assert pair.files("node") == pair.files("script")
    assert len(pair.files("node")) == len(values)
    for number, value in enumerate(values):
        there = pair.segments["node" if number % 2 else "script"]
        assert np.array_equal(unpack_value(there.open_payload(payloads[number], ())), value)
    assert not any(end._shortest or end._arrivals for end in pair.ends.values()), "nothing is kept of what has gone"


def test_what_comes_is_what_went(pair):
    value = {"a": np.arange(300_000), "b": "text"}
    payload = pair.put("script", value)
    pair.node.want(payload.segment, pair.done("it"))
    pair.run_until(lambda: "it" in pair.outcomes)
    there = unpack_value(pair.segments["node"].open_payload(payload, ()))
    assert np.array_equal(there["a"], value["a"])
    assert there["b"] == "text"


def test_small_ones_do_not_wait_for_the_end_of_large_ones(pair):
    large, small = np.ones(80_000_000, np.uint8), np.ones(40_000, np.uint8)
    order = []
    for name, value in (("large", large), ("small", small)):
        pair.node.want(pair.put("script", value).segment, lambda lack, name=name: order.append(name))
    pair.run_until(lambda: len(order) == 2)
    assert order == ["small", "large"]


def test_what_is_not_there_is_said_and_the_others_come(pair):
    good = pair.put("script", np.ones(100_000))
    pair.node.want(m.Segment("a-0-0", (100_000,)), pair.done("gone"))
    pair.node.want(m.Segment("../../etc/passwd", (100_000,)), pair.done("strange"))
    pair.node.want(good.segment, pair.done("good"))
    pair.run_until(lambda: len(pair.outcomes) == 3)
    assert pair.outcomes["good"] is None
    for key in ("gone", "strange"):
        assert isinstance(pair.outcomes[key], Lack)
        assert not pair.outcomes[key].is_ours


@pytest.mark.parametrize("where", ["node", "script"])
@pytest.mark.parametrize("when", ["at once", "later"])
def test_who_has_no_room_says_so_and_keeps_nothing(pair, where, when, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    if when == "at once":
        monkeypatch.setattr(pair.segments[where], "_free_share", lambda more: 0.01)
    else:
        monkeypatch.setattr(module.Arrival, "write", full)
    if where == "node":
        pair.node.want(pair.put("script", np.ones(1_000_000)).segment, pair.done("it"))
    else:
        pair.node.offer(pair.put("node", np.ones(1_000_000), 1).segment, pair.done("it"))
    pair.run_until(lambda: "it" in pair.outcomes)
    assert pair.outcomes["it"].is_ours == (where == "node")
    assert pair.files(where) == []
    assert pair.being_written(where) == []
    monkeypatch.undo()
    pair.node.want(pair.put("script", np.ones(50_000)).segment, pair.done("next"))
    pair.run_until(lambda: "next" in pair.outcomes)
    assert pair.outcomes["next"] is None


@pytest.mark.parametrize("who", ["node", "script"])
def test_an_end_that_is_gone_fails_what_was_on_its_way(pair, who):
    for number in range(4):
        pair.node.want(pair.put("script", np.ones(4_000_000)).segment, pair.done(number))
        pair.node.offer(pair.put("node", np.ones(4_000_000), number).segment, pair.done(10 + number))
    for _ in range(3):
        pair.loop._turn()
    assert pair.being_written("node")
    pair.ends[who].close("gone")
    pair.run_until(lambda: len(pair.ended) == 2 and len(pair.outcomes) == 8)
    failed = [key for key, lack in pair.outcomes.items() if lack is not None]
    assert failed
    assert not pair.being_written("node") + pair.being_written("script")
    assert len(pair.files("node")) == 4 + sum(key < 10 and key not in failed for key in pair.outcomes)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.0\r\n\r\n" * 10, bytes(1000), b"\xff" * 1000])
def test_garbage_ends_the_connection(pair, said):
    pair.node.want(pair.put("script", np.ones(1_000_000)).segment, pair.done("it"))
    with contextlib.suppress(OSError):
        pair.sockets["node"].send(said)
    pair.run_until(lambda: "script" in pair.ended and "it" in pair.outcomes)
    assert "mistake" not in pair.ended["script"]
    assert pair.files("node") in ([], pair.files("script"))
