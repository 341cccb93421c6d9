"""`parsl-context pack`: the software that an app needs, or all of an environment, in a file for nodes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from parsl_context.cli.errors import CommandError
from parsl_context.errors import ParslContextError, sentence
from parsl_context.wire.rows import size_text


def run_pack(chosen: argparse.Namespace) -> int:
    """Do what was asked. Gives the exit status."""
    try:
        _pack(chosen)
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.status
    except ParslContextError as error:
        print(sentence(str(error)), file=sys.stderr)
        return 1
    return 0


def _pack(chosen: argparse.Namespace) -> None:
    from parsl_context.distribute.environments import collecting, packing

    if chosen.add and chosen.target is None:
        raise CommandError("--add goes with an app: without one, everything is packed.", 2)
    roots = None if chosen.target is None else [*_needed_by(chosen.target), *chosen.add]
    found = collecting.collect(Path(os.path.abspath(chosen.prefix)), roots)
    for note in found.notes:
        print(f"Note: {note}", file=sys.stderr)
    if not found.distributions:
        raise CommandError(f"There is nothing to pack in {chosen.prefix}.")
    index = packing.pack(found, chosen.output, level=chosen.level)
    packed = size_text(chosen.output.stat().st_size)
    print(
        f"{chosen.output}: {packed}, {size_text(index.size_bytes)} when unpacked, in {len(index.shards)} parts\n"
        f"{len(index.distributions)} distributions for Python {index.python}"
        + (f" on {index.machine}" if index.machine else "")
        + (f" with glibc {index.glibc} or later" if index.glibc else "")
    )


def _needed_by(target: str) -> list[str]:
    """Distributions that an app needs, by name."""
    from parsl_context.apps.needs import needs_of
    from parsl_context.cli.loading import load

    name, _, place = target.partition(":")
    if not place:
        raise CommandError(f"pack needs to know what for: parsl-context pack {name}:APP, or nothing for everything.", 2)
    with contextlib.redirect_stdout(sys.stderr):  # what the file prints as it is loaded
        needs = needs_of(load(name).find(place))
    return [each.name for each in needs.distributions if not each.is_editable]
