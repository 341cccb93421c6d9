"""Blocks launched ahead of Parsl's scaling, and how long a block lives."""

import types

import pytest

from parsl_context.errors import ConfigurationError
from parsl_context.executor.blocks import BlocksAhead, check_paths, walltime_s


class Provider:
    """Launches blocks as long as there is room."""

    def __init__(self, room: int) -> None:
        self.launched: list[str] = []
        self.room = room

    def launch(self, wanted: int) -> list[str]:
        new = [str(number) for number in range(len(self.launched), min(self.room, len(self.launched) + wanted))]
        self.launched += new
        return new


def test_blocks_launched_ahead_are_given_before_others_are_launched():
    provider = Provider(room=10)
    ahead = BlocksAhead(provider.launch)
    ahead.launch(3)
    assert ahead.take(2) == ["0", "1"]
    assert provider.launched == ["0", "1", "2"]
    assert ahead.take(2) == ["2", "3"]
    assert ahead.take(1) == ["4"]


def test_a_block_that_could_not_be_launched_ahead_is_not_tried_twice_for_one_request():
    provider = Provider(room=1)
    ahead = BlocksAhead(provider.launch)
    ahead.launch(2)
    provider.room = 5
    assert ahead.take(2) == ["0"], "Parsl counts the one that failed, as if it had been launched now"
    assert ahead.take(1) == ["1"]


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [
        ("01:30:00", 5400.0),
        ("10:00", 600.0),
        ("45", 45.0),
        ("2-00:00:10", 172_810.0),
        ("1-12:00:00", 129_600.0),
        ("two hours", None),
        ("", None),
        (None, None),
        (3600, None),
    ],
)
def test_the_walltime_of_a_provider_is_read_where_it_tells_it(walltime, seconds):
    assert walltime_s(types.SimpleNamespace(walltime=walltime)) == seconds


def test_a_provider_without_walltime_and_no_provider_tell_nothing():
    assert walltime_s(types.SimpleNamespace()) is None
    assert walltime_s(None) is None


@pytest.mark.parametrize("label", ["my label", "a/b", "a$b", "it's", 'a"b', "a{0}", "a;b", "tab\tbed"])
def test_a_label_that_would_break_the_command_of_a_block_is_refused(label):
    with pytest.raises(ConfigurationError, match="label"):
        check_paths(label, {})


@pytest.mark.parametrize("path", ["/home/my runs", "/home/$USER/x", "/a'b", "/a{b}", "/a\nb", "/a(1)"])
def test_a_path_that_would_break_the_command_of_a_block_is_refused(path):
    with pytest.raises(ConfigurationError, match=r"the run.*run_dir"):
        check_paths("label", {"the run": path})


def test_names_that_a_shell_leaves_alone_are_taken():
    check_paths(
        "blocks-1.a_b@c", {"the run": "/home/grün/50%/a+b,c=d", "the certificates": None, "scripts": "relative"}
    )
