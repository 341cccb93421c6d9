"""Where the store of a node lies: what the user says first, then the node's own disks."""

import os
from pathlib import Path

import pytest

from parsl_context.distribute.places import (
    Place,
    check_node_store,
    found_places,
    from_option,
    given_places,
    kind_of_file_system,
    to_option,
)
from parsl_context.errors import ConfigurationError

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
nid:/home /home nfs4 rw 0 0
lustre@o2ib:/scratch /lustre lustre rw 0 0
/dev/nvme0n1 /mnt/bb xfs rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/nvme1n1 /local/a\\040disk ext4 rw 0 0
"""


def found(environment, folders):
    """Folders that are found on a node that has these."""
    places = found_places(
        environment,
        user="ada",
        uid=7,
        temporary="/tmp",
        kind_of=lambda folder: kind_of_file_system(folder, MOUNTS) if folder in folders else None,
    )
    return [place.folder.removesuffix("/parsl-context-store-7") for place in places]


def test_a_node_that_tells_nothing_has_its_temporary_folder():
    assert found({}, ["/tmp"]) == ["/tmp"]


@pytest.mark.parametrize("name", ["SLURM_TMPDIR", "LOCAL_SCRATCH", "LOCALWORKDIR", "PBS_JOBDIR", "TMPDIR"])
def test_a_disk_that_a_variable_names_comes_before_the_temporary_folder(name):
    assert found({name: "/var/job.7/"}, ["/var/job.7/", "/tmp"]) == ["/var/job.7", "/tmp"]


def test_disks_that_sites_have_are_found():
    assert found({}, ["/mnt/bb/ada", "/tmp"]) == ["/mnt/bb/ada", "/tmp"]
    assert found({}, ["/local/scratch", "/tmp"]) == ["/local/scratch", "/tmp"]


def test_a_disk_of_the_job_comes_before_the_folders_of_the_node():
    environment = {"TMPDIR": "/tmp/job", "SLURM_TMPDIR": "/var/job"}
    folders = ["/tmp/job", "/var/job", "/mnt/bb/ada"]
    assert found(environment, folders) == ["/var/job", "/mnt/bb/ada", "/tmp/job", "/tmp"]


def test_a_shared_file_system_is_no_disk_of_the_node():
    """PBS_JOBDIR is the home folder, unless the job asks for a sandbox."""
    folders = ["/home/ada", "/lustre/ada"]
    assert found({"PBS_JOBDIR": "/home/ada", "TMPDIR": "/lustre/ada"}, folders) == ["/tmp"]


def test_what_is_not_there_is_not_made():
    assert found({"SLURM_TMPDIR": "/gone", "TMPDIR": "relative"}, ["relative"]) == ["/tmp"]


def test_the_kind_of_a_file_system_is_that_of_the_nearest_mount():
    kinds = [kind_of_file_system(path, MOUNTS) for path in ("/homes", "/home/x", "/home", "/local/a disk/x", "/tmp")]
    assert kinds == ["ext4", "nfs4", "nfs4", "ext4", "tmpfs"]


def test_variables_and_the_home_folder_are_those_of_the_node():
    environment = {"SLURM_TMPDIR": "/var/job", "HOME": "/home/ada", "USER": "ada"}
    texts = ["$SLURM_TMPDIR/x", "${SLURM_TMPDIR}y/../z", "~/store", "/dev/shm/$USER"]
    folders = [place.folder for place in given_places(texts, "node_store", environment)]
    assert folders == ["/var/job/x", "/var/z", "/home/ada/store", "/dev/shm/ada"]


@pytest.mark.parametrize(
    ("text", "says"), [("$NVME/x", "NVME is not set on this node"), ("store", "it is no absolute path")]
)
def test_what_cannot_be_expanded_is_said(text, says):
    (place,) = given_places([text], "node_store", {})
    assert place == Place(text, "node_store", f"{text} cannot be used: {says}")


@pytest.mark.parametrize("text", ["$SLURM_TMPDIR/x", "~/a b", "/x/{job}'\"", "/x/%24", "/ä"])
def test_a_folder_passes_through_shells_as_it_is(text):
    assert from_option(to_option(text)) == text
    assert not set(to_option(text)) & set("$~ {}'\"`\\&;")


def test_a_path_or_some_are_taken():
    taken = [None, "/a", Path("/a"), ["/a", Path("/b")], ("$X",)]
    assert [check_node_store(each) for each in taken] == [(), ("/a",), ("/a",), ("/a", "/b"), ("$X",)]


@pytest.mark.parametrize("value", [7, [], [7], "", ["/a", ""], {"/a": 1, 2: 3}], ids=str)
def test_what_is_no_path_is_refused(value):
    with pytest.raises(ConfigurationError, match="must be a path or a list of paths"):
        check_node_store(value)


def test_the_mounts_of_this_machine_can_be_read():
    assert kind_of_file_system(os.path.realpath("/proc"), Path("/proc/self/mounts").read_text()) == "proc"
