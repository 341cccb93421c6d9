"""Which blocks are given up."""

from __future__ import annotations

from parsl_context.scheduling.cluster.scaling import Block, choose_blocks


def test_idle_blocks_go_first_then_those_with_cheap_contexts_then_the_longest_idle() -> None:
    blocks = [
        Block("busy", tasks=1, idle_s=0.0),
        Block("dear", idle_s=90.0, rebuild_s=600.0),
        Block("cheap", idle_s=10.0, rebuild_s=2.0),
        Block("cold", idle_s=10.0),
        Block("cold for longer", idle_s=50.0),
        Block("not there yet"),
    ]
    order = ["not there yet", "cold for longer", "cold", "cheap", "dear", "busy"]
    assert choose_blocks(blocks, 6, None) == order
    assert choose_blocks(blocks, 2, None) == order[:2]


def test_with_an_idle_time_only_blocks_that_were_idle_for_longer_go() -> None:
    blocks = [Block("busy", tasks=1, idle_s=0.0), Block("short", idle_s=1.0), Block("long", idle_s=3.0, rebuild_s=9.0)]
    assert choose_blocks(blocks, 3, 2.0) == ["long"]


def test_a_block_is_as_idle_as_the_least_idle_of_its_managers() -> None:
    block = Block("two nodes")
    block.add(tasks=0, idle_s=9.0, rebuild_s=1.0)
    block.add(tasks=2, idle_s=0.0, rebuild_s=4.0)
    assert block == Block("two nodes", tasks=2, idle_s=0.0, rebuild_s=5.0)
