"""The pools and actor systems that somebody would take instead, each used as its documentation advises."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from benchmarks import work
from benchmarks.systems.base import FutureSystem, System


class FreshProcess(System):
    """A process per call: a pool of the standard library that replaces each worker after one call."""

    def hold(self, job: str) -> None:
        self.job = job
        spawning = multiprocessing.get_context("spawn")
        self.pool = spawning.Pool(self.workers, initializer=work.hold, initargs=(job,), maxtasksperchild=1)

    def many(self, arguments: Sequence[Any]) -> list[Any]:
        return self.pool.starmap(work.run_held, [(self.job, argument) for argument in arguments], chunksize=1)

    def close(self) -> None:
        self.pool.close()
        self.pool.join()


class ProcessPool(FutureSystem):
    """`concurrent.futures.ProcessPoolExecutor` with an initializer."""

    def hold(self, job: str) -> None:
        self.job = job
        self.pool: Any = ProcessPoolExecutor(self.workers, initializer=work.hold, initargs=(job,))

    def submit(self, argument: Any) -> Future[Any]:
        future: Future[Any] = self.pool.submit(work.run_held, self.job, argument)
        return future

    def close(self) -> None:
        self.pool.shutdown(wait=True)


class Loky(ProcessPool):
    """The process pool of joblib."""

    def hold(self, job: str) -> None:
        import loky

        self.job = job
        self.pool = loky.ProcessPoolExecutor(self.workers, initializer=work.hold, initargs=(job,))


class Mpire(System):
    """mpire's pool, one task per call or, `chunked`, by its map."""

    def __init__(self, chunked: bool) -> None:
        self.chunked = chunked

    def hold(self, job: str) -> None:
        import mpire

        self.job = job
        # What a pool of forked processes shares costs nothing to pass; the map passes the items alone.
        self.pool = mpire.WorkerPool(
            self.workers, shared_objects=job, use_worker_state=True, start_method="fork", keep_alive=True
        )

    def many(self, arguments: Sequence[Any]) -> list[Any]:
        if self.chunked:
            # Tuples are unpacked into arguments, and so would arrays be.
            items = [(argument,) for argument in arguments]
            results: list[Any] = self.pool.map(_run, items, worker_init=_hold, concatenate_numpy_output=False)
            return results
        waiting = [self.pool.apply_async(_run, (argument,), worker_init=_hold) for argument in arguments]
        return [result.get() for result in waiting]

    def close(self) -> None:
        self.pool.stop_and_join()


def _hold(job: str, state: dict[str, Any]) -> None:
    state["context"] = work.JOBS[job].build()
    state["body"] = work.JOBS[job].body


def _run(job: str, state: dict[str, Any], argument: Any) -> Any:
    return state["body"](state["context"], argument)


class Executorlib(FutureSystem):
    """executorlib with block allocation: workers that stay, with an init function."""

    def hold(self, job: str) -> None:
        import executorlib

        self.job = job
        self.pool = executorlib.SingleNodeExecutor(
            max_workers=self.workers, block_allocation=True, hostname_localhost=True, init_function=lambda: _begin(job)
        )

    def submit(self, argument: Any) -> Future[Any]:
        future: Future[Any] = self.pool.submit(work.run_held, self.job, argument)
        return future

    def close(self) -> None:
        self.pool.shutdown(wait=True)


def _begin(job: str) -> dict[str, Any]:
    work.hold(job)
    return {}


class Ray(System):
    """An actor per worker, called in turn; the object store takes 1 GB."""

    def open(self, workers: int) -> None:
        super().open(workers)
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        self.ray = ray
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=10**9,
            _node_ip_address="127.0.0.1",
            _temp_dir=os.path.abspath("ray"),
        )

    def hold(self, job: str) -> None:
        @self.ray.remote
        class Holder:
            def __init__(self) -> None:
                work.hold(job)

            def run(self, argument: Any) -> Any:
                return work.run_held(job, argument)

        self.holders = [Holder.options(num_cpus=1).remote() for _ in range(self.workers)]
        self.methods = [holder.run for holder in self.holders]

    def many(self, arguments: Sequence[Any]) -> list[Any]:
        methods = self.methods
        references = [methods[n % len(methods)].remote(argument) for n, argument in enumerate(arguments)]
        results: list[Any] = self.ray.get(references)
        return results

    def close(self) -> None:
        self.ray.shutdown()


class Dask(System):
    """Tasks of dask.distributed on a local cluster of single-threaded workers, which make the context beforehand."""

    def open(self, workers: int) -> None:
        super().open(workers)
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        )
        self.client = Client(self.cluster)

    def ready(self) -> None:
        self.client.wait_for_workers(self.workers)

    def hold(self, job: str) -> None:
        self.job = job
        self.client.wait_for_workers(self.workers)
        self.client.run(work.hold, job)

    def many(self, arguments: Sequence[Any]) -> list[Any]:
        # pure=False: calls with equal arguments are calls, not one cached result
        futures = self.client.map(work.run_held, [self.job] * len(arguments), list(arguments), pure=False)
        results: list[Any] = self.client.gather(futures)
        return results

    def close(self) -> None:
        self.client.close()
        self.cluster.close()
