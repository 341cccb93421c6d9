"""Scheduling state, managers and workers together, under sequences of events that hypothesis makes up."""

from __future__ import annotations

import math
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parsl_context.scheduling.batching import Joint
from parsl_context.scheduling.cluster import events as cluster
from parsl_context.scheduling.cluster.state import ClusterState
from parsl_context.scheduling.node.state import NodeState
from parsl_context.wire.messages import Digest, ManagerId, TaskId, WorkerId
from tests.simulation.checks import check, idle_beside_work
from tests.simulation.progress import Progress
from tests.simulation.simulator import Policy, Simulation
from tests.simulation.world import Call, Content, Delays, Member, World

GB = 10**9
NAMES = "abcdef"
BUILD_S = dict(zip(NAMES, (0.5, 0.1, 2.0, 0.3, 0.01, 0.7), strict=True))
# Messages on their way have arrived, and what is looked at from time to time was looked at. [s]
SETTLED_S = 1.0
# What waits at a manager because the user wants calls to wait there is looked at after ten run times.
PREFETCHED_S = 11.0
# At the end it is looked at so often whether calls end as they should.
LOOK_S = 20.0
LOOKS = 1_000

contexts = st.sets(st.sampled_from(NAMES), max_size=2).map(lambda names: tuple(Digest(n) for n in sorted(names)))
runs = st.sampled_from([0.0002, 0.005, 0.1, 1.0])


