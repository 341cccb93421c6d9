"""``python -m parsl_context.globus.endpoint``: the command globus-compute-endpoint, which knows `ContextEngine` too.

The endpoint's configuration names its engine by a class of `globus_compute_endpoint.engines`, and no other module's.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command with the arguments that it has there."""
    from globus_compute_endpoint import cli, engines

    from parsl_context.globus.engine import ContextEngine

    engines.ContextEngine = ContextEngine
    sys.argv[0] = "globus-compute-endpoint"
    cli.cli_run()


if __name__ == "__main__":
    main()
