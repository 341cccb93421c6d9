"""What all unit tests share."""

import parsl
import pytest
from hypothesis import settings
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

from parsl_context.apps.portable import process_contexts

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
