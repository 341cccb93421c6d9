"""Opens pages in a headless Chromium: how long that takes, what they ask the network for, what they look like.

It speaks the browser's DevTools protocol over a pipe, so that it takes no package and no port. The browser is
`$CHROMIUM`, or the `chromium` or `google-chrome` that is found; who needs one asks `find_browser` first.

A page is open when it says so (`data-ready` on its body) and two frames have been drawn since: the time from the
command to open it up to there counts reading, unpacking, layout and drawing, and the browser's own work between these.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPENINGS = 9  # that count, after one to warm up
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SWITCHES = (
    "--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--mute-audio", "--lang=en-GB",
    "about:blank",
)  # fmt: skip
_WITHIN_MS = 60_000
_READY = f"""new Promise((done) => {{
  const look = () => document.body && document.body.dataset.ready
    ? requestAnimationFrame(() => requestAnimationFrame(() => done(true)))
    : performance.now() < {_WITHIN_MS} ? setTimeout(look, 5) : done(false);
  look();
}})"""


def find_browser() -> str | None:
    """The path of a Chromium; None if there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in _NAMES if (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Opened:
    """A page that was opened."""

    took_s: float  # from the command to open it until what it shows is drawn. [s]
    requests: list[str]  # what it asked for, beyond itself
    errors: list[str]  # that its script did not catch, and what it wrote as an error


class BrowserError(Exception):
    """The browser refused something, or is gone."""


class Browser:
    """A Chromium and its pages, one at a time; a context manager.

    Parameters
    ----------
    program
        Its path.
    """

    def __init__(self, program: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        theirs, self._out = (_high(end) for end in os.pipe())
        self._in, answers = (_high(end) for end in os.pipe())
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses to have one as root
        self._pid = os.posix_spawn(
            program,
            [program, f"--user-data-dir={self._folder.name}", *sandbox, *_SWITCHES],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs, 3),
                (os.POSIX_SPAWN_DUP2, answers, 4),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setpgroup=0,
        )
        os.close(theirs)
        os.close(answers)
        self._buffer = b""
        self._sent = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        os.killpg(self._pid, signal.SIGKILL)  # it has nothing to keep
        os.waitpid(self._pid, 0)
        os.close(self._in)
        os.close(self._out)
        self._folder.cleanup()

    def version(self) -> str:
        """What it calls itself."""
        return str(self._ask("Browser.getVersion")["product"])

    def open(self, page: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> Opened:
        """Open a page in a tab of its own, which stays until the next is opened.

        Raises
        ------
        BrowserError
            If there is no such page, or it does not say within a minute that it is ready.
        """
        before, self._session = self._session, None
        made = self._ask("Target.createTarget", {"url": "about:blank"})
        joined = self._ask("Target.attachToTarget", {"targetId": made["targetId"], "flatten": True})
        if before is not None:
            self._ask("Target.detachFromTarget", {"sessionId": before})
        self._session, self._events = joined["sessionId"], []
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._ask(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", size)
        self._ask("Emulation.setEmulatedMedia", {"features": scheme})
        began = time.perf_counter()
        answer = self._ask("Page.navigate", {"url": page.resolve().as_uri()})
        if "errorText" in answer:
            raise BrowserError(f"{page}: {answer['errorText']}")
        is_open = self.value(_READY)
        took_s = time.perf_counter() - began
        if not is_open:
            raise BrowserError(f"{page} was not open after {took_s:.0f} s; its errors: {self._errors()}")
        return Opened(took_s, self._requests(page), self._errors())

    def value(self, expression: str) -> Any:
        """What an expression comes to in the page, awaited."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self._ask("Runtime.evaluate", asked)
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def picture(self, path: Path) -> None:
        """Write what the whole page looks like, as PNG."""
        shot = self._ask("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send the page any command of the DevTools protocol."""
        return self._ask(method, parameters)

    def _requests(self, page: Path) -> list[str]:
        urls = [each["params"]["request"]["url"] for each in self._of("Network.requestWillBeSent")]
        return [url for url in urls if url != page.resolve().as_uri()]

    def _errors(self) -> list[str]:
        thrown = [str(each["params"]["exceptionDetails"]) for each in self._of("Runtime.exceptionThrown")]
        logged = [each["params"]["entry"] for each in self._of("Log.entryAdded")]
        return thrown + [entry["text"] for entry in logged if entry["level"] == "error"]

    def _of(self, method: str) -> list[dict[str, Any]]:
        return [each for each in self._events if each["method"] == method]

    def _ask(self, method: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": parameters or {}}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._sent:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            if "method" in answer and answer.get("sessionId") == self._session:
                self._events.append(answer)

    def _receive(self) -> dict[str, Any]:
        parts = [self._buffer]
        while b"\0" not in parts[-1]:
            data = os.read(self._in, 1 << 20)
            if not data:
                raise BrowserError("The browser has ended. Start it by hand to see why.")
            parts.append(data)
        message, _, self._buffer = b"".join(parts).partition(b"\0")
        return dict(json.loads(message))


def opening_s(browser: Browser, page: Path, openings: int = OPENINGS) -> list[float]:
    """How long it takes to open a page, each time anew; the first time, which warms up, does not count. [s]

    Raises
    ------
    BrowserError
        If the page asks for anything beyond itself, or its script fails.
    """
    found = [browser.open(page) for _ in range(openings + 1)]
    for each in found:
        if each.requests or each.errors:
            raise BrowserError(f"{page} asked for {each.requests}, with errors {each.errors}")
    return [each.took_s for each in found[1:]]


def middle(times: list[float]) -> float:
    """Their median. [s]"""
    return statistics.median(times)


def _high(end: int) -> int:
    """The same end of a pipe under a number that the browser's own two do not take."""
    made = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(end)
    return made
