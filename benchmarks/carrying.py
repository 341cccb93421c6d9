"""What it costs that user code is the same on workers: the first call of a project, and each call after it.

    python -m benchmarks.carrying [--rounds 5] [--profile]

*First call*: a script is run whose body uses code of its own, or of 50 modules beside it, or of a package of 50
modules; each module has some 60 lines, imports the one before and holds classes and functions. The block is up, the
modules are imported in the script, and the worker has run a call that needs none of them. Measured is the time from
`submit` to the result of the first call that does.

*Warm calls*: what `ContextExecutor.submit` takes in the script, without the DataFlowKernel, for a body that does
nothing and whose code names so many modules and so many globals of the script: at each call these are looked at, so
that a name that was bound anew is seen. Every project runs in an interpreter of its own, in turns; medians count.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

RESULTS = pathlib.Path(__file__).parent / "results" / "carrying.json"
ROOT = pathlib.Path(__file__).parents[1]
MODULES = 50
PROJECTS = ("one file", f"{MODULES} modules", f"a package of {MODULES}")
MOST_MORE_S = 0.2  # that the first call of a project may take, over that of one file
WARM_MODULES = (0, 10, 50)
WARM_GLOBALS = (0, 20, 200)
CALLS = 2000

_PART = """
class Part_{n}:
    def __init__(self, value={n}):
        self.value = value
    def above(self):
        return {above}
    def twice(self):
        return 2 * self.value
class Other_{n}(Part_{n}):
    limit = {n}
    def twice(self):
        return super().twice() + self.limit
def use_{n}(value):
    return Other_{n}(value).twice() + {below}
"""
_FILLER = "".join(f"def helper_{n}(a, b=None):\n    return [a, b, {n}]\n\n" for n in range(12))

_START = """
import json, sys, time
from parsl.providers import LocalProvider
from parsl_context import ContextExecutor, context, context_app
import parsl

executor = ContextExecutor(
    label="contexts", address="127.0.0.1", max_workers_per_node=1, cores_per_worker=0.1,
    provider=LocalProvider(init_blocks=1, max_blocks=1),
)

@context
def held():
    return 0

def first(held):
    return held

def call(body, *args):
    return executor.submit(context_app(context=held())(body).func, {}, *args).result()
"""
_FIRST = """
def body(held, value):
    return {use}

with parsl.load(parsl.Config(executors=[executor], strategy="none", usage_tracking=0)):
    call(first)
    profiler = None
    if "--profile" in sys.argv:
        import cProfile
        profiler = cProfile.Profile()
        profiler.enable()
    began = time.perf_counter()
    future = executor.submit(context_app(context=held())(body).func, {{}}, 1)
    packed = time.perf_counter()
    future.result()
    ended = time.perf_counter()
    if profiler is not None:
        import pstats
        profiler.disable()
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(35)
    print("RESULT " + json.dumps({{"first_s": ended - began, "submit_s": packed - began}}))
"""
_WARM = """
with parsl.load(parsl.Config(executors=[executor], strategy="none", usage_tracking=0)):
    func = context_app(context=held())(body).func
    executor.submit(func, {{}}).result()
    took = []
    for _ in range(5):
        began = time.perf_counter()
        futures = [executor.submit(func, {{}}) for _ in range({calls})]
        took.append((time.perf_counter() - began) / {calls})
        for future in futures:
            future.result()
    print("RESULT " + json.dumps({{"submit_us": 1e6 * min(took)}}))
