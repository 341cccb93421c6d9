"""Objects of large libraries: equal ones have equal digests, in use or not, though their pickles hold random names.

Each check runs in a process of its own: what these libraries leave in one (threads, objects that warn when they are
looked at) is not for other tests to meet.
"""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parsl_context.content.digests import digest_content
from tests.unit.builders import script

ROOT = Path(__file__).parents[3]
CHECKS = []


def needs(*libraries):
    """Make a function a check that needs these libraries."""

    def add(check):
        CHECKS.append(pytest.param(check.__name__, id=check.__name__, marks=pytest.mark.library(*libraries)))
        return check

    return add


@needs("torch")
def tensors_and_networks_count_by_their_numbers():
    import torch

    def network(seed, width=2):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.ReLU(), torch.nn.BatchNorm1d(width))

    same = [
        lambda: torch.arange(3.0),
        lambda: torch.nn.Parameter(torch.arange(3.0)),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.ones(3, dtype=torch.bfloat16),
        lambda: torch.ones(3, device="meta"),
        lambda: torch.ones(0),
        lambda: network(0),
        lambda: network(0).state_dict(),
        lambda: torch.optim.Adam(network(0).parameters()),
    ]
    for make in same:
        assert digest_content(make()) == digest_content(make())
    others = [
        *(make() for make in same),
        torch.tensor([0.0, 1.0, 3.0]),
        torch.arange(3.0, requires_grad=True),
        torch.arange(3.0).to(torch.float64),
        torch.arange(3.0).reshape(3, 1),
        torch.arange(4.0)[:3],
        torch.arange(4.0)[1:],
        torch.ones(2, 3),
        torch.ones(3, 2).t(),
        torch.ones(4, device="meta"),
        torch.nn.Buffer(torch.arange(3.0)),
        network(1),
        network(0, width=4),
        network(0).eval(),
        torch.float32,
        torch.float64,
    ]
    assert len({digest_content(other) for other in others}) == len(others)


@needs("numba")
def compiled_functions_count_by_what_was_compiled():
    head = "import numba\n@numba.{}\ndef load(x): return x + {}"
    sources = [head.format("njit", 1), head.format("njit", 2), head.format("njit(fastmath=True)", 1)]
    sources += [head.format("vectorize", 1), head.format("vectorize(['f8(f8)'])", 1)]
    digests = [digest_content(script(source, "load")) for source in sources]
    assert digests == [digest_content(script(source, "load")) for source in sources]
    assert len(set(digests)) == len(sources)
    for source, digest in zip(sources, digests, strict=True):
        used = script(source, "load")
        used(1.0), used(np.float64(1))
        assert digest_content(used) == digest
    use = "import numba\n@numba.njit\ndef add(x): return x + {}\n@numba.njit\ndef load(x): return add(x)"
    assert digest_content(script(use.format(1), "load")) == digest_content(script(use.format(1), "load"))
    assert digest_content(script(use.format(1), "load")) != digest_content(script(use.format(2), "load"))


@needs("pydantic")
def models_of_pydantic_count_by_their_definition_and_values():
    source = (
        "import functools, pydantic\nclass load(pydantic.BaseModel):\n  x: int = pydantic.Field({}, gt={})\n"
        "  _private: int = pydantic.PrivateAttr({})\n  @pydantic.field_validator('x')\n  @classmethod\n"
        "  def check(cls, value): return value + {}\n"
        "  @functools.cached_property\n  def twice(self): return 2 * self.x"
    )
    made = [script(source.format(1, 0, 3, 4), "load") for _ in range(2)]
    assert digest_content(made[0]) == digest_content(made[1])
    assert digest_content(made[0]()) == digest_content(made[1]())
    used = made[0]()
    inspect.signature(made[0]), used.twice, used.model_dump_json(), made[0].model_json_schema()
    assert digest_content(made[0]) == digest_content(made[1])
    assert digest_content(used) == digest_content(made[1]())
    others = [made[0], *(script(source.format(*n), "load") for n in [(2, 0, 3, 4), (1, -1, 3, 4), (1, 0, 2, 4)])]
    others += [script(source.format(1, 0, 3, 5), "load"), made[0](), made[0](x=1), made[0](x=2)]
    assert len({digest_content(other) for other in others}) == len(others)


@needs("pydantic")
def where_a_model_of_pydantic_was_defined_does_not_count():
    source = (
        "def outer(z):\n  import pydantic\n  class Model(pydantic.BaseModel): x: int = 1\n  return Model\n"
        "load = outer(object())"
    )
    assert digest_content(script(source, "load")) == digest_content(script(source, "load"))


@needs("pandas")
def tables_count_by_their_content():
    import pandas as pd

    def table(**changes):
        return pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["u", "v"]), **changes})

    used = table()
    used.values, used["a"], used.index.is_unique, used.describe(), repr(used), used.loc[0]
    assert digest_content(used) == digest_content(table())
    others = [
        table(),
        table(a=[1, 3]),
        table(a=[1.0, 2.0]),
        table(b=["x", "z"]),
        table(c=pd.Categorical(["u", "v"], ordered=True)),
        table()[["b", "a", "c"]],
        table().rename(columns={"a": "d"}),
        table().set_index("a"),
        table()["a"],
        table().rename_axis("n"),
    ]
    assert len({digest_content(other) for other in others}) == len(others)


@needs("sklearn")
def estimators_count_by_what_they_learnt():
    from sklearn.ensemble import RandomForestClassifier

    numbers = np.random.default_rng(0).random((50, 3))

    def forest(level, seed=0):
        return RandomForestClassifier(3, random_state=seed).fit(numbers, numbers[:, 0] > level)

    used = forest(0.5)
    used.predict(numbers)
    assert digest_content(used) == digest_content(forest(0.5))
    others = [forest(0.5), forest(0.6), forest(0.5, seed=1), RandomForestClassifier(3, random_state=0)]
    assert len({digest_content(other) for other in others}) == len(others)


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("check", CHECKS)
def test_in_a_process_of_its_own(check):
    program = f"from {__name__.rpartition('.')[2]} import {check} as check; check()"
    path = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]; "
    done = subprocess.run([sys.executable, "-c", path + program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
