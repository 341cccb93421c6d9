"""Large values of calls on a node that does not share the memory of the script's host.

Segments of arguments come here before their call is given to a worker, those of outcomes go there before the outcome is
told. Where the road for that is not open, values travel in frames, by way of the interchange.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from parsl_context.errors import PayloadLostError
from parsl_context.pool.link import InterchangeLink
from parsl_context.scheduling.kept import KEPT_SHARE, Kept
from parsl_context.scheduling.node.arrivals import Arrivals
from parsl_context.wire import messages as m
from parsl_context.wire.bulk import ROAD_CLOSED_S, BulkClosed, BulkOpen, BulkRoad, takes_road
from parsl_context.wire.codec import Buffer
from parsl_context.wire.eventloop import EventLoop, Timer
from parsl_context.wire.messages import Segment, TaskId
from parsl_context.wire.segment_files import end_of
from parsl_context.wire.segments import Segments

if TYPE_CHECKING:  # nodes that share the memory do without
    from parsl_context.distribute.bulk.channel import Lack
    from parsl_context.distribute.bulk.road import Road

logger = logging.getLogger(f"parsl.{__name__}")

Batch: TypeAlias = list[tuple[m.Task, Sequence[Buffer]]]
"""A call and its frames; or several that run together, the first first."""


class FarValues:
    """Has values come and go.

    Parameters
    ----------
    segments
        Of this node.
    host
        Of the script, where the road begins.
    admit
        Called with calls whose arguments are here.
    """

    def __init__(
        self,
        loop: EventLoop,
        link: InterchangeLink,
        segments: Segments,
        host: str,
        admit: Callable[[Batch], None],
    ) -> None:
        self._loop = loop
        self._link = link
        self._segments = segments
        self._host = host
        self._admit = admit
        self._arrivals = Arrivals()
        self._calls: dict[TaskId, Batch] = {}
        self._session = 0
        self._way: BulkRoad | None = None
        self._road: Road | None = None
        self._is_open = False
        self._again: Timer | None = None
        self._has_warned = False  # that there is no road
        self._kept = Kept(KEPT_SHARE * segments.space_bytes())  # what calls have in common
        self._expiry: Timer | None = None

    def use(self, way: BulkRoad) -> None:
        """The interchange says where the road begins."""
        self.close()
        self._way = way
        self._connect()

    def expect(self, batch: Batch) -> bool:
        """Whether something of these calls must come first; then they are admitted later."""
        for task, _ in batch:
            for shared in task.payload.shared:
                self._kept.use(shared.segment.name, end_of(shared.segment), task.id, recurs=shared.recurs)
        named = itertools.chain.from_iterable(task.payload.segments for task, _ in batch)
        missing = {segment.name: segment for segment in named if not self._segments.has(segment)}
        if not missing:
            return False
        first = batch[0][0].id
        self._calls[first] = batch
        for name in self._arrivals.add(first, missing):
            self._want(missing[name])
        return True

    def take_back(self, tasks: Sequence[TaskId]) -> None:
        """Calls are wanted back; those that wait here go."""
        self._return(self._arrivals.take_back(tasks))

    def take_all_back(self) -> None:
        """This node drains."""
        self.take_back(list(self._arrivals.waiting))

    def deliver(self, result: m.Result) -> None:
        """An outcome is in a segment here."""
        segment = result.payload.segment
        assert segment is not None
        session = self._session
        if self._road is None or not self._is_open or not takes_road(segment.sizes):
            self._send_in_frames(result)
            return

        def done(lack: Lack | None) -> None:
            if session != self._session:
                self._segments.drop(result.payload)
            elif lack is None:
                self._segments.drop(result.payload)
                self._link.add_result(result, ())
            else:
                logger.warning("The outcome of task %d goes in frames: %s", result.id, lack.reason)
                self._send_in_frames(result)

        self._road.offer(segment, done)

    def drop(self, batch: Batch) -> None:
        """Calls have ended here; nobody reads their arguments any more."""
        gone: list[str] = []
        for task, _ in batch:
            self._segments.drop(task.payload)
            gone += self._kept.release((each.segment.name for each in task.payload.shared), task.id, time.monotonic())
        self._remove(gone)
        self._arm()

    def forget_session(self) -> None:
        """The interchange has given all calls up, and says anew where the road begins."""
        self._session += 1
        for batch in self._calls.values():
            self.drop(batch)
        self._calls, self._arrivals = {}, Arrivals()
        self._remove(self._kept.forget())
        self._way = None
        self.close()

    def close(self) -> None:
        """End the road."""
        road, self._road, self._is_open = self._road, None, False
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if road is not None:
            road.close()

    # --- the road

    def _connect(self) -> None:
        from parsl_context.distribute.bulk.road import Road

        if self._way is None or self._road is not None:
            return
        self._again = None
        self._road = Road(
            self._loop, self._segments, self._host, self._way, on_open=self._opened, on_end=self._road_ended
        )

    def _opened(self) -> None:
        logger.info("Large values of calls have a connection of their own")
        self._is_open, self._has_warned = True, False
        self._link.send(BulkOpen())

    def _road_ended(self, reason: str) -> None:
        if not self._has_warned:
            logger.warning("Large values of calls travel in frames: %s", reason)
        self._has_warned = True
        self._shut(reason)
        road, self._road = self._road, None
        if road is not None:
            road.close()
        self._again = self._loop.call_later(ROAD_CLOSED_S, self._connect)

    def _shut(self, reason: str) -> None:
        """Have values sent in frames from now on."""
        if self._is_open:
            self._is_open = False
            self._link.send(BulkClosed(reason=reason))

    def _reopen(self) -> None:
        self._again = None
        if self._road is not None and not self._is_open:
            self._opened()

    # --- arguments

    def _want(self, segment: Segment) -> None:
        session = self._session

        def done(lack: Lack | None) -> None:
            if session != self._session:
                return
            if lack is None:
                self._came(segment)
            elif lack.is_ours and (gone := self._kept.give_up()):
                self._remove(gone)  # there may be room now
                self._want(segment)
            else:
                self._missing(segment, lack)

        if self._road is not None:
            self._road.want(segment, done)
        else:  # calls were on their way here when it ended
            self._return(self._arrivals.failed(segment.name))

    def _came(self, segment: Segment) -> None:
        is_wanted = self._arrivals.wanted(segment.name)
        for first in self._arrivals.came(segment.name):
            self._admit(self._calls.pop(first))
        if not is_wanted and segment.name not in self._kept:
            self._segments.remove(segment.name)

    def _missing(self, segment: Segment, lack: Lack) -> None:
        """Calls whose arguments do not come this way go back: they are sent again in frames, or their end is known."""
        logger.warning("Arguments of calls did not come: %s", lack.reason)
        if lack.is_ours:
            self._shut(lack.reason)
            self._again = self._again or self._loop.call_later(ROAD_CLOSED_S, self._reopen)
        self._return(self._arrivals.failed(segment.name))

    def _return(self, tasks: list[TaskId]) -> None:
        if tasks:
            for task in tasks:
                self.drop(self._calls.pop(task))
            self._link.send(m.TasksReturned(tasks=tasks))

    # --- what calls have in common

    def _arm(self) -> None:
        """Wake up when something that no call names is to go."""
        if self._expiry is None and (at := self._kept.next_deadline()) is not None:
            self._expiry = self._loop.call_later(max(0.0, at - time.monotonic()), self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self._remove(self._kept.expire(time.monotonic()))
        self._arm()

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._segments.remove(name)

    # --- outcomes

    def _send_in_frames(self, result: m.Result) -> None:
        try:
            spread, frames = self._segments.spread(result)
        except PayloadLostError:
            logger.exception("The outcome of task %d is lost", result.id)
            spread, frames = result, ()  # the script finds that it is gone, and says so
        self._segments.drop(result.payload)
        self._link.add_result(spread, frames)
