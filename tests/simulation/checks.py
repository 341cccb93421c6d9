"""What must hold in a simulated pool at any time. Looks at the simulated nodes alone, not at the books that decide."""

from __future__ import annotations

from collections import Counter

from parsl_context.scheduling.node.events import NodeTask
from parsl_context.wire.messages import TaskId
from tests.simulation.simulator import Simulation
from tests.simulation.worker import SimWorker


def check(simulation: Simulation) -> None:
    """Each call is in one place, and contexts are within their budget."""
    workers = [worker for manager in simulation.managers.values() for worker in manager.workers.values()]
    places = Counter(task for worker in workers for task in _tasks(worker))
    twice = [task for task, count in places.items() if count > 1]
    assert not twice, f"calls are with several workers: {twice}"
    budget = simulation.world.memory_bytes
    for manager in simulation.managers.values() if budget is not None else ():
        taken = _bytes(simulation, manager.workers.values())
        assert taken <= budget, f"{manager.id} holds {taken} bytes of contexts, and may hold {budget}"


def idle_beside_work(simulation: Simulation) -> set[tuple[TaskId, str, int]]:
    """Calls that no worker has begun, each with an idle worker that holds what it needs."""
    idle = [
        (manager.id, worker)
        for manager in simulation.managers.values()
        for worker in manager.workers.values()
        if not worker.busy and worker.alive and manager.alive
    ]
    return {
        (task, name, worker.number)
        for task, call in simulation.calls.items()
        if task not in simulation.begun and not call.fresh
        for name, worker in idle
        if worker.resident.issuperset(call.contexts)
    }


def _tasks(worker: SimWorker) -> list[TaskId]:
    waiting = [m.id for m in worker.inbox if isinstance(m, NodeTask) and m.id not in worker.revoked]
    return waiting if worker.task is None else [worker.task, *waiting]


def _bytes(simulation: Simulation, workers: object) -> int:
    size = {content.digest: content.size_bytes for content in simulation.world.contents}
    total = 0
    for worker in workers:  # type: ignore[attr-defined]
        held = worker.resident - worker.inherited
        total += sum(size[context] for context in held)
        total += size[worker.building] if worker.building is not None else 0
    return total
