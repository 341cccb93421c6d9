"""Slips in single options of a configuration, as they are made by whoever writes the first one for a cluster. Pure.

Rules as in `findings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from parsl_context.cli.configs.findings import Finding, Rule, Settings
from parsl_context.errors import ConfigurationError
from parsl_context.executor.blocks import check_paths

SLIPS: list[Rule] = []

_FULL_TIME = re.compile(r"(\d+-)?\d+:\d\d:\d\d")
_DEVICE = re.compile(r"\d+(\.\d+)?|(GPU|MIG)-\S+")
_LARGEST_GB = 16_000.0  # of a node: 16 TB. As a number of MB it is a small one of 16 GB
_LOCAL_FOLDERS = re.compile(r"/(tmp|var/tmp|dev/shm)(/|$)")
_HOME = re.compile(r"~|\$\{?HOME\b")
# What the options of scheduler_options are called that have an argument of their own, on which the executor counts.
_OWN_OPTIONS = {
    "#SBATCH": {
        r"(--time|-t)\b": "walltime",
        r"(--nodes|-N)\b": "nodes_per_block",
        r"(--ntasks|-n|--ntasks-per-node)\b": "the launcher, which starts one manager on each node",
        r"(--output|-o|--error|-e)\b": "the provider, which shows the end of these files when a block dies",
    },
    "#PBS": {
        r"-l\s+\S*walltime=": "walltime",
        r"-l\s+(select|nodes)=": "nodes_per_block, cpus_per_node and select_options",
        r"-[oe]\b": "the provider, which shows the end of these files when a block dies",
    },
}
_LAUNCHERS = {
    "SrunLauncher": "#SBATCH",
    "SrunMPILauncher": "#SBATCH",
    "MpiExecLauncher": "#PBS",  # it reads PBS_NODEFILE
}
# What makes `conda activate` known to a shell that has read no ~/.bashrc.
_SETS_UP_CONDA = re.compile(
    r"conda\.sh|shell[. ]\S*hook|hook\b|\.bashrc|\.bash_profile|module load|source \S*/activate"
)


def _slip(function: Rule) -> Rule:
    SLIPS.append(function)
    return function


@_slip
def _form_of_walltime(at: Settings) -> Iterator[Finding]:
    if at.is_batch and at.walltime is not None and at.walltime_s is not None and not _FULL_TIME.fullmatch(at.walltime):
        is_number = at.walltime.isdigit()
        reads = "minutes to Slurm and seconds to PBS" if is_number else "minutes and seconds"
        yield Finding(is_number, f"walltime={at.walltime!r} is {reads}.", 'Write "HH:MM:SS", as "02:00:00".')


@_slip
def _options_with_an_argument(at: Settings) -> Iterator[Finding]:
    for line in at.scheduler_options.splitlines():
        for option, argument in _OWN_OPTIONS.get(at.directive or "", {}).items():
            if re.match(rf"\s*{re.escape(at.directive or '')}\s+{option}", line):
                what = f"scheduler_options holds {line.strip()!r}, which is to be left to {argument}."
                yield Finding(True, what, "The executor counts on what stands there.")


@_slip
def _letters(at: Settings) -> Iterator[Finding]:
    for where, text in at.texts.items():
        if "\r" in text:
            what = f"{where} has line ends of Windows, which shells take for part of the last word."
            yield Finding(True, what, "Save the file with those of Unix (dos2unix).")
        if found := re.search("[\u2010-\u2015\u2018-\u201f\u00a0]", text):
            what = f"{where} holds {found[0]!r}, as copied from a page: no shell and no batch system knows it."
            yield Finding(True, what, "Type - for a dash, ' or \" for a quote, and a plain space.")


@_slip
def _launcher_of_another_system(at: Settings) -> Iterator[Finding]:
    needs = _LAUNCHERS.get(at.launcher)
    if needs is not None and at.directive is not None and needs != at.directive:
        system = {"#SBATCH": "Slurm", "#PBS": "PBS"}[needs]
        what = f"{at.launcher} works with {system} alone: managers would start on one node, or none."
        yield Finding(True, what, "Use SrunLauncher with Slurm, MpiExecLauncher with PBS.")


@_slip
def _cores_of_managers(at: Settings) -> Iterator[Finding]:
    if at.launcher != "SrunLauncher" or at.directive != "#SBATCH" or at.cores_per_node is None:
        return
    found = re.search(r"(?:--cpus-per-task[= ]|(?:^|\s)-c\s*)(\d+)", at.launcher_options)
    advice = f'Set launcher=SrunLauncher(overrides="--cpus-per-task={at.cores_per_node}").'
    if found is None:
        what = f"Jobs have cores_per_node={at.cores_per_node}, of which srun may give a manager one: it is not told."
        yield Finding(False, what, advice)
    elif int(found[1]) != at.cores_per_node:
        what = f"Jobs have cores_per_node={at.cores_per_node}, but srun is told {found[0].strip()!r}."
        yield Finding(False, what, advice)


@_slip
def _cores_of_workers(at: Settings) -> Iterator[Finding]:
    cores, workers = at.cores_per_node, at.accelerators or at.max_workers
    if at.cpu_affinity.startswith("list"):
        entries = len(at.cpu_affinity.split(":")) - 1
        if workers != float("inf") and entries != workers:
            what = f"cpu_affinity names cores for {entries} workers, and {workers:g} are started."
            yield Finding(True, what, "Name cores for each, separated by colons.")
    elif at.cpu_affinity != "none" and cores is not None and workers != float("inf"):
        started = workers if at.accelerators else min(workers, int(cores / at.cores_per_worker))
        if started > cores:
            what = f"cpu_affinity={at.cpu_affinity!r} needs a core for each of {started:g} workers; a node has {cores}."
            yield Finding(True, what, 'Set cpu_affinity="none", or fewer workers.')


@_slip
def _units_of_memory(at: Settings) -> Iterator[Finding]:
    named = {
        "mem_per_node": at.mem_per_node,
        "mem_per_worker": at.mem_per_worker,
        "context_memory_gb": at.context_memory_gb,
    }
    for name, size in named.items():
        if size is not None and size > _LARGEST_GB:
            yield Finding(True, f"{name}={size:g} would be {size / 1000:g} TB.", "It counts in GB.")


@_slip
def _names_of_devices(at: Settings) -> Iterator[Finding]:
    for device in at.devices:
        if not _DEVICE.fullmatch(device.strip()):
            what = f"available_accelerators names {device!r}, which drivers do not know: calls would see no device."
            advice = 'Write "0", "1" and so on, or names as nvidia-smi -L gives them; calls see theirs as "cuda".'
            yield Finding(True, what, advice)


@_slip
def _folders(at: Settings) -> Iterator[Finding]:
    try:
        check_paths(at.label, {"the run directory": at.run_dir})
    except ConfigurationError as error:
        yield Finding(True, str(error), "")
    if at.is_batch and _LOCAL_FOLDERS.match(at.run_dir):
        what = f"run_dir={at.run_dir!r} is on a disk of this machine, as it seems: nodes read certificates from it."
        yield Finding(False, what, "Name a folder that nodes see, as in your home or on a shared file system.")
    if at.environment is not None and at.is_missing(at.environment):
        yield Finding(True, f"environment={at.environment!r} is not here.", "Make it with parsl-context pack.")


@_slip
def _stores(at: Settings) -> Iterator[Finding]:
    for folder in at.node_store:
        if not folder.startswith(("/", "~", "$")):
            what = f"node_store names {folder!r}, which is no absolute path: nodes pass it over."
            yield Finding(True, what, 'Begin it with / or a variable, as "/tmp/parsl-context-$USER".')
        elif at.is_batch and (_HOME.match(folder) or at.is_shared(folder)):
            what = (
                f"node_store names {folder!r}, which is on a shared file system, as it seems: nodes gain nothing by it."
            )
            yield Finding(False, what, "Name a folder on the nodes' own disk, or leave it out: it is looked for.")


@_slip
def _conda(at: Settings) -> Iterator[Finding]:
    before, found, _ = at.worker_init.partition("conda activate")
    if found and at.is_batch and not _SETS_UP_CONDA.search(before):
        what = "worker_init calls `conda activate` in a shell that has read no ~/.bashrc: conda may not know how."
        yield Finding(False, what, 'Put before it: eval "$(conda shell.bash hook)"')
