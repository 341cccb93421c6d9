"""Blocks of an executor: what Parsl's scaling asks for, and what the interchange knows of them."""

from __future__ import annotations

import logging
import math
import os
import time
from pathlib import Path
from typing import Any

from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.jobs.error_handlers import simple_error_handler, windowed_error_handler
from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus

from parsl_context.apps.futures import TIMEOUTS
from parsl_context.errors import BlockStartError
from parsl_context.executor.blocks import JobsOver, JobsSeen, Settling, starts_in_shell
from parsl_context.executor.client import InterchangeClient
from parsl_context.executor.queue_watch import QueueWatch
from parsl_context.executor.scaling import Scaling, as_started
from parsl_context.executor.starts import advice, failed_starts, last_lines, what_was_refused
from parsl_context.scheduling.cluster.limits import BlockLimits
from parsl_context.scheduling.cluster.scaling import Block, choose_blocks
from parsl_context.wire import messages as m

_END_BYTES = 1 << 16  # of what a job has written
# Somebody has waited for long enough already.
_TELLS_WITHIN_S = 2.0

logger = logging.getLogger(f"parsl.{__name__}")


class BlockExecutor(HighThroughputExecutor):
    """A HighThroughputExecutor whose interchange has a say in which blocks there are."""

    _client: InterchangeClient | None
    _own_launch_cmd: str
    overlap_blocks: int

    def _prepare_blocks(self) -> None:
        self._jobs_over = JobsOver()
        self._jobs_seen = JobsSeen()
        self._settling = Settling()
        self._queue = QueueWatch(self.blocks_to_job_id)
        self._scaling = Scaling(super().scale_out_facade, self._has_room, self._useful_blocks, self._block_is_over)

    def initialize_scaling(self) -> None:
        """Compose the command that launches a manager."""
        if self.launch_cmd == self._own_launch_cmd and starts_in_shell(getattr(self.provider, "launcher", None)):
            self.launch_cmd = f"exec {self.launch_cmd}"
        super().initialize_scaling()  # type: ignore[no-untyped-call]

    def scale_out_facade(self, n: int) -> list[str]:
        """Launch blocks, those included that `start` has launched ahead. Gives the ids of those that were launched."""
        return self._scaling.take(n)

    def poll_facade(self) -> None:
        """Ask the provider how jobs are, when it is time to; managers whose job is over are told to end."""
        if not self._settling.is_over(time.monotonic(), self.status_polling_interval):
            return
        polled_at = self._last_poll_time
        super().poll_facade()
        if self._last_poll_time != polled_at:
            self._status.update(self._queue.not_over(self.provider, self._status))
            self._queue.ask(self.provider, self._status, anybody_waits=bool(self.tasks))
        client = self._client
        if client is not None and (over := self._jobs_over.news(self._status)):
            client.send(m.BlocksEnded(blocks=over))
        if client is not None and (seen := self._jobs_seen.news(self._status)):
            client.send(m.BlocksSeen(blocks=seen))

    def why_waiting(self) -> str | None:
        """Why calls wait, if there is no worker; as far as it is known, for the scheduler is not asked."""
        client = self._client
        if client is None or client.is_this_thread:
            return None
        try:
            answer = client.ask(lambda request: m.ListManagers(request=request), m.ManagerList, _TELLS_WITHIN_S)
        except (RuntimeError, *TIMEOUTS):
            return None
        if answer.managers:
            return None
        reason = self._queue.why(self._status)
        return None if reason is None else f"Executor {self.label!r} has no workers. {reason}"

    def handle_errors(self, status: dict[str, JobStatus]) -> None:
        """As in Parsl, but that a block which has run calls did not fail, to Parsl's own handlers."""
        self._scaling.polls()
        if self.bad_state_is_set:
            self._end_all_blocks()  # Parsl ends none of an executor that it has given up: they would wait in the queue
        handler = self.block_error_handler
        if handler not in (simple_error_handler, windowed_error_handler):
            super().handle_errors(status)
        elif self.bad_state_is_set:
            pass  # what has failed first is told of
        elif handler is simple_error_handler and (error := self._start_error(status)) is not None:
            self.set_bad_state_and_fail_all(error)
        else:
            super().handle_errors(as_started(status, self._scaling.served))

    def _start_error(self, status: dict[str, JobStatus]) -> BlockStartError | None:
        """Why no block comes up, if none has ever."""
        refused = [block for block in status if block not in self.blocks_to_job_id]
        failed = failed_starts(status, refused)
        if failed is None or self._client is None or self._has_been_joined():
            return None
        block = failed.first
        job = status[block]
        log = None if block in refused else _written(job.stderr_path) or _written(job.stdout_path)
        said = what_was_refused(job.message or "") if log is None else last_lines(_end_of(log))
        return BlockStartError(
            executor=self.label,
            block=block,
            job=self.blocks_to_job_id.get(block),
            said=said,
            log=None if log is None else str(log),
            advice=advice(said),
        )

    def _has_been_joined(self) -> bool:
        try:
            return bool(self.connected_blocks())
        except RuntimeError:  # the interchange has died, which says it itself
            return True

    def _end_all_blocks(self) -> None:
        jobs = [self.blocks_to_job_id[block] for block in self._active_blocks() if block in self.blocks_to_job_id]
        if jobs and self.provider is not None:
            logger.info("Jobs %s are cancelled: their executor cannot go on", ", ".join(map(str, jobs)))
            self.provider.cancel(jobs)
            for job in jobs:
                block = self.job_ids_to_block[job]
                self._status[block] = self._simulated_status[block] = JobStatus(JobState.SCALED_IN)

    def outstanding(self) -> int:
        """Calls without an outcome."""
        self._scaling.counts()
        return len(self.tasks)

    def _launch_block(self, block_id: str) -> Any:
        try:
            job = super()._launch_block(block_id)
        finally:
            self._settling.launched(time.monotonic())
        if self._client is not None:
            self._client.send(m.BlockLaunched(block=block_id, job=str(job)))
        return job

    def _has_room(self) -> bool:
        most = 0 if self.provider is None else self.provider.max_blocks + self.overlap_blocks
        return len(self._active_blocks()) < most

    def _active_blocks(self) -> list[str]:
        """Blocks that have not ended, and were not given up: a poll that began before that knows nothing of it."""
        status = {**self._status, **self._simulated_status}
        return [name for name, job in status.items() if job.state not in TERMINAL_STATES]

    def _useful_blocks(self, blocks: int) -> int:
        client = self._client
        if client is None:
            return blocks
        return client.ask(lambda request: m.CountUseful(request=request, blocks=blocks), m.Useful).blocks

    def _block_is_over(self, block: str) -> None:
        job = self._status.get(block)
        if job is not None and not job.terminal:
            # Parsl would learn of it when it asks the scheduler next, up to a minute later.
            self._status[block] = over = JobStatus(JobState.COMPLETED, "All its managers have ended.")
            self.send_monitoring_info({block: over})

    def scale_in(self, blocks: int, max_idletime: float | None = None) -> list[str]:
        """End so many blocks: idle ones whose contexts are the cheapest to build again come first.

        Parameters
        ----------
        blocks
            How many at most.
        max_idletime
            Only blocks that have been idle for longer; None: busy ones too. [s]

        Returns
        -------
        list of str
            The blocks that were ended.
        """
        everything = blocks >= len(self._status)
        with self._scaling.giving_up(everything=everything):
            return self._give_up(len(self._status) if everything else blocks, max_idletime)

    def _give_up(self, blocks: int, max_idletime: float | None) -> list[str]:
        found = {name: Block(name) for name in self._active_blocks()}
        is_running = self._client is not None  # else it was shut down before Parsl was, which ends the blocks
        for row in self.connected_managers() if is_running else ():
            if row["active"]:
                block = found.setdefault(row["block_id"], Block(row["block_id"]))
                block.add(tasks=row["tasks"], idle_s=row["idle_duration"], rebuild_s=row["rebuild_s"])
        chosen = choose_blocks(found.values(), blocks, max_idletime)
        if len(chosen) < blocks:
            logger.info("Asked to end %d blocks, found %d that may be", blocks, len(chosen))
        for block_id in chosen if is_running else ():
            self._hold_block(block_id)  # type: ignore[no-untyped-call]
        assert self.provider is not None
        jobs = [self.blocks_to_job_id[block_id] for block_id in chosen if block_id in self.blocks_to_job_id]
        if not jobs:  # else Slurm is called in vain, once in every period of Parsl's strategy
            return []
        ended = self._filter_scale_in_ids(jobs, self.provider.cancel(jobs))
        return [self.job_ids_to_block[job] for job in ended]

    def _block_limits(self) -> BlockLimits:
        most = getattr(self.provider, "max_blocks", math.inf)
        return BlockLimits(most, self.overlap_blocks, getattr(self.provider, "nodes_per_block", 1) or 1)


def _end_of(path: Path) -> str:
    """The end of a file, which may be large."""
    with open(path, "rb") as file:
        file.seek(-min(_END_BYTES, path.stat().st_size), os.SEEK_END)
        return file.read().decode(errors="replace")


def _written(path: str | None) -> Path | None:
    """A file in which there is something."""
    return Path(path) if path is not None and os.path.isfile(path) and os.path.getsize(path) else None
