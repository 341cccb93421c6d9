"""How good the decisions are: the scheduler in simulated pools, beside other policies and a bound that none can beat.

    python -m benchmarks.simulate [--quick] [--only a,b] [--jobs 2]

The worlds, the policies and the bound are those of `tests/simulation`; everything there is drawn from seeds, so each
run gives the same figures. Results go to benchmarks/results/simulation.json, a table and plots to docs/_static/ (extra
`plot`).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import pathlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.simulation import policies, workloads
from tests.simulation.bound import capacity, offline_bound
from tests.simulation.simulator import OURS, Simulation
from tests.simulation.world import World

ROOT = pathlib.Path(__file__).parent
RESULTS = ROOT / "results" / "simulation.json"
PLOTS = ROOT.parent / "docs" / "_static"
QUICK = 0.1  # scale of a quick look
NEAR = 1.10  # of the bound, in the first three worlds
NEAR_IN = ("a", "a25", "b", "c")
NOT_WORSE = 1.05  # than the best other policy, in any world


@dataclass(frozen=True)
class Outcome:
    """One policy in one world."""

    world: str
    policy: str
    calls: int
    workers: int
    bound_s: float
    makespan_s: float  # infinite if not all calls ended
    builds: int
    reloads: int  # builds of what a worker had and gave up
    lost: int  # calls that ran on a node that went, and were made again
    p99_wait_s: float  # from the call until its body began
    slot_use: float  # time in bodies over the time that workers were there until the end
    cpu_s: float  # that the simulation took

    @property
    def over_bound(self) -> float:
        """Makespan over the bound."""
        return self.makespan_s / self.bound_s


def simulate(letter: str, name: str, scale: float) -> Outcome:
    """Run one policy in one world."""
    begin = time.process_time()
    policy = next(policy for policy in policies.ALL if policy.name == name)
    world = workloads.ALL[letter](scale)
    tally = Simulation(world, policy).run()
    complete = tally.ended == len(world.calls)
    waits = sorted(tally.waits_s)
    makespan_s = tally.makespan_s if complete else math.inf
    return Outcome(
        world=letter,
        policy=policy.name,
        calls=len(world.calls),
        workers=_most_workers(world),
        bound_s=offline_bound(world),
        makespan_s=makespan_s,
        builds=tally.builds,
        reloads=tally.reloads,
        lost=tally.lost,
        p99_wait_s=waits[int(0.99 * (len(waits) - 1))] if waits else math.nan,
        slot_use=tally.run_s / capacity(world, tally.makespan_s) if tally.makespan_s else 0.0,
        cpu_s=time.process_time() - begin,
    )


def _most_workers(world: World) -> int:
    """Workers that are there at a time, at the most."""
    changes = [(m.joins_s, m.slots) for m in world.members]
    changes += [(m.leaves_s, -m.slots) for m in world.members if math.isfinite(m.leaves_s)]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def verdicts(outcomes: list[Outcome]) -> list[tuple[str, bool, str]]:
    """Each target, whether it is met, and by how much."""
    found = []
    for letter in dict.fromkeys(outcome.world for outcome in outcomes):
        here = [outcome for outcome in outcomes if outcome.world == letter]
        ours = next(outcome for outcome in here if outcome.policy == OURS.name)
        if letter in NEAR_IN:
            text = f"({letter}) within {NEAR - 1:.0%} of the bound"
            found.append((text, ours.over_bound <= NEAR, f"{ours.over_bound:.3f}"))
        others = [outcome.makespan_s for outcome in here if outcome.policy != OURS.name]
        if others:
            ratio = ours.makespan_s / min(others)
            text = f"({letter}) at most {NOT_WORSE - 1:.0%} worse than the best other policy"
            found.append((text, ratio <= NOT_WORSE, f"{ratio:.3f}"))
    return found


def show(outcomes: list[Outcome], names: dict[str, str]) -> None:
    """Tables of all figures, and the targets."""
    console = Console(width=120)
    for letter, name in names.items():
        here = [outcome for outcome in outcomes if outcome.world == letter]
        first = here[0]
        title = f"({letter}) {name}: {first.calls:,} calls, {first.workers:,} workers, bound {first.bound_s:,.1f} s"
        table = Table("policy", "makespan [s]", "over bound", "builds", "reloads", "lost", "p99 wait [s]", "slot use",
                      title=title)  # fmt: skip
        for o in here:
            table.add_row(
                o.policy, f"{o.makespan_s:,.1f}", f"{o.over_bound:.3f}", f"{o.builds:,}", f"{o.reloads:,}",
                f"{o.lost:,}", f"{o.p99_wait_s:,.1f}", f"{o.slot_use:.1%}",
            )  # fmt: skip
        console.print(table)
    for text, met, figure in verdicts(outcomes):
        console.print(f"{text}: {figure}: {'met' if met else 'NOT met'}")


def tabulate(outcomes: list[Outcome], names: dict[str, str]) -> None:
    """The table of the documentation."""
    with (PLOTS / "simulation.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["world", "policy", "makespan [s]", "over bound", "builds", "lost", "p99 wait [s]", "slot use"])
        for o in outcomes:
            world = f"({o.world}) {names[o.world]}" if o.policy == OURS.name else ""
            figures = [*_or_never(o), f"{o.builds:,}", f"{o.lost:,}"]
            writer.writerow([world, o.policy, *figures, f"{o.p99_wait_s:,.1f}", f"{o.slot_use:.1%}"])


def _or_never(outcome: Outcome) -> list[str]:
    return (
        [f"{outcome.makespan_s:,.1f}", f"{outcome.over_bound:.3f}"]
        if math.isfinite(outcome.makespan_s)
        else ["never", ""]
    )


def _as_json(outcome: Outcome) -> dict[str, Any]:
    """Null for what is infinite."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(outcome).items()
    }


