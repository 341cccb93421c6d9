"""The command `parsl-context` where its script is not on the path: ``python -m parsl_context``."""

import sys

from parsl_context.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
