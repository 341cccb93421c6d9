"""The plugin for pytest: real runs of small test files, with workers and in the process of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import parsl_context

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]  # each test starts pytest, some of them twice
pytest_plugins = ("pytester",)
Pytester = pytest.Pytester

APPS = """
    import os, time
    from parsl_context import context, context_app

    @context
    def model(name):
        yield [name, os.getpid()]
        with open("cleaned", "a") as file:
            file.write(name)

    @context_app(context=model("a.pt"))
    def classify(made, x):
        made.append(x)
        return made[0], len(made), os.getpid()
"""


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs find the package where these tests have it."""
    monkeypatch.setenv("PYTHONPATH", str(Path(parsl_context.__file__).parents[1]))
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)


def write(pytester: Pytester, **files: str) -> None:
    for name, text in files.items():
        (pytester.path / f"{name}.py").write_text(textwrap.dedent(APPS if name == "apps" else text))


def run(pytester: Pytester, *options: str, stdin: bytes | None = None) -> tuple[int, str]:
    """Exit status and output of pytest on the files."""
    command = [sys.executable, "-m", "pytest", "-p", "parsl_context.testing", "-p", "no:randomly", "-q", *options]
    done = subprocess.run(command, cwd=pytester.path, input=stdin or b"", capture_output=True, timeout=80)
    return done.returncode, done.stdout.decode() + done.stderr.decode()


TESTS = """
    import os, pytest
    from apps import classify, model

    pytestmark = pytest.mark.usefixtures("context_executor")

    def test_it_classifies():
        name, _, pid = classify(1).result(timeout=30)
        assert name == "a.pt"
        assert (pid == os.getpid()) is IN_PROCESS

    def test_the_context_is_kept():
        assert classify(2).result(timeout=30)[1] > 3 or not ONE_WORKER

    def test_its_name(context_executor):
        assert context_executor.label == "contexts"
        assert [row.loads for row in context_executor.contexts()] == ([] if IN_PROCESS else [1])
"""


def test_tests_of_a_session_share_an_executor_and_nothing_is_left(pytester: Pytester) -> None:
    write(pytester, apps="", test_apps=TESTS.replace("IN_PROCESS", "False").replace("ONE_WORKER", "True"))
    status, output = run(pytester)
    assert status == 0, output
    assert "3 passed" in output
    assert (pytester.path / "cleaned").read_text() == "a.pt"
    assert not (pytester.path / "runinfo").exists(), "logs are in pytest's own folder"


def test_in_process_everything_runs_in_the_thread_of_the_test(pytester: Pytester) -> None:
    more = """
        import threading, parsl, pytest
        from parsl_context import BodyExitError, context_app
        from apps import classify, model

        def test_where(context_executor):
            @context_app(context=model("b.pt"))
            def where(made, x=None):
                return threading.current_thread() is threading.main_thread(), made[0], classify(3)[0]
            @parsl.python_app
            def plain(x):
                return threading.current_thread() is threading.main_thread(), where(), double(x).result()
            @parsl.python_app
            def double(x):
                return 2 * x[0]
            future = where()
            assert future.done()
            assert plain(where()).result() == (True, (True, "b.pt", "a.pt"), 2)
            assert where(double([1])).result() == (True, "b.pt", "a.pt")
            where.warm()
            context_executor.evict(model("b.pt"))

        def test_what_bodies_raise(context_executor):
            @context_app(context=model("b.pt"))
            def fail(made, error):
                raise error
            with pytest.raises(KeyError):
                fail(KeyError("x")).result()
            with pytest.raises(BodyExitError, match="status|lives on"):
                fail(SystemExit(3)).result()
            with pytest.raises(pytest.skip.Exception):
                fail(pytest.skip.Exception("for the test itself"))

        def test_dependencies_and_maps(context_executor):
            @parsl.join_app
            def joined(x):
                return classify(x)
            assert joined(1).result()[0] == "a.pt"
            assert [name for name, *_ in classify.map(range(5))] == ["a.pt"] * 5
    """
    tests = TESTS.replace("IN_PROCESS", "True").replace("ONE_WORKER", "True")
    write(pytester, apps="", test_apps=tests, test_more=more)
    status, output = run(pytester, "--contexts-in-process")
    assert status == 0, output
    assert "6 passed" in output
    assert (pytester.path / "cleaned").read_text().startswith("b.pt")


