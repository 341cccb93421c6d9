"""The registry of what is measured.

Stock HTEX has no contexts: as `htex-...` it runs a function that makes the context for each call, which costs nothing
in the cases where there is nothing to make; as `htex-cache-...` one that keeps it in a module, as scripts do by hand.
Links are encrypted, Parsl's default, except where the name says `plain`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.systems.base import Entry

if TYPE_CHECKING:
    from benchmarks.systems.base import System

_PREFETCH = 64


def _kernel(factory: str, **options: Any) -> Callable[[], System]:
    def make() -> System:
        from benchmarks.systems import kernel

        system: System = getattr(kernel, factory)(**options)
        return system

    return make


def _peer(name: str, **options: Any) -> Callable[[], System]:
    def make() -> System:
        from benchmarks.systems import peers

        system: System = getattr(peers, name)(**options)
        return system

    return make


_ours = partial(Entry, family="ours")
_parsl = partial(Entry, family="parsl")

_ENTRIES = [
    _ours("ours-dfk", _kernel("ours"), "context app through the DataFlowKernel, default logging"),
    _ours("ours-dfk-quiet", _kernel("ours", quiet=True), "the same, logging warnings only"),
    _ours("ours-submit", _kernel("ours_submit"), "executor.submit without a DataFlowKernel"),
    _ours("ours-map", _kernel("ours", by_map=True), "app.map through the DataFlowKernel, default logging"),
    _ours("ours-node", _kernel("ours_submit", reuse="node"), "executor.submit, contexts once per node"),
    _ours(
        "ours-disk",
        _kernel("ours_submit", reuse="disk"),
        "executor.submit, a process per call, data local",
        retains=False,
    ),
    _ours("ours-none", _kernel("ours_submit", reuse="none"), "executor.submit, a process per call", retains=False),
    _ours("ours-submit-plain", _kernel("ours_submit", encrypted=False), "executor.submit, not encrypted"),
    _parsl("ceiling-dfk", _kernel("ceiling"), "DataFlowKernel over an executor that does nothing"),
    _parsl("ceiling-dfk-quiet", _kernel("ceiling", quiet=True), "the same, logging warnings only"),
    _parsl("there-dfk", _kernel("there_and_back"), "DataFlowKernel, each call's number to a process and back"),
    _parsl("there-dfk-quiet", _kernel("there_and_back", quiet=True), "the same, logging warnings only"),
    _parsl("htex-dfk", _kernel("htex"), "HighThroughputExecutor, all defaults", retains=False),
    _parsl("htex-dfk-quiet", _kernel("htex", quiet=True), "the same, logging warnings only", retains=False),
    _parsl(
        "htex-dfk-prefetch",
        _kernel("htex", prefetch_capacity=_PREFETCH),
        f"HighThroughputExecutor, prefetch_capacity={_PREFETCH}",
        retains=False,
    ),
    _parsl("htex-submit", _kernel("htex_submit"), "HighThroughputExecutor.submit, all defaults", retains=False),
    _parsl(
        "htex-submit-prefetch",
        _kernel("htex_submit", prefetch_capacity=_PREFETCH),
        f"HighThroughputExecutor.submit, prefetch_capacity={_PREFETCH}",
        retains=False,
    ),
    _parsl(
        "htex-submit-plain",
        _kernel("htex_submit", encrypted=False),
        "HighThroughputExecutor.submit, not encrypted",
        retains=False,
    ),
    _parsl("htex-cache", _kernel("htex", how="cached"), "HighThroughputExecutor, context kept in a module by hand"),
    _parsl(
        "htex-cache-tuned",
        _kernel("htex", how="cached", quiet=True, prefetch_capacity=_PREFETCH),
        f"the same, quiet, prefetch_capacity={_PREFETCH}",
    ),
    Entry("process", _peer("FreshProcess"), "multiprocessing.Pool, a fresh process per call", retains=False),
    Entry("process-pool", _peer("ProcessPool"), "ProcessPoolExecutor(initializer=)"),
    Entry("loky", _peer("Loky"), "loky.ProcessPoolExecutor(initializer=)", needs="loky"),
    Entry("mpire", _peer("Mpire", chunked=False), "mpire.WorkerPool.apply_async", needs="mpire"),
    Entry("mpire-map", _peer("Mpire", chunked=True), "mpire.WorkerPool.map, chunked", needs="mpire"),
    Entry("executorlib", _peer("Executorlib"), "executorlib, block allocation, init function", needs="executorlib"),
    Entry("ray", _peer("Ray"), "Ray actors, one per worker", needs="ray"),
    Entry("dask", _peer("Dask"), "dask.distributed tasks", needs="distributed"),
]

SYSTEMS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
