"""Classes to check ``run`` itself with, for example
``run --class check_classes:Wrong --group config``; see README.md."""

import itertools
from concurrent.futures import Future

from parsl.executors.high_throughput.executor import HighThroughputExecutor as Stock


class Trivial(Stock):
    """Nothing changed: all that stock passes is to pass."""


class Wrong(Stock):
    """Every third result is None: many failures are to be found."""

    count = itertools.count(1)

    def submit(self, func, resource_specification, *args, **kwargs):
        future = super().submit(func, resource_specification, *args, **kwargs)
        if next(self.count) % 3:
            return future
        wrong = Future()
        wrong.parsl_executor_task_id = future.parsl_executor_task_id
        future.add_done_callback(lambda _: wrong.set_result(None))
        return wrong


class Hangs(Stock):
    """Every fortieth result never comes: those tests are to be cut short."""

    count = itertools.count(1)

    def submit(self, func, resource_specification, *args, **kwargs):
        if next(self.count) % 40:
            return super().submit(func, resource_specification, *args, **kwargs)
        lost = Future()
        lost.parsl_executor_task_id = -1
        return lost


class NoStart(Stock):
    """Cannot start: what needs it is to fail at once."""

    def start(self):
        raise RuntimeError("cannot start, on purpose")
