"""Environments of a node: one interpreter for each, whoever waits for it, and what is told when there is none."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from parsl_context.distribute.environments.adopting import Bringing
from parsl_context.distribute.node import NodeStore
from parsl_context.pool.apart import Told
from parsl_context.pool.environments import Nest, NodeEnvironments
from parsl_context.retain.processes import Exit
from parsl_context.wire.eventloop import EventLoop
from parsl_context.wire.messages import Digest, Environment, EnvironmentName
from tests.environments import make_prefix


class Node:
    """A loop with environments, as a manager has them."""

    def __init__(self, folder: Path) -> None:
        self.loop = EventLoop()
        ends = [socket.socketpair() for _ in range(3)]
        self.sockets = [end for pair in ends for end in pair]
        fds = [pair[1].fileno() for pair in ends]
        told = Told(
            pool="p", block="0", manager_pid=os.getpid(), workers=1, cores=1, log_dir=str(folder), log_config_path=None,
            debug=False, mpi_launcher="mpiexec", start_method="spawn", monitoring=fds[0], echo=fds[1], drains=fds[2],
            code_folder=str(folder), node_store=(),
        )  # fmt: skip
        store = NodeStore(folder / "store")
        self.environments = NodeEnvironments(self.loop, told, lambda: Bringing(store))
        self.environments.on_broken = lambda name, error: self.broken.append((name, str(error)))
        self.broken: list[tuple[EnvironmentName, str]] = []

    def run_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20

        def look() -> None:
            if condition() or time.monotonic() > deadline:
                self.loop.stop()
            else:
                self.loop.call_later(0.01, look)

        self.loop._stopped = False
        look()
        self.loop.run()
        assert condition()

    def close(self) -> None:
        self.environments.close()
        self.loop.close()
        for each in self.sockets:
            each.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


def folder_of(prefix: Path, *, is_kept: bool = True) -> Environment:
    return Environment(digest=Digest("d"), source=str(prefix), form="folder", is_kept=is_kept)


def own(tmp_path: Path) -> Path:
    """An environment with this interpreter."""
    prefix = make_prefix(tmp_path / "prefix")
    (prefix / "bin" / "python").symlink_to(sys.executable)
    return prefix


def test_whoever_waits_gets_the_same_zygote(node: Node, tmp_path: Path) -> None:
    environment = folder_of(own(tmp_path))
    node.environments.declare(environment)
    ready: list[Nest] = []
    for _ in range(2):
        node.environments.want(environment.name, ready.append, lambda: pytest.fail("it can be used"))
    node.run_until(lambda: len(ready) == 2)
    node.environments.want(environment.name, ready.append, lambda: None)
    assert len({id(nest) for nest in ready}) == 1
    assert len(ready) == 3
    assert node.broken == []


def test_an_environment_for_one_call_has_a_zygote_for_each(node: Node, tmp_path: Path) -> None:
    environment = folder_of(own(tmp_path), is_kept=False)
    node.environments.declare(environment)
    ready: list[Nest] = []
    for _ in range(2):
        node.environments.want(environment.name, ready.append, lambda: None)
    node.run_until(lambda: len(ready) == 2)
    assert ready[0].process.pid != ready[1].process.pid


def test_those_who_waited_are_told_before_what_follows(node: Node, tmp_path: Path) -> None:
    environment = folder_of(tmp_path / "nowhere")
    node.environments.declare(environment)
    failed: list[int] = []
    for number in range(3):
        node.environments.want(
            environment.name, lambda nest: pytest.fail("no"), lambda number=number: failed.append(number)
        )
    node.environments.on_broken = lambda name, error: node.broken.append((name, f"{failed} {error}"))
    node.run_until(lambda: node.broken)
    ((name, text),) = node.broken
    assert name == environment.name
    assert text.startswith("[0, 1, 2] Environment")
    assert "there is no such folder here" in text


@pytest.mark.parametrize(
    ("python", "reason"),
    [
        ("#!/bin/sh\nexit 3\n", "it ended without a word"),
        (f"#!/bin/sh\nexec {sys.executable} -c 'import sys, socket; s = socket.socket(fileno=int(sys.argv[4])); "
         "s.send(b\"failed ImportError: no libx.so\")' \"$@\"\n", "ImportError: no libx.so"),
        ("no program", "Exec format error"),
    ],
)  # fmt: skip
def test_an_interpreter_that_cannot_run_workers_is_told_of(
    node: Node, tmp_path: Path, python: str, reason: str
) -> None:
    prefix = make_prefix(tmp_path / "prefix")
    (prefix / "bin" / "python").write_text(python)
    (prefix / "bin" / "python").chmod(0o700)
    environment = folder_of(prefix)
    node.environments.declare(environment)
    node.environments.want(environment.name, lambda nest: pytest.fail("no"), lambda: None)
    node.run_until(lambda: node.broken)
    assert reason in node.broken[0][1]


def test_a_zygote_that_died_is_started_again_when_it_is_wanted(node: Node, tmp_path: Path) -> None:
    environment = folder_of(own(tmp_path))
    node.environments.declare(environment)
    ready: list[Nest] = []
    node.environments.want(environment.name, ready.append, lambda: None)
    node.run_until(lambda: ready)
    ready[0].process.kill()
    pid, status = os.waitpid(ready[0].process.pid, 0)
    assert node.environments.reaped(Exit(pid, None, os.WTERMSIG(status)))
    assert not node.environments.reaped(Exit(pid, None, 9)), "others are not ours"
    node.environments.want(environment.name, ready.append, lambda: None)
    node.run_until(lambda: len(ready) == 2)
    assert ready[1].process.pid != ready[0].process.pid


def test_what_comes_too_late_is_let_go(tmp_path: Path) -> None:
    node = Node(tmp_path)
    environment = folder_of(own(tmp_path))
    node.environments.declare(environment)
    node.environments.want(environment.name, lambda nest: pytest.fail("no"), lambda: pytest.fail("no"))
    with contextlib.closing(node):
        pass
    assert not list(tmp_path.glob("runtime-*/x"))


def test_what_becomes_of_an_environment_is_told_and_told_again(node: Node, tmp_path: Path) -> None:
    told: list[tuple[str, EnvironmentName]] = []
    environments = node.environments
    environments.on_began = lambda environment: told.append(("began", environment.name))
    environments.on_ready = lambda environment, start_s: told.append(("ready", environment.name))
    environments.on_gone = lambda environment: told.append(("gone", environment.name))
    good, bad = folder_of(own(tmp_path)), folder_of(tmp_path / "missing")
    bad = msgspec.structs.replace(bad, digest=Digest("bad"))
    for each in (good, bad):
        environments.declare(each)
    environments.want(good.name, lambda nest: None, lambda: pytest.fail("it can be used"))
    node.run_until(lambda: len(told) == 2)
    assert told == [("began", good.name), ("ready", good.name)]
    environments.want(bad.name, lambda nest: None, lambda: None)
    node.run_until(lambda: node.broken)
    assert told[2:] == [("began", bad.name), ("gone", bad.name)]
    environments.tell_all()
    assert told[4:] == [("ready", good.name)]


def test_one_that_is_made_for_each_call_is_not_told_of(node: Node, tmp_path: Path) -> None:
    node.environments.on_began = lambda environment: pytest.fail("it is no other's")
    private = folder_of(own(tmp_path), is_kept=False)
    ready: list[Nest] = []
    node.environments.declare(private)
    node.environments.want(private.name, ready.append, lambda: None)
    node.run_until(lambda: ready)
