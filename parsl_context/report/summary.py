"""A run in a few lines of text. Pure."""

from __future__ import annotations

from parsl_context.report.figures import Report
from parsl_context.wire.rows import duration_text, rate_text, size_text

_CONTEXTS = 8


def summary(report: Report) -> str:
    """What a user wants to know when a run is over."""
    totals = report.totals
    pace = f", {rate_text(totals.calls_per_s)} in a second" if totals.calls_per_s else ""
    workers, nodes = _plural(totals.most_workers, "worker"), _plural(totals.nodes, "node")
    lines = [
        f"{totals.label}: {_plural(totals.calls, 'call')} in {duration_text(totals.duration_s)}{pace}, on {workers} of "
        f"{nodes} in {_plural(totals.blocks, 'block')}"
    ]
    if totals.raised or totals.failed or totals.cancelled:
        lines.append(
            f"  {totals.raised} raised an error, {totals.failed} were lost or could not run, {totals.cancelled} were "
            "cancelled"
        )
    if totals.slot_use is not None:
        idle = max(0.0, 1 - totals.slot_use - totals.build_s / totals.available_s)
        lines.append(
            f"  workers' time: {totals.slot_use:.1%} in calls, {totals.build_s / totals.available_s:.1%} in builds, "
            f"{idle:.1%} idle"
        )
    if totals.builds:
        again = f", {totals.reloads} of them again" if totals.reloads else ""
        lines.append(
            f"  {_plural(totals.builds, 'build')} of contexts{again}, {duration_text(totals.build_s)} together; reuse "
            f"saved {duration_text(totals.saved_s)} of workers' time"
        )
    for context in sorted(report.contexts, key=lambda each: -each.tasks)[:_CONTEXTS]:
        size = f", {size_text(context.size_bytes)}" if context.size_bytes else ""
        each = f" in {duration_text(context.mean_build_s)} each" if context.mean_build_s is not None else ""
        failed = f", {context.failures} builds failed" if context.failures else ""
        builds, calls = _plural(context.builds, "build"), _plural(context.calls, "call")
        lines.append(f"  {context.name}: {builds}{each}, {calls}{size}{failed}")
    if len(report.contexts) > _CONTEXTS:
        lines.append(f"  ... and {len(report.contexts) - _CONTEXTS} more contexts")
    lines += [f"  advice: {sentence}" for sentence in report.advice]
    return "\n".join(lines)


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' * (count != 1)}"
