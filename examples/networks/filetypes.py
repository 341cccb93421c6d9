"""Magika's network, which tells what kind of file something is from its first and last bytes. 3 MB of weights.

The files are those of Python's standard library and of the packages that are installed here. onnxruntime runs the
network; the package `magika` carries it. Needs the extra ``examples``.
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import random
import sysconfig
import time
from collections import Counter

# Its telemetry is a thread, and a process with several cannot be shared by forks. Workers import this module, too.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import magika
import numpy as np

from networks import Network
from parsl_context import context

PER_CALL = 8
READ_BYTES = 4096  # from the beginning and from the end of a file
ENDS = 1024  # bytes of each end that the network sees
PADDING = 256  # stands for no byte
(MODEL,) = sorted(pathlib.Path(magika.__file__).parent.glob("models/*/model.onnx"))[-1:]
LABELS = json.loads((MODEL.parent / "config.min.json").read_text())[
    "target_labels_space"
]


@context
def classifier(weights):
    """Load the network. `weights` is a path on this node."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one worker for each core
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        weights, options, providers=["CPUExecutionProvider"]
    )


def classify(session, files):
    """Tell the kinds of files from their (first, last) bytes.

    Returns the probability of each kind (len(files), kinds) and the time it took.
    """
    began = time.monotonic()
    seen = np.full((len(files), 2 * ENDS), PADDING, dtype=np.int32)
    for row, (first, last) in zip(seen, files, strict=True):
        head, tail = first.lstrip()[:ENDS], last.rstrip()[-ENDS:]
        row[: len(head)] = list(head)
        row[2 * ENDS - len(tail) :] = list(tail)
    (probabilities,) = session.run(None, {"bytes": seen})
    return probabilities, time.monotonic() - began


def batches(calls: int) -> tuple[list[str], list[list[tuple[bytes, bytes]]]]:
    """Return the names of files and, call by call, their first and last bytes. Starts again when all were used."""
    folders = {pathlib.Path(sysconfig.get_path(name)) for name in ("stdlib", "platlib")}
    found = itertools.chain.from_iterable(folder.rglob("*") for folder in folders)
    # Without bytecode: half of all files, and how many there are depends on what has run.
    paths = sorted({path for path in found if path.is_file() and path.suffix != ".pyc"})
    random.Random(0).shuffle(paths)  # the same order in every run
    names, made = [], []
    files = itertools.cycle(path for path in paths if path.stat().st_size > ENDS)
    for _ in range(calls):
        chosen = list(itertools.islice(files, PER_CALL))
        names += [path.name for path in chosen]
        made.append([_ends(path) for path in chosen])
    return names, made


def _ends(path: pathlib.Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        first = file.read(READ_BYTES)
        file.seek(max(0, path.stat().st_size - READ_BYTES))
        return first, file.read(READ_BYTES)


def tell(names: list[str], probabilities: np.ndarray) -> str:
    """What the files are, as the network sees them."""
    kinds = Counter(LABELS[kind] for kind in probabilities.argmax(1))
    return (
        f"{len(names)} files: "
        + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6))
        + ", ..."
    )


NETWORK = Network(
    title="Magika tells the kinds of files that are installed here",
    packages=("magika", "onnxruntime"),
    calls=120,
    inferences_per_call=PER_CALL,
    weights=MODEL,
    load=classifier,
    run=classify,
    batches=batches,
    tell=tell,
)
