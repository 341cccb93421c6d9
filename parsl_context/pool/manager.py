"""A node's manager: one event loop between the interchange and the workers.

    interchange ◀─ InterchangeLink ─▶ Manager ──▶ NodeDriver ──▶ Family ◀─ Channel ─▶ worker processes
                                                      ▲             │
                                                      └ MemberReports

`Manager` puts these together, hears the interchange and ends the node; `NodeDriver` carries out what `NodeState`
decides. Payloads are forwarded unopened. Workers are children (see `zygote`), so a death is noticed at once.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from parsl import curvezmq
from parsl.executors.high_throughput.mpi_resource_management import get_nodes_in_batchjob, identify_scheduler
from typing_extensions import assert_never

from parsl_context.pool.accelerators import devices_here, workers_per_device
from parsl_context.pool.apart import told_of
from parsl_context.pool.description import default_context_memory, describe_node
from parsl_context.pool.driver import NodeDriver
from parsl_context.pool.echoes import Echoes
from parsl_context.pool.environments import NodeEnvironments
from parsl_context.pool.family import Family
from parsl_context.pool.far_values import Batch, FarValues
from parsl_context.pool.files import NodeFiles
from parsl_context.pool.launchers import watch_launchers
from parsl_context.pool.link import InterchangeLink, find_interchange, host_of
from parsl_context.pool.reports import MemberReports
from parsl_context.pool.settings import ManagerSettings, WorkerSettings
from parsl_context.pool.signals import watch_signals
from parsl_context.scheduling.lines import Lane
from parsl_context.scheduling.node import events as node
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Frames, deal
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import WorkerId
from parsl_context.wire.segments import create_segments, join_segments

logger = logging.getLogger(f"parsl.{__name__}")

# Time that running calls have when the manager is told to end by a signal, or because its job is over. [s]
DRAIN_S = 5.0


class Manager:
    """Owns the node. `run` returns the exit status when the manager is told to end or has lost its interchange."""

    def __init__(
        self,
        settings: ManagerSettings,
        zygote: socket.socket,
        zygote_pid: int,
        monitoring: socket.socket,
        echoes: socket.socket,
        drains: socket.socket,
        code_folder: Path,
        of_workers: WorkerSettings,
    ) -> None:
        self._settings = settings
        self._of_workers = of_workers
        self._monitoring = monitoring
        self._drains = drains  # closed so that workers know that it is for us to heed a SIGTERM
        self._nodes = get_nodes_in_batchjob(identify_scheduler()) if settings.mpi_mode else []
        self._budget = 0  # memory that contexts may take, known from the first welcome on. [bytes]
        self._ending: str | None = None
        self._was_welcome = False  # once
        self._loop = loop = EventLoop()
        self._context = curvezmq.ClientContext(settings.cert_dir)
        url, answer = find_interchange(
            self._context, settings.addresses, settings.port, settings.address_probe_timeout_s
        )
        self._segments = join_segments(answer.segments)
        self._is_far = answer.segments is not None and self._segments.path is None
        if self._is_far:
            self._segments = create_segments()
        logger.info("Interchange found at %s; large values lie in %s", url, self._segments.path or "frames")
        self._link = link = self._make_link(url, answer.local)
        told = told_of(of_workers, settings.log_config_path)
        self._environments = environments = NodeEnvironments(loop, told, lambda: self._files.bringing())
        self._family = family = Family(
            loop,
            settings,
            zygote,
            zygote_pid,
            code_folder=code_folder,
            segments=self._segments.path,
            echo=answer.echo,
            on_zygote_death=lambda: self._end("its zygote died"),
            environments=environments,
        )
        self._driver = NodeDriver(
            loop,
            family,
            link,
            slots=settings.workers,
            nodes=self._nodes,
            on_give_up=self._end,
            environments=environments,
            home=answer.environment,
            begins_at_home=answer.begins_in_environment,
        )
        self._echoes = Echoes(loop, echoes, link, is_expected=answer.echo)
        self._files = NodeFiles(
            loop, link.send, folder=code_folder, interchange=host_of(url), node_store=settings.node_store
        )
        self._values: FarValues | None = None
        if self._is_far and self._segments.path is not None:
            self._values = FarValues(loop, link, self._segments, host_of(url), lambda batch: self._admit([batch]))
            self._driver.on_gone = self._values.drop
        sharing = 1
        if settings.accelerators:
            sharing = workers_per_device(settings.accelerators, settings.workers, devices_here(), os.environ)
        reports = MemberReports(
            loop,
            family,
            link,
            self._driver,
            self._segments,
            self._echoes,
            self._values,
            block=settings.block,
            workers_per_device=sharing,
        )
        family.listen(on_message=reports.message, on_death=reports.death)

    def _make_link(self, url: str, local: str | None) -> InterchangeLink:
        settings = self._settings
        return InterchangeLink(
            self._loop,
            self._context,
            url,
            local=local,
            node=settings.uid,
            heartbeat_period_s=settings.heartbeat_period_s,
            heartbeat_threshold_s=settings.heartbeat_threshold_s,
            join=self._describe,
            on_message=self._from_interchange,
            on_welcome=self._welcomed,
            on_break=self._forget_session,
            on_end=self._end,
        )

    def _describe(self, manager: m.ManagerId) -> m.Joined:
        driver = self._driver
        proof = None if self._is_far else self._segments.proof
        return describe_node(self._settings, manager, proof, driver.held, driver.ready_templates)

    def run(self) -> int:
        """Serve the interchange until the end."""
        loop = self._loop
        watch_signals(
            loop, {signal.SIGCHLD: self._family.reap, signal.SIGTERM: self._terminate, signal.SIGINT: self._terminate}
        )
        watch_launchers(loop, lambda name: self._terminate(f"{name} has ended, by which it was launched"))
        loop.watch(self._monitoring, self._from_monitoring)
        self._echoes.watch()
        loop.flush.append(self._link.flush)
        self._link.connect()
        for worker in range(self._settings.workers):
            self._driver.start_worker(WorkerId(worker))
        loop.run()
        if not self._was_welcome:
            # Of a block that never joins, the script reads what its job has written.
            print(f"The manager of block {self._settings.block} ends: {self._ending}", file=sys.stderr, flush=True)
        self._close()
        logger.info("Manager ended: %s", self._ending)
        return 0

    # --- life

    def _terminate(self, reason: str = "it was told to terminate") -> None:
        """Hand back what has not started, let running calls finish for a while, end.

        The interchange says when that is: calls may be on their way here that it sent before it heard of this.
        """
        if self._ending is not None:
            return
        self._ending = reason
        self._drains.close()
        logger.info("Manager drains: %s", self._ending)
        self._loop.call_later(DRAIN_S, self._loop.stop)
        self._link.leave(self._ending)
        self._driver.decide(node.DrainBegan())
        if self._values is not None:
            self._values.take_all_back()

    def _end(self, reason: str, level: int = logging.WARNING) -> None:
        """End now."""
        logger.log(level, "Manager ends: %s", reason)
        self._ending = reason
        self._drains.close()
        self._loop.stop()

    def _close(self) -> None:
        """Clean-ups run, then nothing is left of this node: no process, no socket."""
        self._echoes.flush()
        if self._values is not None:
            self._values.close()
        self._link.flush()
        self._link.send(m.Left(reason=self._ending or "unknown"))
        self._family.end_all(on_clean=lambda: self._link.send(m.CleanedUp()))
        self._files.close()
        self._link.close()
        self._context.destroy(linger=1000)
        self._loop.close()
        self._segments.close()
        for end in (self._of_workers.monitoring, self._of_workers.echo, self._of_workers.drains):
            end.close()

    def _from_monitoring(self) -> None:
        while True:
            try:
                record = self._monitoring.recv(1 << 20)
            except BlockingIOError:
                return
            self._link.send(m.Monitoring(), [record])

    # --- from the interchange

    def _from_interchange(self, message: m.ToManager, frames: Frames) -> None:
        match message:
            case m.RunTasks():
                self._take_tasks(message, frames)
            case m.StoreBlobs():
                for blob, frame in zip(message.blobs, frames, strict=True):
                    self._family.store(blob, frame)
                    if blob.stretch is None:
                        self._files.content_came(blob.digest, frame)
            case m.DeclareContext():
                self._declare(message)
            case m.ForgetBlobs():
                self._forget(message)
            case m.BuildContext():
                self._driver.decide(node.BuildWanted(context=message.context))
            case m.BuildInstance():
                self._driver.decide(node.InstanceWanted(order=message.order, contexts=message.contexts))
            case m.ReleaseInstance():
                self._driver.decide(node.OrderReleased(order=message.order))
            case m.ReturnTasks():
                if self._values is not None:
                    self._values.take_back(message.tasks)
                self._driver.decide(node.TasksReclaimed(tasks=message.tasks, ends=message.ends))
                if message.answers:
                    left = self._driver.tasks.keys() - self._driver.stopping  # of those, the workers say it
                    kept = [task for task in message.tasks if task in left]
                    self._link.send(m.TasksKept(tasks=kept))
            case m.EvictContext():
                self._driver.decide(node.EvictionWanted(context=message.context))
            case m.BulkRoad():
                if self._values is not None:
                    self._values.use(message)
            case m.FileFound() | m.GetChunk() | m.WithdrawChunk() | m.FileStranded() | m.ContentGone():
                self._files.message(message)
            case m.Drain():
                self._terminate(message.reason)
            case m.Shutdown():
                self._end(message.reason, logging.INFO)
            case m.Welcome() | m.Refuse() | m.Rejoin() | m.ProbeReply() | m.Ping() | m.HeartbeatReply():
                raise AssertionError("handled by the link")
            case _:
                assert_never(message)

    def _take_tasks(self, message: m.RunTasks, frames: Frames) -> None:
        batches: list[Batch] = []
        dealt = iter(deal(message.tasks, frames))
        for task, own in dealt:
            mates = message.mates.get(task.id, 0) if message.mates else 0
            batches.append([(task, own), *itertools.islice(dealt, mates)] if mates else [(task, own)])
        if self._values is not None:
            batches = [batch for batch in batches if not self._values.expect(batch)]
        self._admit(batches)

    def _admit(self, batches: Sequence[Batch]) -> None:
        """Calls are here with all that they need."""
        arrived = []
        for batch in batches:
            task = batch[0][0]
            nodes = int((task.resources or {}).get("num_nodes", 0)) if self._settings.mpi_mode else 0
            if nodes > len(self._nodes):
                reason = f"Task {task.id} asks for {nodes} nodes; its block has {len(self._nodes)}."
                self._link.send(m.TaskRefused(task=task.id, reason=reason))
                continue
            self._driver.tasks[task.id] = batch[0]
            if len(batch) > 1:
                self._driver.mates[task.id] = batch[1:]
            lane = Lane(task.contexts, task.fresh, nodes > 0)
            arrived.append(node.NodeTask(id=task.id, lane=lane, code=task.code, nodes=nodes))
        self._driver.decide(node.TasksArrived(tasks=arrived))

    def _declare(self, message: m.DeclareContext) -> None:
        options, size_bytes = message.options, message.size_bytes
        self._family.declare(message.context, options)
        if options.environment is not None:
            self._environments.declare(options.environment)
        # Workers with an accelerator each hold something of their own, and drivers do not survive a fork.
        is_shared = options.reuse == "node" and not self._settings.accelerators
        if options.reuse == "node" and not is_shared:
            reason = "each worker has an accelerator of its own"
            self._link.send(m.ContextUnshareable(context=message.context, reason=reason))
        if size_bytes is not None:
            logger.info("Context %s took %.0f MB on another node", options.name, size_bytes / 1e6)
            size_bytes = min(size_bytes, self._budget)
        elif options.memory_gb is not None:
            size_bytes = int(options.memory_gb * 1e9)
        self._driver.decide(
            node.ContextDeclared(
                context=message.context,
                is_shared=is_shared,
                size_bytes=size_bytes,
                is_pinned=options.pinned,
                is_isolated=options.isolated,
                environment=node.MANAGERS_OWN if options.environment is None else options.environment.name,
                is_environment_kept=options.environment is None or options.environment.is_kept,
            )
        )

    def _forget(self, message: m.ForgetBlobs) -> None:
        self._family.forget(message.digests)
        for digest in message.digests:
            self._driver.decide(node.BlobForgotten(digest=digest))

    def _welcomed(self, limits: m.Limits) -> None:
        self._was_welcome = True
        self._set_limits(limits)
        self._files.joined()
        self._driver.welcomed()

    def _set_limits(self, limits: m.Limits) -> None:
        self._family.cleanup_s = limits.cleanup_s
        self._family.build_s = limits.build_s
        by_default = default_context_memory(self._settings.given)
        self._budget = by_default if limits.memory_bytes is None else limits.memory_bytes
        self._driver.decide(
            node.LimitsSet(
                memory_bytes=self._budget, contexts_per_worker=limits.contexts_per_worker, idle_s=limits.idle_s
            )
        )

    def _forget_session(self) -> None:
        """The interchange has given up the calls of this session."""
        results, _ = self._link.take_results()
        for result in results:
            self._segments.drop(result.payload)
        if self._values is not None:
            self._values.forget_session()
        self._driver.reset()
