"""The command `parsl-context`."""

import subprocess
import sys
from importlib import metadata

import pytest

from parsl_context.cli.main import main


def test_it_shows_what_a_manager_would_find(capsys):
    assert main(["node", "--cores-per-worker", "0.5"]) == 0
    output = capsys.readouterr().out
    for word in ("interpreter", "parsl", "cores", "memory", "workers", "store of files", metadata.version("parsl")):
        assert word in output


def test_it_tells_its_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert metadata.version("parsl-context") in capsys.readouterr().out


def test_without_a_command_it_says_what_it_wants(capsys):
    with pytest.raises(SystemExit):
        main([])
    assert "node" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "status"), [(["--version"], 0), (["discover", "no_such_file.py"], 2)])
def test_the_package_is_the_command(arguments, status):
    done = subprocess.run([sys.executable, "-m", "parsl_context", *arguments], capture_output=True, text=True)
    assert done.returncode == status
    assert ("parsl-context" if status == 0 else "no_such_file.py") in done.stdout + done.stderr
