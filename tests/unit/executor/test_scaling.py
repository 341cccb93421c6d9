"""Who has blocks launched, and how many."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from parsl.jobs.states import JobState, JobStatus

from parsl_context.executor.scaling import Scaling, as_started
from parsl_context.wire.messages import BlockNews, News
from tests.process.conftest import wait_for


class Provider:
    """Launches blocks as long as there is room, and has an executor's scaling do it."""

    def __init__(self, room: int = 10, *, may_have: int = 10) -> None:
        self.launched: list[str] = []
        self.room = room
        self.useful = 100
        self.over: list[str] = []
        self.may_have = may_have
        self.scaling = Scaling(
            self.launch, lambda: len(self.launched) < self.may_have, lambda n: min(n, self.useful), self.over.append
        )

    def launch(self, wanted: int) -> list[str]:
        new = [str(number) for number in range(len(self.launched), min(self.room, len(self.launched) + wanted))]
        self.launched += new
        return new

    def parsl_looks(self) -> None:
        """Parsl's thread counts calls and blocks."""
        self.scaling.polls()
        self.scaling.counts()

    def hear(self, news: News, block: str = "0") -> None:
        self.scaling.heard(BlockNews(block=block, news=news))


def elsewhere(call: Callable[[], Any]) -> Any:
    """What a call gives in another thread."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def test_blocks_launched_ahead_are_given_before_others_are_launched() -> None:
    provider = Provider()
    provider.scaling.launch_ahead(3)
    assert provider.scaling.take(2) == ["0", "1"]
    assert provider.launched == ["0", "1", "2"]
    assert provider.scaling.take(2) == ["2", "3"]
    assert provider.scaling.take(1) == ["4"]


def test_a_block_that_could_not_be_launched_ahead_is_not_tried_twice_for_one_request() -> None:
    provider = Provider(room=1)
    provider.scaling.launch_ahead(2)
    provider.room = 5
    assert provider.scaling.take(2) == ["0"], "Parsl counts the one that failed, as if it had been launched now"
    assert provider.scaling.take(1) == ["1"]


def test_a_successor_is_launched_only_where_parsl_scales_and_there_is_room() -> None:
    provider = Provider(may_have=1)
    provider.hear(News.SUCCESSOR)
    provider.scaling.polls()
    elsewhere(provider.scaling.counts)  # a user counts
    provider.hear(News.SUCCESSOR)
    provider.hear(News.OVER)
    wait_for(lambda: provider.over == ["0"])
    assert provider.launched == []
    provider.parsl_looks()
    for _ in range(2):
        provider.hear(News.SUCCESSOR)
    provider.hear(News.OVER, "1")
    wait_for(lambda: provider.over == ["0", "1"])
    assert provider.launched == ["0"], "there is room for one"
    provider.scaling.close()


def test_what_is_launched_between_parsls_count_and_its_request_is_not_launched_twice() -> None:
    provider = Provider()
    provider.parsl_looks()
    provider.hear(News.SUCCESSOR)
    wait_for(lambda: provider.launched)
    assert provider.scaling.take(1) == ["0"]
    provider.hear(News.SUCCESSOR)
    wait_for(lambda: len(provider.launched) == 2)
    provider.parsl_looks()
    assert provider.scaling.take(1) == ["2"], "it has counted the second"
    provider.scaling.close()


def test_parsl_gets_no_more_blocks_than_would_find_calls_and_a_user_what_he_asks_for() -> None:
    provider = Provider()
    assert provider.scaling.take(2) == ["0", "1"], "at the start"
    provider.parsl_looks()
    provider.useful = 1
    assert provider.scaling.take(3) == ["2"]
    provider.useful = 0
    assert provider.scaling.take(3) == []
    assert elsewhere(lambda: provider.scaling.take(2)) == ["3", "4"]


def test_nothing_is_launched_after_everything_was_given_up() -> None:
    provider = Provider()
    provider.parsl_looks()
    with provider.scaling.giving_up(everything=True):
        provider.hear(News.SUCCESSOR)
    provider.hear(News.OVER)
    wait_for(lambda: provider.over)
    assert provider.launched == []
    provider.parsl_looks()
    with provider.scaling.giving_up(everything=False):
        provider.hear(News.SUCCESSOR)
        elsewhere(lambda: None)
        assert provider.launched == [], "not meanwhile"
    wait_for(lambda: provider.launched == ["0"])
    provider.scaling.close()
    provider.hear(News.SUCCESSOR)
    assert provider.launched == ["0"]


def test_a_block_that_has_run_calls_did_not_fail_to_start() -> None:
    provider = Provider()
    provider.hear(News.SERVED, "1")
    failed, runs = JobStatus(JobState.FAILED, "node failure"), JobStatus(JobState.RUNNING)
    shown = as_started({"0": failed, "1": failed, "2": runs}, provider.scaling.served)
    assert [job.state for job in shown.values()] == [JobState.FAILED, JobState.COMPLETED, JobState.RUNNING]
    assert shown["1"].message == "node failure"
