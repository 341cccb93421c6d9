"""Arguments of calls on their way: large values that several of them have in common are written once.

    app(big, 1) ──▶ stream 1 ─┐
    app(big, 2) ──▶ stream 2 ─┼─▶ one segment with the bytes of `big`, for as long as a call names it
    app(big, 3) ──▶ stream 3 ─┘

Bytes are what counts, never objects or addresses: a value is taken for one that was sent only if all its bytes are
those in that segment. So one that was changed meanwhile is sent anew, and an equal one elsewhere in memory is not.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from parsl_context.scheduling.kept import KEPT_S, KEPT_SHARE, Kept
from parsl_context.wire.bulk import takes_road
from parsl_context.wire.codec import Buffer
from parsl_context.wire.messages import Payload, Segment, Shared, TaskId
from parsl_context.wire.segment_files import end_of, places_of
from parsl_context.wire.segments import Segments

_KNOWN = 256  # values that may be recognised again
_APART = 32  # buffers of a call that are recognised one by one; more are one value
_SAMPLES = 512  # bytes that tell most values apart
_COMPARED_BYTES = 1 << 18  # at a time: the system copies them, and they are in the cache then
_Key = tuple[tuple[int, ...], int]


class Arguments:
    """Puts arguments of calls into segments, and removes them when their calls have ended. From any thread."""

    def __init__(self, segments: Segments, clock: Callable[[], float] = time.monotonic) -> None:
        self._segments = segments
        self._clock = clock
        # Not held while bytes are written or compared. A handler of a signal may submit or cancel while it is.
        self._lock = threading.RLock()
        self._known: dict[_Key, Segment] = {}  # last written last, by what tells most values apart; some are gone
        self._kept = Kept(KEPT_SHARE * segments.space_bytes())
        self._timer: threading.Timer | None = None

    def make_payload(
        self, task: TaskId, stream: bytes, buffers: Sequence[Buffer] = ()
    ) -> tuple[Payload, Sequence[Buffer]]:
        """A payload that a call names until `drop`, and its frames if they are to travel with it."""
        large = [place for place, buffer in enumerate(buffers, 1) if takes_road([memoryview(buffer).nbytes])]
        if not large or self._segments.path is None:
            return self._segments.make_payload(stream, buffers)
        groups = [(place,) for place in large] if len(large) <= _APART else [tuple(large)]
        shared = [found for places in groups if (found := self._share(task, places, buffers)) is not None]
        apart = {place for each in shared for place in each.places}
        rest = [buffer for place, buffer in enumerate(buffers, 1) if place not in apart]
        payload, frames = self._segments.make_payload(stream, rest)
        return replace(payload, shared=tuple(shared)), frames

    def drop(self, task: TaskId, payload: Payload) -> None:
        """A call has ended; whoever reads its arguments now has them already. It may be said more than once."""
        self._segments.drop(payload)
        if payload.shared:
            self._release(task, [shared.segment.name for shared in payload.shared])

    def close(self) -> None:
        """No call is left."""
        with self._lock:
            gone = self._kept.forget()
            self._known.clear()
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            timer.join()
        self._remove(gone)

    def _share(self, task: TaskId, places: tuple[int, ...], buffers: Sequence[Buffer]) -> Shared | None:
        """A segment of these buffers; None if there is no room for one."""
        views = [memoryview(buffers[place - 1]).cast("B") for place in places]
        key = _key(views)
        with self._lock:
            known = self._known.get(key)
            is_gone = known is not None and known.name not in self._kept
            recurs = is_gone or (known is not None and self._kept.use(known.name, end_of(known), task))
        if known is not None and not is_gone:
            if self._is_same(known, views):
                return Shared(known, places, recurs)
            self._release(task, [known.name])
        segment = self._write(views)
        if segment is None:
            return None
        with self._lock:
            lost = [before] if (before := self._known.pop(key, None)) is not None else []
            self._known[key] = segment
            if len(self._known) > _KNOWN:
                lost.append(self._known.pop(next(iter(self._known))))
            self._kept.use(segment.name, end_of(segment), task, recurs=is_gone)
            gone = self._kept.lose(each.name for each in lost)
        self._remove(gone)
        return Shared(segment, places, is_gone)

    def _write(self, views: Sequence[memoryview]) -> Segment | None:
        if not self._segments.has_room(sum(view.nbytes for view in views)):
            with self._lock:
                gone = self._kept.give_up()
            self._remove(gone)
        return self._segments.write(views)

    def _is_same(self, segment: Segment, views: Sequence[memoryview]) -> bool:
        """Whether these bytes are all those of a segment."""
        try:
            with self._segments.reading(segment) as read:
                return all(
                    read(begin + place, _COMPARED_BYTES).startswith(view[place : place + _COMPARED_BYTES])
                    for view, (begin, _) in zip(views, places_of(segment.sizes), strict=True)
                    for place in range(0, view.nbytes, _COMPARED_BYTES)
                )
        except OSError:  # somebody has removed it
            return False

    def _release(self, task: TaskId, names: Iterable[str]) -> None:
        with self._lock:
            gone = self._kept.release(names, task, self._clock())
            if self._timer is None and self._kept.next_deadline() is not None:
                self._look_again(KEPT_S)
        self._remove(gone)

    def _look_again(self, after_s: float) -> None:
        self._timer = threading.Timer(after_s, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self) -> None:
        """What no call has named for a while goes."""
        with self._lock:
            gone = self._kept.expire(self._clock())
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if (at := self._kept.next_deadline()) is not None:
                self._look_again(max(0.0, at - self._clock()))
        self._remove(gone)

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._segments.remove(name)


def _key(views: Sequence[memoryview]) -> _Key:
    """What two values of the same bytes have in common, and most others have not."""
    samples = [bytes(view[:: view.nbytes // _SAMPLES | 1]) for view in views]
    return tuple(view.nbytes for view in views), hash(tuple(itertools.chain(samples)))
