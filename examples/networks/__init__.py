"""The networks of `lnni.py`: what each computes, on what, and how its results are compared.

Each module here has a `NETWORK`. Context function and body run on the workers, which need not have these modules: they
travel by value.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Network:
    """A job for `lnni.py`.

    Attributes
    ----------
    title : str
        What it does, for people.
    packages : tuple of str
        Distributions whose versions count.
    calls : int
        As many as show what differs between the levels within a minute or a few.
    inferences_per_call : int
        Items in a batch.
    weights : Path
        File that a server sends to the nodes.
    load : ContextFunction
        Context function; takes the weights.
    run : callable
        Body: the context and a batch. Returns an array (items, n), and the time that it took. [s]
    batches : callable
        Gives the names of all items and, call by call, the batches, for a number of calls.
    tell : callable
        Gives a line that shows that the network is real, from the names and the results of all items.
    """

    title: str
    packages: tuple[str, ...]
    calls: int
    inferences_per_call: int
    weights: pathlib.Path
    load: Any
    run: Callable[..., tuple[np.ndarray, float]]
    batches: Callable[[int], tuple[list[str], list[list[Any]]]]
    tell: Callable[[list[str], np.ndarray], str]
