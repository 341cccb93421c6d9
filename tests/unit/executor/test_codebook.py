"""Functions and contexts are serialized once, sent once, and forgotten when nobody needs them."""

import functools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import cloudpickle
import pytest
from parsl.app.errors import wrap_error
from parsl.app.python import timeout
from parsl.monitoring.remote import monitor_wrapper
from parsl.serialize.errors import SerializationError

from parsl_context.apps.app import context_app
from parsl_context.apps.decorator import context
from parsl_context.apps.portable import process_contexts
from parsl_context.content.carried import unpack_code
from parsl_context.content.digests import digest_bytes
from parsl_context.content.serialization import unpack_value
from parsl_context.errors import ContextSerializationError
from parsl_context.executor import packing
from parsl_context.executor.codebook import PARTS, CodeBook
from parsl_context.retain import calls
from parsl_context.retain.instances import Instances, build
from parsl_context.wire import messages as m
from tests.unit.builders import script


class Wire:
    """What a code book sends, and the digests that calls on their way name."""

    def __init__(self, reuse="memory"):
        self.messages = []
        self.blobs = {}
        self.in_use = set()
        self.book = CodeBook(self.send, lambda: self.in_use, reuse)

    def send(self, message, frames):
        self.messages.append(message)
        if isinstance(message, m.StoreBlobs):
            self.blobs |= {blob.digest: bytes(frame) for blob, frame in zip(message.blobs, frames, strict=True)}

    def code(self, function, **kwargs):
        return self.book.code(function, (), kwargs)[0]

    def of(self, kind):
        return [message for message in self.messages if isinstance(message, kind)]

    @property
    def labels(self):
        """What was stored, but for the parts of it."""
        labels = [blob.label for message in self.of(m.StoreBlobs) for blob in message.blobs]
        return [label for label in labels if label not in PARTS]

    def unpacked(self, code):
        """What a worker has of some code."""
        _, stream = unpack_code(self.blobs[code.digest])
        return unpack_value([stream])

    @property
    def forgotten(self):
        return {digest for message in self.of(m.ForgetBlobs) for digest in message.digests}


def label_of(message):
    [blob] = message.blobs
    return blob.label


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def packings(monkeypatch):
    """Counts what is pickled."""
    made = []
    monkeypatch.setattr(packing, "carry", lambda *a, carry=packing.carry, **k: made.append(a) or carry(*a, **k))
    return made


@context
def model(path, *others):
    return f"model {path}"


def body(model, x):
    return model, x


def app(*contexts, function=body, **options):
    given = contexts[0] if len(contexts) == 1 else {f"c{i}": made for i, made in enumerate(contexts)}
    return context_app(function, context=given, **options).func


def function(number):
    return script(f"def f{number}(x): return x + {number}", f"f{number}")


RADIO = SimpleNamespace()
WRAPPERS = {
    "errors": wrap_error,
    "walltime": lambda f: timeout(f, 5),
    "computed walltime": lambda f: timeout(f, float("2.5")),
    "monitoring": lambda f: monitor_wrapper(
        f=f, args=(), kwargs={}, x_try_id=0, x_task_id=1, radio_config=RADIO, run_id="r", logging_level=20,
        sleep_dur=10.0, monitor_resources=True, run_dir="runinfo",
    )[0],
}  # fmt: skip
WRAPPERS["all of them"] = lambda f: WRAPPERS["monitoring"](WRAPPERS["walltime"](wrap_error(f)))


@pytest.mark.parametrize("made", [function(1), body, functools.partial(max, 3)], ids=["script", "module", "partial"])
def test_an_ordinary_function_is_sent_once(wire, made):
    code = wire.code(made)
    assert wire.code(made).digest == code.digest == digest_bytes(wire.blobs[code.digest])
    assert (code.contexts, code.fresh, code.chunked) == ((), False, False)
    assert len(wire.labels) == 1
    arguments = (1, 2) if made is body else (1,)
    assert wire.unpacked(code)(*arguments) == made(*arguments)


