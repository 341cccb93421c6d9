"""The script that a provider would submit for a block, without submitting it."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.providers.cluster_provider import ClusterProvider

# What providers look for in the output of their commands.
_ACCEPTED = "Submitted batch job 1\n1.server\nYour job 1 has been submitted\n"


def script_of(executor: HighThroughputExecutor) -> str | None:
    """The text of the script; None where the provider has none.

    What is known only when a run has begun (port, folders, certificates) stands there in words.
    """
    if not isinstance(executor.provider, ClusterProvider):
        return None
    made: Any = copy.copy(executor)
    made.run_dir, made.logconf_path, made.worker_port = "RUN_DIR", None, "PORT"
    made.cert_dir = "CERTIFICATES" if made.encrypted else None
    made.initialize_scaling()
    provider: Any = copy.copy(executor.provider)
    with tempfile.TemporaryDirectory() as folder:
        provider.script_dir = folder
        provider.resources = {}
        provider.execute_wait = lambda command, timeout=None: (0, _ACCEPTED, "")
        provider.submit(made._get_launch_command("0"), 1, f"parsl.{executor.label}.block-0")
        scripts = sorted(Path(folder).glob("parsl.*"))
        return scripts[0].read_text().replace(folder, "SCRIPTS") if scripts else None
