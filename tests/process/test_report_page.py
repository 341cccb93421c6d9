"""The report's page in a browser: it opens, asks for nothing, fits narrow windows, and can be read in the dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.browser import Browser, BrowserError, find_browser
from parsl_context.report import records as r
from parsl_context.report.analysis import analyse
from parsl_context.report.making import write_page
from parsl_context.wire.messages import WorkerId
from tests.unit.report import samples as s

PROGRAM = find_browser()
pytestmark = [pytest.mark.process, pytest.mark.skipif(PROGRAM is None, reason="no Chromium is here, see $CHROMIUM")]
CONTRAST = """(() => {
  const light = (text) => {
    const parts = text.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const as = (name) => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(--${name})`;
    const found = light(getComputedStyle(probe).color);
    probe.remove();
    return found;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const names = ["ink", "faint", "calls", "builds", "idle", "ended", "waiting", "memory"];
  const least = (name) => Math.min(...["ground", "panel"].map((on) => ratio(as(name), as(on))));
  return Object.fromEntries(names.map((name) => [name, least(name)]));
})()"""  # the least of WCAG 2.2, "contrast ratio", on what it lies on


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert PROGRAM is not None
    with Browser(PROGRAM) as found:
        yield found


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Of a run with something in each of its parts."""
    records: list[r.Record] = [
        s.began(),
        s.known(),
        s.work(),
        s.work(2, "caption_the_pictures_of_all_that_there_are"),
        s.work(3),
        r.BlockSeen(at=0.5, block="0", state="RUNNING", job="12345678"),
        s.joined(host="nid001001.cluster.example.org"),
        *s.built(2.0, size_bytes=10**9),
        *s.built(2.5, worker=None, size_bytes=10**9),
        s.ended([(3.0 + n, n, 0.9) for n in range(40)]),
        s.ended([(3.0 + n / 100, 100 + n, 0.001) for n in range(4000)], what=2, worker=1),
        s.ended([(8.0 + n / 10, 5000 + n, 0.05) for n in range(5)], what=3, worker=1),
        s.pulse(9.0, (1, 5, 20, 3.0), held=2),
        r.Dropped(at=44.0, manager=1, context=s.MODEL, worker=WorkerId(0), was_evicted=True),
        r.Ended(at=45.0, reason="the executor shut down"),
    ]
    report, _ = analyse(records)
    report.advice = ["Raise context_memory_gb."]
    write_page(report, tmp_path / "report.html")
    return tmp_path / "report.html"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 700, 420])
def test_the_page_opens_by_itself_and_fits(browser: Browser, page: Path, width: int, dark: bool) -> None:
    opened = browser.open(page, width=width, dark=dark)
    assert (opened.requests, opened.errors) == ([], [])
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.querySelectorAll('.uplot').length") == 4
    text = str(browser.value("document.body.innerText"))
    for word in ("nid001001.cluster.example.org", "shared", "running when the run ended", "Raise context_memory_gb."):
        assert word in text, word
    assert "65535" not in text


@pytest.mark.parametrize("dark", [False, True])
def test_what_is_written_and_drawn_can_be_read(browser: Browser, page: Path, dark: bool) -> None:
    """Contrast to what it lies on: 4.5 of text, 3 of lines and areas, 2.2 of what stands for nothing done."""
    browser.open(page, dark=dark)
    found = browser.value(CONTRAST)
    least = dict.fromkeys(("calls", "builds", "ended", "waiting", "memory"), 3.0)
    least |= {"ink": 7.0, "faint": 4.5, "idle": 2.2}
    assert {name: ratio for name, ratio in found.items() if ratio < least[name]} == {}


def test_charts_change_with_the_colour_scheme(browser: Browser, page: Path) -> None:
    browser.open(page)
    drawn = "document.querySelector('.uplot canvas').toDataURL()"
    light = browser.value(drawn)
    browser.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
    assert browser.value(drawn) != light


def test_apps_of_one_name_are_one_entry_of_the_legend(browser: Browser, page: Path) -> None:
    browser.open(page)
    entries = str(browser.value("document.getElementById('legend').innerText"))
    assert entries.count("calls of ") == 2


def test_a_page_that_is_not_there_is_an_error(browser: Browser, tmp_path: Path) -> None:
    with pytest.raises(BrowserError, match="ERR_FILE_NOT_FOUND"):
        browser.open(tmp_path / "nothing.html")
