"""Room for contexts on a node: what they take, and what is given up when more is needed. On the books of `state`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

from parsl_context.scheduling.node.events import Action, EndTemplate, Evict, LimitsSet, TemplateKey
from parsl_context.scheduling.node.memory import Holding, Sizes, choose_victims, is_worth_a_process, least_valuable
from parsl_context.scheduling.node.workers import Template, Worker, WorkerLine
from parsl_context.scheduling.placement import BUILD_PRIOR_S, Estimate
from parsl_context.wire.messages import Digest, WorkerId


class Room:
    """Keeps the instances of a node within its limits.

    Parameters
    ----------
    workers
        The workers of the node.
    lines_of
        The lines whose calls need a context.
    """

    def __init__(self, workers: dict[WorkerId, Worker], lines_of: Mapping[Digest, list[WorkerLine]]) -> None:
        self._workers = workers
        self._lines_of = lines_of
        self.limits = LimitsSet()
        self.sizes = Sizes()
        self.device_sizes = Sizes()  # of accelerators' memory
        self.device_limit_bytes: int | None = None  # that contexts of one worker may take of it
        self.builds: dict[Digest, Estimate] = {}
        self.pinned: set[Digest] = set()
        self._looked_at = float("-inf")  # for idle instances
        self.templates: dict[TemplateKey, Template] = {}

    def measured(self, context: Digest, load_s: float, size_bytes: int) -> None:
        """A build ended."""
        self.builds.setdefault(context, Estimate()).add(load_s)
        self.sizes.measure(context, size_bytes)

    def measured_on_devices(self, context: Digest, size_bytes: int, limit_bytes: int | None) -> None:
        """A worker's build ended; what it takes of the worker's accelerators, and what contexts may."""
        self.device_sizes.measure(context, size_bytes)
        if limit_bytes is not None:
            self.device_limit_bytes = limit_bytes

    def refusal(self, contexts: Iterable[Digest]) -> str | None:
        """Why these contexts can never be held together here, if so. What the user declared counts as it stands."""
        budget = self.limits.memory_bytes
        needed = sum(self.sizes.declared(context) or 0 for context in contexts)
        if budget is None or needed <= budget:
            return None
        return (
            f"The contexts of the call take {needed / 1e9:g} GB as declared (memory_gb), and contexts may take "
            f"{budget / 1e9:g} GB on a node. Raise context_memory_gb of the executor, or use nodes with more memory."
        )

    def make_for(
        self,
        worker: Worker | None,
        contexts: Collection[Digest],
        now: float,
        shared: Collection[Digest] = (),
        needed: Collection[Digest] = (),
        *,
        is_changed: bool = False,
    ) -> tuple[list[Action], bool]:
        """What to give up so that a worker, or a template, may build these contexts, and whether it may do so at once.

        A worker has those that are `shared` from a template that is there. If it is to be forked from there, or
        `is_changed` to another environment, what it has now goes. Templates of what is `needed` by others that wait are
        given up only if nothing else helps.

        No worker gives them up that holds them all: that would trade one instance for another. Where all that can be
        given up is not enough, and nobody holds them, it may all the same: what waits for it would wait for ever.
        """
        forked = None if worker is None or (worker.resident.issuperset(shared) and not is_changed) else worker
        lost = set() if forked is None else forked.kept
        has = set(shared) if worker is None or worker is forked else worker.resident
        missing = [context for context in contexts if context not in has]
        if not missing:
            return [], True
        actions: list[Action] = []
        if worker is not None and worker is not forked:
            actions += self._keep_few(worker, missing, contexts, now)
        lacking = self._lacking(missing, lost)
        if lacking <= 0:
            return actions, True
        leaving = sum(self.sizes.of(c) for w in self._workers.values() for c in w.leaving - w.inherited)
        keep = set() if worker is None else {worker.id, *self.holders(contexts)}

        def spare(spared: Collection[Digest]) -> list[Holding]:
            found = [h for h in self._holdings(now, spared) if h.context not in contexts or h.worker not in keep]
            return found if forked is None else [holding for holding in found if holding.worker != forked.id]

        candidates = spare([*shared, *needed])
        victims = choose_victims(candidates, lacking - leaving)
        is_stuck = victims is None and not leaving and len(keep) < 2 and not self._anything_runs()
        if is_stuck and needed:
            candidates = spare(shared)
            victims = choose_victims(candidates, lacking)
        may_exceed = is_stuck and victims is None
        given_up = [a for victim in (candidates if may_exceed else victims or ()) for a in self.give_up(victim)]
        actions += given_up
        if leaving or any(isinstance(action, Evict) for action in given_up):
            return actions, False  # until they are gone
        return actions, may_exceed or self._lacking(missing, lost) <= 0  # templates have ended

    def is_at_rest(self) -> bool:
        """Whether there will not be more room by itself."""
        return not (self._anything_runs() or any(worker.leaving for worker in self._workers.values()))

    def fits(self, contexts: Iterable[Digest]) -> bool:
        """Whether these can be built without giving anything up."""
        return self._lacking(contexts) <= 0

    def is_full(self, worker: Worker, more: Collection[Digest]) -> bool:
        """Whether a worker would hold more contexts than it may with these, and has others that it could give up."""
        limit = self.limits.contexts_per_worker
        held = worker.resident - worker.leaving
        return limit is not None and len(held) + len(more) > limit and not held.issubset(self.pinned)

    def is_wasted_on(self, worker: Worker, context: Digest, kept_bytes: int) -> bool:
        """Whether a worker keeps so much memory of an instance it gave up that it needs another process."""
        others_bytes = sum(map(self.sizes.of, worker.kept))
        return is_worth_a_process(kept_bytes, self.sizes.of(context), others_bytes, -self._lacking(()))

    def used_bytes(self) -> int:
        """What instances take, and those that are being built."""
        total = sum(self.sizes.of(context) for key in self.templates for context in key)
        for worker in self._workers.values():
            total += sum(map(self.sizes.of, worker.kept))
            coming = set(worker.order.contexts) if worker.order is not None else set()
            if worker.building is not None:
                coming.add(worker.building)
            total += sum(map(self.sizes.of, coming - worker.resident - set(worker.fork_of or ())))
        return total

    def evict(self, worker: Worker, context: Digest) -> list[Action]:
        """Have a worker end an instance."""
        return [Evict(worker=worker.id, context=context)] if self.leave(worker, context) else []

    def is_templates(self, worker: Worker, context: Digest) -> bool:
        """Whether a worker has a context from a template, and can have it from one again."""
        return context in worker.inherited and any(context in key for key in self.templates)

    def leave(self, worker: Worker, context: Digest) -> bool:
        """A worker ends an instance; calls that need it go elsewhere from now on. False if that was known."""
        if context in worker.leaving or context not in worker.resident:
            return False
        worker.leaving.add(context)
        for line in self._lines_of.get(context, ()):
            if not line.is_anywhere:
                line.dismiss(worker)
        return True

    def end_templates(self, context: Digest) -> list[Action]:
        """End the templates that hold a context, and what their workers have of it."""
        actions: list[Action] = []
        for key in [key for key in self.templates if context in key]:
            del self.templates[key]
            actions.append(EndTemplate(template=key))
        for worker in self._workers.values():
            if worker.up and context in worker.inherited:
                actions += self.evict(worker, context)
        return actions

    def forget_unready(self, context: Digest) -> None:
        """Templates that were to hold a context and are not ready will not be there."""
        for key in [key for key, template in self.templates.items() if context in key and not template.is_ready]:
            del self.templates[key]

    def evict_everywhere(self, context: Digest) -> list[Action]:
        """Give up all instances of a context."""
        actions = self.end_templates(context)
        for worker in self._workers.values():
            if worker.up:
                actions += self.evict(worker, context)
        return actions

    def evict_idle(self, now: float) -> list[Action]:
        """Give up what no call has used for as long as the user allows."""
        limit_s = self.limits.idle_s
        self._looked_at = now
        old = [h for h in self._holdings(now) if limit_s is not None and h.idle_s >= limit_s]
        return [action for holding in old for action in self.give_up(holding)]

    def next_idle_at(self) -> float | None:
        """When `evict_idle` may find something next."""
        if self.limits.idle_s is None:
            return None
        used = [at for worker in self._workers.values() if not worker.held for at in worker.used_at.values()]
        # What is old and stays (pinned, shared with a worker that runs, in its clean-up) is not looked at all the time.
        earliest = self._looked_at + self.limits.idle_s / 4
        return max(min(used) + self.limits.idle_s, earliest) if used else None

    def give_up(self, holding: Holding) -> list[Action]:
        """Give up one instance."""
        if holding.worker is not None:
            return self.evict(self._workers[holding.worker], holding.context)
        return self.end_template(holding.template)

    def end_template(self, key: TemplateKey) -> list[Action]:
        """End a template, and what workers have of it and of no other."""
        if key not in self.templates:
            return []
        del self.templates[key]
        actions: list[Action] = [EndTemplate(template=key)]
        for worker in self._workers.values():
            if worker.up and worker.inherited.issubset(key):
                for context in sorted(worker.inherited):
                    actions += self.evict(worker, context)
        return actions

    def _lacking(self, more: Iterable[Digest], less: Iterable[Digest] = ()) -> float:
        """By how much the budget is exceeded when some contexts have come and others gone. [bytes]"""
        if self.limits.memory_bytes is None:
            return -math.inf
        change = sum(map(self.sizes.of, more)) - sum(map(self.sizes.of, less))
        return self.used_bytes() + change - self.limits.memory_bytes

    def _keep_few(self, worker: Worker, missing: list[Digest], contexts: Iterable[Digest], now: float) -> list[Action]:
        """Give up what a worker holds beyond the number that it may hold, and beyond the memory of its accelerators."""
        if self.limits.contexts_per_worker is None and self.device_limit_bytes is None:
            return []
        actions: list[Action] = []
        own = [h for h in self._holdings(now) if h.worker == worker.id and h.context not in contexts]
        while own and self._has_too_many(worker, missing):
            victim = least_valuable(own)
            own.remove(victim)
            actions += self.evict(worker, victim.context)  # done before the build: messages keep their order
        return actions

    def _has_too_many(self, worker: Worker, more: Collection[Digest]) -> bool:
        held = worker.resident - worker.leaving
        limit, device_limit = self.limits.contexts_per_worker, self.device_limit_bytes
        if limit is not None and len(held) + len(more) > limit:
            return True
        on_devices = sum(map(self.device_sizes.of, held.union(more)))
        return device_limit is not None and on_devices > device_limit

    def holders(self, contexts: Iterable[Digest]) -> list[WorkerId]:
        """Workers that hold all of these."""
        return [worker.id for worker in self._workers.values() if worker.resident.issuperset(contexts)]

    def _anything_runs(self) -> bool:
        """Whether anything goes on, or is about to, after which there may be more room."""
        if any(not template.is_ready or template.kept_for for template in self.templates.values()):
            return True
        if any(w.held or w.building or w.order or w.kept_for or w.fork_for for w in self._workers.values()):
            return True
        return any(line.waiting for lines in self._lines_of.values() for line in lines)

    def _holdings(self, now: float, needed: Collection[Digest] = ()) -> list[Holding]:
        """Instances that no call uses or waits for now, but templates that have what is needed."""
        found = []
        for worker in self._workers.values():
            if worker.is_spare:
                for context in worker.kept - worker.leaving - self.pinned:
                    found.append(self._holding(context, worker.id, worker.used_at.get(context, 0.0), now))
        busy = [w for w in self._workers.values() if w.held or w.order or w.kept_for]
        in_use = {context for worker in busy for context in worker.inherited}.union(needed, self.pinned)
        for key, template in self.templates.items():
            if not template.is_ready or template.kept_for or in_use.intersection(key):
                continue
            if not any(self._is_awaited(context) for context in key):
                used = [w.used_at.get(c, 0.0) for w in self._workers.values() for c in key]
                found += [self._holding(context, None, max(used, default=0.0), now, key) for context in key]
        return found

    def _is_awaited(self, context: Digest) -> bool:
        return any(line.waiting or line.coming for line in self._lines_of.get(context, ()))

    def _holding(
        self, context: Digest, worker: WorkerId | None, used_at: float, now: float, template: TemplateKey = ()
    ) -> Holding:
        return Holding(
            context=context,
            worker=worker,
            size_bytes=self.sizes.of(context),
            idle_s=now - used_at,
            build_s=self.builds.get(context, Estimate()).or_prior(BUILD_PRIOR_S),
            template=template,
        )
