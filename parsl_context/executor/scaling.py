"""Blocks are launched for two: Parsl's scaling, which looks every few seconds, and the interchange, which knows.

Parsl counts calls and blocks, and asks for those that are missing or gives some up. The interchange knows when blocks
end and what is left to do: it has the next one asked for in time, or at once, and what Parsl asks for in vain left out.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from parsl.jobs.states import JobState, JobStatus

from parsl_context.wire.messages import BlockNews, News

logger = logging.getLogger(f"parsl.{__name__}")


class Scaling:
    """Launches blocks, one caller at a time.

    Parameters
    ----------
    launch
        Launches so many blocks. Gives the ids of those that were launched.
    has_room
        Whether one more block may be there.
    useful
        Of so many more blocks, how many would find calls to run.
    is_over
        Told of each block that has ended by itself.

    Attributes
    ----------
    served : set of str
        Blocks that have run calls.
    """

    def __init__(
        self,
        launch: Callable[[int], list[str]],
        has_room: Callable[[], bool],
        useful: Callable[[int], int],
        is_over: Callable[[str], None],
    ) -> None:
        self._has_room = has_room
        self._useful = useful
        self._is_over = is_over
        self._ahead = _BlocksAhead(launch)
        self._lock = threading.RLock()
        self._poller: int | None = None  # the thread in which Parsl looks at jobs, and scales if it is to
        self._scales = False  # Parsl does
        self._news: queue.SimpleQueue[BlockNews | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.served: set[str] = set()

    # --- Parsl

    def polls(self) -> None:
        """Parsl looks at jobs, in this thread."""
        self._poller = threading.get_ident()

    def counts(self) -> None:
        """Somebody counts calls. If it is Parsl, it does so to scale, and counts blocks next."""
        if threading.get_ident() == self._poller:
            with self._lock:
                self._scales = True
                self._ahead.were_counted()

    def launch_ahead(self, blocks: int) -> None:
        """Launch blocks that Parsl will ask for."""
        with self._lock:
            self._ahead.launch(blocks)

    def take(self, blocks: int) -> list[str]:
        """Give blocks that are asked for: if Parsl asks, and not somebody by hand, those that will find calls."""
        if self._scales and threading.get_ident() == self._poller:
            with contextlib.suppress(RuntimeError):  # the interchange has died: nobody is served
                blocks = self._useful_of(blocks)
        with self._lock:
            return self._ahead.take(blocks)

    def _useful_of(self, blocks: int) -> int:
        useful = self._useful(blocks)
        if useful < blocks:
            text = "Parsl asked for %d blocks; %d would find calls to run by the time they start"
            logger.info(text, blocks, useful)
        return useful

    @contextlib.contextmanager
    def giving_up(self, *, everything: bool) -> Iterator[None]:
        """Nothing is launched meanwhile; if everything is given up, nothing more until Parsl scales again."""
        with self._lock:
            if everything:
                self._scales = False
            yield

    # --- the interchange

    def heard(self, news: BlockNews) -> None:
        """Something became of a block. From the thread that must not wait."""
        if news.news is News.SERVED:
            self.served.add(news.block)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ContextExecutor-blocks", daemon=True)
            self._thread.start()
        self._news.put(news)

    def close(self) -> None:
        """Launch nothing more."""
        with self._lock:
            self._scales = False
        self._news.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (news := self._news.get()) is not None:
            try:
                if news.news is News.OVER:
                    self._is_over(news.block)
                else:
                    self._follow(news.block)
            except Exception:
                logger.exception("Could not do what follows from %s", news)

    def _follow(self, block: str) -> None:
        with self._lock:
            if self._scales and self._has_room():
                logger.info("A block is asked for that takes the place of block %s", block)
                self._ahead.launch(1)


def as_started(status: Mapping[str, JobStatus], served: set[str]) -> dict[str, JobStatus]:
    """Status of jobs, where one that has run calls has not failed to start, whatever became of it."""
    return {
        block: JobStatus(JobState.COMPLETED, job.message) if job.state is JobState.FAILED and block in served else job
        for block, job in status.items()
    }


class _BlocksAhead:
    """Blocks that were launched before Parsl's scaling asked for them.

    Parameters
    ----------
    launch
        Launches so many blocks. Gives the ids of those that were launched.
    """

    def __init__(self, launch: Callable[[int], list[str]]) -> None:
        self._launch = launch
        self._ids: deque[str | None] = deque()  # None for one that could not be launched

    def launch(self, wanted: int) -> None:
        """Launch blocks that will be asked for."""
        launched = self._launch(wanted)
        self._ids.extend([*launched, *[None] * (wanted - len(launched))])

    def were_counted(self) -> None:
        """Those that were launched are known by now, and will not be asked for."""
        self._ids.clear()

    def take(self, wanted: int) -> list[str]:
        """Give blocks that are asked for, launched now if not before: the ids of those that were launched."""
        ahead = [self._ids.popleft() for _ in range(min(wanted, len(self._ids)))]
        launched = self._launch(wanted - len(ahead)) if wanted > len(ahead) else []
        return [*[block for block in ahead if block is not None], *launched]
