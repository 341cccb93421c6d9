"""Files on their way to nodes: what managers and the script say of them, and what `Directory` decides about it.

The bytes never come here. For each file that a node is to get from another, the interchange makes a ticket and its key.
"""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import TypeAlias

from typing_extensions import assert_never

from parsl_context.errors import ConfigurationError, MessageError
from parsl_context.interchange.recording import Recorder
from parsl_context.scheduling.transfers import events as ev
from parsl_context.scheduling.transfers.directory import UPLOADS, Directory
from parsl_context.scheduling.transfers.events import ORIGIN, SCRIPT, Fault
from parsl_context.wire.eventloop import EventLoop, Timer
from parsl_context.wire.messages import Digest, FromInterchange, ManagerId, ToManager
from parsl_context.wire.rows import FileOrigin
from parsl_context.wire.tickets import key_of, new_ticket
from parsl_context.wire.transfers import (
    ChunkCame,
    ChunkMissed,
    FileArrived,
    FileDropped,
    FileFound,
    FileServing,
    FileSought,
    FileStranded,
    FileWanted,
    GetChunk,
    Serving,
    Ticket,
    WithdrawChunk,
)

logger = logging.getLogger(f"parsl.{__name__}")

Said: TypeAlias = FileServing | FileSought | FileWanted | ChunkCame | ChunkMissed | FileArrived | FileDropped
_MOST_ARRIVED = 64  # files of a manager that are remembered
_MOST_CHUNKS = 1 << 16  # of a file; managers make chunks larger before there are more


def uploads_per_node(environment: Mapping[str, str] = os.environ) -> int:
    """Chunks that a node may send at a time: PARSL_CONTEXT_UPLOADS where the script runs, or what a sweep has chosen.

    Raises
    ------
    ConfigurationError
        If it is no number, or less than one.
    """
    given = environment.get("PARSL_CONTEXT_UPLOADS") or str(UPLOADS)
    if not given.isdecimal() or int(given) < 1:
        raise ConfigurationError(f"PARSL_CONTEXT_UPLOADS={given!r} must be a whole number from 1 on.")
    return int(given)


