"""Large numbers of neural network inferences (LNNI), at each level of context reuse.

The workload of the HPDC'24 paper (doi 10.1145/3625549.3658663) in small: many short calls, each of which runs several
inferences with the same network. Setting up (importing the software, loading the weights) takes as long as a call or
many times that: how often the set-up runs decides how long the job takes. `networks/` has two networks (`lnni_job.py`
runs and measures, `lnni_figures.py` shows what came out):

    filetypes   a small one that tells the kinds of the files that are installed here; 8 inferences a call
    minilm      a larger one on PyTorch that embeds docstrings; 16 inferences a call, as in the paper

Each level runs the same calls on the same two workers, one level after the other:

    none      set up for every call, in a fresh process; the weights are fetched for every call
    disk      the same, with the weights fetched once per node and kept on its disk
    memory    set up once per worker
    node      set up once per node, workers share it

The weights come from an HTTP server on this machine, which stands for the one that a cluster would share. It is as
fast as the machine, so that fetching costs less here than from afar; `fetched` says how much that is. Software is
used where it is installed, at all levels; with `--packed` it comes packed from such a server, too, and is unpacked for
every call at level none, and once per node at the others: the largest part of what the paper measures. The script exits
with status 1 if two levels computed different results.

What the columns say:

makespan    from the first submission to the last result. The workers are connected before the clock starts,
            since starting them takes the same time at every level. [s]
call        mean run time of a call: the time of its body, and of its set-up where it had to wait for one. [s]
built       how often the set-up ran, as the executor counted it.
fetched     what the server of the weights sent. [MB]
slots busy  share of the workers' time, of the whole makespan, that was spent in bodies. [%]
saved       of the makespan at level none. [%]

Needs the extra ``examples``, or ``minilm``; nothing is downloaded when it runs. ``python examples/lnni.py``
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import pathlib
import subprocess
import sys
import tempfile
from importlib.metadata import version
from typing import TYPE_CHECKING

from lnni_figures import draw, levels_agree, print_table, with_savings, write_figures
from lnni_job import ARCHIVE, LEVELS, Origin, Outcome, console, run_level
from networks import Network

if TYPE_CHECKING:
    import numpy as np

NETWORKS = ("filetypes", "minilm")


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line, checked."""

    def positive(text: str) -> int:
        if (number := int(text)) < 1:
            raise argparse.ArgumentTypeError("must be at least 1")
        return number

    def levels(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(LEVELS):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: choose from {', '.join(LEVELS)}"
            )
        return chosen

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0])
    parser.add_argument("--calls", type=positive, help="default: the network's")
    parser.add_argument(
        "--workers", type=positive, default=2, help="of a node; default: 2"
    )
    parser.add_argument(
        "--nodes",
        type=positive,
        help="of a Slurm that emulates them on this machine (make slurm-up)",
    )
    parser.add_argument(
        "--levels",
        type=levels,
        default=list(LEVELS),
        help=f"default: {','.join(LEVELS)}",
    )
    parser.add_argument(
        "--packed",
        action="store_true",
        help="have the software come from a server as well, packed (needs the extra environments)",
    )
    output = pathlib.Path(__file__).parent / "output"
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=output,
        help="folder for lnni.json and .png",
    )
    return parser.parse_args()


def find_network(name: str) -> Network | None:
    """Return a network; None, after a word about it, if what it needs is not installed."""
    try:
        for module in ("numpy", "matplotlib"):  # now, not when the job has run
            importlib.import_module(module)
        network: Network = importlib.import_module(f"networks.{name}").NETWORK
        for package in network.packages:  # now, not on a worker
            version(package)
    except ModuleNotFoundError as error:
        extra = "examples" if name == NETWORKS[0] else name
        console.print(
            f"[red]{error}.[/red] make lnni NETWORK={name} installs it.", soft_wrap=True
        )
        console.print(
            f"In an environment of your own, from a checkout: pip install '.\\[{extra}]'",
            soft_wrap=True,
        )
        return None
    return network


def pack(network: str, archive: pathlib.Path) -> None:
    """Pack the distributions that the network's context needs."""
    target = f"networks.{network}:NETWORK.load"
    command = [
        sys.executable,
        "-m",
        "parsl_context",
        "pack",
        target,
        "-o",
        str(archive),
    ]
    here = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent)}
    with console.status("packing the software of the network"):
        done = subprocess.run(
            command, env=here, check=True, stdout=subprocess.PIPE, text=True
        )
    size, software = done.stdout.strip().splitlines()
    console.print(f"Packed {software}: {size.partition(': ')[2]}", soft_wrap=True)


def main() -> int:
    arguments = parse_arguments()
    network = find_network(arguments.network)
    if network is None:
        return 2
    arguments.calls = arguments.calls or network.calls
    names, batches = network.batches(arguments.calls)
    inferences = f"{arguments.calls} calls x {network.inferences_per_call} inferences"
    where = f"{arguments.workers} workers"
    if arguments.nodes is not None:
        where = f"{arguments.nodes} nodes x {arguments.workers} workers of Slurm"
    title = f"{inferences} on {where}"
    console.print(f"{title}: {network.title}", soft_wrap=True)
    with console.status(
        "loading the network once, so that every level finds its files in the page cache"
    ):
        load = f"import networks.{arguments.network} as n; n.NETWORK.load.function(str(n.NETWORK.weights))"
        folder = pathlib.Path(__file__).parent
        subprocess.run(
            [sys.executable, "-c", load], cwd=folder, check=True, capture_output=True
        )

    outcomes: list[Outcome] = []
    results: dict[str, np.ndarray] = {}
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(Origin(network.weights.parent))
        packed = None
        if arguments.packed:
            made = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            pack(arguments.network, made / ARCHIVE)
            packed = stack.enter_context(Origin(made))
            stack.callback(packed.shutdown)
        for level in arguments.levels:
            outcome, results[level] = run_level(
                level,
                arguments.workers,
                arguments.nodes,
                network,
                batches,
                origin,
                packed,
            )
            outcomes.append(outcome)
        origin.shutdown()

    outcomes = with_savings(outcomes)
    print_table(outcomes, title)
    console.print(network.tell(names, next(iter(results.values()))), soft_wrap=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    draw(outcomes, title, arguments.output / "lnni.png")
    write_figures(outcomes, network, arguments, arguments.output / "lnni.json")
    for what, name in (("Figures", "lnni.json"), ("Picture", "lnni.png")):
        console.print(f"{what}: {arguments.output / name}", soft_wrap=True)
    if not levels_agree(results):
        console.print("[red]The levels computed different results.[/red]")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
