"""Which interchanges an executor starts; and that the socket at which managers find one is there before it."""

import socket

import pytest

from parsl_context.errors import ConfigurationError
from parsl_context.executor.addresses import check_interchange, listen

RANGE = (20_000, 60_000)


def connects(host, port):
    with socket.create_connection((host, port), timeout=5):
        return True


def test_managers_can_connect_at_every_address():
    with listen("contexts", None, None, RANGE) as server:
        port = server.getsockname()[1]
        assert port in range(*RANGE)
        assert connects("127.0.0.1", port)
        if socket.has_dualstack_ipv6():
            assert connects("::1", port)


def test_or_only_at_the_one_that_is_given():
    with listen("contexts", "127.0.0.2", None, RANGE) as server:
        port = server.getsockname()[1]
        assert connects("127.0.0.2", port)
        with pytest.raises(ConnectionRefusedError):
            connects("127.0.0.1", port)


def test_nobody_waits_in_accept():
    with listen("contexts", "127.0.0.1", None, RANGE) as server, pytest.raises(BlockingIOError):
        server.accept()


def test_a_name_is_left_to_the_interchange():
    with listen("contexts", "login.example.org", None, RANGE) as server:
        assert server is None


def test_the_port_that_is_given_is_the_only_one_that_is_tried():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"Port {port}, at which .* 'contexts' .* is in use"):
            listen("contexts", "127.0.0.1", port, RANGE)


def test_of_a_range_another_is_taken_while_there_is_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"None of 1 ports from {port} to {port + 1} .* is free"):
            listen("contexts", "127.0.0.1", None, (port, port + 1))
        for _ in range(5):
            with listen("contexts", "127.0.0.1", None, (port, port + 5)) as server:
                assert server.getsockname()[1] in range(port + 1, port + 5)


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
