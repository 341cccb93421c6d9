"""The memory benchmark says which extra it needs."""

from __future__ import annotations

import sys

import pytest

from benchmarks import memory


@pytest.mark.parametrize(("options", "extra"), [(["--network"], "minilm"), ([], "bench")])
def test_what_is_not_installed_is_named_with_its_extra(
    options: list[str], extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks.memory", *options])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        memory.main()
    assert f"pip install '.[{extra}]'" in capsys.readouterr().err