def test_a_context_is_stored_and_declared_before_the_body_that_needs_it(wire):
    base = model("base")
    top = context(model, reuse="none", memory_gb=3)("top", base)
    func = app(top)
    assert wire.code(func).contexts == (top.digest,)
    assert wire.labels == ["model('base')", "model('top', model('base'))", "body"]
    sent = [
        m.DeclareContext if isinstance(message, m.DeclareContext) else label_of(message) for message in wire.messages
    ]
    assert [each for each in sent if each not in PARTS] == [
        "model('base')",
        m.DeclareContext,
        "model('top', model('base'))",
        m.DeclareContext,
        "body",
    ]
    assert wire.of(m.DeclareContext) == [
        m.DeclareContext(context=base.digest, options=m.ContextOptions(name=base.name, reuse="memory")),
        m.DeclareContext(
            context=top.digest,
            options=m.ContextOptions(name=top.name, reuse="none", requires=(base.digest,), memory_gb=3),
        ),
    ]
    wire.code(func)
    assert len(wire.messages) == len(sent)


def test_equal_contexts_are_sent_once(wire):
    assert wire.code(app(model("a"))).contexts == wire.code(app(model("a"), function=lambda model: model)).contexts
    assert wire.labels == ["model('a')", "body", "<lambda>"]


@pytest.mark.parametrize("default", ["memory", "none"])
@pytest.mark.parametrize("own", [None, "memory", "none"])
def test_a_call_is_fresh_where_its_context_is_not_kept(default, own):
    wire = Wire(reuse=default)
    assert wire.code(app(context(model, reuse=own)("a"))).fresh is ((own or default) == "none")
    assert wire.of(m.DeclareContext)[0].options.reuse == (own or default)


def test_chunks_are_code_of_their_own(wire):
    single, chunk = wire.code(app(model("a"))), wire.code(app(model("a")).as_chunk())
    assert (single.chunked, chunk.chunked) == (False, True)
    assert single.digest != chunk.digest


def test_contexts_that_waited_are_settled_by_the_arguments_of_the_call(wire):
    late = app(model(Future()))
    key, value = "_parsl_context_argument_0", "trained.pt"
    code, _, kwargs = wire.book.code(late, (), {"x": 1, key: value})
    assert kwargs == {"x": 1}
    assert code.contexts == (model("trained.pt").digest,)
    assert wire.book.code(late, (), {"x": 2, key: value})[0] is code
    assert wire.book.code(late, (), {key: "other.pt"})[0].contexts == (model("other.pt").digest,)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_what_parsl_wraps_around_a_context_app_anew_for_each_call_is_serialized_once(wire, packings, wrap):
    func = app(model("a"))
    codes = [wire.code(wrap(func)) for _ in range(5)]
    assert len({code.digest for code in codes}) == 1
    assert codes[0].contexts == (model("a").digest,)
    assert [type(value).__name__ for value, *_ in packings] == ["function"]
    assert wire.labels == ["model('a')", "body"]


@pytest.mark.parametrize("wrap", [wrap_error, WRAPPERS["walltime"], lambda f: functools.partial(f, x=1)])
def test_a_wrapped_context_app_finds_its_context_on_a_worker(wire, wrap, monkeypatch):
    code = wire.code(wrap(app(model("a"))))
    instances = Instances()
    instances.add(code.contexts[0], build("a", lambda: "the instance"))
    monkeypatch.setattr(calls, "resident", instances)
    assert wire.unpacked(code)(x=1) == ("the instance", 1)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
@pytest.mark.parametrize("made", [function(1), body], ids=["script", "module"])
def test_what_parsl_wraps_around_an_ordinary_app_is_sent_once(wire, wrap, made):
    assert len({wire.code(wrap(made)).digest for _ in range(5)}) == 1
    assert len(wire.labels) == 1


def test_what_cannot_be_sent_is_named(wire):
    lock = threading.Lock()
    with pytest.raises(ContextSerializationError, match=r"^The body locked cannot.*lock"):
        wire.code(app(model("a"), function=functools.wraps(script("def locked(m): 1", "locked"))(lambda m: lock)))
    with pytest.raises(ContextSerializationError, match=r"^Argument 1 of context model\('a', <lock>\)"):
        wire.code(app(model("a", lock)))
    with pytest.raises(SerializationError, match="f"):
        wire.code(script("def f(): return generator", "f", generator=(i for i in range(3))))
    assert wire.labels == []


