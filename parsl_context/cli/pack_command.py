"""Arguments of `parsl-context pack`, apart from what it needs to run: the other commands do without that."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_pack(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    pack = commands.add_parser(
        "pack",
        help="pack a software environment for nodes",
        description="Pack installed distributions into a file for @context(environment=...): those that an app needs, "
        "as `parsl-context discover` finds them, with all that they require; or all of an environment. Nodes unpack it "
        "once, and run it on their own Python, which must be of the same minor version. Exit status 1 if it cannot be "
        "packed, 2 if there is no such file or name.",
    )
    pack.add_argument("target", nargs="?", metavar="FILE:APP", help="an app; without one, everything is packed")
    pack.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="as env.tar.zst")
    pack.add_argument(
        "--prefix",
        type=Path,
        default=Path(sys.prefix),
        metavar="FOLDER",
        help="the environment to pack from; if not given, the one that this command runs in",
    )
    pack.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="NAME",
        help="a distribution that the app needs as well, as one that is imported by a name made at run time",
    )
    pack.add_argument("--level", type=int, default=3, help="of the compression, 1 to 19; 3 if not given")
