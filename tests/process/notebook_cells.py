"""Runs cells in a notebook's kernel. In a process of its own: Jupyter's clients leave sockets to the garbage collector.

    python -m tests.process.notebook_cells < cells.json

Each cell is a text and the time after which it is interrupted, or null [s]. Prints for each what it shows, or the name
of the error, and how long it took, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from jupyter_client.manager import start_new_kernel


def run(manager: Any, client: Any, code: str, interrupt_after_s: float | None) -> tuple[str, float]:
    """What a cell shows, and how long it took."""
    shown = []
    begun = time.monotonic()
    sent = client.execute(code)
    if interrupt_after_s is not None:
        threading.Timer(interrupt_after_s, manager.interrupt_kernel).start()
    while True:
        message = client.get_iopub_msg(timeout=120)
        content, kind = message["content"], message["msg_type"]
        if message["parent_header"].get("msg_id") != sent:
            continue
        if kind == "execute_result":
            shown.append(content["data"]["text/plain"])
        elif kind in ("display_data", "update_display_data"):
            shown.append(content["data"]["text/plain"] + "\n")
        elif kind == "stream":
            shown.append(content["text"])
        elif kind == "error":
            shown.append(content["ename"])
        elif kind == "status" and content["execution_state"] == "idle":
            return "".join(shown), time.monotonic() - begun


if __name__ == "__main__":
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        json.dump([run(manager, client, *cell) for cell in json.load(sys.stdin)], sys.stdout)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
