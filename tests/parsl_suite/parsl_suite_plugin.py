"""pytest plugin of ``run``: put another class in HighThroughputExecutor's place.

Loaded with ``-p``, so before Parsl's conftest and test modules are imported:
each ``import`` of HighThroughputExecutor in a test or a test's config gets the
class under test. Parsl's own modules keep the original one where they have
imported it by then: the htex_auto_scale strategy still checks for it, and
MPIExecutor is still derived from it.

The file named by PARSL_SUITE_SETTINGS (JSON, written by ``run``) says which
class and which tests; what happens is appended to its "events" file, one JSON
object a line.
"""

import functools
import importlib
import json
import os
import pathlib

import parsl
import parsl.executors
import parsl.executors.high_throughput.executor as htex
import parsl.executors.high_throughput.mpi_executor  # now, so that it derives from the original
import parsl.usage_tracking.usage as usage
import pytest
from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.executors.status_handling import BlockProviderExecutor

SETTINGS = json.loads(pathlib.Path(os.environ["PARSL_SUITE_SETTINGS"]).read_text())
STOCK = htex.HighThroughputExecutor


def load(name: str) -> type:
    if name == "stock":
        return STOCK
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


CLASS = load(SETTINGS["class"])
for _module in (parsl, parsl.executors, htex):
    _module.HighThroughputExecutor = CLASS

# One of Parsl's test configs turns usage tracking on: let that code run, but
# send the datagrams to this host's discard port.
usage.UsageTracker.__init__ = functools.partialmethod(usage.UsageTracker.__init__, port=9, domain_name="localhost")


def probe() -> str:
    return json.dumps(
        {
            "version": parsl.__version__,
            "tests": str(pathlib.Path(parsl.__file__).parent / "tests"),
            "subclass": issubclass(CLASS, STOCK),
        }
    )


def emit(event: str, **fields) -> None:
    with open(SETTINGS["events"], "a") as file:
        file.write(json.dumps({"event": event, **fields}) + "\n")


# ------------------------------------------------------- is the class really used

built: list[type] = []  # classes of the executors made since the test began
_init = BlockProviderExecutor.__init__


@functools.wraps(_init)
def _recording_init(self, *args, **kwargs):
    built.append(type(self))
    return _init(self, *args, **kwargs)


BlockProviderExecutor.__init__ = _recording_init


def class_used() -> bool:
    """Whether an executor of the class was made, or is in the loaded
    DataFlowKernel, since the last call."""
    kernel = DataFlowKernelLoader._dfk
    live = [type(executor) for executor in kernel.executors.values()] if kernel else []
    used = CLASS in built + live
    built.clear()
    return used


# ---------------------------------------------------------------- choice of tests


def starts(nodeid: str, prefix: str) -> bool:
    """Whether prefix is nodeid or the whole first parts of it."""
    return nodeid == prefix or (nodeid.startswith(prefix) and nodeid[len(prefix)] in "/:[")


def category(item: pytest.Item) -> str:
    """Why the item is deselected; "" if it is not."""
    for name, what in SETTINGS["deselect"]:
        if name == "root" and os.geteuid() != 0:
            continue
        if what.startswith("@"):
            if item.get_closest_marker(what[1:]):
                return name
        elif starts(item.nodeid, what):
            return name
    return ""


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config, items):
    yield
    local = config.getoption("config") == ["local"]
    deselected = {}
    keep, drop = [], []
    unused, done = set(SETTINGS["unused"]), set(SETTINGS["done"])
    for item in items:
        nodeid = item.nodeid
        if (item.get_closest_marker("local") is None) == local:
            continue  # not for this --config; Parsl's conftest drops or skips it
        if SETTINGS["ids"] is not None:
            wanted = nodeid in SETTINGS["ids"]
        else:
            wanted = nodeid not in unused
            if SETTINGS["prefixes"] is not None:
                wanted &= any(starts(nodeid, prefix) for prefix in SETTINGS["prefixes"])
            if SETTINGS["only"]:
                wanted &= any(text in nodeid for text in SETTINGS["only"])
            reason = category(item)
            if wanted and reason:
                deselected[nodeid] = reason
            wanted &= reason == ("internals" if SETTINGS["internals"] else "")
        (keep if wanted and nodeid not in done else drop).append(item)
    items[:] = keep
    config.hook.pytest_deselected(items=drop)
    emit("collected", selected=[item.nodeid for item in keep], deselected=deselected)


# ------------------------------------------------------------------ what happens


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    emit("start", nodeid=item.nodeid)
    item.class_used = False
    built.clear()  # of what was made while modules were imported
    yield
    item.class_used |= class_used()
    emit("finish", nodeid=item.nodeid, used=item.class_used)
    if nextitem and leaves_kernel(item, nextitem):
        emit("restart", nodeid=item.nodeid, reason="left its DataFlowKernel loaded")
        item.session.shouldstop = "a DataFlowKernel is still loaded"


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    item.class_used |= class_used()
    yield


def leaves_kernel(item: pytest.Item, nextitem: pytest.Item) -> bool:
    """Whether a test with its own config would make the next one fail, because
    parsl.load() refuses a second DataFlowKernel."""
    if item.config.getoption("config") != ["local"] or DataFlowKernelLoader._dfk is None:
        return False
    for_module = any(hasattr(item.module, name) for name in ("local_config", "local_setup"))
    return not (for_module and nextitem.module is item.module)


def pytest_runtest_logreport(report):
    reason = ""
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash else report.longreprtext
        reason = " ".join(text.split())[:200]
    emit(
        "phase",
        nodeid=report.nodeid,
        phase=report.when,
        outcome=report.outcome,
        seconds=round(report.duration, 3),
        reason=reason,
    )


def pytest_sessionfinish(session, exitstatus):
    emit("end", status=int(exitstatus), stopped=bool(session.shouldstop))
