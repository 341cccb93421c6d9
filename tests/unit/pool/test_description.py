"""What a manager tells of its node."""

import os
import time
from dataclasses import replace

import msgspec
import pytest

from parsl_context.pool.description import default_context_memory, describe_node
from parsl_context.pool.settings import parse_settings
from parsl_context.wire import messages as m
from tests.unit.builders import GIVEN

COMMAND = "-a 127.0.0.1 -P 1 --cert_dir None --cpu-affinity none -b 7 -u n1 -p 2"


def test_a_node_is_described_by_its_settings_and_by_what_is_found_on_it():
    settings = parse_settings(COMMAND.split(), started_at=0.0, given=GIVEN)
    held = {m.WorkerId(1): [m.Digest("a")]}
    joined = describe_node(settings, m.ManagerId("n1.2"), "token", held, [("b", "c")])
    assert (joined.manager, joined.node, joined.block, joined.prefetch) == ("n1.2", "n1", "7", 2)
    assert (joined.slots, joined.pid, joined.segments) == (settings.workers, os.getpid(), "token")
    assert (joined.held, joined.templates) == (held, [("b", "c")])
    assert joined.protocol == m.PROTOCOL_VERSION
    assert "parsl" in joined.packages
    assert joined.up_s > 0.0
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(joined), type=m.Joined) == joined


def test_contexts_may_take_part_of_the_memory_that_was_given_by_default():
    given = replace(GIVEN, memory_bytes=1000)
    settings = parse_settings(COMMAND.split(), started_at=0.0, given=given)
    assert default_context_memory(given) == describe_node(settings, m.ManagerId("m"), None).context_memory == 600


def test_durations_do_not_follow_the_clock_on_the_wall(monkeypatch):
    """A node's clock is set while it runs; the block's walltime, and a drain period, pass all the same."""
    settings = parse_settings(
        [*COMMAND.split(), "--drain_period", "100"], started_at=time.monotonic() - 40.0, given=GIVEN
    )
    monkeypatch.setattr(time, "time", lambda: 0.0)
    joined = describe_node(settings, m.ManagerId("m"), None)
    assert joined.up_s == pytest.approx(40.0, abs=30.0)
    assert joined.drain_in_s == pytest.approx(60.0, abs=30.0)
