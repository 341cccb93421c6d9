"""What user code raises comes out of the bytes as it went in, or what cannot says what it was."""

import importlib
import pickle
import sys
import threading
import traceback
from functools import partial

import parsl.app.python  # registers how exceptions are pickled, as the import of all of Parsl does  # noqa: F401
import pytest
from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize import deserialize, serialize

from parsl_context.content.exceptions import Raised, another, pack_raised, stand_in
from parsl_context.content.serialization import unpack_value
from parsl_context.errors import RemoteError

needs_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.11 brought groups and notes")


class TwoArguments(Exception):
    def __init__(self, code, where):
        super().__init__(f"{code} at {where}")
        self.code = code


class ByKeyword(Exception):
    __slots__ = ("code",)

    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code


class Adds(Exception):
    def __init__(self, text):
        super().__init__(f"failed: {text}")


class OfFile(OSError):
    def __init__(self, path):
        super().__init__(2, "is not here", path)


class OfTwo(OSError, ValueError):
    def __init__(self, number, *, text):
        super().__init__(number, text)


class OwnNew(Exception):
    def __new__(cls, first, second):
        return super().__new__(cls, first)

    def __init__(self, first, second):
        self.second = second


class Leaves(Exception):
    def __init__(self, text, *more):
        super().__init__(text)
        if not more:
            raise SystemExit(4)


class LeavesWhenReduced(Exception):
    def __reduce__(self):
        raise SystemExit(3)


class IsAnother(Exception):
    def __reduce__(self):
        return str, ("no exception",)


class KeepsTraceback(Exception):
    def with_traceback(self, tb):
        raise SystemExit("not mine")


def raised(make):
    try:
        raise make()
    except BaseException as error:
        return error


def again(error):
    value = unpack_value([pack_raised(error)])
    assert type(value) is Raised
    return value.exception()


def where(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


ODD = {
    "two arguments": lambda: TwoArguments(5, "home"),
    "by keyword": lambda: ByKeyword(code=7),
    "adds to its text": lambda: Adds("disk"),
    "an OSError": lambda: OfFile("/nowhere"),
    "of two": lambda: OfTwo(1, text="b"),
    "own new": lambda: OwnNew(1, 2),
    "leaves when it is made": lambda: Leaves("text", 1),
    "leaves when it is reduced": lambda: LeavesWhenReduced("text"),
    "pickles as another": lambda: IsAnother("text"),
    "keeps its traceback": lambda: KeepsTraceback("text"),
    "a plain one": lambda: ValueError("text"),
    "of Python": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    "of an import": lambda: ImportError("no", name="torch", path="/x"),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_an_exception_comes_back_as_it_was_whatever_its_constructor_takes(make):
    error = raised(make)
    back = again(error)
    assert type(back) is type(error)
    assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))
    assert where(back) == ["raised"]
    for name in ("code", "filename", "errno", "name", "path", "reason"):
        assert getattr(back, name, None) == getattr(error, name, None)


class Holds(Exception):
    def __init__(self, text, what):
        super().__init__(text)
        self.what = what


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("of this machine")


def test_what_cannot_be_pickled_says_what_it_was_and_why():
    back = again(raised(lambda: Holds("the text", Unpicklable())))
    assert isinstance(back, RemoteError)
    assert (back.type_name, back.text) == (f"{__name__}.Holds", "the text")
    assert "of this machine" in back.why
    assert where(back) == ["raised"]


