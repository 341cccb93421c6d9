"""What people look at: rows that tell where contexts live and what they did. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from parsl_context.scheduling.cluster.managers import ClusterLine, ClusterPair, Manager
from parsl_context.scheduling.cluster.registry import OnNode, Record
from parsl_context.wire.messages import Digest, ManagerId
from parsl_context.wire.rows import ContextRow


def rebuild_s(manager: Manager, records: Mapping[Digest, Record]) -> float:
    """Time that one worker would take to build what the manager's workers hold. [s]"""
    counts = dict.fromkeys((context for key in manager.templates for context in key), 1) | manager.resident
    known = [(records[context], count) for context, count in counts.items() if context in records]
    return sum(record.build.or_prior(0.0) * (1 if record.is_shared(manager.id) else count) for record, count in known)


def rows(
    digest: Digest,
    record: Record,
    lines: Iterable[ClusterLine],
    managers: Mapping[ManagerId, Manager],
    now: float,
) -> Iterator[ContextRow]:
    """A row for each manager that has, builds or served a context; one row if there is none.

    Parameters
    ----------
    lines
        Those whose calls need the context.
    """
    pairs: dict[ManagerId, list[ClusterPair]] = {}
    for line in lines:
        for pair in line.pairs.values():
            if pair.calls:
                pairs.setdefault(pair.holder.id, []).append(pair)
    anywhere = False
    for manager in managers.values():
        if manager.id in record.nodes or manager.id in pairs or digest in manager.building or manager.holds(digest):
            anywhere = True
            yield _row(digest, record, manager, pairs.get(manager.id, ()), now)
    if not anywhere:
        yield _row(digest, record, None, (), now)


def _row(
    digest: Digest, record: Record, manager: Manager | None, pairs: Iterable[ClusterPair], now: float
) -> ContextRow:
    node = OnNode() if manager is None else record.nodes.get(manager.id, OnNode())
    workers = 0 if manager is None else manager.resident.get(digest, 0)
    if manager is not None and manager.holds(digest):
        state = "ready"
    elif manager is not None and digest in manager.building:
        state = "building"
    else:
        state = "failed" if record.given_up else "cold"
    begun = [] if manager is None else manager.building.get(digest, [])
    used_at = max((at for at in (node.used_at, *(pair.used_at for pair in pairs)) if at is not None), default=None)
    return ContextRow(
        name=record.options.name,
        digest=digest,
        state=state,
        where=None if manager is None else manager.id,
        workers=workers,
        loads=node.loads,
        calls=node.calls + sum(pair.calls for pair in pairs),
        load_s=node.load_s / node.loads if node.loads else 0.0,
        bytes=node.size_bytes,
        last_used_s=None if used_at is None else now - used_at,
        evictions=node.evictions,
        note=node.note,
        block=None if manager is None else manager.block,
        batch=_mean_batch(pairs),
        age_s=now - node.built_at if state == "ready" and node.built_at is not None else None,
        building=len(begun),
        building_s=now - begun[0] if begun else None,
        usual_s=record.build.mean_s,
        shared=manager is not None and record.is_shared(manager.id),
    )


def _mean_batch(pairs: Iterable[ClusterPair]) -> float | None:
    """Calls in a batch lately, of the lines whose calls run in batches."""
    known = [batches.mean for pair in pairs if (batches := pair.line.batches) is not None]
    sizes = [size for size in known if size is not None]
    return sum(sizes) / len(sizes) if sizes else None
