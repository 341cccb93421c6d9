"""Documents can be read as they are rendered: code is not cut off at the right."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*/**/*.rst"), ROOT / "docs" / "index.rst"])
WIDTH = 88  # of a code block, in the theme's text column


def code_blocks(text: str) -> list[str]:
    """Lines of code, without the indentation that the page gives them."""
    found = []
    for block in re.findall(r"\.\. code-block::.*\n((?:\s*\n|[ ]+.*\n)+)", text):
        lines = [line for line in block.splitlines() if line.strip()]
        indent = min(len(line) - len(line.lstrip()) for line in lines)
        found += [line[indent:] for line in lines]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_in_pages_is_not_cut_off(page: pathlib.Path) -> None:
    assert [line for line in code_blocks(page.read_text()) if len(line) > WIDTH] == []


@pytest.mark.parametrize("folder", ["configs", "docs/code", "examples"])
def test_files_that_pages_show_are_formatted_for_that_width(folder: str) -> None:
    assert f"line-length = {WIDTH}" in (ROOT / folder / "ruff.toml").read_text()
