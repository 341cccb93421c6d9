"""Entry point of the interchange process; started by the executor, configured over standard input."""

from __future__ import annotations

import signal
import sys

from parsl_context.parsl_parts import lightly

with lightly.uncollected():
    lightly.put_off()

    from parsl_context.interchange.config import read_config
    from parsl_context.interchange.server import Interchange
    from parsl_context.parsl_parts.compat import start_logging
    from parsl_context.parsl_parts.titles import set_title

    lightly.settle()


def main() -> None:
    """Run one interchange until its executor quits or ends."""
    set_title("interchange")
    config = read_config(sys.stdin.buffer)
    start_logging(config.log_config, config.logdir, "interchange", debug=config.debug)
    interchange = Interchange(config)
    signal.signal(signal.SIGTERM, lambda *_: interchange.stop("it was told to terminate"))
    interchange.run()


if __name__ == "__main__":
    main()
