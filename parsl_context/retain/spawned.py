"""The user's script in processes that `multiprocessing` starts from a worker, by "spawn" or "forkserver".

Such a process runs the script again under another name, so that classes of it can be unpickled. From a worker it runs
this module instead, which makes what the worker was sent of the script: its file need not be on the node, a notebook
has none, and what stands in it outside of functions is not run. `MainSpec` is what leads there.
"""

from __future__ import annotations

import os
from collections.abc import Callable

VARIABLE = "PARSL_CONTEXT_MAIN"  # names the file with the content


class MainSpec:
    """`__spec__` of the module that stands for the script. `multiprocessing` asks it which module to run.

    Parameters
    ----------
    write
        Writes what a process needs that asks for the name; gives the file.
    package
        Package of the script, if it is run as a module of one.
    """

    loader = None
    origin = None
    submodule_search_locations = None
    cached = None
    has_location = False

    def __init__(self, write: Callable[[], str], package: str | None) -> None:
        self._write = write
        self.parent = package

    @property
    def name(self) -> str:
        """The module to run; what it needs is written before."""
        os.environ[VARIABLE] = self._write()
        return "parsl_context.retain.spawned"


if __name__ == "__mp_main__":
    from parsl_context.retain.carried import read_main

    globals().update(read_main(os.environ[VARIABLE]))
