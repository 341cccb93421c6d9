"""Code of the user's on real workers: runs side by side, what is left on the node, folders that cannot be written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.process.conftest import wait_for

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

# What a user would write; `say` is for the test.
HEAD = """
import json, os, sys, threading, time
import parsl
from parsl.providers import LocalProvider
from parsl_context import ContextExecutor, context, context_app

def say(**words):
    print("SAID " + json.dumps(words), flush=True)

def start(workers=1, worker_init="", **options):
    executor = ContextExecutor(
        label="contexts", address="127.0.0.1", max_workers_per_node=workers, cores_per_worker=0.1,
        provider=LocalProvider(init_blocks=1, max_blocks=1, worker_init=worker_init), **options,
    )
    return parsl.load(parsl.Config(executors=[executor], strategy="none", usage_tracking=0))

@context
def held(): return "held"

def app(body): return context_app(context=held())(body)

def outcome(future):
    try:
        return future.result(timeout=60)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

"""


class Script:
    """A script that runs, or has run."""

    def __init__(self, folder: Path, text: str, temporary: Path, **files: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "script.py").write_text(HEAD + text)
        for name, content in files.items():
            path = folder / f"{name.replace('.', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        environment = {**os.environ, "TMPDIR": str(temporary)}
        self.process = subprocess.Popen(
            [sys.executable, "script.py"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""

    def line(self) -> dict[str, Any]:
        """What it says next."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if line.startswith("SAID "):
                found: dict[str, Any] = json.loads(line.removeprefix("SAID "))
                return found
        raise AssertionError(f"the script has ended: {self.output[-3000:]}")

    def end(self) -> None:
        """Wait for its end, which is a good one."""
        assert self.process.stdout is not None
        with self.process.stdout as rest:
            self.output += rest.read()
        assert self.process.wait(60) == 0, self.output[-3000:]

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files, with a short name: sockets may lie there."""
    made = Path(tempfile.mkdtemp(prefix="t"))
    yield made
    wait_for(lambda: not _users_of(made), 20)
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def run(tmp_path: Path, temporary: Path) -> Iterator[Any]:
    scripts: list[Script] = []

    def start(text: str, *, name: str = "project", **files: str) -> Script:
        scripts.append(Script(tmp_path / name, text, temporary, **files))
        return scripts[-1]

    yield start
    for script in scripts:
        script.kill()


def _users_of(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get("TMPDIR") == str(folder):
                found.append(process.pid)
    return found


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("parsl-context-run-*"))


BODY = """
import version
def body(held): return version.NUMBER, version.A().number(), version.__file__
with start(2):
    call = app(body)
    first = [outcome(call()) for _ in range(5)]
    say(first=first)
    say(then=[outcome(call()) for _ in range(20)])
"""
VERSION = "NUMBER = {0}\nclass A:\n    def number(self): return {0}\n"


def test_two_scripts_with_versions_of_one_module_run_at_once_on_one_node(run, temporary: Path) -> None:
    scripts = {number: run(BODY, name=f"project{number}", version=VERSION.format(number)) for number in (1, 2)}
    files = {}
    for words in ("first", "then"):
        for number, script in scripts.items():
            found = script.line()[words]
            assert {tuple(each[:2]) for each in found} == {(number, number)}
            files.setdefault(number, set()).update(each[2] for each in found)
    for script in scripts.values():
        script.end()
    assert not files[1] & files[2]
    assert all(str(temporary) in file for file in files[1] | files[2])
    assert left_in(temporary) == []


def test_two_executors_of_one_script_have_trees_of_their_own(run, temporary: Path) -> None:
    script = run(
        """
import importlib, version
def body(held): return version.NUMBER
def make(label):
    return ContextExecutor(label=label, address="127.0.0.1", max_workers_per_node=1, cores_per_worker=0.1,
                           provider=LocalProvider(init_blocks=1, max_blocks=1))
with parsl.load(parsl.Config(executors=[make("one"), make("two")], strategy="none", usage_tracking=0)):
    apps = [context_app(context=held(), executors=[label])(body) for label in ("one", "two")]
    before = [outcome(apps[0]())]
    open("version.py", "w").write("NUMBER = 22\\n")
    importlib.reload(version)
    say(before=before, after=[outcome(each()) for each in apps], folders=len(os.listdir(os.environ["TMPDIR"])))
