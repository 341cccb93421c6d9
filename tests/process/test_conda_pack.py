"""An environment laid out as conda makes it, packed by conda-pack itself: unpacked with its places put right, and run.

There is no conda on the package index, so that its part is done by hand: records of what was installed, a package cache
with a placeholder in its files, and those files in the environment with the place where that is. The interpreter and
its library are copies of ours.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_context import ContextExecutor, context, context_app
from parsl_context.distribute.environments import interpreters
from tests.environments import PYTHON, SITE
from tests.process.in_environments import BINARY, SHEBANG, TEXT, remember, run_script, where

conda_pack = pytest.importorskip("conda_pack")
pytestmark = pytest.mark.process

PLACEHOLDER = "/opt/placeholder" + "_place" * 30
LEFT_OUT = (
    "site-packages",
    "test",
    "idlelib",
    "ensurepip",
    "tkinter",
    "lib2to3",
    "turtledemo",
    "__pycache__",
    "config-*",
)


def files_of(place: str) -> dict[str, bytes]:
    """What a package has, as it is at a place; binary files keep their length."""
    padding = b"\0" * (len(PLACEHOLDER) - len(place))
    return {
        f"{SITE}/farmost.py": b"VALUE = 42\n",
        f"{SITE}/farmost-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: farmost\nVersion: 1.0\n",
        SHEBANG: f"#!{place}/bin/python\nimport farmost, sys\nprint(farmost.VALUE, sys.prefix)\n".encode(),
        TEXT: f"data = {place}/share\nmore = {place}/lib\n".encode(),
        BINARY: b"\x7fhead\xff" + f"{place}/lib/farmost".encode() + b"\0" + padding + b"tail",
    }


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if name.startswith("bin/") else 0o644)


def record(name: str, files: list[str], cache: Path, **more: Any) -> str:
    """What conda notes of a package that it has installed."""
    known = {"name": name, "version": "1.0", "url": f"https://conda.example/{name}-1.0-0.conda", "depends": []}
    return json.dumps({**known, "files": files, "link": {"source": str(cache), "type": 1}, **more})


def make_conda(prefix: Path, cache: Path, *, keeps_cache: bool) -> None:
    """An environment with an interpreter and one package of conda's."""
    base = Path(interpreters.base())
    library = base.parents[1] / "lib"
    shutil.copytree(
        library / f"python{PYTHON}", prefix / f"lib/python{PYTHON}", ignore=shutil.ignore_patterns(*LEFT_OUT)
    )
    (prefix / SITE).mkdir()
    for each in library.glob(f"libpython{PYTHON}.so*"):
        shutil.copy2(each, prefix / "lib", follow_symlinks=False)
    (prefix / "bin").mkdir()
    shutil.copy(base, prefix / f"bin/python{PYTHON}")
    for name in ("python", "python3"):
        (prefix / "bin" / name).symlink_to(f"python{PYTHON}")
    write(prefix, files_of(str(prefix)))
    meta = prefix / "conda-meta"
    meta.mkdir()
    (meta / "history").write_text("==> 2026-01-01 00:00:00 <==\n# cmd: conda create\n")
    package = cache / "farmost-1.0-0"
    (meta / "farmost-1.0-0.json").write_text(record("farmost", [*files_of("")], package, depends=["__glibc >=2.17"]))
    if keeps_cache:
        write(package, files_of(PLACEHOLDER))
        modes = {SHEBANG: "text", TEXT: "text", BINARY: "binary"}
        marks = {name: {"prefix_placeholder": PLACEHOLDER, "file_mode": mode} for name, mode in modes.items()}
        paths = [{"_path": name, "path_type": "hardlink", **marks.get(name, {})} for name in files_of("")]
        write(package, {"info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode()})
        write(package, {"info/index.json": b'{"name": "farmost"}'})


@pytest.mark.filterwarnings(r"ignore:\s*Conda-managed packages were found without entries")
@pytest.mark.parametrize("keeps_cache", [True, False], ids=["cache", "no cache"])
def test_an_environment_of_conda_runs_where_it_is_unpacked(
    load: Callable[..., ContextExecutor], run_dir: Path, keeps_cache: bool
) -> None:
    prefix = run_dir / "conda"
    make_conda(prefix, run_dir / "pkgs", keeps_cache=keeps_cache)
    archive = run_dir / "env.tar.gz"
    conda_pack.pack(prefix=str(prefix), output=str(archive), compress_level=1)
    shutil.rmtree(prefix)
    spec = context(environment=archive)(remember)()
    load(node_store=str(run_dir / "store"), max_workers_per_node=1)
    _, file, interpreter, _ = context_app(context=spec)(where)().result()
    said, top, text, binary = context_app(context=spec)(run_script)().result()
    assert top.startswith(f"{run_dir}/store/")
    assert file == f"{top}/{SITE}/farmost.py"
    assert os.path.dirname(interpreter) == f"{top}/bin"
    assert said == f"42 {top}\n"
    assert text == f"data = {top}/share\nmore = {top}/lib\n".encode()
    if not keeps_cache:
        assert binary == files_of(str(prefix))[BINARY], "conda-pack does not know which binary files have the place"
        return
    assert binary.startswith(b"\x7fhead\xff" + f"{top}/lib/farmost".encode() + b"\0")
    assert binary.endswith(b"\0tail")
    assert len(binary) == len(files_of(PLACEHOLDER)[BINARY]), "no byte after it has moved"
