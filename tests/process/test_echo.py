"""`echo=True` brings what workers print to the script, whole lines of it, and no more than can be shown."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
import psutil
import pytest

from parsl_context import ContextExecutor, context, context_app
from tests.process.conftest import run_cells, wait_for

pytestmark = pytest.mark.process
Load = Callable[..., ContextExecutor]


@context
def talkative(word: str) -> str:
    print("building", word)
    return word


@context(isolation="call")
def isolated() -> str:
    return "alone"


@context(share="node")
def shared() -> str:
    print("reading once")
    return "shared"


def speak(value: str, word: str) -> str:
    print(f"{value} says {word}")
    print("careful", file=sys.stderr)
    print("no end", end="")
    return word


@parsl.python_app
def plain() -> str:
    print("a plain app")
    return "plain"


def test_an_app_with_echo_is_heard_and_others_are_not(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    load(max_workers_per_node=1)
    loud = context_app(context=talkative("a"), echo=True)(speak)
    quiet = context_app(context=talkative("b"))(speak)
    assert (quiet("one").result(), loud("two").result()) == ("one", "two")
    assert plain().result() == "plain"
    found: dict[str, str] = {"out": "", "err": ""}

    def heard() -> bool:
        found["out"], found["err"] = (found[n] + t for n, t in zip(found, capsys.readouterr(), strict=True))
        return "no end\n" in found["out"] and "careful\n" in found["err"]

    wait_for(heard)
    lines = found["out"].splitlines()
    assert lines == ["[worker 0, context talkative('a')] building a", "a says two", "no end"]
    assert found["err"] == "careful\n"


@pytest.mark.parametrize("function", [isolated, shared], ids=["isolated", "shared"])
def test_with_echo_of_the_executor_all_is_heard_before_the_result(
    load: Load, capsys: pytest.CaptureFixture[str], function: Any
) -> None:
    load(max_workers_per_node=1, echo=True)
    app = context_app(context=function())(speak)
    for word in ("one", "two"):
        assert app(word).result() == word
        assert f"says {word}\nno end\n" in capsys.readouterr().out
    assert plain().result() == "plain"
    assert "a plain app\n" in capsys.readouterr().out


def test_lines_of_calls_that_ended_are_shown_by_the_end_of_the_executor(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    load(echo=True)
    futures = [plain() for _ in range(50)]
    assert [future.result() for future in futures] == ["plain"] * 50
    parsl.dfk().cleanup()
    assert len(re.findall(r"^(?:\[worker [01]\] )?a plain app$", capsys.readouterr().out, re.M)) == 50


def test_lines_say_whose_they_are_once_there_are_several_workers(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    load(max_workers_per_node=2, echo=True)

    @parsl.python_app
    def slow(i: int) -> int:
        import time

        print("line", i)
        time.sleep(0.2)
        return i

    assert [future.result() for future in [slow(i) for i in range(6)]] == list(range(6))
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line[-6:] for line in lines) == [f"line {i}" for i in range(6)]
    assert all(line.startswith("[worker ") for line in lines[2:])


def test_a_million_lines_hold_nobody_up_and_those_that_are_not_shown_are_counted(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    executor = load(max_workers_per_node=2, echo=True)

    @parsl.python_app
    def flood(lines: int) -> float:
        import time

        begun = time.monotonic()
        for i in range(lines):
            print("a line that is one of many", i)
        return time.monotonic() - begun

    @parsl.python_app
    def whisper() -> None:
        print("beside them")

    whisper().result()
    lines = 1_000_000
    before_mb = memory_mb(executor)
    flooding = flood(lines)
    took_s = []
    while not flooding.done():
        begun = time.monotonic()
        whisper().result()
        took_s.append(time.monotonic() - begun)
    assert memory_mb(executor) - before_mb < 50
    assert flooding.result() < 30
    assert sorted(took_s)[len(took_s) // 2] < 0.05
    time.sleep(0.5)  # what waits in workers is sent when they have nothing to do
    parsl.dfk().cleanup()
    out, err = capsys.readouterr()
    shown = out.count("a line that is one of many") + out.count("beside them")
    dropped = sum(int(count.replace(",", "")) for count in re.findall(r"\[([\d,]+) lines that workers printed", err))
    assert 0 < shown < lines
    assert shown + dropped == lines + len(took_s) + 1


def memory_mb(executor: ContextExecutor) -> float:
    """Memory of the interchange; the script's grows with what capsys keeps."""
    assert executor.interchange_proc is not None
    return psutil.Process(executor.interchange_proc.pid).memory_info().rss / 1e6


def test_a_cell_shows_them(run_dir: Path) -> None:
    start = f"""
import os, parsl
from parsl.providers import LocalProvider
from parsl_context import ContextExecutor, context, context_app
os.chdir({str(run_dir)!r})
executor = ContextExecutor(max_workers_per_node=1, provider=LocalProvider(max_blocks=1))
config = parsl.Config(executors=[executor], run_dir={str(run_dir)!r}, usage_tracking=0, initialize_logging=False)
kernel = parsl.load(config)

@context
def model():
    print("building")
    return 1

@context_app(context=model, echo=True)
def add(model, x):
    print("adding", x)
    return model + x
"""
    cells = [start, "import time; add(1).result(); time.sleep(1)", "add(2).result()", "kernel.cleanup()"]
    shown = [text for text, _ in run_cells([(cell, None) for cell in cells])]
    assert shown[1] == "[worker 0, context model()] building\nadding 1\n"
    assert shown[2] == "adding 2\n3"
