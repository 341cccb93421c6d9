"""Identifiers, each of a type of its own."""

from __future__ import annotations

from typing import NewType

TaskId = NewType("TaskId", int)
ManagerId = NewType("ManagerId", str)
WorkerId = NewType("WorkerId", int)  # index of a worker on its node, [0, slots)
Digest = NewType("Digest", str)  # hexadecimal digest of a blob's content
RequestId = NewType("RequestId", int)
EnvironmentName = NewType("EnvironmentName", str)  # what the processes of a node run in; "": what its manager does
OrderId = NewType("OrderId", int)  # of a build that the interchange asked for
