"""What is wrong with a configuration, as far as it can be told before anything is submitted. Pure.

Each rule takes what it looks at of one executor, as `Settings`, and gives what it found in it. These are about options
that do not fit each other; `slips` has those about single ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_PLACEHOLDER = re.compile(
    r"\bYOUR_\w+|<[A-Z][\w ]*>|\b(?:CHANGE_?ME|FILL_?IN|REPLACE_?ME|TODO|XXX)\b|/path/to/", re.IGNORECASE
)
_SHORT_S = 120.0
_LOOPBACK = ("127.", "localhost", "::1")
_ANY = ("0.0.0.0", "*")  # where one may listen; nobody can connect to it


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is looked at of an executor, its provider and its configuration.

    Attributes
    ----------
    texts : mapping
        All texts that somebody has typed, by where: ``provider.account``.
    is_batch : bool
        Whether a batch system gives the nodes.
    is_missing : callable
        Whether there is no such file here.
    is_shared : callable
        Whether a folder lies on a shared file system here.
    """

    label: str
    texts: Mapping[str, str]
    is_batch: bool
    strategy: str
    walltime: str | None
    walltime_s: float | None
    init_blocks: int
    min_blocks: int
    max_blocks: float
    overlap_blocks: int
    nodes_per_block: int
    launcher: str
    launcher_options: str
    starts_everywhere: bool  # a manager on each node of the block
    directive: str | None  # with which options of the batch system begin
    scheduler_options: str
    worker_init: str
    address: str | None
    max_workers: float
    cores_per_worker: float
    mem_per_worker: float | None
    cpu_affinity: str
    accelerators: int  # one for each worker
    devices: tuple[str, ...]  # that these name, each once
    gpus_per_node: int | None
    cores_per_node: int | None
    mem_per_node: float | None
    asks_for_gpus: bool
    shares_nodes: bool
    gets_whole_nodes: bool  # with all devices, as PBS does it where it is asked to
    context_memory_gb: float | None
    drain_period_s: float | None
    heartbeat_period_s: float
    heartbeat_threshold_s: float
    retries: int
    requeue_lost: int
    run_dir: str
    node_store: tuple[str, ...]
    environment: str | None  # an archive, or a folder
    is_missing: Callable[[str], bool] = field(default=lambda path: False)
    is_shared: Callable[[str], bool] = field(default=lambda path: False)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or may be.

    Attributes
    ----------
    is_error : bool
        Whether it cannot work so.
    what : str
        What is wrong, in a sentence.
    advice : str
        What to do about it.
    """

    is_error: bool
    what: str
    advice: str


Rule = Callable[[Settings], Iterator[Finding]]
RULES: list[Rule] = []


def _rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def look_at(settings: Settings, rules: Sequence[Rule]) -> list[Finding]:
    """All that is found, errors first."""
    found = [finding for rule in rules for finding in rule(settings)]
    return sorted(found, key=lambda finding: not finding.is_error)


@_rule
def _placeholders(at: Settings) -> Iterator[Finding]:
    said = set()
    for where, text in at.texts.items():
        if (found := _PLACEHOLDER.search(text)) and found[0] not in said:
            said.add(found[0])
            yield Finding(True, f"{where} still holds {found[0]!r}.", "Put in what your centre's documentation says.")


@_rule
def _walltime(at: Settings) -> Iterator[Finding]:
    if at.walltime is not None and at.walltime_s is None:
        yield Finding(True, f"walltime={at.walltime!r} is no time.", 'Write "HH:MM:SS", as "02:00:00".')
    elif at.is_batch and at.walltime_s is not None and at.walltime_s < _SHORT_S:
        what = f"Blocks live for {at.walltime_s:g} s, of which their start takes a part."
        yield Finding(False, what, 'Was minutes meant? walltime is "HH:MM:SS".')
    if at.drain_period_s is not None and at.walltime_s is not None and at.drain_period_s >= at.walltime_s:
        what = f"drain_period={at.drain_period_s:g} s is not over before the walltime of {at.walltime_s:g} s."
        yield Finding(True, what, "Leave it out: calls are matched to what is left of the walltime.")


@_rule
def _launcher(at: Settings) -> Iterator[Finding]:
    if at.nodes_per_block > 1 and not at.starts_everywhere:
        yield Finding(
            True,
            f"Blocks have {at.nodes_per_block} nodes, but {at.launcher} starts workers on the first alone.",
            "Use SrunLauncher with Slurm, MpiExecLauncher with PBS.",
        )


@_rule
def _blocks(at: Settings) -> Iterator[Finding]:
    if at.nodes_per_block < 1 or at.max_blocks < 1:
        what = f"nodes_per_block={at.nodes_per_block} and max_blocks={at.max_blocks:g}: no block will ever have a node."
        yield Finding(True, what, "Set both to 1 or more.")
    if at.init_blocks > at.max_blocks or at.min_blocks > at.max_blocks:
        what = (
            f"init_blocks={at.init_blocks} and min_blocks={at.min_blocks} must not exceed max_blocks={at.max_blocks:g}."
        )
        yield Finding(True, what, "Raise max_blocks, or lower the others.")
    if at.strategy == "none" and not at.init_blocks:
        what = 'init_blocks=0 with strategy="none": no block will ever be asked for, and calls wait for ever.'
        yield Finding(True, what, 'Set init_blocks=1, or strategy="htex_auto_scale".')
    if at.overlap_blocks and at.strategy == "none":
        what = 'overlap_blocks does nothing with strategy="none": Parsl does not scale.'
        yield Finding(True, what, 'Set strategy="simple" or "htex_auto_scale".')
    if at.overlap_blocks and at.walltime is None:
        yield Finding(True, "overlap_blocks does nothing where blocks have no walltime.", "Leave it out.")


@_rule
def _workers(at: Settings) -> Iterator[Finding]:
    cores, memory, workers = at.cores_per_node, at.mem_per_node, at.max_workers
    is_told = workers != float("inf") and not at.accelerators
    if is_told and cores is not None and workers * at.cores_per_worker > cores:
        what = (
            f"max_workers_per_node={workers:g} of cores_per_worker={at.cores_per_worker:g} do not fit into "
            f"cores_per_node={cores}: {int(cores / at.cores_per_worker)} will be started."
        )
        yield Finding(False, what, "Lower cores_per_worker (0.5: two workers share a core), or ask for more cores.")
    if is_told and memory is not None and at.mem_per_worker is not None and workers * at.mem_per_worker > memory:
        what = (
            f"max_workers_per_node={workers:g} of mem_per_worker={at.mem_per_worker:g} GB do not fit into "
            f"mem_per_node={memory:g} GB: {int(memory / at.mem_per_worker)} will be started."
        )
        yield Finding(False, what, "Ask for more memory, or fewer workers.")
    if memory is not None and at.context_memory_gb is not None and at.context_memory_gb > memory:
        what = (
            f"context_memory_gb={at.context_memory_gb:g} is more than mem_per_node={memory:g} GB: jobs will be killed."
        )
        yield Finding(True, what, "Leave it out: 60% of what the job was given is the default.")
    if at.is_batch and at.shares_nodes and cores is None:
        yield Finding(
            True,
            "Nodes are shared (exclusive=False) and cores_per_node is not set: jobs get one core.",
            "Set cores_per_node and mem_per_node.",
        )


@_rule
def _accelerators(at: Settings) -> Iterator[Finding]:
    if at.accelerators and at.max_workers != float("inf") and at.max_workers > at.accelerators:
        what = (
            f"max_workers_per_node={at.max_workers:g}, but {at.accelerators} accelerators: "
            f"{at.accelerators} workers will be started."
        )
        yield Finding(False, what, 'Name one as often as workers share it: ["0", "0", "1", "1"].')
    if at.accelerators and at.is_batch and not at.asks_for_gpus and not at.gets_whole_nodes:
        yield Finding(
            False,
            f"{at.accelerators} accelerators are handed to workers, but the job asks for none.",
            "Set gpus_per_node (Slurm) or select_options (PBS), unless whole nodes come with theirs.",
        )
    yield from _numbers_of_devices(at)
    if at.asks_for_gpus and not at.accelerators:
        yield Finding(
            False,
            "The job asks for GPUs, but available_accelerators is not set: all workers use the first.",
            "Set available_accelerators to the number of GPUs of a node.",
        )


def _numbers_of_devices(at: Settings) -> Iterator[Finding]:
    given = at.gpus_per_node
    if given is None or not at.devices:
        return
    if len(at.devices) < given:
        what = f"The job asks for {given} GPUs of a node, and workers use {len(at.devices)}: the others lie idle."
        yield Finding(False, what, "Name them all in available_accelerators, or ask for fewer.")
    beyond = [device for device in at.devices if device.isdigit() and int(device) >= given]
    if beyond and len(at.devices) <= given:  # else several workers share a device
        what = f"available_accelerators names {', '.join(beyond)}, and the job's {given} GPUs are 0 to {given - 1}."
        yield Finding(True, what, "Devices count from 0, among those that the job was given.")


@_rule
def _addresses(at: Settings) -> Iterator[Finding]:
    if at.is_batch and at.address is not None and at.address.startswith((*_LOOPBACK, *_ANY)):
        yield Finding(
            True,
            f"address={at.address!r} cannot be reached from compute nodes: calls would wait for ever.",
            'Leave it out, or name an interface: address_by_interface("ib0").',
        )


@_rule
def _scheduler_options(at: Settings) -> Iterator[Finding]:
    for line in at.scheduler_options.splitlines():
        if at.directive is not None and line.strip() and not line.strip().startswith("#"):
            what = f"scheduler_options holds {line.strip()!r}, which the job would run as a command."
            yield Finding(True, what, f"Begin it with {at.directive}.")
        elif at.directive is not None and re.match(r"\s*#(SBATCH|PBS|\$|COBALT)", line) and at.directive not in line:
            what = f"scheduler_options holds {line.strip()!r}, which is for another batch system: it is passed over."
            yield Finding(True, what, f"Begin it with {at.directive}.")


@_rule
def _worker_init(at: Settings) -> Iterator[Finding]:
    for path in re.findall(r"(?:^|[;&\n])\s*(?:source|\.)\s+([^\s;&]+)", at.worker_init):
        if "$" not in path and not _PLACEHOLDER.search(path) and at.is_missing(path):
            what = f"worker_init reads {path}, which is not here."
            yield Finding(True, what, "Name the activate script of the environment that this script runs in.")
    if at.is_batch and not at.worker_init.strip():
        yield Finding(
            False,
            "worker_init is empty: nodes use the Python that a login there finds.",
            "Make the environment active that this script runs in.",
        )


@_rule
def _heartbeats(at: Settings) -> Iterator[Finding]:
    if at.heartbeat_threshold_s <= at.heartbeat_period_s:
        what = (
            f"heartbeat_threshold={at.heartbeat_threshold_s:g} s is not longer than "
            f"heartbeat_period={at.heartbeat_period_s:g} s: every manager will be taken for lost."
        )
        yield Finding(True, what, "Leave both out, or make the threshold several periods.")
