"""What becomes of a connection when something goes wrong as it is read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from parsl_context.errors import MessageError


@contextlib.contextmanager
def ended_by_faults(close: Callable[[str], object]) -> Iterator[None]:
    """Read within this until nothing more has come; whatever else is raised ends the connection, with the reason."""
    try:
        yield
    except BlockingIOError:
        pass
    except (MessageError, OSError) as error:
        close(str(error))
    except Exception:
        close("of a mistake here")  # or it would stay open and never be answered
        raise
