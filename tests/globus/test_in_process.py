"""Engines of an endpoint in this process."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inference
import pytest
from globus_compute_endpoint.engines import ThreadPoolEngine

from parsl_context.testing.globus import offline_executor


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPoolEngine]:
    monkeypatch.chdir(tmp_path)  # tasks change the working directory
    made = ThreadPoolEngine(max_workers=8)
    made.start(endpoint_id=uuid.uuid4(), run_dir=str(tmp_path))
    yield made
    made.shutdown()


def test_eight_first_calls_at_once_make_one_build(engine: ThreadPoolEngine, marks: Any) -> None:
    function = inference.apps_in(marks.folder)["plain"].as_globus_function()
    with offline_executor(engine) as executor:
        futures = [executor.submit(function, x) for x in range(8)]
        assert [future.result(30)[0] for future in futures] == [10 * x for x in range(8)]
    assert marks.count("built") == 1


def test_apps_with_batches_and_found_contexts_are_functions_too(engine: ThreadPoolEngine, marks: Any) -> None:
    apps = inference.apps_in(marks.folder)
    with offline_executor(engine) as executor:
        together, looked_up = (apps[name].as_globus_function() for name in ("together", "looked_up"))
        assert [executor.submit(together, x).result(30) for x in (1, 2)] == [(10, 1), (20, 1)]
        found = [executor.submit(looked_up, word).result(30) for word in ("one", "three", "two")]
    assert [length for length, _ in found] == [3, 5, 3]
    assert len({where for _, where in found}) == 1
    assert marks.count("built") == 1
