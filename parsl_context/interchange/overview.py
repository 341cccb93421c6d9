"""What people look at: the rows that `executor.connected_managers` gives, and the nodes in Parsl's monitoring."""

from __future__ import annotations

import time
from dataclasses import replace

from parsl_context.interchange.manager_side import ManagerSide
from parsl_context.interchange.monitoring import NodeMonitor
from parsl_context.scheduling.cluster.managers import Manager, Phase
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.wire import messages as m
from parsl_context.wire.messages import ManagerId
from parsl_context.wire.rows import ContextRow


class Overview:
    """Puts together what managers said of themselves and what the scheduling state knows of them."""

    def __init__(self, state: ClusterState, managers: ManagerSide, monitor: NodeMonitor) -> None:
        self._state = state
        self._managers = managers
        self._monitor = monitor

    def manager_rows(self) -> list[m.ManagerRow]:
        """A row for each manager."""
        return [self._row(manager) for manager in self._state.managers.values()]

    def context_rows(self) -> list[ContextRow]:
        """A row for each context on each manager that knows it, with the host of the manager."""
        hosts = {str(name): session.joined.host for name, session in self._managers.sessions.items()}
        rows = self._state.context_rows(time.monotonic())
        return [row if row.where is None else replace(row, host=hosts.get(row.where)) for row in rows]

    def packages(self) -> dict[str, dict[str, str]]:
        """Distributions and versions on the node of each manager."""
        return {str(name): session.joined.packages for name, session in self._managers.sessions.items()}

    def report_joined(self, manager: ManagerId, joined: m.Joined) -> None:
        """Tell the monitoring hub of a new node."""
        if self._monitor.is_on:
            self._monitor.node(manager, joined, tasks=0, active=True, draining=False)

    def report_node(self, manager: ManagerId, *, active: bool | None = None) -> None:
        """Tell the monitoring hub how a node is now."""
        if not self._monitor.is_on:
            return
        session, record = self._managers.sessions.get(manager), self._state.managers.get(manager)
        if session is None or record is None:
            return
        self._monitor.node(
            manager,
            session.joined,
            tasks=len(record.held),
            active=record.phase is not Phase.HELD if active is None else active,
            draining=record.phase is Phase.DRAINING,
        )

    def _row(self, manager: Manager) -> m.ManagerRow:
        joined = self._managers.sessions[manager.id].joined
        idle_s = 0.0 if manager.idle_since is None else time.monotonic() - manager.idle_since
        return m.ManagerRow(
            manager=manager.id,
            block_id=manager.block,
            worker_count=manager.slots,
            tasks=len(manager.held),
            idle_duration=idle_s,
            active=manager.phase is not Phase.HELD,
            draining=manager.phase is Phase.DRAINING,
            parsl_version=joined.parsl_version,
            python_version=joined.python_version,
            hostname=joined.host,
            rebuild_s=self._state.rebuild_s(manager),
        )
