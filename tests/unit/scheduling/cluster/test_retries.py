"""Builds are tried again where that can help."""

import ssl
import subprocess

import pytest

from parsl_context.retain.loader import kinds_of
from parsl_context.scheduling.cluster.retries import may_pass


class OfALibrary(RuntimeError):
    pass


class Settings(KeyError):
    pass


PASSING = [
    OSError,
    FileNotFoundError,
    ConnectionResetError,
    TimeoutError,
    MemoryError,
    ModuleNotFoundError,
    AssertionError,
    OfALibrary,
    Exception,
    subprocess.SubprocessError,
    ssl.SSLCertVerificationError,  # an OSError and a ValueError
]
LASTING = [
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    BaseException,
    TypeError,
    UnboundLocalError,
    AttributeError,
    Settings,
    ZeroDivisionError,
    NotImplementedError,
    RecursionError,
    IndentationError,
    UnicodeError,
]


@pytest.mark.parametrize("kind", PASSING)
def test_what_may_be_the_nodes_is_tried_again(kind):
    assert may_pass(kinds_of(kind()))


@pytest.mark.parametrize("kind", LASTING)
def test_what_is_the_codes_own_is_not(kind):
    assert not may_pass(kinds_of(kind()))


def test_deaths_and_builds_without_an_end_are():
    assert may_pass(())
