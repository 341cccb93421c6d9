"""Parsl's manager selectors, asked for the order in which managers are considered for ordinary tasks."""

from __future__ import annotations

from collections.abc import Callable

from parsl.executors.high_throughput.manager_record import ManagerRecord
from parsl.executors.high_throughput.manager_selector import ManagerSelector, RandomManagerSelector

from parsl_context.scheduling.cluster.managers import Manager, Phase


def preference(selector: ManagerSelector) -> Callable[[list[Manager]], list[Manager]] | None:
    """The order that a selector asks for; None for Parsl's default, which asks for none."""
    if type(selector) is RandomManagerSelector:
        return None

    def order(managers: list[Manager]) -> list[Manager]:
        by_id = {manager.id.encode(): manager for manager in managers}
        records = {key: _record(manager) for key, manager in by_id.items()}
        # HTEX's interchange takes managers from the end of the list that the selector gives.
        return [by_id[key] for key in reversed(selector.sort_managers(records, set(by_id)))]

    return order


def _record(manager: Manager) -> ManagerRecord:
    return ManagerRecord(
        block_id=manager.block,
        tasks=list(manager.held),
        worker_count=manager.slots,
        max_capacity=manager.slots + (manager.prefetch or 0),
        active=manager.phase is not Phase.HELD,
        draining=manager.phase is Phase.DRAINING,
    )
