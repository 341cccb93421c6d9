"""What to change after a run: one function for each advice, each a sentence that names the setting, or nothing. Pure.

An advice is given where following it would have saved a good part of the run, by what was measured; where it would
not, it is better to say nothing. The thresholds are ours: they are set so that a run that does well hears none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from parsl_context.report.figures import ContextFigures, KindFigures, Report
from parsl_context.report.parts import Manager
from parsl_context.report.story import Story
from parsl_context.wire.rows import duration_text, size_text

_SHARE = 0.1  # of the time of workers that is worth a word
_RELOADS = 3
_LARGE_CODE = 10_000_000  # [bytes]
_SHORT_S = 0.002  # what a call costs on its way, or less: see "Speed" in the documentation
_MANY = 10_000  # short calls that are worth a map: seconds
_IDLE = 0.5  # share of workers that must be idle, while
_WAITING_S = 5.0  # calls wait for so long, for their idleness to be worth a word. [s]


def advise(report: Report, story: Story) -> list[str]:
    """Everything that there is to say, the most important first."""
    return [sentence for rule in RULES for sentence in rule(report, story)]


def thrashing(report: Report, story: Story) -> Iterator[str]:
    """Contexts take each other's place, again and again."""
    work_s = report.totals.run_s + report.totals.build_s
    given_up = [
        (context, [build for build in context.builds if build.cause.startswith("given up")])
        for context in story.contexts.values()
    ]
    reloaded = [(context, builds) for context, builds in given_up if builds]
    count = sum(len(builds) for _, builds in reloaded)
    lost_s = sum(build.load_s for _, builds in reloaded for build in builds)
    if count < _RELOADS or lost_s < _SHARE * work_s:
        return
    names = ", ".join(context.known.name for context, _ in reloaded[:4]) + (" ..." if len(reloaded) > 4 else "")
    began = story.began
    if began is not None and began.contexts_per_worker is not None:
        how = f"raise max_contexts_per_worker (it is {began.contexts_per_worker})"
    else:
        how = "raise context_memory_gb, or have workers share an instance with share='node'"
    yield (
        f"Contexts were built again {count} times because they had been given up to make room ({names}), which took "
        f"{duration_text(lost_s)} of workers' time, {lost_s / work_s:.0%} of all: {how}, or make the calls of one "
        "context before those of the next."
    )


def budget_too_small(report: Report, story: Story) -> Iterator[str]:
    """The contexts that calls use do not fit into the memory that they may take."""
    used = [context for context in report.contexts if context.tasks and context.size_bytes]
    if not any(context.evictions for context in used):
        return
    for manager in story.managers.values():
        limit, together = manager.joined.memory_bytes, sum(context.size_bytes for context in used)
        if limit is not None and together > limit:
            yield (
                f"The {len(used)} contexts that calls use take {size_text(together)} together, one instance of each, "
                f"and may take {size_text(limit)} on {manager.joined.host}: raise context_memory_gb if the node has "
                f"more, or ask the provider for more memory."
            )
            return


def captured_values(report: Report, story: Story) -> Iterator[str]:
    """Code carries data."""
    for kind in report.kinds:
        if kind.code_bytes > _LARGE_CODE:
            yield _captures(f"App {kind.name}", kind.code_bytes, "build them in a context function")
    for context in story.contexts.values():
        if context.known.code_bytes > _LARGE_CODE:
            yield _captures(
                f"Context {context.known.name}", context.known.code_bytes, "load them inside its function, from a file"
            )


def _captures(what: str, size_bytes: int, how: str) -> str:
    return (
        f"{what} carries {size_text(size_bytes)} of values that its function captures (globals, closures, arguments), "
        f"which is sent to each node and unpickled in each worker: {how}, or give a File. "
        "`parsl-context discover` shows what it captures."
    )


