"""Kills a process at each step of a fetch, in turn, and looks at what is left. Run by `test_store_faults`.

A step is whatever Python tells audit hooks of (files opened, renamed, removed; locks), and each piece that is read.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from parsl_context.distribute import folders, origins, receiving, records
from parsl_context.distribute.node import NodeStore
from parsl_context.distribute.packed import state_of
from tests.unit.distribute.test_store import CONTENT, sha256, tree, whole

_ATTEMPTS = 400


def fetch(kind: str, store: NodeStore, origin: Path) -> bytes:
    """The content, by way of the store."""
    with contextlib.ExitStack() as holds:
        if kind == "file":
            return store.fetch(str(origin / "a.pt"), holds).read_bytes()
        if kind == "folder":
            return (store.fetch_path(state_of(str(origin / "model")), holds) / "latest.pt").read_bytes()
        if (path := store.blob(sha256(), holds)) is None:
            with store.receiving(sha256(), len(CONTENT)) as part:
                with part.path.open("r+b") as file:
                    for start in range(0, len(CONTENT), 2000):
                        os.write(file.fileno(), CONTENT[start : start + 2000])
                        sys.audit("test.piece")
                path = part.settle(holds)
        return path.read_bytes()


def kill_at(step: int) -> None:
    """Have this process killed at that step."""
    left = [step]

    def hook(event: str, _: object) -> None:
        if event.startswith(("open", "os.", "fcntl", "test.", "shutil", "tempfile")):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    read = origins.Source.read

    def read_piece(self: origins.Source, size: int) -> bytes:
        sys.audit("test.piece")
        return read(self, size)

    origins.Source.read = read_piece  # type: ignore[method-assign]
    fallocate = os.posix_fallocate

    def allocate(*args: int) -> None:
        sys.audit("test.allocate")
        fallocate(*args)
        sys.audit("test.allocated")

    os.posix_fallocate = allocate
    sys.addaudithook(hook)


def in_a_child(step: int, kind: str, folder: Path, origin: Path) -> bool:
    """Fetch in a process that is killed. Says whether it was."""
    pid = os.fork()
    if pid == 0:
        kill_at(step)
        right = fetch(kind, NodeStore(folder), origin) == CONTENT
        os._exit(0 if right else 1)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def main(kind: str, place: str) -> int:
    """Print how many steps there were, and after which something was wrong."""
    receiving._PIECE_BYTES = 2000
    origin = Path(place) / "origin"
    origin.mkdir()
    (origin / "a.pt").write_bytes(CONTENT)
    tree(origin)
    fetch(kind, NodeStore(Path(place) / "warm"), origin)  # imports what it needs
    wrong = []
    killed = 0
    for step in range(1, _ATTEMPTS):
        folder = Path(place) / f"store-{step}"
        if not in_a_child(step, kind, folder, origin):
            break
        killed += 1
        try:
            whole(folder)
            again = fetch(kind, NodeStore(folder), origin)
            left = [path.name for path in folders.unfinished(folder)] if len(whole(folder)) == 1 else ["entries"]
            if again != CONTENT or left:
                wrong.append([step, again == CONTENT, left])
        except BaseException as error:
            wrong.append([step, repr(error)])
    print(json.dumps({"killed": killed, "wrong": wrong}))
    return 0


if __name__ == "__main__":
    assert records.NAME
    sys.exit(main(*sys.argv[1:]))
