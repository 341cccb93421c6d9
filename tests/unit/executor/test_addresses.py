"""Which interchanges an executor starts."""

from __future__ import annotations

import pytest

from parsl_context import ConfigurationError
from parsl_context.executor.addresses import check_interchange


@pytest.mark.parametrize(
    "command",
    [
        ["interchange.py"],
        ["/opt/parsl/bin/interchange.py"],
        ["globus-compute-endpoint", "python-exec", "parsl.executors.high_throughput.interchange"],
    ],
)
def test_parsls_own_interchange_is_refused_with_what_to_use(command: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"'ours' .*use ContextEngine.*leave interchange_launch_cmd out"):
        check_interchange("ours", command)


def test_ours_is_taken_whatever_starts_it() -> None:
    check_interchange("ours", ["globus-compute-endpoint", "python-exec", "parsl_context.interchange"])