def calls_too_short(report: Report, story: Story) -> Iterator[str]:
    """Calls take less time than what it takes to send each."""
    for kind in report.kinds:
        if kind.calls != kind.tasks or kind.tasks < _MANY or kind.mean_s is None or kind.mean_s > _SHORT_S:
            continue
        use = report.totals.slot_use
        if use is not None and use > 1 - _IDLE:
            continue
        yield (
            f"The {kind.tasks:,} calls of {kind.name} take {duration_text(kind.mean_s)} each, less than their way: "
            f"make them with {kind.name}.map(...), which sends many at once, or have them run together (batch=)."
        )


def second_copy(report: Report, story: Story) -> Iterator[str]:
    """Workers have nothing to do while calls wait, because one more instance does not fit."""
    for context in report.contexts:
        found = story.contexts[context.digest]
        if not context.tasks or not context.size_bytes or found.known.reuse == "node":
            continue
        for number, manager in story.managers.items():
            copies = len({build.worker for build in found.builds if build.manager == number})
            limit = manager.joined.memory_bytes
            if not copies or limit is None or copies >= manager.joined.slots:
                continue
            if (copies + 1) * context.size_bytes > limit and _idles_while_calls_wait(report):
                yield _no_copy(context, copies, manager, limit)
                return


def _no_copy(context: ContextFigures, copies: int, manager: Manager, limit: int) -> str:
    return (
        f"Workers of {manager.joined.host} were idle while calls of {context.name} waited: it "
        f"takes {size_text(context.size_bytes)} for each worker, and {copies} of {manager.joined.slots} workers could "
        f"have it within {size_text(limit)}. Have all workers share one instance with share='node', raise "
        "context_memory_gb, or start fewer workers (max_workers_per_node)."
    )


def _idles_while_calls_wait(report: Report) -> bool:
    """Whether most workers had nothing to do for some time, from the first call on, while calls waited."""
    lines = report.lines
    width = lines["time"][1] - lines["time"][0] if len(lines.get("time", ())) > 1 else 0.0  # type: ignore[operator]
    found = 0
    for busy, building, workers, waiting in zip(
        lines["busy"], lines["building"], lines["workers"], lines["waiting"], strict=True
    ):
        if waiting and workers and (busy or 0.0) + (building or 0.0) <= _IDLE * workers and busy:
            found += 1
    return found * width >= _WAITING_S


def low_reuse(report: Report, story: Story) -> Iterator[str]:
    """Contexts are built for every call."""
    for kind in report.kinds:
        works = [story.kinds[n].work for n in story.kinds if story.kinds[n].work.name == kind.name]
        unkept = [
            story.contexts[digest]
            for work in works
            if work.fresh
            for digest in work.contexts
            if digest in story.contexts
        ]
        for context in unkept:
            build_s = sum(build.load_s for build in context.builds)
            if len(context.builds) >= _RELOADS and build_s > kind.run_s * 0.5:
                yield (
                    f"Context {context.known.name} was built for each of {len(context.builds)} calls of {kind.name}, "
                    f"{duration_text(context.usual_s)} each time, because of reuse={context.known.reuse!r}: with "
                    "reuse='memory' it is built once per worker."
                )
                return


def too_many_workers(report: Report, story: Story) -> Iterator[str]:
    """Most workers had nothing to do, and no call waited."""
    totals = report.totals
    if totals.slot_use is None or totals.slot_use > 0.1 or totals.available_s < 60 or totals.most_workers < 4:
        return
    waited = [at for at, value in enumerate(report.lines.get("waiting", ())) if value]
    ended: list[KindFigures] = [kind for kind in report.kinds if kind.mean_s is not None]
    if ended and len(waited) < 0.1 * len(report.lines["time"]):
        yield (
            f"Workers were in calls for {totals.slot_use:.0%} of the time that they were there, and few calls waited: "
            "the script makes calls more slowly than they end. Start fewer workers or blocks (max_workers_per_node, "
            "max_blocks), or make calls without waiting for each result."
        )


RULES: tuple[Callable[[Report, Story], Iterator[str]], ...] = (
    thrashing,
    budget_too_small,
    second_copy,
    captured_values,
    low_reuse,
    calls_too_short,
    too_many_workers,
)
