"""Managers are sent the content that their calls name: once, needs first, and told when it is forgotten."""

import pytest

from parsl_context.interchange.content import Content
from parsl_context.interchange.manager_side import Session
from parsl_context.pool.description import describe_node
from parsl_context.pool.settings import parse_settings
from parsl_context.wire import messages as m
from tests.unit.builders import GIVEN

SETTINGS = parse_settings(
    ["-a", "host", "-P", "1", "--cert_dir", "None", "--cpu-affinity", "none"], started_at=0.0, given=GIVEN
)


class Links:
    """The managers that have joined, and what each was sent."""

    def __init__(self, *names):
        self.sessions = {name: Session(describe_node(SETTINGS, m.ManagerId(name), None)) for name in names}
        self.sent = []
        self.near = set()

    def is_near(self, manager):
        return manager in self.near

    def send(self, manager, message, frames=None):
        self.sent.append((manager, message, frames))
        return True

    def told(self):
        """What was sent since the last time, in short."""
        sent, self.sent = self.sent, []
        return [(manager, _short(message)) for manager, message, _ in sent]


def _short(message):
    match message:
        case m.DeclareContext():
            return f"context {message.context}"
        case m.StoreBlobs():
            return f"blob {message.blobs[0].digest}"
        case m.ForgetBlobs():
            return f"forget {' '.join(message.digests)}"


@pytest.fixture
def links():
    return Links("m1", "m2")


@pytest.fixture
def content(links):
    """A network that needs a tokenizer, and the body of an app."""
    made = Content(links)
    for digest in ("net", "words", "body"):
        made.store(m.Blob(digest, digest), digest.encode())
    made.declare("words", m.ContextOptions(name="words()", reuse="memory"))
    made.declare("net", m.ContextOptions(name="net('a.pt')", reuse="memory", requires=("words",)))
    return made


EVERYTHING = ["blob words", "context words", "blob net", "context net", "blob body"]


def test_what_a_context_needs_comes_before_it_and_nothing_is_sent_twice(content, links):
    content.provide("m1", "body", ("net",))
    assert links.told() == [("m1", told) for told in EVERYTHING]
    content.provide("m1", "body", ("words", "net"))
    assert links.told() == []
    content.provide("m2", None, ("words",))
    assert links.told() == [("m2", told) for told in EVERYTHING[:2]]


def test_a_manager_that_is_gone_is_sent_nothing(content, links):
    content.provide("m3", "body", ("net",))
    assert links.told() == []


def test_what_is_forgotten_is_forgotten_where_it_is_known(content, links):
    content.provide("m1", None, ("words",))
    links.told()
    content.forget(["words", "body"])
    assert links.told() == [("m1", "forget words")]
    assert not content.has("body")
    assert content.has("net")
    assert (content.name("words"), content.name("net")) == ("words", "net('a.pt')")


def test_the_size_that_was_measured_goes_with_the_declaration(content, links):
    content.note_size("words", 5_000)
    content.note_size("unknown", 5_000)
    content.provide("m1", None, ("words",))
    declared = [message for _, message, _ in links.sent if isinstance(message, m.DeclareContext)]
    assert [message.size_bytes for message in declared] == [5_000]


def test_the_last_build_error_is_kept_and_told_with_the_number_of_attempts(content):
    for host in ("n1", "n2"):
        failure = m.BuildFailed(
            context="net", name="net", manager="m1", host=host, block="0", attempts=0, died=None, error=None
        )
        content.note_build_error(failure, [host.encode()])
    kept, frames = content.build_error("net", 3)
    assert (kept.host, kept.attempts, frames) == ("n2", 3, [b"n2"])


STRETCH = m.Stretch("path:/run/modules", 100, 4)


def sent(links):
    """What was sent, whole."""
    told, links.sent = links.sent, []
    return [(manager, message, [bytes(frame) for frame in frames or ()]) for manager, message, frames in told]


def test_what_is_in_a_file_is_sent_to_this_host_alone(content, links):
    content.store(m.Blob("module", "module", is_file=True, stretch=STRETCH), b"code")
    links.near = {"m1"}
    content.provide("m1", "module", ())
    content.provide("m2", "module", ())
    assert sent(links) == [
        ("m1", m.StoreBlobs(blobs=[m.Blob("module", "module", is_file=True)]), [b"code"]),
        ("m2", m.StoreBlobs(blobs=[m.Blob("module", "module", is_file=True, stretch=STRETCH)]), [b""]),
    ]


def test_who_cannot_have_it_from_there_is_sent_it_all_the_same(content, links):
    content.store(m.Blob("module", "module", is_file=True, stretch=STRETCH), b"code")
    content.provide("m2", "module", ())
    sent(links)
    content.give("m2", "module")
    content.forget(["module"])
    content.give("m2", "module")
    assert sent(links) == [
        ("m2", m.StoreBlobs(blobs=[m.Blob("module", "module", is_file=True)]), [b"code"]),
        ("m2", m.ForgetBlobs(digests=["module"]), []),
        ("m2", m.ContentGone(digest="module"), []),
    ]