"""


def parts(number: int, prefix: str) -> Iterator[tuple[int, str]]:
    """Text of each module, in the order in which they import one another."""
    for n in range(number):
        below = f"use_{n - 1}(value - 1)" if n else "0"
        head = f"from {prefix}_{n - 1} import Part_{n - 1}, use_{n - 1}\n" if n else ""
        yield n, head + _PART.format(n=n, above=f"Part_{n - 1}" if n else "None", below=below) + _FILLER


def write_project(folder: pathlib.Path, project: str) -> None:
    """A script with what it needs beside it."""
    last = MODULES - 1
    if project == PROJECTS[0]:
        text = "".join(text.partition("\n")[2] if n else text for n, text in parts(MODULES, ""))
        head, use = text, f"use_{last}(value)"
    elif project == PROJECTS[1]:
        for n, text in parts(MODULES, "module"):
            (folder / f"module_{n}.py").write_text(text)
        head, use = f"import module_{last}\n", f"module_{last}.use_{last}(value)"
    else:
        (folder / "package").mkdir()
        (folder / "package" / "__init__.py").write_text("")
        for n, text in parts(MODULES, ".module"):
            (folder / "package" / f"module_{n}.py").write_text(text)
        head, use = f"from package import module_{last}\n", f"module_{last}.use_{last}(value)"
    (folder / "script.py").write_text(head + _START + _FIRST.format(use=use))


def write_warm(folder: pathlib.Path, modules: int, names: int) -> None:
    """A script whose body names so many modules and globals and does nothing with them."""
    for n, text in parts(modules, "module"):
        (folder / f"module_{n}.py").write_text(text)
    head = "".join(f"import module_{n}\n" for n in range(modules))
    head += "".join(f"name_{n} = [{n}]\n" for n in range(names))
    used = ", ".join([*(f"module_{n}" for n in range(modules)), *(f"name_{n}" for n in range(names))])
    body = f"def body(held):\n    if held:\n        return {used}\n" if used else "def body(held):\n    pass\n"
    (folder / "script.py").write_text(head + body + _START + _WARM.format(calls=CALLS))


def run(folder: pathlib.Path, *, profile: bool = False) -> dict[str, float]:
    """Figures that a script prints."""
    command = [sys.executable, "script.py", *(["--profile"] if profile else [])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if profile:
        Console().print(done.stdout, markup=False, highlight=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        raise RuntimeError(f"the script failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(found[0].removeprefix("RESULT "))
    return figures


def measure_first(rounds: int, *, profile: bool) -> dict[str, dict[str, float]]:
    """Medians of the time of the first call. [s]"""
    found: dict[str, list[dict[str, float]]] = {project: [] for project in PROJECTS}
    for _ in range(rounds):
        for project, figures in found.items():
            with tempfile.TemporaryDirectory(prefix="carrying-") as folder:
                write_project(pathlib.Path(folder), project)
                figures.append(run(pathlib.Path(folder), profile=profile and not figures))
    return {
        project: {name: statistics.median(each[name] for each in figures) for name in figures[0]}
        for project, figures in found.items()
    }


def measure_warm() -> dict[str, float]:
    """Time of a submission, by how many modules and globals its code names. [µs]"""
    sizes = [(modules, 0) for modules in WARM_MODULES] + [(0, names) for names in WARM_GLOBALS[1:]]
    found = {}
    for modules, names in sizes:
        with tempfile.TemporaryDirectory(prefix="carrying-") as folder:
            write_warm(pathlib.Path(folder), modules, names)
            found[f"{modules} modules, {names} globals"] = run(pathlib.Path(folder))["submit_us"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="where the time of first calls goes, in the script")
    chosen = parser.parse_args()
    with Console().status("First calls"):
        first = measure_first(chosen.rounds, profile=chosen.profile)
    with Console().status("Warm calls"):
        warm = measure_warm()
    more = report(first, warm)
    RESULTS.write_text(json.dumps({"first": first, "warm": warm}, indent=2) + "\n")
    return 0 if more <= MOST_MORE_S else 1


def report(first: dict[str, dict[str, float]], warm: dict[str, float]) -> float:
    """Print tables. Gives what the dearest project takes more than one file. [s]"""
    table = Table("project", "first call", "of it submit", "more than one file", title="The first call of a project")
    base = first[PROJECTS[0]]["first_s"]
    for project, figures in first.items():
        more = figures["first_s"] - base
        table.add_row(project, f"{figures['first_s']:.3f} s", f"{figures['submit_s']:.3f} s", f"{more:.3f} s")
    Console().print(table)
    table = Table("code of the body names", "a submission", title="A call of a body that does nothing")
    for size, microseconds in warm.items():
        table.add_row(size, f"{microseconds:.1f} µs")
    Console().print(table)
    dearest = max(figures["first_s"] for figures in first.values()) - base
    Console().print(f"At most {MOST_MORE_S} s more are wanted; {dearest:.3f} s were taken.")
    return dearest


if __name__ == "__main__":
    raise SystemExit(main())
