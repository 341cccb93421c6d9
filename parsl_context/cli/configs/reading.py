"""Reads what is looked at of a configuration from Parsl's objects."""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import parsl
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.launchers import SimpleLauncher, SingleNodeLauncher
from parsl.providers.cluster_provider import ClusterProvider

from parsl_context.cli.configs.findings import Settings
from parsl_context.distribute.places import check_node_store, is_shared, kind_of_file_system
from parsl_context.executor.blocks import walltime_s

_DIRECTIVES = {
    "SlurmProvider": "#SBATCH",
    "PBSProProvider": "#PBS",
    "TorqueProvider": "#PBS",
    "GridEngineProvider": "#$",
}


def read(config: parsl.Config, executor: HighThroughputExecutor) -> Settings:
    """What is looked at of an executor."""
    provider = executor.provider
    launcher = getattr(provider, "launcher", None)
    options = str(getattr(provider, "scheduler_options", "") or "")
    gpus = (getattr(provider, "gpus_per_node", None), getattr(provider, "gres", None))
    said = f"{options} {getattr(provider, 'select_options', '') or ''}".lower()
    nodes = getattr(provider, "nodes_per_block", 1)
    return Settings(
        label=executor.label,
        texts=dict(_texts(config, executor)),
        is_batch=isinstance(provider, ClusterProvider),
        strategy=str(config.strategy),
        walltime=getattr(provider, "walltime", None),
        walltime_s=walltime_s(provider),
        init_blocks=getattr(provider, "init_blocks", 1),
        min_blocks=getattr(provider, "min_blocks", 0),
        max_blocks=getattr(provider, "max_blocks", math.inf),
        overlap_blocks=getattr(executor, "overlap_blocks", 0),
        nodes_per_block=1 if nodes is None else nodes,
        launcher=type(launcher).__name__,
        launcher_options=str(getattr(launcher, "overrides", "") or ""),
        starts_everywhere=type(launcher) not in (SimpleLauncher, SingleNodeLauncher) or executor.enable_mpi_mode,
        directive=next(
            (_DIRECTIVES[kind.__name__] for kind in type(provider).mro() if kind.__name__ in _DIRECTIVES), None
        ),
        scheduler_options=options,
        worker_init=str(getattr(provider, "worker_init", "") or ""),
        address=executor.address,
        max_workers=float(executor.max_workers_per_node),
        cores_per_worker=float(executor.cores_per_worker),
        mem_per_worker=executor.mem_per_worker,
        cpu_affinity=executor.cpu_affinity,
        accelerators=len(executor.available_accelerators),
        devices=tuple(dict.fromkeys(part for each in executor.available_accelerators for part in each.split(","))),
        gpus_per_node=getattr(provider, "gpus_per_node", None),
        cores_per_node=getattr(provider, "cores_per_node", None) or getattr(provider, "cpus_per_node", None),
        mem_per_node=getattr(provider, "mem_per_node", None),
        asks_for_gpus=any(gpus) or "gpu" in said,
        gets_whole_nodes=re.search(r"#pbs .*place=\S*\bexcl", said) is not None,
        shares_nodes=getattr(provider, "exclusive", True) is False,
        context_memory_gb=getattr(executor, "context_memory_gb", None),
        drain_period_s=executor.drain_period,
        heartbeat_period_s=executor.heartbeat_period,
        heartbeat_threshold_s=executor.heartbeat_threshold,
        retries=config.retries,
        requeue_lost=getattr(executor, "requeue_lost", 0),
        run_dir=str(config.run_dir),
        node_store=check_node_store(getattr(executor, "node_store", None)),
        environment=str(environment) if (environment := getattr(executor, "environment", None)) else None,
        is_missing=lambda path: not os.path.exists(os.path.expanduser(path)),
        is_shared=_is_shared,
    )


def _is_shared(folder: str) -> bool:
    """Whether the nearest folder above that is there lies on a shared file system."""
    found = os.path.expandvars(os.path.expanduser(folder))
    while not os.path.exists(found) and found not in ("", "/"):
        found = os.path.dirname(found)
    if not os.path.isabs(found) or not os.path.exists("/proc/self/mounts"):
        return False
    with open("/proc/self/mounts") as mounts:
        return found != "/" and is_shared(kind_of_file_system(os.path.realpath(found), mounts.read()))


def _texts(config: parsl.Config, executor: HighThroughputExecutor) -> Iterator[tuple[str, str]]:
    """What somebody has typed, by where."""
    provider = executor.provider
    owners = {"": executor, "provider.": provider, "provider.launcher.": getattr(provider, "launcher", None)}
    for prefix, owner in owners.items():
        for name, default in _arguments(owner).items():
            value = getattr(owner, name, None)
            if isinstance(value, str) and value != default:
                yield f"{prefix}{name}", value
    yield "run_dir", str(config.run_dir)


def _arguments(owner: Any) -> dict[str, Any]:
    """Arguments with which something is made, and their defaults."""
    if owner is None:
        return {}
    return {name: each.default for name, each in inspect.signature(type(owner).__init__).parameters.items()}
