"""Which blocks are asked for: the next one before a block ends, another when one has ended, and none of no use. Pure.

A block is asked for, waits in the batch system's queue, starts, and its managers join: how long that takes is measured.
What is left to do, and when those who are there will have done it, is reckoned from measured run times.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from parsl_context.scheduling.cluster.books import ClusterBooks
from parsl_context.scheduling.cluster.builds import Builds
from parsl_context.scheduling.cluster.events import Action, BlockNews
from parsl_context.scheduling.cluster.forecast import done_at, rest_s
from parsl_context.scheduling.cluster.limits import BlockLimits
from parsl_context.scheduling.cluster.managers import Manager, Phase
from parsl_context.wire.messages import ManagerId, News

_WAITS_KEPT = 3  # of the times that blocks took to start, the longest of so many counts
_SETTLES_S = 1.0  # from the end of its managers to that of a block's job
_WELL_S = 5.0  # a manager that ends earlier than that before its block must was told to: its job may be queued again
_LOOK = 0.25  # of the time until a block has to be asked for: when that is reckoned anew, and
_LOOK_S = 1.0  # no more often; afterwards as often as it is seen whether there is need. [s]
_ASKS_AGAIN_S = 30.0  # where no block came of it


@dataclass(eq=False)
class _Block:
    id: str
    asked_at: float | None  # None: not by us, or it is not known
    has_started: bool = False
    managers: set[ManagerId] = field(default_factory=set)  # there now
    joined: int = 0  # since there was none
    slots: int = 0  # of those
    ends_at: float = math.inf
    ends_well: bool = True  # its managers ended because its time was over, as far as they have
    served: bool = False
    unwanted: bool = False  # somebody wants it to end
    followed_at: float = -math.inf  # when another was asked for to follow it


class ClusterBlocks:
    """The blocks that were asked for and have not ended.

    Parameters
    ----------
    books, builds
        What waits, and what builds take.
    """

    def __init__(self, books: ClusterBooks, builds: Builds, limits: BlockLimits) -> None:
        self._books = books
        self._builds = builds
        self._limits = limits
        self._blocks: dict[str, _Block] = {}
        self._waits: deque[float] = deque(maxlen=_WAITS_KEPT)
        self._asked: deque[float] = deque()  # when blocks were asked for that have not been launched

    # --- what happens to blocks

    def launched(self, name: str, now: float) -> None:
        """A block was asked for."""
        self._blocks.setdefault(name, _Block(name, now))
        if self._asked:
            self._asked.popleft()

    def joined(self, manager: Manager, now: float) -> None:
        """A manager of a block has joined."""
        block = self._blocks.setdefault(manager.block, _Block(manager.block, None))
        if not block.has_started and block.asked_at is not None:
            self._waits.append(now - block.asked_at)
        if not block.managers:  # or its job was queued again
            block.joined = block.slots = 0
            block.ends_at, block.ends_well = math.inf, True
        block.has_started = True
        block.joined += 1
        block.slots += manager.slots
        block.managers.add(manager.id)
        ends_at = min(manager.ends_at, manager.drain_at)
        if ends_at < block.ends_at:
            block.ends_at = ends_at
            if self._limits.overlap:
                self._look_later(block, now)

    def held(self, manager: Manager) -> None:
        """A manager is to take no more: somebody ends its block."""
        if (block := self._blocks.get(manager.block)) is not None:
            block.unwanted = True

    def served(self, manager: Manager) -> list[Action]:
        """A call has ended on a manager."""
        block = self._blocks.get(manager.block)
        if block is None or block.served or block.asked_at is None:
            return []
        block.served = True
        return [BlockNews(block=block.id, news=News.SERVED)]

    def leaves(self, manager: Manager, now: float) -> None:
        """A manager takes no more calls, or is gone."""
        block = self._blocks.get(manager.block)
        if block is not None and manager.id in block.managers:
            is_over = manager.is_spent or now > block.ends_at - _WELL_S
            block.ends_well &= is_over and manager.phase is Phase.DRAINING

    def left(self, manager: ManagerId, now: float) -> None:
        """A manager has ended, or is gone."""
        block = next((block for block in self._blocks.values() if manager in block.managers), None)
        if block is None:
            return
        block.managers.discard(manager)
        if block.managers:
            return
        if block.unwanted:
            del self._blocks[block.id]
        elif block.ends_well and block.joined >= self._limits.nodes:
            self._books.at(now + _SETTLES_S, lambda now: self._settle(block, now))

    def over(self, name: str) -> None:
        """The job of a block is over, as the provider says."""
        block = self._blocks.get(name)
        if block is not None and not block.managers:
            del self._blocks[name]
        elif block is not None:
            block.unwanted = True

    def _settle(self, block: _Block, now: float) -> list[Action]:
        """All managers of a block have ended by themselves: so has its job, by now."""
        if block.managers or self._blocks.get(block.id) is not block:
            return []
        del self._blocks[block.id]
        actions: list[Action] = [BlockNews(block=block.id, news=News.OVER)]
        if self._active(now) < self._limits.most and self.useful(1, now):
            actions.append(self._ask(block, now))
        return actions

    def _ask(self, block: _Block, now: float) -> BlockNews:
        block.followed_at = now
        self._asked.append(now)
        return BlockNews(block=block.id, news=News.SUCCESSOR)

    # --- what is asked for

    def useful(self, wanted: int, now: float) -> int:
        """Of so many more blocks, how many would find calls to run when they start. All, if that is not known."""
        if not self._books.calls:
            return 0
        start_s = self._start_s()
        if start_s is None or not self._slots():
            return wanted
        rest_s = self._rest_s(now + start_s, now)
        if not 0 < rest_s < math.inf:
            return wanted if rest_s > 0 else 0
        lines = [line for line in self._books.lines.values() if line.work_s > 0]
        backlog = sum(line.backlog for line in lines)
        call_s = sum(line.work_s for line in lines) / backlog if backlog else 1.0
        slots = self._usual_slots()
        return min(wanted, math.ceil(rest_s / max(1e-9, call_s) / max(1.0, slots)))

    def _look_later(self, block: _Block, now: float) -> None:
        wait_s = max(_LOOK_S, _LOOK * (self._due(block, now) - now))
        self._books.at(now + wait_s, lambda now: self._look(block, now))

    def _look(self, block: _Block, now: float) -> list[Action]:
        """See whether it is time to ask for the block that follows one."""
        if self._blocks.get(block.id) is not block or not block.managers or now >= block.ends_at:
            return []
        self._look_later(block, now)
        if block.unwanted or now < self._due(block, now):
            return []
        if now - block.followed_at < max(_ASKS_AGAIN_S, 2 * (self._start_s() or 0.0)):
            return []
        if self._active(now) >= self._limits.most + self._limits.overlap:
            return []
        if self._rest_s(self._done_at(block, now), now) <= 0:
            return []
        return [self._ask(block, now)]

    def _due(self, block: _Block, now: float) -> float:
        """When the block that follows one has to be asked for, so that it is ready when this one is done."""
        return self._done_at(block, now) - (self._start_s() or 0.0) - _LOOK_S

    def _done_at(self, block: _Block, now: float) -> float:
        managers = [self._books.managers[name] for name in block.managers if name in self._books.managers]
        return done_at(self._books.lines.values(), managers, block.ends_at, now)

    def _start_s(self) -> float | None:
        """Time from asking for a block until its first call runs; None if it is not known. [s]"""
        if not self._waits:
            return None
        lines = (line for line in self._books.lines.values() if line.waiting and not line.is_anywhere)
        builds = self._builds
        return max(self._waits) + max(
            (builds.usual_start_s(line) + builds.build(line).or_prior(0.0) for line in lines), default=0.0
        )

    def _rest_s(self, then: float, now: float) -> float:
        """Run time of what those who are there, or come, will not have run by then; infinite if unknown. [s]"""
        left_s = rest_s(self._books.lines.values(), list(self._books.managers.values()), then, now)
        return left_s - sum(self._coming_s(then, now))

    def _coming_s(self, then: float, now: float) -> Iterable[float]:
        """What blocks that have been asked for, and have not started, will have run."""
        slots = self._usual_slots()
        for block in self._blocks.values():
            if not block.has_started and block.asked_at is not None and self._waits:
                starts_at = max(now, block.asked_at + max(self._waits))
                yield slots * max(0.0, then - starts_at)

    def _usual_slots(self) -> float:
        """Slots of a block."""
        started = [block for block in self._blocks.values() if block.has_started]
        return sum(block.slots for block in started) / max(1, len(started))

    def _active(self, now: float) -> int:
        while self._asked and now - self._asked[0] > _ASKS_AGAIN_S:
            self._asked.popleft()
        return len(self._asked) + sum(1 for block in self._blocks.values() if not block.unwanted)

    def _slots(self) -> int:
        return sum(manager.slots for manager in self._books.managers.values() if manager.phase is Phase.OPEN)