def plot(outcomes: list[Outcome]) -> None:
    """Makespans over the bound and builds, for each world and policy."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    letters = list(dict.fromkeys(outcome.world for outcome in outcomes))
    figures: list[tuple[str, str, Any]] = [
        ("simulation-makespan.png", "makespan over the bound", lambda o: o.over_bound),
        ("simulation-builds.png", "builds", lambda o: o.builds),
    ]
    for name, label, value in figures:
        figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
        for index, policy in enumerate(policies.ALL):
            mine = {o.world: value(o) for o in outcomes if o.policy == policy.name and math.isfinite(value(o))}
            places = [i + 0.2 * (index - 1.5) for i in range(len(letters))]
            axes.bar(places, [mine.get(letter, 0) for letter in letters], 0.2, label=policy.name)
        axes.set_yscale("log")
        axes.set_xticks(range(len(letters)), [f"({letter})" for letter in letters])
        axes.set_ylabel(label)
        axes.set_xlabel("world; no bar: not all calls ended")
        axes.legend(ncols=2, fontsize="small")
        figure.savefig(PLOTS / name, dpi=120, metadata={"Software": None})
        pyplot.close(figure)


def _told(outcome: Outcome, number: int, of: int) -> Outcome:
    """Say on standard error how far it is."""
    print(f"{number}/{of} ({outcome.world}) {outcome.policy}: {outcome.over_bound:.3f}", file=sys.stderr, flush=True)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of everything; nothing is written")
    parser.add_argument("--only", default=",".join(workloads.ALL), help="letters of worlds; writes nothing")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    chosen = parser.parse_args()
    scale = QUICK if chosen.quick else 1.0
    names = {letter: workloads.ALL[letter](0.001).name for letter in chosen.only.split(",")}
    with ProcessPoolExecutor(chosen.jobs) as pool:
        runs = [pool.submit(simulate, letter, policy.name, scale) for letter in names for policy in policies.ALL]
        outcomes = [_told(run.result(), number, len(runs)) for number, run in enumerate(runs, 1)]
    show(outcomes, names)
    if not chosen.quick and list(names) == list(workloads.ALL):
        found = [{"target": text, "met": met, "figure": figure} for text, met, figure in verdicts(outcomes)]
        data = {"worlds": names, "outcomes": [_as_json(outcome) for outcome in outcomes], "targets": found}
        RESULTS.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")
        tabulate(outcomes, names)
        plot(outcomes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