""",
        version="NUMBER = 1\n",
    )
    said = script.line()
    assert said["before"] == [1]
    assert said["after"] == [22, 22]
    script.end()
    assert left_in(temporary) == []


def test_a_module_with_the_name_of_one_that_a_worker_has_loaded_is_refused_in_a_sentence(run, tmp_path: Path) -> None:
    """The script has its own: its folder comes first there."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import nturl2path\n")
    script = run(
        f"""
import nturl2path
def body(held): return nturl2path.MINE
def other(held): return sys.modules["".join(["nturl", "2path"])].__file__
with start(worker_init="cd /; export PYTHONPATH={tmp_path}/site:$PYTHONPATH"):
    say(other=outcome(app(other)()), seen=outcome(app(body)()), here=nturl2path.MINE)
""",
        nturl2path="MINE = True\n",
    )
    said = script.line()
    script.end()
    assert said["here"] is True
    assert said["seen"] == (
        f"CarriedCodeError: Module nturl2path of {tmp_path}/project has the name of a module that the workers "
        f"themselves use ({said['other']}). Give it another name."
    )
    assert "lib/python" in said["other"]


USES = """
import used
def body(held): return used.NUMBER
with start():
    say(seen=outcome(app(body)()))
    {then}
"""


def test_nothing_of_a_killed_manager_is_left_once_another_starts(run, temporary: Path) -> None:
    first = run(USES.format(then="time.sleep(100)"), used="NUMBER = 1\n")
    assert first.line() == {"seen": 1}
    (folder,) = left_in(temporary)
    users = map(psutil.Process, _users_of(temporary))
    zygote = next(each for each in users if "zygote" in "".join(each.cmdline()))
    manager = psutil.Process(zygote.ppid())
    manager.kill()
    wait_for(lambda: not psutil.pid_exists(manager.pid) or manager.status() == psutil.STATUS_ZOMBIE)
    first.kill()
    wait_for(lambda: not _users_of(temporary))
    assert left_in(temporary) == [folder]
    second = run(USES.format(then="pass"), used="NUMBER = 2\n")
    assert second.line() == {"seen": 2}
    assert folder not in left_in(temporary)
    second.end()
    assert left_in(temporary) == []


@pytest.fixture
def small(temporary: Path) -> Iterator[Path]:
    """A file system of 1 MB for temporary files."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(temporary)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield temporary
    wait_for(lambda: not _users_of(temporary), 20)
    subprocess.run(["umount", "-l", str(temporary)], check=True)


FULL = """
import used
with open(os.path.join(os.environ["TMPDIR"], "filler"), "wb") as file:
    file.write(bytes({filled}))
def body(held): return used.NUMBER
with start():
    say(seen=outcome(app(body)()))
    os.unlink(os.path.join(os.environ["TMPDIR"], "filler"))
    say(again=outcome(context_app(context=context(lambda: "another")())(body)()))  # the other has been given up
"""


def test_a_full_folder_for_temporary_files_is_the_error_of_the_call(run, small: Path) -> None:
    script = run(FULL.format(filled=900_000), used=f"NUMBER = 1\nTEXT = {'x' * 400_000!r}\n")
    said = script.line()
    assert "No space left on device" in said["seen"]
    assert f"Modules of the user's cannot be written to {small}" in said["seen"]
    assert script.line() == {"again": 1}  # once there is room
    script.end()
    assert left_in(small) == []


def test_where_the_folder_for_temporary_files_cannot_be_written_another_is_taken(run, small: Path) -> None:
    """As Python does it; nothing is left there either."""
    before = left_in(Path("/tmp"))
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    script = run(USES.format(then="pass"), used="NUMBER = 1\n")
    try:
        assert script.line() == {"seen": 1}
        script.end()
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
    assert set(left_in(Path("/tmp"))) <= set(before)


def test_what_a_body_does_to_the_path_and_to_modules_harms_no_later_call(run) -> None:
    script = run(
        """
import used, pack
class A: pass
def clear_path(held): sys.path[:] = []; os.environ.pop("PYTHONPATH", None)
def drop_modules(held):
    for name in ("used", "pack", "pack.part", "__main__"): sys.modules.pop(name, None)
def look(held):
    from pack import lazy
    return used.NUMBER, pack.part.f() is pack.part.A, lazy.x, type(A()) is A
def child(held):
    import subprocess
    command = [sys.executable, "-c", "import pack.lazy; print(pack.lazy.x)"]
    return subprocess.run(command, capture_output=True, text=True).stdout
def identity(held, value): return value
with start():
    say(path=[outcome(app(each)()) for each in (clear_path, look, child)])
    say(modules=[outcome(app(each)()) for each in (look, drop_modules, look)],
        back=type(outcome(app(identity)(A()))) is A)
""",
        used="NUMBER = 1\n",
        **{
            "pack.__init__": "from . import part\n",
            "pack.part": "class A: pass\ndef f(): return A\n",
            "pack.lazy": "x = 1\n",
        },
    )
    assert script.line() == {"path": [None, [1, True, 1, True], "1\n"]}
    assert script.line() == {"modules": [[1, True, 1, True], None, [1, True, 1, True]], "back": True}
    script.end()
