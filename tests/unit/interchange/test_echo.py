"""The interchange passes on no more lines than the script can show, and says how many it has dropped."""

from parsl_context.interchange import echo
from parsl_context.interchange.echo import EchoGate
from parsl_context.wire import messages as m


class Fakes:
    """An executor that hears, and a loop whose timers are called by hand."""

    def __init__(self):
        self.heard, self.timers = [], []

    def send(self, message, frames=()):
        self.heard.append((message, list(frames)))

    def call_later(self, delay_s, call):
        self.timers.append(call)


def test_what_is_too_much_is_counted_and_told(monkeypatch):
    monkeypatch.setattr(echo.time, "monotonic", lambda: 5.0)
    fakes = Fakes()
    gate = EchoGate(fakes, fakes)
    frame = b"x" * 500_000
    said = m.Said(manager="m-1", host="node01", lines=100, dropped=7)
    for _ in range(6):
        gate.pass_on(said, [frame])
    assert fakes.heard == [(said, [frame])] * 4
    (tell,) = fakes.timers
    tell()
    assert fakes.heard[4:] == [(m.Said(manager="m-1", host="node01", lines=0, dropped=214), [])]
    gate.pass_on(said, [frame])
    assert len(fakes.timers) == 2
