"""Ctrl-C at each place where it may come: a `KeyboardInterrupt` wherever the interpreter looks for signals."""

import dis
import sys
from collections.abc import Callable
from pathlib import Path

import parsl_context

_PACKAGE = str(Path(parsl_context.__file__).parent)


class _Interrupt:
    """A trace function that raises once, at the place of a number among those that are come by.

    CPython looks for signals as a function begins, at jumps back, and after calls, whether they were made in C or not
    (`CHECK_EVAL_BREAKER` in Python/ceval.c). What was called in C has had its effect by then.
    """

    def __init__(self, number: int, files: tuple[str, ...]) -> None:
        self._left = number
        self._files = files
        self._before: dict[object, str] = {}  # what each frame did last
        self.where: str | None = None

    def __call__(self, frame, event, _):
        if not frame.f_code.co_filename.endswith(self._files):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            before = self._before.get(frame, "")
            self._before[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if self.where is None and ("CALL" in before or before in ("RESUME", "JUMP_BACKWARD")):
                if self._left == 0:
                    self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}, {frame.f_code.co_name}"
                    raise KeyboardInterrupt
                self._left -= 1
        return self


def interrupted(call: Callable[[], object], number: int, *modules: str) -> str | None:
    """Interrupt a call at the place of this number in these modules. Gives where; None if it has fewer places."""
    interrupt = _Interrupt(number, tuple(f"{_PACKAGE}/{module}.py" for module in modules))
    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return interrupt.where
