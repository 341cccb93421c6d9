"""A file spreads to many nodes that come and go: each gets all of it, the origin sends about one copy."""

from __future__ import annotations

import time

import pytest

from parsl_context.scheduling.transfers.events import Fault
from tests.simulation.transfers import BLOB, TransferWorld


@pytest.mark.parametrize("reads_origin", [True, False], ids=["read there", "served by the script"])
@pytest.mark.parametrize("nodes", [1, 2, 3, 16, 100])
def test_each_node_gets_all_and_the_origin_sends_one_copy(nodes: int, reads_origin: bool) -> None:
    world = TransferWorld(64, seed=nodes, reads_origin=reads_origin)
    peers = [world.join() for _ in range(nodes)]
    world.run()
    assert all(map(world.whole, peers))
    assert world.from_origin == 64
    assert world.most_busy <= world.uploads_cap
    assert not world.blamed


def test_peers_begin_with_different_chunks_and_need_little_longer_than_one() -> None:
    alone = TransferWorld(64)
    alone.join()
    alone.run()
    world = TransferWorld(64)
    peers = [world.join() for _ in range(16)]
    world.run()
    assert max(world.done_at[peer] for peer in peers) < 1.6 * max(alone.done_at.values())


def test_a_late_node_costs_the_origin_nothing() -> None:
    world = TransferWorld(32)
    for _ in range(5):
        world.join()
    world.run()
    before = world.from_origin
    late = world.join()
    world.run()
    assert world.whole(late)
    assert world.from_origin == before


def test_a_thousand_nodes_with_churn() -> None:
    world = TransferWorld(32, seed=1)
    peers = [world.join() for _ in range(900)]
    began = time.process_time()
    for step in range(40):
        world.run(until=world.now + 0.2)
        for _ in range(5):
            leaving = peers.pop(world.random.randrange(len(peers)))
            world.kill(leaving)
        if step < 20:
            peers += [world.join() for _ in range(15)]
    world.run()
    per_event_s = (time.process_time() - began) / world.events
    assert all(map(world.whole, peers))
    assert len(peers) == 1000
    assert world.from_origin <= 1.5 * 32
    assert world.most_busy <= world.uploads_cap
    assert per_event_s < 1e-3, f"{per_event_s * 1e6:.0f} µs"  # 40 µs on a machine that is idle


@pytest.mark.parametrize("seed", range(20))
def test_nodes_come_and_go_early(seed: int) -> None:
    world = TransferWorld(16, seed=seed, reads_origin=seed % 2 == 0)
    peers = [world.join() for _ in range(8)]
    for _ in range(30):
        world.run(until=world.now + world.random.uniform(0, 0.2))
        if world.random.random() < 0.4 and len(peers) > 1:
            world.kill(peers.pop(world.random.randrange(len(peers))))
        elif world.random.random() < 0.5:
            peers.append(world.join())
    world.run()
    assert all(map(world.whole, peers))


def test_a_cut_node_slows_nobody_much() -> None:
    whole = TransferWorld(64, seed=3)
    for _ in range(16):
        whole.join()
    whole.run()
    world = TransferWorld(64, seed=3)
    peers = [world.join() for _ in range(16)]
    world.run(until=3.0)
    world.nodes[peers[5]].is_cut = True
    world.run(until=30.0)
    others = [peer for peer in peers if peer != peers[5]]
    assert all(map(world.whole, others))
    assert max(world.done_at[peer] for peer in others) < 1.3 * max(whole.done_at.values())


@pytest.mark.parametrize("seed", range(4, 8))
@pytest.mark.parametrize("kind", ["lies", "stalls"])
def test_a_bad_source_is_taken_out(kind: str, seed: int) -> None:
    """Also where it alone has a chunk, which it never sends: that is read from the origin again."""
    world = TransferWorld(64, seed=seed)
    peers = [world.join() for _ in range(8)]
    setattr(world.nodes[peers[2]], kind, True)
    world.run()
    assert all(map(world.whole, peers))
    if kind == "lies":
        assert [blame.source for blame in world.blamed if blame.is_out] == [peers[2]]
        assert {blame.fault for blame in world.blamed} == {Fault.LACKING}
        assert world.directory.swarms[BLOB].members[peers[2]].is_out