def test_in_process_a_breakpoint_in_a_body_works(pytester: Pytester) -> None:
    write(
        pytester,
        apps="",
        test_it="""
        from parsl_context import context_app
        from apps import model

        @context_app(context=model("b.pt"))
        def looked_at(made, x):
            breakpoint()
            return x

        def test_it(context_executor):
            assert looked_at(41).result() == 42
        """,
    )
    status, output = run(pytester, "--contexts-in-process", stdin=b"p 'held', made[0]\nx = 42\nc\n")
    assert "('held', 'b.pt')" in output
    assert status == 0, output


def test_each_process_of_xdist_has_an_executor_with_as_many_workers_as_the_option_says(pytester: Pytester) -> None:
    pytester.makeini("[pytest]\nparsl_context_workers = 2\n")
    write(
        pytester,
        apps="",
        test_it="""
        import parsl, pytest
        from apps import classify
        from parsl_context.testing.leaks import _MARK

        @pytest.mark.parametrize("number", range(4))
        def test_it(context_executor, number, worker_id):
            assert classify(number).result(timeout=40)[0] == "a.pt"
            assert context_executor.connected_workers() == 2
            with open(f"{worker_id}", "w") as file:
                file.write(parsl.dfk().run_dir)
        """,
    )
    status, output = run(pytester, "-n", "2")
    assert status == 0, output
    assert len({(pytester.path / name).read_text() for name in ("gw0", "gw1")}) == 2


def test_a_number_of_workers_is_one(pytester: Pytester) -> None:
    pytester.makeini("[pytest]\nparsl_context_workers = many\n")
    write(pytester, test_it="def test_it(context_executor): pass")
    status, output = run(pytester)
    assert status == 1
    assert "parsl_context_workers = many: this must be a number" in output


def test_another_configuration_takes_the_place_of_the_default(pytester: Pytester) -> None:
    write(
        pytester,
        apps="",
        conftest="""
        import parsl, pytest
        from parsl.executors import ThreadPoolExecutor
        from parsl.providers import LocalProvider
        from parsl_context import ContextExecutor

        @pytest.fixture(scope="session")
        def context_config():
            ours = ContextExecutor(label="ours", address="127.0.0.1", max_workers_per_node=1, cores_per_worker=0.1,
                                   provider=LocalProvider(max_blocks=1, worker_init="export SET=here"))
            return parsl.Config(executors=[ThreadPoolExecutor(label="threads"), ours], usage_tracking=0, retries=3)
        """,
        test_it="""
        import os, parsl
        from parsl_context import context_app
        from apps import model

        def test_it(context_executor, pytestconfig):
            assert context_executor.label == "ours"
            assert parsl.dfk().config.retries == 3
            setting = context_app(context=model("a"), executors=["ours"])(lambda made: os.environ.get("SET"))
            is_here = pytestconfig.getoption("--contexts-in-process")
            assert setting().result(timeout=30) == (None if is_here else "here")
        """,
    )
    for options in ([], ["--contexts-in-process"]):
        status, output = run(pytester, *options)
        assert status == 0, output
        assert not (pytester.path / "runinfo").exists()


def test_what_is_left_of_a_run_fails_the_session_and_is_named(pytester: Pytester) -> None:
    write(
        pytester,
        apps="",
        conftest="""
        from parsl_context.testing import leaks

        leaks.WITHIN_S = -5.0
        """,
        test_it="""
        import os, subprocess, threading, time
        from parsl_context import context_app
        from parsl_context.testing.leaks import _MARK
        from apps import model

        def forever():
            time.sleep(8)

        def test_it(context_executor):
            mark = context_app(context=model("a"))(lambda made: os.environ[_MARK])().result(timeout=30)
            # as one that has got away from its worker
            child = subprocess.Popen(["sleep", "8"], env={**os.environ, _MARK: mark})
            other = subprocess.Popen(["sleep", "7"], env={**os.environ, _MARK: "of another run"})
            with open("pid", "w") as file:
                file.write(f"{child.pid} {other.pid}")
            forever.__module__ = "parsl.of_old"
            threading.Thread(target=forever, name="left-behind", daemon=True).start()
            threading.Thread(target=time.sleep, args=(8,), name="of the test", daemon=True).start()
        """,
    )
    status, output = run(pytester)
    left, other = (pytester.path / "pid").read_text().split()
    assert status == 1
    assert "1 passed, 1 error" in output
    assert f"process {left}, sleep: sleep 8" in output
    assert "thread left-behind of this process" in output
    assert f"process {other}" not in output
    assert "of the test" not in output
    assert str(Path("runinfo") / "000") in output


def test_the_plugin_imports_nothing_of_parsl(pytester: Pytester) -> None:
    code = "import sys, pytest, parsl_context.testing; print([m for m in sys.modules if m.split('.')[0] == 'parsl'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    assert os.path.exists(pytester.path)
