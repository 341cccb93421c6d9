"""Who is told to get which chunk from whom."""

from __future__ import annotations

from parsl_context.scheduling.transfers import events as ev
from parsl_context.scheduling.transfers.directory import Directory
from parsl_context.scheduling.transfers.events import ORIGIN, SCRIPT, Fault
from parsl_context.wire.ids import Digest, ManagerId

BLOB = Digest("blob")
A, B, C, D = (ManagerId(name) for name in "abcd")


class Told:
    """A directory, with the chunks that were asked for."""

    def __init__(self, **options: int) -> None:
        self.directory = Directory(lambda size: 0, **options)

    def tell(self, event: ev.Event, now: float = 0.0) -> list[ev.Action]:
        return self.directory.handle(event, now=now)

    def want(self, peer: ManagerId, chunks: int = 1, *, reads: bool = True, **more: object) -> list[ev.Action]:
        return self.tell(ev.BlobWanted(peer=peer, blob=BLOB, chunks=chunks, reads_origin=reads, **more))  # type: ignore[arg-type]

    def got(self, peer: ManagerId, chunk: int = 0, digest: bytes = b"right", now: float = 0.1) -> list[ev.Action]:
        return self.tell(ev.ChunkGot(peer=peer, blob=BLOB, chunk=chunk, digest=digest), now)

    def failed(self, peer: ManagerId, source: ManagerId, fault: Fault, chunk: int = 0) -> list[ev.Action]:
        return self.tell(ev.ChunkFailed(peer=peer, blob=BLOB, chunk=chunk, source=source, fault=fault), 0.2)


def asks(actions: list[ev.Action]) -> list[tuple[ManagerId, ManagerId, int]]:
    return [(each.receiver, each.source, each.chunk) for each in actions if isinstance(each, ev.Ask)]


def test_two_nodes_begin_with_different_chunks_and_then_exchange_them() -> None:
    told = Told(origin_reads=2)
    first = asks(told.want(A, 2))
    assert first == [(A, ORIGIN, 0), (A, ORIGIN, 1)]  # it is alone
    told = Told(origin_reads=2)
    told.want(A, 4)
    begun = asks(told.want(B, 4)) + asks(told.got(A, 0))
    assert (B, ORIGIN, 2) in begun
    assert (B, A, 0) in begun


def test_what_comes_from_a_node_must_have_the_digest_that_the_reader_of_the_origin_found() -> None:
    told = Told()
    told.want(A)
    told.got(A, digest=b"right")
    (ask,) = told.want(B)
    assert ask == ev.Ask(receiver=B, source=A, blob=BLOB, chunk=0, digest=b"right")
    assert told.got(B, digest=b"wrong") != []  # it is not believed
    assert not told.directory.swarms[BLOB].members[B].has


def test_nobody_can_say_what_a_chunk_is_unless_asked_to_read_it() -> None:
    told = Told()
    told.want(A, has=((0, b"mine"),))
    assert told.directory.swarms[BLOB].digests == [None]
    told.got(B, digest=b"mine")
    assert told.directory.swarms[BLOB].digests == [None]


def test_a_node_that_comes_back_goes_on_with_what_it_has() -> None:
    told = Told()
    for chunk in (0, 1):
        told.want(A, 2)
        told.got(A, chunk)
    told.want(B, 2, has=((0, b"right"),))
    assert told.directory.swarms[BLOB].members[B].has == 1


def test_a_source_serves_no_more_than_it_may_at_a_time() -> None:
    told = Told(uploads=1)
    told.want(A)
    told.got(A)
    assert asks(told.want(B)) == [(B, A, 0)]
    assert asks(told.want(C)) == []
    assert asks(told.got(B)) == [(C, A, 0)]


def test_a_source_that_lies_is_avoided_and_out_when_two_say_so() -> None:
    told = Told()
    told.want(A)
    told.got(A)
    told.want(B)
    told.want(C)
    first = told.failed(B, A, Fault.LACKING)
    blames = [each for each in first if isinstance(each, ev.Blame)]
    assert [(each.source, each.is_out) for each in blames] == [(A, False)]
    actions = told.failed(C, A, Fault.LACKING)
    assert [each.is_out for each in actions if isinstance(each, ev.Blame)] == [True]
    assert told.directory.swarms[BLOB].members[A].is_out
    assert asks([*first, *actions]) == [(B, ORIGIN, 0)], "nobody else has it"


def test_a_chunk_of_a_node_that_left_comes_from_the_origin_again() -> None:
    told = Told()
    told.want(A)
    told.got(A)
    assert asks(told.want(B)) == [(B, A, 0)]
    told.tell(ev.PeerLeft(peer=A), 0.1)
    assert asks(told.failed(B, A, Fault.BROKEN)) == [(B, ORIGIN, 0)]


def test_a_chunk_that_takes_too_long_is_asked_for_elsewhere() -> None:
    told = Told()
    told.want(A)
    due = told.directory.next_deadline()
    assert told.tell(ev.Tick(), due - 0.1) == []
    (withdraw,) = told.tell(ev.Tick(), due)
    assert withdraw == ev.Withdraw(receiver=A, source=ORIGIN, blob=BLOB, chunk=0)
    assert asks(told.tell(ev.BlobWanted(peer=B, blob=BLOB, chunks=1, reads_origin=True), due)) == [(B, ORIGIN, 0)]


def test_a_late_answer_is_not_held_against_who_was_asked_since() -> None:
    told = Told()
    told.want(A)
    told.got(A)
    told.want(B)
    told.failed(B, C, Fault.FALSE)
    assert BLOB in told.directory.swarms
    assert told.directory.swarms[BLOB].members[B].asked[0].source == A


def test_a_file_that_no_node_sees_comes_from_the_script() -> None:
    told = Told()
    told.tell(ev.BlobOffered(blob=BLOB, chunks=1))
    assert asks(told.want(A, reads=False)) == [(A, SCRIPT, 0)]


def test_a_node_that_can_get_a_file_from_nobody_is_told() -> None:
    told = Told()
    assert told.want(A, reads=False) == [ev.Strand(receiver=A, blob=BLOB)]
    told.want(B)
    assert told.failed(B, ORIGIN, Fault.UNREADABLE) == [ev.Strand(receiver=B, blob=BLOB)]
    assert BLOB not in told.directory.swarms


def test_the_last_node_takes_the_books_with_it() -> None:
    told = Told()
    told.want(A)
    told.tell(ev.PeerLeft(peer=A))
    assert not told.directory.swarms
