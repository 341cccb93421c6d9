"""The interpreter of an environment: where it is, what it is for, and how a virtual one is given that of the node."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import struct
import sys
from pathlib import Path

from parsl_context.distribute.environments import fitness
from parsl_context.distribute.environments.fitness import Terms

_CONFIGURATION = "pyvenv.cfg"
# e_machine of ELF headers (elf.h), by the names of `platform.machine`.
_MACHINES = {62: "x86_64", 183: "aarch64", 21: "ppc64le", 3: "i686", 243: "riscv64", 22: "s390x"}


def top_of(folder: Path) -> Path | None:
    """The environment in a folder: itself, or the only folder in it; None if there is none."""
    candidates = [folder, *(path for path in _listed(folder) if path.is_dir() and not path.is_symlink())]
    found = [each for each in candidates if _is_environment(each)]
    return found[0] if found and (found[0] == folder or len(found) == 1) else None


def terms_of(top: Path) -> Terms:
    """What an unpacked environment, or a folder, is for, as far as it tells; nothing in it is run."""
    pythons = [path.parent.name.removeprefix("python") for path in sites_of(top)]
    named = _configured(top).get("version_info") or _configured(top).get("version") or ""
    version = re.match(r"\d+\.\d+", named)
    python = version[0] if version else next(iter(pythons), "")
    return Terms(python, _machine_of(python_in(top)), _glibc_of_conda(top))


def python_in(top: Path) -> Path:
    """Its interpreter, by the name under which it is started."""
    return top / "bin" / "python"


def sites_of(top: Path) -> list[Path]:
    """Where it has its packages."""
    return sorted(top.glob("lib/python3*/site-packages"))


def is_virtual(top: Path) -> bool:
    """Whether it is a virtual environment, which has no interpreter of its own."""
    return (top / _CONFIGURATION).is_file()


def base() -> str:
    """The interpreter that runs this process, outside of virtual environments."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def make_virtual(top: Path) -> None:
    """Have a virtual environment run on the interpreter that runs this process."""
    own = base()
    version = fitness.python_of(sys.version_info)
    configuration = top / _CONFIGURATION
    prompt = _configured(top).get("prompt", "packed")
    with contextlib.suppress(FileNotFoundError):
        configuration.unlink()
    configuration.write_text(
        f"home = {os.path.dirname(own)}\n"
        "include-system-site-packages = false\n"
        f"version = {'.'.join(map(str, sys.version_info[:3]))}\n"
        f"prompt = {prompt}\n"
    )
    configuration.chmod(0o400)
    (top / "bin").mkdir(mode=0o700, exist_ok=True)
    for path in [each for each in _listed(top / "bin") if re.fullmatch(r"python[\d.]*", each.name)]:
        path.unlink()
    python_in(top).symlink_to(own)
    for name in ("python3", f"python{version}"):
        (top / "bin" / name).symlink_to("python")
    if (top / "lib64").is_symlink():
        (top / "lib64").unlink()
    (top / "lib64").symlink_to("lib")


def variables(top: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment variables of its processes, as activating it would set them."""
    made = {
        name: value for name, value in environment.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME")
    }
    made["VIRTUAL_ENV" if is_virtual(top) else "CONDA_PREFIX"] = str(top)
    made["PATH"] = f"{top / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return made


def why_unstartable(top: Path) -> str | None:
    """Why the interpreter of a folder cannot be started here; None if it seems that it can."""
    python = python_in(top)
    if shutil.which(python) is not None:
        return None
    if python.is_symlink():
        return (
            f"its interpreter is {os.readlink(python)}, which is not on this node; pack it with "
            "`parsl-context pack --prefix`, or install that Python here"
        )
    return f"it has no interpreter, {python}; give a virtual environment or a conda environment"


def _is_environment(folder: Path) -> bool:
    return is_virtual(folder) or (folder / "conda-meta").is_dir() or os.path.lexists(python_in(folder))


def _configured(top: Path) -> dict[str, str]:
    try:
        lines = (top / _CONFIGURATION).read_text().splitlines()
    except (OSError, UnicodeError):
        return {}
    return {key.strip(): value.strip() for key, found, value in (line.partition("=") for line in lines) if found}


def _machine_of(python: Path) -> str:
    try:
        with python.open("rb") as stream:
            head = stream.read(20)
    except OSError:
        return ""
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return ""
    (number,) = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)
    return _MACHINES.get(number, f"ELF machine {number}")


def _glibc_of_conda(top: Path) -> str:
    """The lowest glibc that conda's packages ask for."""
    lowest: tuple[int, ...] = ()
    for file in top.glob("conda-meta/*.json"):
        with contextlib.suppress(OSError, ValueError):
            for required in json.loads(file.read_text()).get("depends", ()):
                if match := re.match(r"__glibc >=(\d+)\.(\d+)", required):
                    lowest = max(lowest, (int(match[1]), int(match[2])))
    return ".".join(map(str, lowest))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
