"""Plugin for pytest: an executor for tests of context apps, for all tests of a session.

The package's entry point has every pytest load it in environments that the package is installed in, so it imports
nothing but pytest until a fixture is used. Overriding the fixture `context_config` changes the executor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import parsl


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parsl-context", "context apps (parsl-context)")
    group.addoption(
        "--contexts-in-process",
        action="store_true",
        help="run context apps and all other Parsl apps in the process and thread of the test, for debuggers",
    )
    parser.addini("parsl_context_workers", "workers of the fixture context_executor", default="1")


@pytest.fixture(scope="session")
def context_config(pytestconfig: pytest.Config) -> parsl.Config:
    """Parsl's configuration for `context_executor`: workers on this machine, as many as the ini option says.

    Override it to test on another executor.
    """
    from parsl_context.testing.sessions import local_config

    text = pytestconfig.getini("parsl_context_workers")
    if not str(text).isdecimal() or int(text) < 1:
        raise pytest.UsageError(f"parsl_context_workers = {text}: this must be a number of workers, from 1 on.")
    return local_config(workers=int(text))


@pytest.fixture(scope="session")
def context_executor(
    pytestconfig: pytest.Config, context_config: parsl.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The executor that places contexts, with Parsl started; at the end of the session nothing of it may be left."""
    from parsl_context.testing.sessions import running

    run_dir = tmp_path_factory.mktemp("parsl-context")
    with running(context_config, run_dir, in_process=pytestconfig.getoption("--contexts-in-process")) as session:
        yield session.executor
    if session.left:
        pytest.fail(session.report, pytrace=False)
