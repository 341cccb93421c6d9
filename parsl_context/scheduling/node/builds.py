"""Builds on a node: which worker builds what was ordered, and the templates that shared contexts live in.

An order is for one more worker that holds some contexts together. Contexts that workers share come from a template: it
is started, and once it is ready a worker is forked from it; what is left the worker builds itself, one after the other.
An order that finds no room, or no idle worker, waits; orders are tried in turn whenever either may have changed.

What was built is *kept* for the calls that it was built for: no other order takes it away before the first of them has
come, or the interchange says that none will. Or orders whose contexts do not fit together would build in turn, and none
would serve a call.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable

from parsl_context.scheduling.node.environments import Environments
from parsl_context.scheduling.node.events import (
    Action,
    EndTemplate,
    Load,
    RefuseBuild,
    Replace,
    SettleBuild,
    StartTemplate,
    TemplateKey,
)
from parsl_context.scheduling.node.room import Room
from parsl_context.scheduling.node.workers import Order, Template, Worker
from parsl_context.wire.messages import Digest, EnvironmentName, OrderId, WorkerId


class NodeBuilds:
    """Orders, and the templates they need."""

    def __init__(self, workers: dict[WorkerId, Worker], room: Room, environments: Environments) -> None:
        self._workers = workers
        self._room = room
        self._environments = environments
        self._orders: deque[Order] = deque()  # that no worker has taken on
        self._untried: deque[Order] = deque()  # of those, what is still to be tried in this turn
        self._shared: set[Digest] = set()  # contexts that templates build
        self._wanted: dict[Digest, None] = {}  # to build on every worker ahead of calls, in this order
        self.needs_worker = False  # an order waits for a worker to be idle
        self._needs_room = False  # an order waits for room
        self._is_closed = False  # nothing more is taken on
        self.lost: dict[Digest, None] = {}  # what went with processes that were replaced; calls may wait for it

    # --- what is asked for

    def share(self, context: Digest, shared: bool) -> None:
        """Workers share a context, or must not."""
        if shared:
            self._shared.add(context)
        else:
            self._shared.discard(context)

    def want(self, context: Digest) -> None:
        """Build a context on every worker."""
        self._wanted[context] = None

    def unwant(self, context: Digest) -> None:
        """Build it for calls only."""
        self._wanted.pop(context, None)

    def is_asked_for(self, context: Digest) -> bool:
        """Whether it is to be built ahead of calls, or a template for it is under way."""
        is_coming = any(context in key and not template.is_ready for key, template in self._room.templates.items())
        return is_coming or context in self._wanted

    def order(self, number: OrderId, contexts: tuple[Digest, ...], now: float) -> list[Action]:
        """Have one more worker hold these."""
        reason = self._room.refusal(contexts)
        if reason is not None:
            return [RefuseBuild(contexts=contexts, reason=reason), SettleBuild(order=number, contexts=contexts)]
        self._orders.append(Order(contexts, number))
        return self.start(now)

    def release(self, number: OrderId) -> Worker | None:
        """What an order built is kept no longer than until its worker is idle. Gives the worker, if there is one."""
        for template in self._room.templates.values():
            template.kept_for.discard(number)
        for worker in self._workers.values():
            if worker.kept_for is not None and worker.kept_for.number == number:
                worker.is_released = True
                return worker
        return None

    def cancel_all(self) -> list[Action]:
        """The node takes nothing on any more."""
        self._is_closed = True
        orders, self._orders = self._orders, deque()
        return [action for order in orders for action in self._settle(order)]

    # --- how it is done

    def start(self, now: float) -> list[Action]:
        """Take on what can be: each order by an idle worker. The others wait, in order.

        First those whose templates are ready, or others might end these before they were of use.
        """
        self.needs_worker = self._needs_room = False
        self._untried, self._orders = deque(sorted(self._orders, key=self._is_far)), deque()
        actions: list[Action] = []
        while self._untried:
            actions += self._try(self._untried.popleft(), now)
        return actions

    def _is_far(self, order: Order) -> bool:
        """Whether it takes more than a worker until it is done."""
        shared = self.template_key(order.contexts)
        return not shared or self.ready_template(shared) is None

    def _try(self, order: Order, now: float) -> list[Action]:
        """Take on an order, or do what brings that nearer and have it wait."""
        shared = self.template_key(order.contexts)
        template = self.ready_template(shared) if shared else None
        if shared and template is None:
            self._orders.append(order)
            return self._start_template(shared, now)
        if template is not None and len(shared) == len(order.contexts):  # workers are forked from it as calls come
            if order.number is not None:
                self._room.templates[template].kept_for.add(order.number)
            return self._settle(order)
        worker = self._builder(order, shared)
        if worker is None and self._is_everywhere(order):
            return self._settle(order)
        if worker is None:
            self.needs_worker = True
            self._orders.append(order)
            return []
        evictions, fits = self._room.make_for(
            worker,
            order.contexts,
            now,
            shared,
            self._needed_by_others(),
            is_changed=worker.environment != self._environments.of(order.contexts),
        )
        if not fits and not evictions and self._room.holders(order.contexts) and self._room.is_at_rest():
            return self._settle(order)  # it could only take the place of another
        if not fits:
            self._orders.append(order)
            self._needs_room = True
            return evictions
        worker.order = order
        return evictions + self.advance(worker, now)

    def _start_template(self, key: TemplateKey, now: float) -> list[Action]:
        if self.has_template(key):
            return []
        evictions, fits = self._room.make_for(None, key, now, (), self._needed_by_others())
        if not fits:
            self._needs_room = True
            return evictions
        return [*evictions, self._new_template(key)]

    def _new_template(self, key: TemplateKey) -> Action:
        self._room.templates[key] = Template()
        return StartTemplate(template=key, environment=self._environments.of(key))

    def _needed_by_others(self) -> TemplateKey:
        """What templates have, or will have, for orders that wait; not for the one that is tried now."""
        waiting = itertools.chain(self._orders, self._untried)
        return self.template_key({context for order in waiting for context in order.contexts})

    def _builder(self, order: Order, shared: TemplateKey) -> Worker | None:
        """The idle worker for which this is the least: it has some of it, is in its environment, and loses least."""
        environment = self._environments.of(order.contexts)

        def burden(worker: Worker) -> tuple[int, bool, int, WorkerId]:
            has = worker.resident.intersection(order.contexts)
            is_changed = worker.environment != environment
            is_forked = is_changed or not has.issuperset(shared)  # and loses everything
            return 0 if is_forked else -len(has), is_changed, len(worker.kept), worker.id

        idle = [w for w in self._workers.values() if w.is_spare and not w.resident.issuperset(order.contexts)]
        return min(idle, key=burden, default=None)

    def _is_everywhere(self, order: Order) -> bool:
        up = [worker for worker in self._workers.values() if worker.up]
        return bool(up) and all(worker.resident.issuperset(order.contexts) for worker in up)

    def advance(self, worker: Worker, now: float) -> list[Action]:
        """The next step of the order that a worker has taken on; none is left when it holds everything."""
        order = worker.order
        assert order is not None
        missing = [context for context in order.contexts if context not in worker.resident]
        if not missing:
            worker.order = None
            if order.number is not None:
                worker.kept_for, worker.is_released = order, False
            return self._settle(order)
        shared = self.template_key(missing)
        environment = self._environments.of(order.contexts)
        if worker.environment != environment and not shared:
            return [self.fork(worker, environment=environment)]
        if shared:
            template = self.ready_template(self.template_key(order.contexts))
            if template is None:  # it has ended meanwhile
                worker.order = None
                if self._is_closed:
                    return self._settle(order)
                self._orders.append(order)
                return []
            return [self.fork(worker, template)]
        worker.building = missing[0]
        worker.used = True
        return [Load(worker=worker.id, context=missing[0])]

    def fork(
        self, worker: Worker, template: TemplateKey | None = None, *, environment: EnvironmentName | None = None
    ) -> Action:
        """Have another process serve a worker: a fork of a template, one in an environment, or one as it had."""
        worker.up = False
        if template is not None:
            worker.environment = self._environments.of(template)
        elif environment is not None:
            worker.environment = environment
        worker.kept_for = None
        worker.fork_of = template
        worker.leave()
        self.lost.update(dict.fromkeys(sorted(worker.resident)))
        for book in (worker.resident, worker.leaving, worker.used_at):
            book.clear()
        worker.inherited = frozenset()
        return Replace(worker=worker.id, template=template, environment=worker.environment)

    def drop_order(self, worker: Worker) -> list[Action]:
        """A worker cannot do what it was made ready for."""
        order, worker.order = worker.order, None
        return [] if order is None else self._settle(order)

    def drop_orders(self, context: Digest) -> list[Action]:
        """A template could not build a context: what waits for it has ended."""
        broken = [order for order in self._orders if context in order.contexts]
        self._orders = deque(order for order in self._orders if context not in order.contexts)
        return [action for order in broken for action in self._settle(order)]

    def build_ahead(self, worker: Worker, now: float) -> list[Action]:
        """What an idle worker should build ahead of calls, if there is room for it."""
        wanted = self._wanted_of(worker)
        missing = [c for c in wanted if c not in worker.resident and c not in worker.failed]
        if not missing or self._needs_room:
            return []
        shared = self.template_key(wanted)
        if shared and not worker.resident.issuperset(shared):
            template = self.ready_template(shared)
            if template is not None and worker.resident.issubset(wanted):  # calls may come for the rest
                return [self.fork(worker, template)]
            if not self.has_template(shared) and self._room.fits(shared):
                return [self._new_template(shared)]
        for context in missing:
            if context not in self._shared and self._room.fits([context]) and not self._room.is_full(worker, [context]):
                worker.order = Order((context,))
                return self.advance(worker, now)
        return []

    def _wanted_of(self, worker: Worker) -> list[Digest]:
        """What a worker may build ahead: of its environment; of the first that is wanted, if it has nothing yet."""
        environment = worker.environment
        if not worker.resident and all(self._environments.of([c]) != environment for c in self._wanted):
            environment = self._environments.of(itertools.islice(self._wanted, 1))
        return [context for context in self._wanted if self._environments.of([context]) == environment]

    # --- templates

    def template_key(self, contexts: Iterable[Digest]) -> TemplateKey:
        """The contexts among these that a template should build."""
        return tuple(sorted(context for context in contexts if context in self._shared))

    def ready_template(self, key: TemplateKey) -> TemplateKey | None:
        """The smallest template that has all of these and can be forked from."""
        ready = (other for other, template in self._room.templates.items() if template.is_ready)
        fitting = (other for other in ready if set(other).issuperset(key))
        return min(fitting, key=len, default=None)

    def has_template(self, key: TemplateKey) -> bool:
        """Whether there is such a template, or will be."""
        return any(set(other).issuperset(key) for other in self._room.templates)

    def end_template(self, key: TemplateKey) -> list[Action]:
        """A template must not be used any more."""
        return [EndTemplate(template=key)] if self._room.templates.pop(key, None) is not None else []

    @staticmethod
    def _settle(order: Order) -> list[Action]:
        return [] if order.number is None else [SettleBuild(order=order.number, contexts=order.contexts)]