def test_a_class_that_is_not_to_be_had_there_leaves_its_text(tmp_path, monkeypatch):
    (tmp_path / "driver_of_a_worker.py").write_text("class DriverError(Exception): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    # As an installed module is: its classes are pickled by name.
    monkeypatch.setattr("parsl_context.content.serialization.is_installed", lambda _: True)
    module = importlib.import_module("driver_of_a_worker")
    packed = pack_raised(raised(partial(module.DriverError, "no device")))
    monkeypatch.delitem(sys.modules, "driver_of_a_worker")
    (tmp_path / "driver_of_a_worker.py").unlink()
    importlib.invalidate_caches()
    back = unpack_value([packed]).exception()
    assert isinstance(back, RemoteError)
    assert (back.type_name, back.text) == ("driver_of_a_worker.DriverError", "no device")
    assert where(back) == ["raised"]


class NoText(Exception):
    def __str__(self):
        raise KeyError("text")

    __repr__ = __str__


class Shy(Exception):
    @property
    def __cause__(self):
        raise SystemExit("not told")


def test_an_exception_without_a_text_is_itself():
    assert type(again(raised(lambda: NoText("x")))) is NoText
    assert type(again(raised(lambda: Shy("x")))) is Shy


def test_what_it_came_from_comes_along():
    try:
        try:
            raised_first = Holds("first", threading.Lock)
            raised_first.what = Unpicklable()
            raise raised_first
        except Holds as first:
            try:
                raise TwoArguments(1, "second") from first
            except TwoArguments:
                raise KeyError("third")  # noqa: B904
    except KeyError as error:
        back = again(error)
    second = back.__context__
    assert (type(back), type(second), type(second.__cause__)) == (KeyError, TwoArguments, RemoteError)
    assert (back.__cause__, back.__suppress_context__, second.__suppress_context__) == (None, False, True)
    assert where(second) == where(back) == ["test_what_it_came_from_comes_along"]


def test_causes_that_go_in_circles_or_far_back_come_to_an_end():
    own = ValueError("own")
    own.__cause__ = own
    back = again(own)
    assert back.__cause__ is back
    error = ValueError(0)
    for number in range(1, 2000):
        following = ValueError(number)
        following.__cause__, error = error, following
    back, length = again(error), 0
    while back is not None:
        back, length = back.__cause__, length + 1
    assert 50 < length < 500


@needs_groups
def test_groups_come_with_their_members_and_notes_stay():
    class Own(ExceptionGroup):  # noqa: F821
        def __new__(cls, errors):
            return super().__new__(cls, "own", errors)

        def derive(self, errors):
            return Own(errors)

    inner = Own([raised(lambda: TwoArguments(1, "a")), raised(lambda: Holds("text", Unpicklable()))])
    group = ExceptionGroup("all", [raised(lambda: KeyError("k")), inner])  # noqa: F821
    inner.add_note("of the inner")
    inner.exceptions[1].add_note("of the one that is lost")
    back = again(group)
    key, own = back.exceptions
    assert (type(back), str(back), type(key), type(own)) == (type(group), str(group), KeyError, Own)
    assert [type(member) for member in own.exceptions] == [TwoArguments, RemoteError]
    assert own.__notes__ == ["of the inner"]
    assert own.exceptions[1].__notes__ == ["of the one that is lost"]
    assert where(key) == where(own.exceptions[0]) == ["raised"]


@needs_groups
def test_a_group_that_does_not_show_its_members_says_what_it_was():
    class Closed(ExceptionGroup):  # noqa: F821
        @property
        def exceptions(self):
            raise SystemExit("not shown")

    back = unpack_value([pack_raised(Closed("text", [KeyError("k")]))])
    assert isinstance(back, RemoteError)
    assert (back.text, back.why) == ("text (1 sub-exception)", "SystemExit: not shown")


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_an_exception_for_somebody_else_is_another_of_its_kind(make):
    error = raised(make)
    error.__cause__ = KeyError("k")
    made = another(error)
    assert made is not error
    assert (type(made), str(made), vars(made)) == (type(error), str(error), vars(error))
    assert (made.__traceback__, made.__cause__) == (None, error.__cause__)


# --- where Parsl carries them


def by_parsl(error):
    return deserialize(serialize(RemoteExceptionWrapper(type(error), error, error.__traceback__))).get_exception()


@pytest.mark.parametrize("name", ["two arguments", "leaves when it is made", "leaves when it is reduced"])
def test_where_parsl_would_lose_an_exception_another_stands_in(name):
    error = raised(ODD[name])
    back = by_parsl(stand_in(error))
    assert isinstance(back, RemoteError)
    assert (back.type_name, back.text) == (f"{__name__}.{type(error).__name__}", str(error))
    assert where(back) == ["raised"]


def test_where_parsl_would_not_the_exception_itself_is_raised():
    assert stand_in(raised(lambda: ValueError("text"))) is None


def test_a_cause_that_parsl_would_lose_is_told():
    def fail():
        raise KeyError("k") from raised(ODD["two arguments"])

    back = by_parsl(stand_in(raised(fail)))
    assert (back.type_name, back.__cause__.text) == ("KeyError", "5 at home")
    own = ValueError("own")
    own.__cause__ = own
    assert stand_in(own).text == "own"


def test_the_bytes_name_no_class_of_the_user():
    packed = pack_raised(raised(lambda: TwoArguments(5, "home")))
    assert pickle.loads(packed)._parts[0].type_name == f"{__name__}.TwoArguments"
