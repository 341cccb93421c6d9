"""Deaths of processes that have not said who they are, among those of strangers that the manager is the parent of."""

import socket

import pytest

from parsl_context.pool import family as family_module
from parsl_context.pool.family import Family
from parsl_context.retain.processes import Exit
from parsl_context.wire.eventloop import EventLoop


class Deaths(list):
    """Exits that are to be reaped."""

    def reap(self):
        ended = self[:]
        self.clear()
        return ended


@pytest.fixture
def deaths(monkeypatch):
    deaths = Deaths()
    monkeypatch.setattr(family_module.processes, "reap", deaths.reap)
    return deaths


@pytest.fixture
def family(deaths):
    """A family that starts what it is told to, which says nothing."""
    zygote, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    loop = EventLoop()
    family = Family(loop, None, zygote, 1, code_folder=None, segments=None, echo=False, on_zygote_death=lambda: None)
    family.died = []
    family.listen(on_message=lambda *_: None, on_death=lambda member, ended: family.died.append(ended))
    members = []

    def start():
        members.append(family.start_template((f"context {len(members)}",)))
        return members[-1]

    family.start = start
    yield family
    for member in members:
        member.close()
    loop.close()
    zygote.close()
    other.close()


def reaped(family, deaths, *pids):
    deaths += [Exit(pid, 0, None) for pid in pids]
    family.reap()


def test_a_member_that_died_before_it_was_heard_of_is_buried_as_it_is(family, deaths):
    member = family.start()
    reaped(family, deaths, 100)
    assert not family.greet(member, 100)
    assert family.died == [Exit(100, 0, None)]


def test_the_death_of_a_stranger_is_not_that_of_who_gets_its_number_later(family, deaths):
    first = family.start()
    reaped(family, deaths, 100)
    assert family.greet(first, 101)
    assert family.greet(family.start(), 100)


def test_deaths_of_strangers_while_a_member_has_no_name_are_not_all_kept(family, deaths):
    member = family.start()
    for pid in range(1000, 101_000, 1000):
        reaped(family, deaths, *range(pid, pid + 1000))
    assert len(family._exits) <= 10_000
    assert not family.greet(member, 100_999)
    assert len(family._exits) == 0
