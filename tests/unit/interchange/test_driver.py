"""What is decided is done to the end, whatever one action of it meets."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from parsl_context.interchange.driver import ClusterDriver
from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.managers import Phase
from parsl_context.wire import messages as m
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import ManagerId, OrderId, TaskId

M1, M2 = ManagerId("m1"), ManagerId("m2")


class Parts:
    """A driver with a state that decides what it is told to, and links that fail for some."""

    def __init__(self, *actions: cluster.Action) -> None:
        self.actions = list(actions)
        self.sent: list[tuple[ManagerId, Any]] = []
        self.told: list[Any] = []
        self.fails: set[Any] = set()
        self.managers: dict[ManagerId, Any] = {name: SimpleNamespace(phase=Phase.OPEN) for name in (M1, M2)}
        self.loop = EventLoop()
        self.driver = ClusterDriver(self.loop, *[self] * 5, None)  # type: ignore[arg-type]
        self.sessions: dict[ManagerId, Any] = {name: SimpleNamespace() for name in (M1, M2)}

    def handle(self, event: cluster.Event, *, now: float) -> list[cluster.Action]:
        if isinstance(event, cluster.ManagerLeft):
            self.managers.pop(event.manager)
            return []
        return self.actions

    def next_deadline(self) -> float:
        return float("inf")

    def send(self, *message: Any) -> None:
        if len(message) == 1 or not isinstance(message[1], m.FromManager | m.ToManager):
            self._tell(message[0])
            return
        if message[0] in self.fails and not isinstance(message[1], m.Rejoin):
            raise MemoryError("no room")
        self.sent.append((message[0], type(message[1])))

    def _tell(self, message: Any) -> None:
        if "executor" in self.fails:
            raise MemoryError("no room")
        self.told.append(message)

    def flush(self) -> None:
        pass

    def provide(self, *_: Any) -> None:
        pass

    def report_node(self, *_: Any, **__: Any) -> None:
        pass

    def decide(self) -> None:
        self.driver.decide(cluster.Tick())
        self.loop.call_later(0, self.loop.stop)
        self.loop.run()


@pytest.fixture
def parts() -> Any:
    made = Parts(*(cluster.ReleaseBuild(order=OrderId(1), manager=name) for name in (M1, M2)))
    yield made
    made.loop.close()


def test_an_action_that_fails_drops_no_others_and_its_manager_is_given_up(parts: Parts) -> None:
    parts.fails = {M1}
    parts.decide()
    assert (M2, m.ReleaseInstance) in parts.sent
    assert (M1, m.Rejoin) in parts.sent
    assert list(parts.managers) == [M2]


def test_the_interchange_ends_if_the_executor_cannot_be_told_what_became_of_its_calls(parts: Parts) -> None:
    parts.actions = [cluster.FailUnservable(tasks=[TaskId(1)], reason="why"), *parts.actions]
    parts.fails = {"executor"}
    parts.driver.decide(cluster.Tick())
    assert [name for name, _ in parts.sent] == [M1, M2]
    began = time.monotonic()
    parts.loop.run()
    assert time.monotonic() - began < 1.0, "it was told to stop"