def test_an_argument_that_cannot_be_sent_is_named_with_the_place_in_it(wire):
    given = [1, {"locks": [threading.Lock(), (i for i in range(3))]}]
    func = script("def f(*args, **kwargs): 1", "f")
    code = wire.code(func)
    with pytest.raises(
        ContextSerializationError, match=r"^Argument 1 of a call of f, of type builtins.dict, \['locks'\]\[1\],"
    ):
        wire.book.pack_arguments(func, code, tuple(given), {})
    with pytest.raises(ContextSerializationError, match=r"^Argument 'x' of a call of f, .*: cannot pickle 'generator'"):
        wire.book.pack_arguments(func, code, (1,), {"y": 2, "x": given[1]})


def test_threads_that_call_one_app_send_it_once(wire):
    func, start = app(model("a")), threading.Barrier(8)
    with ThreadPoolExecutor(8) as threads:
        codes = list(threads.map(lambda _: start.wait(timeout=10) is not None and wire.code(func), range(8)))
    assert len({id(code) for code in codes}) == 1
    assert wire.labels == ["model('a')", "body"]


def test_a_context_can_be_sent_ahead_of_calls(wire):
    top = model("top", model("base"))
    assert wire.book.provide(top) == wire.book.provide(top) == top.digest
    assert wire.labels == ["model('base')", "model('top', model('base'))"]


# --- code that knows itself, and code of the user's that runs while code is packed

SCRIPT = """
@context
def held(): return "held"
@context_app(context=held())
def even(held, n): return n == 0 or odd.func(n - 1)
@context_app(context=held())
def odd(held, n): return n != 0 and even.func(n - 1)
@context
def knows(): return user.__name__
@context_app(context=knows())
def user(name): return name
"""


def app_of_script(name):
    return script(SCRIPT, name, context=context, context_app=context_app)


def on_a_worker(wire, code, *contexts):
    """What the code is on a worker that holds these contexts."""
    instances = Instances()
    for made in contexts:
        instances.add(made.digest, build(made.name, lambda made=made: made.build({}.__getitem__)))
    calls.resident = instances
    return wire.unpacked(code)


@pytest.fixture(autouse=True)
def no_worker():
    yield
    calls.resident = None


def test_apps_that_call_each_other_run_on_the_contexts_of_their_worker(wire):
    even = app_of_script("even")
    code = wire.code(even.func)
    run = on_a_worker(wire, code, *even.contexts)
    assert [run(n) for n in range(4)] == [True, False, True, False]
    assert len(process_contexts) == 0, "nothing was built beside them"


def test_an_app_that_knows_itself_has_one_digest_in_all_threads(wire):
    even = app_of_script("even")
    with ThreadPoolExecutor(8) as pool:
        codes = {future.result(timeout=10).digest for future in [pool.submit(wire.code, even.func) for _ in range(8)]}
    assert codes == {Wire().code(even.func).digest}


def test_a_context_whose_function_knows_an_app_that_uses_it_has_a_digest(wire):
    user = app_of_script("user")
    (made,) = user.contexts
    assert made.digest == app_of_script("user").contexts[0].digest
    code = wire.code(user.func)
    assert code.contexts == (made.digest,)
    assert on_a_worker(wire, code, made)() == "user"


class Calls:
    """An object that makes a call when it is pickled."""

    def __init__(self, wire, app):
        self.wire, self.app = wire, app

    def __reduce__(self):
        self.wire.code(self.app)
        return str, ("made a call",)


def test_code_of_the_user_may_make_calls_while_code_is_packed(wire):
    other = app(model("a"))
    captured = Calls(wire, other)
    given = app(model(Calls(wire, other)), function=lambda held: captured)
    with ThreadPoolExecutor(1) as pool:
        code = pool.submit(wire.code, given).result(timeout=10)
    assert on_a_worker(wire, code, model("b")) is not None
    assert sorted(wire.labels) == ["<lambda>", "body", "model('a')", "model(<Calls>)"]


def test_packing_leaves_the_registry_of_cloudpickle_alone(wire):
    """It is one for the process: other threads would pickle otherwise than they should."""
    before = dict(cloudpickle.list_registry_pickle_by_value())
    seen = []

    class Looks:
        def __reduce__(self):
            seen.append(dict.fromkeys(cloudpickle.list_registry_pickle_by_value()))
            return str, ()

    looks = Looks()
    wire.code(app(model("a"), function=lambda held: looks))
    assert seen == [dict.fromkeys(before)]
