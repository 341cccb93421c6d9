"""What context functions print and log says of which worker and context it is; what bodies print stays as it is."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import parsl
import pytest

from parsl_context import ContextExecutor, context, context_app

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]

KINDS: dict[str, dict[str, Any]] = {
    "memory": {},
    "node": {"share": "node"},
    "isolated": {"isolation": "call"},
    "node and isolated": {"share": "node", "isolation": "call"},
}


def talkative(word: str) -> Iterator[str]:
    print("building", word, end="")
    print(" ...")
    print("two\nlines")
    sys.stderr.write("careful\n")
    os.write(1, b"from C\n")
    logging.getLogger("parsl.mine").warning("logged %s", "building")
    yield word
    print("cleaning", word)
    logging.getLogger("parsl.mine").warning("logged cleaning")


def printed(run_dir: Path, name: str) -> list[str]:
    """Lines that the blocks of a run have printed."""
    (path,) = run_dir.rglob(f"submit_scripts/*.{name}")
    return path.read_text().splitlines()


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed waits to be written, as it does where nobody has said otherwise."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_context_function_prints_names_worker_and_context(load: Load, run_dir: Path, kind: str) -> None:
    executor = load(max_workers_per_node=1)
    made = context(**KINDS[kind])(talkative)

    @context_app(context=made("a.pt"))
    def use(value: str, word: str) -> str:
        print("a body", word)
        logging.getLogger("parsl.mine").warning("logged by a body")
        return value

    assert [use(word).result(timeout=30) for word in ("once", "twice")] == ["a.pt", "a.pt"]
    parsl.dfk().cleanup()
    who = "template" if kind.startswith("node") else "worker 0"
    label = f"[{who}, context talkative('a.pt')] "
    out = printed(run_dir, "out")
    for line in ("building a.pt ...", "two", "lines", "cleaning a.pt"):
        assert out.count(label + line) == 1
    assert len([line for line in out if "lines" in line]) == 1
    for line in ("from C", "a body once", "a body twice"):
        assert out.count(line) == 1
    assert printed(run_dir, "err").count(label + "careful") == 1
    name = "template" if kind.startswith("node") else "worker_0"
    logs = {path.stem: path.read_text() for path in Path(executor.logdir).rglob("*.log")}
    for said in ("logged building", "logged cleaning"):
        assert len(re.findall(f": {re.escape(label)}{said}$", logs[name], re.MULTILINE)) == 1
    assert ": logged by a body" in logs["worker_0"]


def test_what_a_hook_prints_names_the_worker_that_it_runs_in(load: Load, run_dir: Path) -> None:
    load(max_workers_per_node=2)

    def hook(_: object) -> None:
        print("hooked")

    @context(share="node", after_fork=hook)
    def shared() -> int:
        return os.getpid()

    @context_app(context=shared)
    def use(value: int) -> int:
        return os.getpid() - value

    assert use().result(timeout=30)
    parsl.dfk().cleanup()
    hooked = [line for line in printed(run_dir, "out") if "hooked" in line]
    assert hooked
    assert all(re.fullmatch(r"\[worker [01], context .*shared.*\] hooked", line) for line in hooked)
