"""Room for recursion: nothing in Python limits how deeply objects lie within each other, but the stack of a thread."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any


def on_a_fresh_stack(run: Callable[[], Any]) -> Any:
    """What `run` returns or raises, run by a thread of its own with the context variables of this one."""
    outcome: list[Any] = []
    context = contextvars.copy_context()

    def keep() -> None:
        try:
            outcome.extend((context.run(run), None))
        except BaseException as error:
            outcome.extend((None, error))

    thread = threading.Thread(target=keep, name="digest of deeply nested objects")
    thread.start()
    thread.join()
    result, error = outcome
    if error is not None:
        raise error
    return result
