"""What workers and templates say, and that they have died: events for `NodeState`, and news for the interchange."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Sequence

from typing_extensions import assert_never

from parsl_context.errors import MessageError
from parsl_context.pool.driver import NodeDriver
from parsl_context.pool.echoes import Echoes
from parsl_context.pool.family import Family, Member
from parsl_context.pool.far_values import FarValues
from parsl_context.pool.link import InterchangeLink
from parsl_context.retain import processes
from parsl_context.scheduling.node import events as node
from parsl_context.scheduling.node.events import TemplateKey
from parsl_context.scheduling.node.overdue import warn_after_s
from parsl_context.wire import messages as m
from parsl_context.wire.codec import Buffer, Decoder, Frames, deal
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import Digest, WorkerId
from parsl_context.wire.segments import Segments

logger = logging.getLogger(f"parsl.{__name__}")

# A worker that dies sooner, and was sent nothing, is not started again at once. [s]
_MIN_LIFE_S = 1.0

# Of the memory of a worker's accelerators, what its contexts may take: calls need some, and so does the library.
_DEVICE_SHARE = 0.8


class MemberReports:
    """Hears the processes of a node: `message` and `death` are what the family calls.

    Parameters
    ----------
    driver
        Told what follows from it.
    values
        Takes outcomes in segments to the script's host, if that has other memory.
    block
        Of the node.
    workers_per_device
        That share the memory of an accelerator.
    """

    def __init__(
        self,
        loop: EventLoop,
        family: Family,
        link: InterchangeLink,
        driver: NodeDriver,
        segments: Segments,
        echoes: Echoes,
        values: FarValues | None,
        *,
        block: str,
        workers_per_device: int,
    ) -> None:
        self._loop = loop
        self._family = family
        self._link = link
        self._driver = driver
        self._segments = segments
        self._echoes = echoes
        self._values = values
        self._block = block
        self._workers_per_device = workers_per_device
        self._decoder: Decoder[m.FromWorker] = Decoder(m.FromWorker)

    def message(self, member: Member, frames: Frames) -> None:
        """A member said something.

        Raises
        ------
        MessageError
            If it cannot be understood: then nothing else can that it says. Its link ends, and it is killed.
        """
        message, own = self._decoder.decode(frames)
        if member.cleaning is not None:
            self._end_clean_up(member)
        if isinstance(message, m.CleanUpBegan):
            self._begin_clean_up(member, message.context)
        elif isinstance(message, m.HookBegan):
            if self._family.greet(member, message.pid) and not member.retired:
                self._limit(member, message.context)
        elif isinstance(message, m.LoadFailed | m.NotForked) and not member.is_up:
            member.error = message, own
        elif isinstance(message, m.WorkerUp):
            member.is_up = True
            if self._family.greet(member, message.pid) and member.worker is not None and not member.retired:
                self._worker_up(member, member.worker, message.inherited)
        elif member.retired:
            if isinstance(message, m.TaskDone | m.BatchDone):
                for result in [message.result] if isinstance(message, m.TaskDone) else message.results:
                    self._segments.drop(result.payload)
        elif member.worker is not None:
            self._driver.came_up()
            self._from_worker(member, member.worker, message, own)
        elif member.template is not None:
            self._from_template(member, member.template, message, own)

    def death(self, member: Member, ended: processes.Exit) -> None:
        """A member that was to live on has died, or was not forked."""
        if self._is_forked_again(member):
            return
        died = m.WorkerDied(
            manager=self._link.manager,
            host=platform.node(),
            block=self._block,
            worker=member.worker if member.worker is not None else WorkerId(0),
            pid=ended.pid,
            exit_code=ended.code,
            signal=ended.signal,
        )
        logger.warning("%s (process %d) died: %s", member.name, ended.pid, ended)
        if member.worker is not None:
            self._worker_died(member, member.worker, died)
        elif member.template is not None:
            self._template_died(member, member.template, died)

    # --- workers

    def _is_forked_again(self, member: Member) -> bool:
        """Whether another process is asked for, since there was no room for this one: no context is to blame."""
        failed = member.error[0] if member.error is not None else None
        if member.worker is None or not isinstance(failed, m.NotForked):
            return False
        return self._driver.fork_again(member.worker, member.fork_of, failed.reason, member.environment)

    def _worker_up(self, member: Member, worker: WorkerId, inherited: list[Digest]) -> None:
        member.end_limits()
        self._driver.was_forked(worker)
        member.resident.update(inherited)
        for context in inherited:
            self._link.send(m.ContextUp(context=context, worker=worker))
        self._driver.decide(
            node.WorkerReady(worker=worker, inherited=frozenset(inherited), environment=member.environment)
        )

    def _from_worker(self, member: Member, worker: WorkerId, message: m.FromWorker, frames: Sequence[Buffer]) -> None:
        match message:
            case m.TaskDone():
                self._take_result(member, worker, message.result, frames)
            case m.BatchDone():
                self._take_batch(member, worker, message.results, frames)
            case m.TaskSkipped():
                self._driver.decide(node.TaskSkipped(worker=worker, task=message.task))
            case m.TaskStopped():
                member.tasks.popleft()
                self._segments.drop_results([message.task])
                self._driver.decide(node.TaskStopped(worker=worker, task=message.task))
            case m.LoadStarted():
                if self._begin_build(member, message.context):
                    self._driver.decide(node.LoadBegan(worker=worker, context=message.context))
            case m.Loaded():
                self._loaded(member, worker, message)
            case m.FoundLoaded():
                self._driver.decide(node.LoadEnded(worker=worker, context=message.context, load_s=None))
            case m.LoadFailed():
                member.end_limits()
                member.building = None
                if message.task is not None:
                    member.tasks.popleft()
                event = node.LoadBroke(worker=worker, context=message.context, task=message.task)
                self._driver.decide_broken(event, None, message.error, frames, kinds=message.kinds, text=message.text)
            case m.Unloading():
                self._driver.decide(node.ContextsWorn(worker=worker, contexts=message.contexts))
                member.send(m.GoOn())
            case m.Unloaded():
                member.resident.discard(message.context)
                self._link.send(m.ContextDown(context=message.context, worker=worker, was_evicted=True))
                gone = node.ContextGone(worker=worker, context=message.context, kept_bytes=message.kept_bytes)
                self._driver.decide(gone)
            case m.Unfit():
                logger.info("%s (process %s) is replaced: %s", member.name, member.pid, message.reason)
                self._driver.start_anew(member)
            case m.WorkerUp() | m.HookBegan() | m.NotForked() | m.Frozen() | m.Unshareable() | m.CleanUpBegan():
                raise AssertionError(f"a worker does not send {type(message).__name__} here")
            case _:
                assert_never(message)

    def _take_result(self, member: Member, worker: WorkerId, result: m.Result, frames: Sequence[Buffer]) -> None:
        member.tasks.popleft()
        self._driver.take(result.id)
        if self._echoes.is_expected:
            self._link.flush()
            self._echoes.flush()
        if self._values is not None and result.payload.segment is not None:
            self._values.deliver(result)
        elif self._driver.tasks:
            self._link.add_result(result, frames)
        else:
            self._link.send_at_once(result, frames)  # whoever waits for it need not wait for what is decided
        self._driver.decide(node.TaskEnded(worker=worker, task=result.id, run_s=result.run_s))

    def _take_batch(
        self, member: Member, worker: WorkerId, results: Sequence[m.Result], frames: Sequence[Buffer]
    ) -> None:
        first = member.tasks.popleft()
        if self._driver.take(first) != [result.id for result in reversed(results)]:
            raise MessageError(f"Outcomes of other calls than those of the batch of task {first} arrived.")
        if self._echoes.is_expected:
            self._link.flush()
            self._echoes.flush()
        for result, own in deal(results, frames):
            if self._values is not None and result.payload.segment is not None:
                self._values.deliver(result)
            else:
                self._link.add_result(result, own)
        self._driver.decide(node.TaskEnded(worker=worker, task=first, run_s=results[-1].run_s))

    def _loaded(self, member: Member, worker: WorkerId, loaded: m.Loaded) -> None:
        context, load_s, size_bytes = loaded.context, loaded.load_s, loaded.size_bytes
        self._end_build(member, context)
        member.resident.add(context)
        member.has_clean_ups |= loaded.has_clean_up
        self._link.send(m.ContextLoaded(context=context, load_s=load_s, size_bytes=size_bytes, worker=worker))
        self._link.send(m.ContextUp(context=context, worker=worker))
        total_bytes = loaded.devices_total_bytes
        share_bytes = int(_DEVICE_SHARE * total_bytes / self._workers_per_device)
        if loaded.device_bytes:
            text = "Context %s takes %.0f MB of an accelerator; those of a worker may take %.0f MB"
            logger.info(text, self._family.label(context), loaded.device_bytes / 1e6, share_bytes / 1e6)
        self._driver.decide(
            node.LoadEnded(
                worker=worker,
                context=context,
                load_s=load_s,
                size_bytes=size_bytes,
                device_bytes=loaded.device_bytes,
                device_limit_bytes=share_bytes if total_bytes else None,
            )
        )

    def _worker_died(self, member: Member, worker: WorkerId, died: m.WorkerDied) -> None:
        self._link.send(m.WorkerFell(task=None, died=died))
        for context in member.resident:
            self._link.send(m.ContextDown(context=context, worker=worker, was_evicted=False))
        failed, frames = member.error or (None, ())
        error, kinds = (failed.error, failed.kinds) if failed is not None else (None, ())
        text = failed.text if isinstance(failed, m.LoadFailed) else ""
        cause = died if error is None and member.overdue is None else None
        self._driver.decide_broken(node.WorkerEnded(worker=worker), cause, error, frames, member.overdue, kinds, text)
        lived_s = time.monotonic() - member.started_at
        is_blamed = bool(member.known) or cause is None  # not the node
        if is_blamed or (member.pid is not None and lived_s > _MIN_LIFE_S):
            self._driver.start_worker(worker)
        else:
            self._driver.start_worker_later(worker)

    # --- templates

    def _from_template(
        self, member: Member, template: TemplateKey, message: m.FromWorker, frames: Sequence[Buffer]
    ) -> None:
        match message:
            case m.LoadStarted():
                self._begin_build(member, message.context)
            case m.Loaded():
                self._template_loaded(member, message)
            case m.LoadFailed():
                self._family.end_template(template)
                event = node.TemplateBroke(template=template, context=message.context)
                self._driver.decide_broken(event, None, message.error, frames, kinds=message.kinds, text=message.text)
            case m.Unshareable():
                text = "Context %s cannot be shared by the workers of this node, each builds its own: %s"
                logger.warning(text, self._family.label(message.context), message.reason)
                self._link.send(m.ContextUnshareable(context=message.context, reason=message.reason))
                self._driver.decide(node.TemplateUnsafe(template=template, context=message.context))
            case m.Frozen():
                member.is_frozen = True
                self._link.send(m.TemplateUp(contexts=template))
                self._driver.decide(node.TemplateReady(template=template))
            case _:
                raise AssertionError(f"a template does not send {type(message).__name__} here")

    def _template_loaded(self, member: Member, loaded: m.Loaded) -> None:
        context, load_s, size_bytes = loaded.context, loaded.load_s, loaded.size_bytes
        self._end_build(member, context)
        member.resident.add(context)
        member.has_clean_ups |= loaded.has_clean_up
        self._link.send(m.ContextLoaded(context=context, load_s=load_s, size_bytes=size_bytes))
        self._expire_later(member, context)
        self._driver.decide(node.TemplateLoaded(context=context, load_s=load_s, size_bytes=size_bytes))

    def _expire_later(self, member: Member, context: Digest) -> None:
        """Have what a template holds built anew when it is too old."""

        def expire() -> None:
            if not member.retired:
                self._driver.decide(node.SharedExpired(context=context))

        max_age_s = self._family.max_age_s(context)
        if max_age_s is not None:
            self._loop.call_later(max_age_s, expire)

    def _template_died(self, member: Member, template: TemplateKey, died: m.WorkerDied) -> None:
        self._family.templates.pop(template, None)
        if member.pid is None:  # it never was: the zygote could not fork it
            self._driver.start_template_later(template, member.environment)
            return
        unbuilt = [context for context in template if context not in member.resident]
        if unbuilt:
            event = node.TemplateBroke(template=template, context=unbuilt[0])
            cause = None if member.overdue is not None else died
            self._driver.decide_broken(event, cause, None, (), member.overdue)
        else:
            self._link.send(m.TemplateDown(contexts=template, was_evicted=False))
            self._driver.decide(node.TemplateEnded(template=template))

    # --- builds that take too long

    def _begin_build(self, member: Member, context: Digest) -> bool:
        """A context function begins. Gives whether it is that of the context to build, not of one that it requires."""
        self._limit(member, context)
        if member.building is not None:
            return False
        member.building = context
        self._link.send(m.ContextBuilding(context=context, worker=member.worker))
        return True

    def _end_build(self, member: Member, context: Digest) -> None:
        member.end_limits()
        member.overdue = None  # it ended after all, just before it was killed
        if member.building == context:
            member.building = None

    def _limit(self, member: Member, context: Digest) -> None:
        """What hangs must be talked about, and ended if there is a limit."""
        member.end_limits()
        usual_s, timeout_s = self._driver.usual_build_s(context), self._family.build_timeout_s(context)
        after_s = warn_after_s(usual_s)

        def warn() -> None:
            self._link.send(m.BuildSlow(context=context, since_s=after_s, usual_s=usual_s, timeout_s=timeout_s))

        member.builds.append(self._loop.call_later(after_s, warn))
        if timeout_s is not None:
            member.builds.append(
                self._loop.call_later(timeout_s, lambda: self._build_hangs(member, context, timeout_s))
            )

    def _build_hangs(self, member: Member, context: Digest, timeout_s: float) -> None:
        text = "%s (process %s) is killed: the build of context %s takes longer than %g s"
        logger.warning(text, member.name, member.pid, self._family.label(context), timeout_s)
        member.overdue = m.Overdue(name=self._family.label(context), timeout_s=timeout_s)
        self._family.kill(member)

    # --- clean-ups

    def _begin_clean_up(self, member: Member, context: Digest) -> None:
        """A clean-up that hangs must not hold the calls up that its worker was sent meanwhile."""
        member.cleaning = context
        if not member.retired:
            member.limit = self._loop.call_later(self._family.cleanup_s, lambda: self._clean_up_hangs(member, context))

    def _end_clean_up(self, member: Member) -> None:
        member.cleaning = None
        if member.limit is not None:
            member.limit.cancel()
            member.limit = None

    def _clean_up_hangs(self, member: Member, context: Digest) -> None:
        if not member.retired:
            text = "%s (process %s) is killed: the clean-up of context %s takes longer than %g s"
            logger.warning(text, member.name, member.pid, self._family.label(context), self._family.cleanup_s)
            self._driver.start_anew(member, kill=True)
