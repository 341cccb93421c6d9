"""What is wrong with the nodes that a job saw, for a configuration and the script's own Python. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parsl_context.cli.configs.findings import Finding, Settings
from parsl_context.executor.waiting import Outlook, meaning

Node = Mapping[str, Any]  # as `probe.describe` gives it

_SAME = ("parsl", "parsl-context")  # versions that must be the same


def compare(
    at: Settings, here: Node, nodes: Sequence[Node], addresses: Sequence[str], waits_for: str | None = None
) -> list[Finding]:
    """All that is found, errors first.

    Parameters
    ----------
    here
        What the script's own machine is like.
    nodes
        What the nodes of a block are like that have said so.
    addresses
        At which they have tried to reach the script.
    waits_for
        Why the job has not started, in Slurm's words.
    """
    found = [*(_count(at, nodes) if waits_for is None else _start(waits_for))]
    seen = set()
    for node in nodes:
        for each in (*_versions(here, node), *_ways(node, addresses), *_room(at, node)):
            if each not in seen:
                seen.add(each)
                found.append(each)
    return sorted(found, key=lambda finding: not finding.is_error)


def _count(at: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    if len(nodes) < at.nodes_per_block:
        what = f"{len(nodes)} of {at.nodes_per_block} nodes of the block have said what they are like."
        yield Finding(True, what, f"{at.launcher} must start one process on each.")


def _start(waits_for: str) -> Iterator[Finding]:
    means = meaning(waits_for)
    what = f"The job has not started ({waits_for}): {means.outlook.value}."
    yield Finding(means.outlook is Outlook.NEVER, what, means.advice or "Wait longer, with --wait, or ask for less.")


def time_limit(at: Settings, limit_s: float | None) -> Iterator[Finding]:
    """Whether blocks ask for more time than their partition gives."""
    if limit_s is not None and at.walltime_s is not None and at.walltime_s > limit_s:
        what = (
            f"Blocks ask for {at.walltime}; their partition gives {limit_s / 60:g} minutes: they would wait for ever."
        )
        yield Finding(True, what, "Lower walltime.")


def _versions(here: Node, node: Node) -> Iterator[Finding]:
    ours, theirs = here["python"], node["python"]
    if ours.rpartition(".")[0] != theirs.rpartition(".")[0]:
        what = f"Nodes have Python {theirs} ({node['executable']}), the script has {ours}."
        yield Finding(True, what, "Have worker_init make the script's environment active.")
    for name, version in here["packages"].items():
        other = node["packages"].get(name)
        if other is None:
            yield Finding(
                True, f"Nodes lack {name}.", f"Install {name}=={version} in {node['executable']}'s environment."
            )
        elif other != version:
            is_error = name in _SAME
            yield Finding(is_error, f"Nodes have {name} {other}, the script has {version}.", "Install the same.")


def _ways(node: Node, addresses: Sequence[str]) -> Iterator[Finding]:
    reached = node["reached"]
    if not reached:
        what = f"Nodes reach the script at none of its addresses: {', '.join(addresses)}."
        yield Finding(
            True, what, 'Ask which network nodes share with this host, and set address=address_by_interface("...").'
        )
    elif len(reached) < len(addresses):
        what = f"Nodes reach the script at {', '.join(reached)}, not at {', '.join(set(addresses) - set(reached))}."
        yield Finding(False, what, f"Managers try all of them; address={reached[0]!r} saves the time.")


def _room(at: Settings, node: Node) -> Iterator[Finding]:
    is_told = at.max_workers != float("inf") and not at.accelerators
    given = f"{node['cores']} of {node['machine_cores']} cores of a node ({node['cores_by']})"
    if node["cores"] == 1 < node["machine_cores"]:
        advice = "Set cores_per_node of the provider, so that srun hands out all of them."
        yield Finding(True, f"The job's process was given {given}.", advice)
    elif is_told and at.max_workers * at.cores_per_worker > node["cores"]:
        what = (
            f"max_workers_per_node={at.max_workers:g} of cores_per_worker={at.cores_per_worker:g} do not fit into the "
            f"{given} that the job was given: {int(node['cores'] / at.cores_per_worker)} will be started."
        )
        yield Finding(False, what, "Lower cores_per_worker, or ask for more cores.")
    if at.accelerators and len(node["gpus"]) < len(at.devices):
        what = f"available_accelerators names {len(at.devices)}; the job sees {len(node['gpus'])} GPUs on a node."
        yield Finding(not node["gpus"], what, "Ask for GPUs (gpus_per_node, select_options), or name fewer.")
    if at.context_memory_gb is not None and at.context_memory_gb > node["memory_gb"]:
        given = f"{node['memory_gb']:g} GB that the job was given of a node ({node['memory_by']})"
        what = f"context_memory_gb={at.context_memory_gb:g} is more than the {given}: it will be killed."
        yield Finding(True, what, "Leave it out, or ask for more memory.")
