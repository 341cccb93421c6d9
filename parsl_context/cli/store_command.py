"""Arguments of `parsl-context store`, apart from what it needs to run: the other commands do without that."""

from __future__ import annotations

import argparse


def add_store(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    store = commands.add_parser(
        "store",
        help="show, clean or verify the store of files on this node",
        description="Show, clean or verify the store of files on this node. Run it where the workers run, with the "
        "same worker_init (srun parsl-context store ls): each node has its own, in the folders that "
        "PARSL_CONTEXT_STORE names or that are found.",
    )
    what = store.add_subparsers(dest="what", required=True, metavar="{ls,clean,verify}")
    listed = what.add_parser("ls", help="show what is in it, who uses it, and when it was used last")
    listed.add_argument("--json", action="store_true", help="print data, for programs")
    cleaned = what.add_parser("clean", help="remove what nobody uses")
    which = cleaned.add_mutually_exclusive_group(required=True)
    which.add_argument("--older-than", type=_positive, metavar="DAYS", help="what was not used for so many days")
    which.add_argument(
        "--to-gb",
        type=_positive,
        metavar="GB",
        help="as much as it takes to be no larger, the least recently used first",
    )
    which.add_argument("--all", action="store_true", help="everything")
    verified = what.add_parser(
        "verify", help="hash every file; remove and name what is broken. Exit status 1 if there is any"
    )
    for each in (listed, cleaned, verified):
        each.add_argument(
            "--folder", action="append", default=[], help="a folder of the store, as of node_store; may be repeated"
        )


def _positive(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no such number")
    return number
