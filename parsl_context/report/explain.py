"""Why a call waits, in a sentence; from the event log alone, so of a run that is over as well. Pure.

The reasons are looked for in the order of a call's way: a block, a node, a build with all that it needs, its turn.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from parsl_context.report import records as r
from parsl_context.report.parts import ENDED_STATES, Context, Kind, Manager
from parsl_context.report.story import Story, waiting_of
from parsl_context.wire.messages import Digest
from parsl_context.wire.rows import duration_text, rate_text, size_text

_UNKNOWN_PRIORITY = float("inf")


def explain_call(story: Story, task: int, now: float) -> str:
    """What a call is doing, or why it waits.

    Parameters
    ----------
    task
        Its number, as the executor's future has it (`parsl_executor_task_id`).
    now
        On the clock of the log. [s]
    """
    row = story.submission(task)
    if task in story.outcomes:
        outcome = story.outcomes[task]
        how = "was cancelled before it ran" if outcome == "cancelled" else f"failed: {outcome}"
        return f"Call {task}{_of(story, row)} {how}."
    if task in story.done:
        return f"Call {task}{_of(story, row)} has ended{' with an error' if task in story.raised else ''}."
    if (held := story.held.get(task)) is not None:
        return f"Call {task}{_of(story, held)} {_held(story, held, now)}."
    if row is None:
        return (
            f"The interchange has not seen a call {task}. Calls get their numbers when they are given to the executor, "
            "in that order; those that wait for futures among their arguments have none yet."
        )
    why = _why(story, story.kind(row.what), row._replace(task=task, size=1), now)
    return f"Call {task}{_of(story, row)} waits since {duration_text(now - row.submitted_at)}: {why}."


def is_known(story: Story, task: int) -> bool:
    """Whether the log tells of a call."""
    return task in story.outcomes or task in story.done or task in story.held or story.submission(task) is not None


def explain_context(story: Story, digest: Digest, now: float) -> str:
    """What a context is doing, and why it is not built if calls wait for it."""
    context = story.contexts[digest]
    where = [manager for manager in story.managers.values() if manager.is_there and manager.holds(digest)]
    if building := _building(story, (digest,), now):
        return f"Context {context.known.name} is {building}."
    if where:
        places = ", ".join(f"{manager.name} ({manager.holds(digest)})" for manager in where)
        return f"Context {context.known.name} is ready on {places}."
    for number, count in waiting_of(story).items():
        kind = story.kind(number)
        if digest in kind.work.contexts and count:
            row = next(line for line in story.pulse.lines if line.what == number) if story.pulse else None
            if row is not None:
                first = r.PendingRow(row.first, 1, number, 0, row.since, 0.0, row.priority)
                return f"Context {context.known.name} is not built: {_why(story, kind, first, now)}."
    if context.broken is not None:
        return f"Context {context.known.name} is not built: {_broken(story, context, context.broken, now)}."
    return f"Context {context.known.name} is not built, and no call waits for it."


def explain_all(story: Story, now: float) -> Iterator[str]:
    """A sentence for each kind of calls that wait: of the one whose turn comes next."""
    pulse = story.pulse
    for line in pulse.lines if pulse is not None else ():
        kind = story.kind(line.what)
        row = r.PendingRow(line.first, 1, line.what, 0, line.since, 0.0, line.priority)
        if line.first in story.done or line.first in story.held:  # its turn has come since
            who = f"Calls of {kind.work.name}, {line.size} a moment ago"
        else:
            who = f"Call {line.first} of {kind.work.name}" + (f" and {line.size - 1} more" if line.size > 1 else "")
        yield f"{who}: {_why(story, kind, row, now)}."
    if pulse is not None and pulse.left:
        yield f"{pulse.left} more calls of other kinds wait."
    for number, manager in story.managers.items():
        there = [row for row in story.held.values() if row.manager == number]
        if there:
            slots = manager.joined.slots
            names = _list(sorted({story.kind(row.what).work.name for row in there}))
            ahead = f", and {len(there) - slots} wait there for them" if len(there) > slots else ""
            yield f"On {manager.name}: {min(slots, len(there))} calls of {names} run{ahead}."


def find_context(story: Story, word: str) -> list[Digest]:
    """Contexts whose name or digest begins so, or whose function has that name."""
    return [
        digest
        for digest, context in story.contexts.items()
        if digest.startswith(word) or context.known.name.startswith(word)
    ]


# --- a call that a manager holds


def _held(story: Story, row: r.PendingRow, now: float) -> str:
    manager = story.managers.get(row.manager)
    if manager is None:
        return "is on its way to a manager"
    since = duration_text(max(0.0, now - row.sent_at))
    before = sorted((other.sent_at, other.task) for other in story.held.values() if other.manager == row.manager).index(
        (row.sent_at, row.task)
    )
    if building := _building(story, story.kind(row.what).work.contexts, now, on=row.manager):
        return f"was sent to {manager.name} {since} ago; its context is {building}"
    if starting := _starting(story, story.kind(row.what).work.contexts, [(row.manager, manager)], now):
        return f"was sent to {manager.name} {since} ago, which is {starting}"
    if before < manager.joined.slots:
        mean_s = story.kind(row.what).mean_s
        usual = "" if mean_s is None else f"; such calls have taken {duration_text(mean_s)}"
        return f"runs on {manager.name} since about {since}{usual}"
    others = before - manager.joined.slots + 1
    return f"was sent to {manager.name} {since} ago and waits there behind {others} other{'s' * (others != 1)}"


# --- a call that waits


def _why(story: Story, kind: Kind, row: r.PendingRow, now: float) -> str:
    """Why a call of this kind waits."""
    managers = story.open_managers()
    if not managers:
        return _no_node(story, now)
    work = kind.work
    for reason in (
        _refused(story, work.contexts, managers),
        _barred(story, work.contexts, now),
        _batch(work, row, now),
    ):
        if reason:
            return reason
    kept = () if work.fresh else work.contexts
    warm = [manager for _, manager in managers if manager.warm(kept) or manager.can_fork(kept)] if kept else []
    if kept and not warm:
        return (
            _building(story, kept, now)
            or _starting(story, kept, managers, now)
            or _fetching(managers, now)
            or _no_memory(story, kept, managers)
            or _ordered(managers, kept, now)
            or _ends_soon(story, kind, managers, now)
            or _behind(story, kind, row, managers)
        )
    if starting := _starting(story, work.contexts, managers, now):
        return starting
    behind = _behind(story, kind, row, managers)
    ending = _ends_soon(story, kind, managers, now)
    if ending:
        return ending
    building = _building(story, kept, now)
    return f"{behind}; one more instance is {building}" if building else behind


def _no_node(story: Story, now: float) -> str:
    if story.over is not None:
        return f"the run is over ({story.over.reason})"
    closing = [manager for manager in story.managers.values() if manager.is_there]
    pending = [block for block in story.blocks.values() if block.state not in ENDED_STATES and block.joined_at is None]
    draining = f"; {_nodes(closing)} take no more calls, their block ends" if closing else ""
    for block in pending:
        job = f"job {block.job} of block {block.id}" if block.job else f"block {block.id}"
        why = f" ({block.text})" if block.text else ""
        if block.state == "RUNNING":
            running = duration_text(now - block.state_at)
            return (
                f"no node yet: {job} runs for {running}, and no manager has joined from there{draining}. If that goes "
                "on, look into submit_scripts/ in the run directory, and see whether nodes reach this host's address"
            )
        return f"no block yet: {job} is {block.state.lower()} for {duration_text(now - block.asked_at)}{why}{draining}"
    ended = [block for block in story.blocks.values() if block.state in ENDED_STATES or block.left_at is not None]
    if closing:
        return f"no block: {_nodes(closing)} take no more calls, their block ends, and no other was asked for yet"
    if ended:
        last = ended[-1]
        why = f", {last.text}" if last.text else ""
        return f"no block: the last, {last.id}, is over ({last.state.lower()}{why}), and no other was asked for yet"
    return "no block was asked for: see init_blocks and max_blocks of the provider, and the strategy of the Config"


def _refused(story: Story, contexts: tuple[Digest, ...], managers: list[tuple[int, Manager]]) -> str | None:
    reasons = [story.refused.get((number, contexts)) for number, _ in managers]
    if all(reasons):
        names = _names(story, contexts)
        return f"{names} can be held on none of the nodes that are there; on {managers[0][1].name}: {reasons[0]}"
    return None


def _barred(story: Story, contexts: Iterable[Digest], now: float) -> str | None:
    for digest in contexts:
        context = story.contexts.get(digest)
        broken = context.broken if context else None
        if context is not None and broken is not None and broken.at + broken.barred_s > now:
            return _broken(story, context, broken, now)
    return None


def _broken(story: Story, context: Context, broken: r.BuildBroke, now: float) -> str:
    manager = story.managers.get(broken.manager)
    where = f" on {manager.name}" if manager else ""
    times = "" if broken.failures == 1 else f", {broken.failures} times in a row"
    until = broken.at + broken.barred_s
    again = f"; it is barred until {_clock(story, until)}" if until > now else ""
    return f"{context.known.name} could not be built{where}{times}: {broken.reason}{again}"


def _building(story: Story, contexts: Iterable[Digest], now: float, on: int | None = None) -> str | None:
    for digest in contexts:
        context = story.contexts.get(digest)
        needed = (digest, *context.known.requires) if context else (digest,)
        for number, manager in story.managers.items():
            if on is not None and number != on:
                continue
            for (each, worker), since in manager.building.items():
                if each in needed:
                    which = "" if each == digest else f" {story.name(each)}, which it requires,"
                    found = story.contexts.get(each)
                    usual_s = found.usual_s if found else None
                    of = "" if usual_s is None else f" of about {duration_text(usual_s)}"
                    where = "for all workers" if worker is None else f"worker {worker}"
                    return f"building{which} on {manager.name}, {where} ({duration_text(max(0.0, now - since))}{of})"
    return None


def _starting(story: Story, contexts: Iterable[Digest], managers: list[tuple[int, Manager]], now: float) -> str | None:
    """Whether nodes start the environment that calls need, and none has it yet."""
    name = story.environment_of(contexts)
    if not name or any(name in manager.environments for _, manager in managers):
        return None
    for _, manager in managers:
        if (since := manager.starting.get(name)) is not None:
            known = story.environments[name]
            of = "" if known.usual_s is None else f" of about {duration_text(known.usual_s)}"
            took = duration_text(max(0.0, now - since))
            return f"starting environment {known.source} on {manager.name} ({took}{of})"
    return None


def _fetching(managers: list[tuple[int, Manager]], now: float) -> str | None:
    for _, manager in managers:
        for url, since in manager.fetching.items():
            if manager.orders:
                return f"{manager.name} fetches {url} first, for {duration_text(now - since)}"
    return None


def _ordered(managers: list[tuple[int, Manager]], contexts: tuple[Digest, ...], now: float) -> str | None:
    for _, manager in managers:
        for ordered, since in manager.orders.values():
            if set(contexts) <= set(ordered):
                return (
                    f"{manager.name} is to build its context, for {duration_text(max(0.0, now - since))}, and a worker "
                    "there is not free for it yet or starts"
                )
    return None


def _no_memory(story: Story, contexts: tuple[Digest, ...], managers: list[tuple[int, Manager]]) -> str | None:
    """Whether the contexts that calls use leave no room for these on any node."""
    wanted = sum(story.contexts[digest].size_bytes for digest in contexts if digest in story.contexts)
    holders = []
    for number, manager in managers:
        rows = [row for row in story.held.values() if row.manager == number]
        used = {digest for row in rows for digest in story.kind(row.what).work.contexts}
        taken = {
            digest: manager.holds(digest) * story.contexts[digest].size_bytes for digest in used & {*story.contexts}
        }
        limit = manager.joined.memory_bytes
        if limit is None or not wanted or sum(taken.values()) + wanted <= limit:
            return None
        largest = sorted((size, story.name(digest)) for digest, size in taken.items() if size)[-3:]
        holders.append((manager, largest, limit))
    manager, largest, limit = holders[0]
    what = ", ".join(f"{name} ({size_text(size)})" for size, name in reversed(largest)) or "what is built there"
    return (
        f"no memory: {_names(story, contexts)} takes {size_text(wanted)}, and of the {size_text(limit)} that contexts "
        f"may take on {manager.name}, calls use {what}"
    )


def _ends_soon(story: Story, kind: Kind, managers: list[tuple[int, Manager]], now: float) -> str | None:
    """Whether all blocks end before such a call could."""
    needed_s = (kind.mean_s or 0.0) + sum(
        (context.usual_s or 0.0)
        for digest in kind.work.contexts
        if (context := story.contexts.get(digest)) and not any(m.holds(digest) for _, m in managers)
    )
    left = [
        manager.joined.at + manager.joined.ends_in_s - now
        for _, manager in managers
        if manager.joined.ends_in_s is not None
    ]
    if not needed_s or len(left) < len(managers) or max(left) >= needed_s:
        return None
    return (
        f"the block ends in {duration_text(max(0.0, max(left)))}, and such a call takes about {duration_text(needed_s)}"
        "; it waits for the next block"
    )


def _batch(work: r.Work, row: r.PendingRow, now: float) -> str | None:
    if work.batch is not None and work.batch_wait_s and now - row.submitted_at < work.batch_wait_s:
        return f"it waits up to {duration_text(work.batch_wait_s)} for others to run with, see batch_wait_s"
    return None


def _behind(story: Story, kind: Kind, row: r.PendingRow, managers: list[tuple[int, Manager]]) -> str:
    """Workers are busy with others."""
    pulse = story.pulse
    lines = pulse.lines if pulse is not None else []
    sooner = sum(line.size for line in lines if line.priority < row.priority)
    slots = sum(manager.joined.slots for _, manager in managers)
    if sooner:
        return f"behind {sooner} call{'s' * (sooner != 1)} of higher priority, on {slots} worker{'s' * (slots != 1)}"
    first = next((line.first for line in lines if line.what == row.what), row.task)
    before = max(0, row.task - first - story.done.count_within(first, row.task - 1)) if row.task > first else 0
    contexts = () if kind.work.fresh else kind.work.contexts
    serving = sum(
        manager.joined.slots if manager.can_fork(contexts) else manager.warm(contexts) for _, manager in managers
    )
    others = [each for each in story.held.values() if each.what != row.what]
    own = f"{before} call{'s' * (before != 1)} of its kind came before; " if before else "next in turn; "
    if contexts and not serving:
        names = {story.kind(each.what).work.name for each in others}
        built = {story.name(digest) for _, manager in managers for digest, _ in manager.building}
        busy = [f"run calls of {_list(sorted(names))}"] if names else []
        busy += [f"build {_list(sorted(built))}"] if built else []
        return f"{own}the {slots} workers {' or '.join(busy) or 'are busy'}, and none has its context yet"
    serving = serving if contexts else slots
    per_s = story.per_second()
    mean_s = kind.mean_s
    pace = f", {rate_text(per_s)} calls end in a second" if per_s else ""
    each = "" if mean_s is None else f", such a call takes {duration_text(mean_s)}"
    have = "have its context and are" if contexts else "are"
    if serving == 1:
        have = have.replace("have", "has").replace("are", "is")
    return f"{own}{serving} worker{'s' * (serving != 1)} {have} busy{each}{pace}"


# --- words


def _of(story: Story, row: r.PendingRow | None) -> str:
    name = story.kind(row.what).work.name if row is not None else ""
    return f" of {name}" if name else ""


def _names(story: Story, contexts: Iterable[Digest]) -> str:
    return _list([story.name(digest) for digest in contexts])


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _nodes(managers: list[Manager]) -> str:
    return _list([manager.name for manager in managers[:3]]) + (" and others" if len(managers) > 3 else "")


def _clock(story: Story, at: float) -> str:
    return datetime.datetime.fromtimestamp(story.wall(at)).strftime("%H:%M:%S")