class Transfers:
    """Hears of files, and tells managers what to get from whom.

    Parameters
    ----------
    send
        Sends a message to a manager.
    ask
        Sends a message to the executor.
    """

    def __init__(
        self,
        loop: EventLoop,
        *,
        send: Callable[[ManagerId, ToManager], object],
        ask: Callable[[FromInterchange], None],
        recorder: Recorder | None = None,
    ) -> None:
        self._loop = loop
        self._send = send
        self._ask = ask
        self._recorder = recorder or Recorder()
        self._directory = Directory(random.randrange, uploads=uploads_per_node())
        self._serving: dict[ManagerId, Serving] = {}
        self._tickets: dict[tuple[Digest, ManagerId, ManagerId], Ticket] = {}
        self._urls: dict[Digest, str] = {}
        self._seekers: dict[str, list[ManagerId]] = {}
        self._offered: dict[str, FileFound] = {}
        self._arrived: dict[ManagerId, dict[str, FileOrigin]] = {}  # lately, by their addresses
        self._tick: Timer | None = None
        self._tick_at = math.inf

    def message(self, manager: ManagerId, message: Said) -> None:
        """A manager said something of files.

        Raises
        ------
        MessageError
            If it cannot be meant.
        """
        match message:
            case FileServing():
                self._serving[manager] = message.serving
            case FileSought():
                self._seek(manager, message)
            case FileWanted():
                self._want(manager, message)
            case ChunkCame():
                self._decide(ev.ChunkGot(peer=manager, blob=message.blob, chunk=message.chunk, digest=message.digest))
            case ChunkMissed():
                self._missed(manager, message)
            case FileArrived():
                self._arrive(manager, message)
            case FileDropped():
                self._decide(ev.BlobDropped(peer=manager, blob=message.blob))
                self._tidy()
            case _:
                assert_never(message)

    @property
    def arrived(self) -> dict[ManagerId, list[FileOrigin]]:
        """Where files came from that managers have got lately."""
        return {manager: list(files.values()) for manager, files in self._arrived.items()}

    def left(self, manager: ManagerId) -> None:
        """A manager is gone."""
        self._arrived.pop(manager, None)
        if self._serving.pop(manager, None) is not None:
            self._decide(ev.PeerLeft(peer=manager))
            self._tickets = {key: ticket for key, ticket in self._tickets.items() if manager not in key[1:]}
            self._tidy()

    def found(self, found: FileFound) -> None:
        """The script has said whether it has a file."""
        if found.serving is not None:
            self._serving[SCRIPT] = found.serving
            self._offered[found.url] = found
        told = FileFound(url=found.url, identity=found.identity, size=found.size, reason=found.reason)
        for manager in self._seekers.pop(found.url, ()):
            self._send(manager, told)

    # --- events

    def _seek(self, manager: ManagerId, sought: FileSought) -> None:
        seekers = self._seekers.setdefault(sought.url, [])
        if not seekers:
            self._ask(sought)
        seekers.append(manager)

    def _want(self, manager: ManagerId, wanted: FileWanted) -> None:
        if not 1 <= wanted.chunks <= _MOST_CHUNKS or manager not in self._serving:
            raise MessageError(f"A file of {wanted.chunks} chunks is wanted, or by a manager that serves none.")
        self._urls[wanted.blob] = wanted.url
        self._recorder.file(manager, wanted.url, None, {})
        if not wanted.reads_origin and wanted.url in self._offered:
            self._decide(ev.BlobOffered(blob=wanted.blob, chunks=wanted.chunks))
        self._decide(
            ev.BlobWanted(
                peer=manager,
                blob=wanted.blob,
                chunks=wanted.chunks,
                reads_origin=wanted.reads_origin,
                has=wanted.has,
            )
        )

    def _arrive(self, manager: ManagerId, message: FileArrived) -> None:
        text = ", ".join(f"{count} of {source}" for source, count in message.chunks.items())
        url = self._urls.get(message.blob, message.blob)
        logger.info("Manager %s got %s in %.2f s; chunks: %s", manager, url, message.took_s, text)
        self._recorder.file(manager, url, message.took_s, message.chunks)
        arrived = self._arrived.setdefault(manager, {})
        arrived.pop(url, None)
        arrived[url] = FileOrigin(url, message.took_s, {str(source): count for source, count in message.chunks.items()})
        while len(arrived) > _MOST_ARRIVED:
            arrived.pop(next(iter(arrived)))

    def _missed(self, manager: ManagerId, missed: ChunkMissed) -> None:
        if missed.fault not in Fault.__members__:
            raise MessageError(f"{missed.fault!r} is no reason why a chunk does not come.")
        fault = Fault[missed.fault]
        self._decide(
            ev.ChunkFailed(peer=manager, blob=missed.blob, chunk=missed.chunk, source=missed.source, fault=fault)
        )

    def _decide(self, event: ev.Event) -> None:
        for action in self._directory.handle(event, now=time.monotonic()):
            self._carry_out(action)
        if self._directory.next_deadline() < self._tick_at:
            self._arm()

    def _arm(self) -> None:
        due = self._directory.next_deadline()
        if self._tick is not None:
            self._tick.cancel()
        self._tick, self._tick_at = None, due
        if due != math.inf:
            self._tick = self._loop.call_later(due - time.monotonic(), self._on_tick)

    def _on_tick(self) -> None:
        self._tick, self._tick_at = None, math.inf
        self._decide(ev.Tick())
        if self._tick is None:
            self._arm()

    # --- actions

    def _carry_out(self, action: ev.Action) -> None:
        match action:
            case ev.Ask():
                ticket = None if action.source == ORIGIN else self._ticket(action)
                order = GetChunk(
                    blob=action.blob, chunk=action.chunk, digest=action.digest, source=action.source, ticket=ticket
                )
                self._send(action.receiver, order)
            case ev.Withdraw():
                withdraw = WithdrawChunk(blob=action.blob, chunk=action.chunk, source=action.source)
                self._send(action.receiver, withdraw)
            case ev.Blame():
                text = "Manager %s did not get a part of %s from %s: %s%s (said once)"
                out = "; no node is sent there for it any more" if action.is_out else ""
                url = self._urls.get(action.blob, action.blob)
                logger.warning(text, action.receiver, url, action.source, action.fault.value, out)
            case ev.Strand():
                reason = "no node has all of it, and none can read it where it comes from"
                self._send(action.receiver, FileStranded(blob=action.blob, reason=reason))
            case _:
                assert_never(action)

    def _ticket(self, ask: ev.Ask) -> Ticket:
        """For what a node is to get of a file from another: the same for all of its chunks."""
        key = ask.blob, ask.source, ask.receiver
        if key not in self._tickets:
            serving, number = self._serving[ask.source], new_ticket()
            self._tickets[key] = Ticket(
                addresses=serving.addresses,
                port=serving.port,
                ticket=number,
                key=key_of(serving.secret, number, ask.blob),
            )
        return self._tickets[key]

    def _tidy(self) -> None:
        """Forget files that no node has or wants."""
        gone = self._urls.keys() - self._directory.swarms.keys()
        for blob in gone:
            self._offered.pop(self._urls.pop(blob), None)
        if gone:
            self._tickets = {key: ticket for key, ticket in self._tickets.items() if key[0] not in gone}
