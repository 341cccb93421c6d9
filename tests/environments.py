"""Environments made by hand, for tests: installed distributions with a RECORD, without an installer."""

from __future__ import annotations

import sys
from pathlib import Path

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"lib/python{PYTHON}/site-packages"


def make_prefix(prefix: Path) -> Path:
    """A folder like that of a virtual environment, without packages."""
    (prefix / SITE).mkdir(parents=True)
    (prefix / "bin").mkdir()
    return prefix


def install(
    prefix: Path,
    name: str,
    files: dict[str, str | bytes],
    *,
    version: str = "1.0",
    requires: tuple[str, ...] = (),
    tag: str = "py3-none-any",
) -> None:
    """Install a distribution. Paths of files are relative to site-packages, as in RECORD."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    required = "".join(f"Requires-Dist: {each}\n" for each in requires)
    made = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    made[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*made, f"{info}/RECORD"])
    for path, content in made.items():
        target = prefix / SITE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
