"""Titles of our processes, as `ps` shows them: what a process is, in a form that batch systems can live with.

They hold no space: Slurm's process tracking reads /proc/PID/stat by white space, and loses a process whose name has
one, with all below it. And they leave /proc/PID/environ as it was, by which epilog scripts find the processes of a job.
"""

from __future__ import annotations

import os

# Asks setproctitle, when it is first used in a process or one that this was forked from, to write over the command
# line alone; else it takes the room of the environment too.
_KEEP_ENVIRONMENT = "SPT_NOENV"


def set_title(role: str) -> None:
    """Call this process ``parsl:context-ROLE``, where setproctitle is installed."""
    assert not any(character.isspace() for character in role)
    before = os.environ.get(_KEEP_ENVIRONMENT)
    os.environ[_KEEP_ENVIRONMENT] = "1"
    try:
        # Not from parsl.utils: that would have all of Parsl imported where it was put off.
        from setproctitle import setproctitle

        setproctitle(f"parsl:context-{role}")
    except ImportError:
        pass  # processes keep their command lines
    finally:
        # User code uses setproctitle as it likes, and its children inherit the environment.
        if before is None:
            del os.environ[_KEEP_ENVIRONMENT]
        else:
            os.environ[_KEEP_ENVIRONMENT] = before
