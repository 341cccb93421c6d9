"""Scheduling state, managers and workers together, under sequences of events that hypothesis makes up."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parsl_context.wire.messages import Digest, ManagerId, TaskId, WorkerId
from tests.simulation.checks import check, idle_beside_work
from tests.simulation.simulator import Simulation
from tests.simulation.world import Call, Content, Member, World

GB = 10**9
CONTENTS = [
    Content(Digest("a"), 0.5, GB),
    Content(Digest("b"), 0.1, 2 * GB),
    Content(Digest("c"), 2.0, GB),
    Content(Digest("d"), 0.3, GB),
]
# Messages on their way have arrived, and what is looked at from time to time was looked at. [s]
SETTLED_S = 1.0
LONGEST_S = 100_000.0

contexts = st.sets(st.sampled_from("abcd"), max_size=2).map(lambda names: tuple(Digest(n) for n in sorted(names)))
runs = st.sampled_from([0.0002, 0.005, 0.1, 1.0])


class PoolMachine(RuleBasedStateMachine):
    """Calls of four contexts on managers that come, drain and die, and workers that die."""

    @initialize(budget=st.sampled_from([None, 3 * GB, 6 * GB]), prefetch=st.sampled_from([None, None, 0, 3]))
    def begin(self, budget: int | None, prefetch: int | None) -> None:
        world = World("generated", CONTENTS, [], [], memory_bytes=budget, prefetch=prefetch)
        self.simulation = Simulation(world)
        self.made: set[TaskId] = set()
        self.cancelled = 0
        self.joined = 0
        self.died = False

    @rule(needs=contexts, run_s=runs, count=st.integers(1, 12), fresh=st.sampled_from([False, False, False, True]))
    def submit(self, needs: tuple[Digest, ...], run_s: float, count: int, fresh: bool) -> None:
        code = Digest(f"f-{run_s}-{needs}")
        call = Call(needs, run_s, code=code, fresh=fresh and not needs)
        self.simulation.missing += count
        self.made.update(self.simulation.submit([call] * count))

    @rule(slots=st.integers(1, 5))
    def join(self, slots: int) -> None:
        self.joined += 1
        self.simulation.join(Member(ManagerId(f"m{self.joined}"), slots))

    @precondition(lambda self: self.simulation.managers)
    @rule(data=st.data())
    def lose_manager(self, data: st.DataObject) -> None:
        self.simulation.lose(self.simulation.managers[data.draw(st.sampled_from(sorted(self.simulation.managers)))])

    @precondition(lambda self: self.simulation.managers)
    @rule(data=st.data())
    def drain_manager(self, data: st.DataObject) -> None:
        self.simulation.managers[data.draw(st.sampled_from(sorted(self.simulation.managers)))].drain()

    @precondition(lambda self: self.simulation.managers)
    @rule(data=st.data(), number=st.integers(0, 4))
    def kill_worker(self, data: st.DataObject, number: int) -> None:
        manager = self.simulation.managers[data.draw(st.sampled_from(sorted(self.simulation.managers)))]
        worker = manager.workers.get(WorkerId(number))
        if worker is not None and worker.building is None:  # a death in a build counts as the context's failure
            manager.kill_worker(WorkerId(number))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.simulation.calls:
            before = len(self.simulation.calls)
            self.simulation.cancel(data.draw(st.sampled_from(sorted(self.simulation.calls))))
            self.cancelled += before - len(self.simulation.calls)

    @rule(seconds=st.sampled_from([0.0005, 0.003, 0.05, 0.7, 5.0]))
    def wait(self, seconds: float) -> None:
        self.simulation.run(self.simulation.clock.now + seconds)

    @rule()
    def no_worker_is_idle_beside_work_for_it(self) -> None:
        clock, tally = self.simulation.clock, self.simulation.tally
        before = idle_beside_work(self.simulation)
        if before:
            self.simulation.run(clock.now + SETTLED_S)
            stuck = before & idle_beside_work(self.simulation)
            assert not stuck, f"idle for {SETTLED_S} s beside work: {sorted(stuck)[:3]} ({tally.ended} ended)"

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "simulation"):
            check(self.simulation)

    def teardown(self) -> None:
        """Once a manager stays, every call ends once."""
        if not hasattr(self, "simulation"):
            return
        simulation = self.simulation
        self.join(4)
        simulation.run(simulation.clock.now + LONGEST_S)
        tally = simulation.tally
        assert not simulation.calls, f"never ended: {sorted(simulation.calls)[:5]} of {len(self.made)}"
        assert tally.failed == 0
        assert tally.ended + self.cancelled == len(self.made)


TestPool = PoolMachine.TestCase
TestPool.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
