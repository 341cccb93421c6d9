"""Entry point of the interchange process; started by the executor, configured over standard input."""

from __future__ import annotations

import logging
import pathlib
import signal
import sys

from parsl.log_utils import set_file_logger
from parsl.logconfigs.base import oneshot_initialize_logging
from parsl.utils import setproctitle

from parsl_context.interchange.config import InterchangeConfig, read_config
from parsl_context.interchange.server import Interchange


def main() -> None:
    """Run one interchange until its executor quits or ends."""
    setproctitle("parsl: context interchange")
    config = read_config(sys.stdin.buffer)
    _start_logging(config)
    interchange = Interchange(config)
    signal.signal(signal.SIGTERM, lambda *_: interchange.stop("it was told to terminate"))
    interchange.run()


def _start_logging(config: InterchangeConfig) -> None:
    logdir = pathlib.Path(config.logdir)
    logdir.mkdir(parents=True, exist_ok=True)
    if config.log_config is not None:
        oneshot_initialize_logging(log_config=config.log_config, log_dir=logdir, log_name="interchange")
    else:
        level = logging.DEBUG if config.debug else logging.INFO
        set_file_logger(str(logdir / "interchange.log"), level=level)


if __name__ == "__main__":
    main()
