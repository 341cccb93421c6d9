"""Executors that run nothing: what a DataFlowKernel reaches over them bounds what it can reach over any."""

from __future__ import annotations

import itertools
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from parsl.executors.base import ParslExecutor

_number = struct.Struct("<q")
_READ_BYTES = 1 << 16


class DoesNothing(ParslExecutor):
    """An executor whose calls end in no time and run nothing: what is left is the cost of the DataFlowKernel."""

    def __init__(self) -> None:
        super().__init__()
        self.label = "nothing"

    def start(self) -> None:
        pass

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(args[0] if args else None)
        return future

    def shutdown(self) -> None:
        pass


class GoesThere(DoesNothing):
    """An executor that sends the number of a call to another process, which sends it back: `cat`.

    A thread reads what comes back and ends futures, as one must in any executor whose calls run elsewhere.
    """

    def start(self) -> None:
        self._calls: dict[int, tuple[Future[Any], Any]] = {}
        self._numbers = itertools.count()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(["cat"], stdin=theirs, stdout=theirs)
        self._thread = threading.Thread(target=self._settle, name="settles", daemon=True)
        self._thread.start()

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        future: Future[Any] = Future()
        number = next(self._numbers)
        self._calls[number] = future, args[0] if args else None
        self._socket.sendall(_number.pack(number))
        return future

    def shutdown(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)
        self._process.wait()
        self._thread.join()
        self._socket.close()

    def _settle(self) -> None:
        rest = b""
        while data := self._socket.recv(_READ_BYTES):
            rest += data
            whole = len(rest) - len(rest) % _number.size
            for (number,) in _number.iter_unpack(rest[:whole]):
                future, value = self._calls.pop(number)
                future.set_result(value)
            rest = rest[whole:]