class PoolMachine(RuleBasedStateMachine):
    """Calls of six contexts on managers that come, drain and die, and workers that die.

    Some contexts or all are shared, which may be more than there are workers; workers may keep one, two or any number.
    """

    @initialize(
        budget=st.sampled_from([None, None, 3 * GB, 6 * GB]),
        prefetch=st.sampled_from([None, None, 0, 3]),
        shared=st.one_of(st.just(set(NAMES)), st.sets(st.sampled_from(NAMES)), st.just(set())),
        unsafe=st.sets(st.sampled_from(NAMES), max_size=1),
        limit=st.sampled_from([None, None, 1, 2]),
        link_s=st.sampled_from([0.001, 0.001, 0.3]),
        isolated=st.sampled_from([set(), {NAMES[0]}, set(NAMES)]),
        requeue_lost=st.sampled_from([0, 0, 2]),
    )
    def begin(
        self,
        budget: int | None,
        prefetch: int | None,
        shared: set[str],
        unsafe: set[str],
        limit: int | None,
        link_s: float,
        isolated: set[str],
        requeue_lost: int,
    ) -> None:
        contents = [
            Content(
                Digest(name),
                BUILD_S[name],
                GB * (1 + (name == "b")),
                shared=name in shared,
                unsafe=name in unsafe,
                isolated=name in isolated,
            )
            for name in NAMES
        ]
        world = World(
            "generated",
            contents,
            [],
            [],
            memory_bytes=budget,
            prefetch=prefetch,
            contexts_per_worker=limit,
            delays=Delays(link_s=link_s),
        )
        ours = Policy(
            "ours", lambda: ClusterState(heartbeat_threshold_s=math.inf, requeue_lost=requeue_lost), NodeState
        )
        self.simulation = Simulation(world, ours)
        self.progress = Progress(self.simulation)
        self.made: set[TaskId] = set()
        self.joined = 0
        self.died = False

    @rule(needs=contexts, run_s=runs, count=st.integers(1, 12), fresh=st.sampled_from([False, False, False, True]))
    def submit(self, needs: tuple[Digest, ...], run_s: float, count: int, fresh: bool) -> None:
        code = Digest(f"f-{run_s}-{needs}")
        call = Call(needs, run_s, code=code, fresh=fresh and not needs)
        self.progress.made(call)
        self.simulation.missing += count
        self.made.update(self.simulation.submit([call] * count))

    @rule(
        needs=contexts,
        run_s=runs,
        count=st.integers(1, 40),
        size=st.sampled_from([2, 7, None]),
        wait_s=st.sampled_from([0.0, 0.0, 0.3]),
        fixed_s=st.sampled_from([0.0, 0.01, 0.5]),
    )
    def submit_batch(
        self, needs: tuple[Digest, ...], run_s: float, count: int, size: int | None, wait_s: float, fixed_s: float
    ) -> None:
        """Calls that may run together."""
        code = Digest(f"b-{run_s}-{size}-{wait_s}-{fixed_s}-{needs}")
        call = Call(needs, run_s, code=code, joint=Joint(code, "", size, wait_s), fixed_s=fixed_s)
        self.progress.made(call)
        self.simulation.missing += count
        self.made.update(self.simulation.submit([call] * count))

    @rule(slots=st.integers(1, 5))
    def join(self, slots: int) -> None:
        self.joined += 1
        self.progress.check()
        self.simulation.join(Member(ManagerId(f"m{self.joined}"), slots))

    @precondition(lambda self: self.simulation.managers)
    @rule(data=st.data())
    def lose_manager(self, data: st.DataObject) -> None:
        self.progress.disturbed()
        self.simulation.lose(self.simulation.managers[data.draw(st.sampled_from(sorted(self.simulation.managers)))])

    @precondition(lambda self: self.simulation.managers)
    @rule(data=st.data())
    def drain_manager(self, data: st.DataObject) -> None:
        self.progress.disturbed()
        self.simulation.managers[data.draw(st.sampled_from(sorted(self.simulation.managers)))].drain()

    @precondition(lambda self: self.simulation.managers)
    @rule(data=st.data())
    def end_block(self, data: st.DataObject) -> None:
        """Each manager is a block of its own."""
        self.progress.disturbed()
        block = data.draw(st.sampled_from(sorted(self.simulation.managers)))
        self.simulation.decide(cluster.BlockEnded(block=str(block), reason="COMPLETED"))

    @precondition(lambda self: self.simulation.managers)
    @rule(data=st.data(), number=st.integers(0, 4))
    def kill_worker(self, data: st.DataObject, number: int) -> None:
        manager = self.simulation.managers[data.draw(st.sampled_from(sorted(self.simulation.managers)))]
        worker = manager.workers.get(WorkerId(number))
        if worker is not None and worker.building is None:  # a death in a build counts as the context's failure
            self.progress.disturbed()
            manager.kill_worker(WorkerId(number))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.simulation.calls:
            self.progress.disturbed()
            self.simulation.cancel(data.draw(st.sampled_from(sorted(self.simulation.calls))))

    @precondition(lambda self: self.isolated() and self.simulation.managers)
    @rule(data=st.data(), count=st.integers(1, 3))
    def cancel_running(self, data: st.DataObject, count: int) -> None:
        """Of calls that run in processes of their own: they end without an outcome, and once."""
        self.submit((data.draw(st.sampled_from(self.isolated())),), 5.0, count, False)
        self.wait(6.0)
        if endable := self.endable():
            self.progress.disturbed()
            self.simulation.cancel(data.draw(st.sampled_from(endable)))

    def isolated(self) -> list[Digest]:
        return [content.digest for content in self.simulation.world.contents if content.isolated]

    def endable(self) -> list[TaskId]:
        isolated, simulation = set(self.isolated()), self.simulation
        return sorted(task for task in simulation.begun if isolated.intersection(simulation.calls[task].contexts))

    @rule(seconds=st.sampled_from([0.0005, 0.003, 0.05, 0.7, 5.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.simulation.run(self.simulation.clock.now + seconds)

    @rule()
    def no_worker_is_idle_beside_work_for_it(self) -> None:
        """Nor for long, nor while nothing ends: with a long way a worker may wait for each of its calls."""
        simulation, tally = self.simulation, self.simulation.tally
        before, ended = idle_beside_work(simulation), tally.ended
        if before:
            settled_s = SETTLED_S + 20 * simulation.world.delays.link_s
            if simulation.world.prefetch:
                settled_s += PREFETCHED_S
            stuck = before
            for share in (0.37, 0.2, 0.43):  # the moment between two calls is not what is looked for
                simulation.run(simulation.clock.now + share * settled_s)
                stuck &= idle_beside_work(simulation)
            goes_on = tally.ended > ended and simulation.world.delays.link_s > SETTLED_S / 20
            assert not stuck or goes_on, (
                f"idle for {settled_s} s beside work: {sorted(stuck)[:3]} ({tally.ended} ended)"
            )

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "simulation"):
            check(self.simulation)
            self.progress.check()

    def teardown(self) -> None:
        """Once a manager stays, every call ends once."""
        if not hasattr(self, "simulation"):
            return
        simulation = self.simulation
        for _ in range(LOOKS):
            if not simulation.calls:
                break
            if not any(manager.takes_calls for manager in simulation.managers.values()):  # some may be about to drain
                self.join(1)
            simulation.run(simulation.clock.now + LOOK_S)
            self.progress.check()
        tally = simulation.tally
        assert not simulation.calls, f"never ended: {sorted(simulation.calls)[:5]} of {len(self.made)}"
        assert tally.failed == 0
        assert tally.ended + self.simulation.cancelled == len(self.made)


# HYPOTHESIS_EXAMPLES asks for a long search; what is run otherwise is always the same.
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
TestPool = PoolMachine.TestCase
TestPool.settings = settings(
    max_examples=EXAMPLES or 60,
    stateful_step_count=30,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
