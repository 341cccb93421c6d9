"""What is read of a task, as it came from the web service, to place it."""

import uuid
from typing import Any

import pytest
from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import Task
from globus_compute_sdk.serialize import ComputeSerializer

from parsl_context.globus import placing

TEXT = 'ä "quoted"\n\\ \u2028 \U0001f600'


def task(*parts: Any) -> bytes:
    """A task of these parts, as they are packed."""
    serializer = ComputeSerializer()
    buffer = serializer.pack_buffers([serializer.serialize(part) for part in parts])
    packed: bytes = messagepack.pack(Task(task_id=uuid.uuid4(), task_buffer=buffer))
    return packed


def test_it_is_what_the_service_s_own_reader_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = task(TEXT, (TEXT, 1), {"a": TEXT})
    read = messagepack.unpack(packed).task_buffer
    with monkeypatch.context() as patch:
        patch.setattr(messagepack, "unpack", None)  # which takes long
        assert placing._buffer_of(packed) == read
    monkeypatch.setattr(placing, "_VERSION", b"\x02")  # as if the protocol were another
    assert placing._buffer_of(packed) == read


def test_what_is_no_task_is_told_by_the_service_s_own_reader() -> None:
    for packed in (b"\x01{", b'\x01{"message_type":"task","data":{}}', b"\x09{}"):
        with pytest.raises(Exception) as told:  # whatever it raises
            messagepack.unpack(packed)
        with pytest.raises(type(told.value)):
            placing._buffer_of(packed)
