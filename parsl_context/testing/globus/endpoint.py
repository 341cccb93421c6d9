"""A real Globus Compute endpoint on this machine, which takes its tasks from a `LocalService`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from parsl_context.testing.globus.processes import end, start
from parsl_context.testing.globus.service import LocalService

ONE_WORKER = """\
display_name: local
heartbeat_period: 5
engine:
  type: GlobusComputeEngine
  address: 127.0.0.1
  max_workers_per_node: 1
  provider:
    type: LocalProvider
    init_blocks: 1
    min_blocks: 1
    max_blocks: 1
"""


class LocalEndpoint:
    """The endpoint's process, with its engine, blocks and workers.

    Parameters
    ----------
    service
        Where its tasks come from.
    folder
        For its files.
    environment
        The virtual environment, or any folder with ``bin/globus-compute-endpoint``, that it is installed in.
    config
        Its configuration, as in ``config.yaml`` or a rendered template.
    command
        What starts it; ``("python", "-m", "parsl_context.globus.endpoint")`` for one with our engine.
    start_as
        Its arguments; ``("start", "local", "--die-with-parent")`` for releases before 4.10.
    env
        Variables that differ from those of this process.
    """

    def __init__(
        self,
        service: LocalService,
        folder: Path,
        environment: Path,
        config: str = ONE_WORKER,
        command: Sequence[str] = ("globus-compute-endpoint",),
        start_as: Sequence[str] = ("_start-user-endpoint", "local"),
        env: dict[str, str] | None = None,
    ) -> None:
        programs = environment.absolute() / "bin"
        (folder / "local").mkdir(parents=True)
        self.folder = folder
        self.log = folder / "endpoint.log"
        told = {"ep_info": {}, "config": config, "amqp_creds": service.credentials()}
        self.process: subprocess.Popen[bytes] = start(
            [str(programs / command[0]), *command[1:], *start_as],
            {**_environment(folder, programs), **(env or {})},
            folder,
            self.log,
            json.dumps(told).encode(),
        )

    def close(self) -> None:
        """End it, with its blocks and workers."""
        end(self.process)

    def __enter__(self) -> LocalEndpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _environment(folder: Path, programs: Path) -> dict[str, str]:
    """This process's variables, without what would show the endpoint modules of ours."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {
        **kept,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "GLOBUS_COMPUTE_USER_DIR": str(folder),
        "HOME": str(folder),
    }
