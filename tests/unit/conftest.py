"""What all unit tests share."""

import contextlib

import parsl
import pytest
from hypothesis import settings
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

from parsl_context.apps.portable import process_contexts
from tests.unit.far import Far, main_module, project_in, run_cell

# As many generated examples as keep the whole folder within seconds, and no limit on the time of one.
settings.register_profile("unit", max_examples=40, deadline=None)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def no_contexts_left():
    """What a test left in this process is no concern of the next."""
    yield
    process_contexts.close()


@pytest.fixture
def kernel(tmp_path):
    """Parsl with an executor that is not ours."""
    config = Config(
        executors=[ThreadPoolExecutor(label="threads", max_threads=2)],
        run_dir=str(tmp_path / "runinfo"),
        strategy="none",
        initialize_logging=False,
    )
    with parsl.load(config) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """A process that has the user's code of this one; the same for all tests of a module."""
    with contextlib.closing(Far(tmp_path_factory.mktemp("far"))) as made:
        yield made


@pytest.fixture
def cell(tmp_path):
    """Runs a text in a script that was empty before the test; gives the script's names as attributes."""
    with main_module(tmp_path):
        yield run_cell


@pytest.fixture
def project(tmp_path):
    """A folder for modules beside the script. They must have names that no other test of the module uses."""
    with project_in(tmp_path / "programs") as made:
        yield made
