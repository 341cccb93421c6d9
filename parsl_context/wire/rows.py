"""Rows that `executor.contexts()` gives, and words for the figures in them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FileOrigin:
    """Where a file of a context came from, on its way to a node."""

    url: str
    took_s: float  # from when it was wanted there. [s]
    chunks: dict[str, int]  # that came from each source: a manager, "the origin" or "the script"

    def __str__(self) -> str:
        parts = ", ".join(f"{count} of {source}" for source, count in self.chunks.items())
        return f"{self.url} in {duration_text(self.took_s)} (chunks: {parts})"


@dataclass(frozen=True, repr=False)
class ContextRow:
    """One line of `executor.contexts()`: a context on one node, or a context that lives nowhere yet."""

    name: str
    digest: str
    state: str  # "cold", "building", "ready" or "failed"
    where: str | None  # manager, or None when no node holds it
    workers: int  # processes that hold an instance there
    loads: int  # times it was built there
    calls: int  # calls served there
    load_s: float  # mean time of one build. [s]
    bytes: int  # memory that one instance took when it was built. [bytes]
    last_used_s: float | None  # since the last call ended. [s]
    evictions: int = 0  # times it was given up there to make room, or when asked to
    note: str = ""  # what a user should know, such as why it is not shared
    host: str | None = None  # of the manager
    block: str | None = None  # of the manager
    age_s: float | None = None  # since it was last built there, if it is there. [s]
    building: int = 0  # builds that are going on there
    building_s: float | None = None  # since the first of these began. [s]
    usual_s: float | None = None  # what builds took, wherever they were; None: none has ended. [s]
    shared: bool = False  # workers there share one instance
    batch: float | None = None  # calls in a batch, as a mean of the latest; None where none runs in batches
    files: tuple[FileOrigin, ...] = ()  # of the context, that came there lately with the help of other nodes

    def __repr__(self) -> str:
        parts = [self.state]
        if self.where is not None:
            parts[0] += f" on {self.host or 'a host'} (block {self.block}, manager {self.where})"
            parts.append(f"{self.workers} worker{'s' * (self.workers != 1)}")
        if self.building:
            parts.append(f"builds for {duration_text(self.building_s)}")
        if self.loads:
            parts.append(f"built {_times(self.loads)} in {duration_text(self.load_s)}{' each' * (self.loads > 1)}")
        if self.age_s is not None:
            parts.append(f"{duration_text(self.age_s)} old")
        parts.append(f"{self.calls} call{'s' * (self.calls != 1)}")
        if self.batch is not None:
            parts.append(f"about {self.batch:.3g} in a batch")
        if self.last_used_s is not None:
            parts.append(f"the last {duration_text(self.last_used_s)} ago")
        if self.bytes:
            parts.append(size_text(self.bytes))
        if self.evictions:
            parts.append(f"given up {_times(self.evictions)}")
        parts += [f"got {file}" for file in self.files]
        return f"<ContextRow {self.name}: {', '.join(parts)}{f'; {self.note}' if self.note else ''}>"


def size_text(size_bytes: int | None) -> str:
    """A size as people read it."""
    if size_bytes is None:
        return ""
    size, units = float(size_bytes), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size_bytes} B" if units[0] == "B" else f"{size:.1f} {units[0]}"


def duration_text(duration_s: float | None) -> str:
    """A duration as people read it."""
    if duration_s is None:
        return ""
    for unit, size_s in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if duration_s >= 2 * size_s:
            return f"{duration_s / size_s:.1f} {unit}"
    return f"{duration_s:.3g} s" if duration_s >= 0.1 else f"{1000 * duration_s:.2g} ms"


def rate_text(per_s: float) -> str:
    """How many in a second, as people read it."""
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
