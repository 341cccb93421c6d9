"""A split that is found is written into the file, as a block that does the same."""

import difflib
import importlib
import inspect
import itertools
import os
import stat
import sys
import textwrap
import types

import pytest

from parsl_context.cli.applying import rewrite
from parsl_context.cli.errors import CommandError
from parsl_context.cli.loading import Loaded
from parsl_context.cli.replacing import check_writable, replace_file, text_of, unified
from parsl_context.discover.automatic import split_by_itself
from parsl_context.errors import SplitError
from tests.unit.cli.apply_samples import SAMPLES
from tests.unit.discover import automatic_samples

MODULES = {
    "settings": "SIZE, TABLE = 4, {'a': 1}\ndef build(size): return [each * each for each in range(size)]",
    "others": "context = 3",
    "shapes": "def square(x): return x * x",
}
NUMBERS = itertools.count()


def load(path):
    name = f"{path.stem}_{next(NUMBERS)}"
    sys.modules[name] = module = types.ModuleType(name)
    module.__file__ = str(path)
    exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))
    return Loaded(path.name, module)


def said(function, args):
    """What a call gives or raises, made here and undivided or divided as an app is."""
    try:
        return repr(function(*args))
    except Exception as error:
        return type(error).__name__, str(error)


def undivided(value):
    return inspect.unwrap(getattr(value, "func", value)) if not hasattr(value, "split") else value.split.function


def bytes_of(text):
    return text.encode("latin-1" if "latin-1" in text else "utf-8")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file and loads it, as a module of the user's."""

    monkeypatch.syspath_prepend(tmp_path)
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
        importlib.import_module(name)

    def write(text, name="script.py"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else bytes_of(text))
        return load(path)

    yield write
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def applied(write, text, place="f"):
    loaded = write(text)
    return rewrite(loaded, loaded.find(place), place)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_is_rewritten(write, name):
    before, after, _, words = SAMPLES[name]
    made = applied(write, before)
    assert made.old == bytes_of(before)
    diff = "\n".join(difflib.ndiff(after.splitlines(), text_of(made.new).splitlines()))
    assert made.new == bytes_of(after), diff
    for word in words:
        assert any(word in note for note in made.notes), made.notes
    assert len(made.notes) == len(words)


@pytest.mark.parametrize("name", SAMPLES)
def test_both_halves_do_what_the_whole_did(write, name):
    before, after, calls, _ = SAMPLES[name]
    old = undivided(write(before, "old.py").find("f"))
    new = write(after, "new.py").find("f")
    assert new.split.marker is not None
    for args in (*calls, *calls):
        assert said(new.func, args) == said(old, args)
        assert said(new.__wrapped__, args) == said(old, args)


def test_there_are_many_samples():
    assert len(SAMPLES) >= 20


SPLIT = [(function, calls) for function, _, says, calls in automatic_samples.SAMPLES if says is None]
HEADER = inspect.getsource(automatic_samples).partition("# --- what moves")[0]


def alone(function):
    """A file that has one of the samples."""
    text = textwrap.dedent(inspect.getsource(function))
    return f"{HEADER}\n\n{text[text.index('def ') :]}"


@pytest.mark.parametrize(("function", "calls"), SPLIT, ids=[each.__name__ for each, _ in SPLIT])
def test_all_that_is_found_can_be_written_as_a_block(write, function, calls):
    name = function.__name__
    made = applied(write, alone(function), name)
    new = write(made.new, "new.py").find(name)
    assert {*split_by_itself(function).names} <= {*new.split.names}
    for args in (*calls, *calls):
        assert said(new.func, args) == said(function, args)
    kept = [line.strip() for line in made.old.decode().splitlines() if line.strip()]
    assert kept == [line for line in kept if line in made.new.decode()]


APP = "import parsl\n@parsl.python_app\n"
BODY = "    t = sorted([3, 1])\n    return t[x]\n"
BLOCK = "from parsl_context import context, context_app\n@context_app\ndef f(x):\n    with context:\n        t = [1]\n"


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        (f"{BLOCK}    return t[x]\n", "f", "f is split already: it has a `with context:` block."),
        (
            "from parsl_context import context_app\n@context_app(context=lambda: 1)\ndef f(t, x): return t",
            "f",
            "f is split already: its context and its body are written as two functions.",
        ),
        (f"import parsl\n@parsl.join_app\ndef f(x):\n{BODY}", "f", "f is a join app, and these have no contexts."),
        (f"import parsl\n@parsl.bash_app\ndef f(x):\n{BODY}", "f", "f is a bash app, and these have no contexts."),
        (
            f"import parsl\ndef g(x):\n{BODY}\nf = parsl.python_app(g)",
            "f",
            "g becomes an app by other means than @python_app or @context_app",
        ),
        (
            f"def register(f): return f\n@register\ndef f(x):\n{BODY}",
            "f",
            "f has the decorator @register, and whether that takes an app is not known.",
        ),
        (
            f"import parsl\nGIVEN = [None]\n@parsl.python_app(*GIVEN)\ndef f(x):\n{BODY}",
            "f",
            r"What the decorator of f is given \(@parsl.python_app\(\*GIVEN\)\) is not seen in its text.",
        ),
        (
            "from parsl_context import context_app\nGIVEN = {'discover': True}\n"
            f"@context_app(**GIVEN)\ndef f(x):\n{BODY}",
            "f",
            "is not seen in its text",
        ),
        (
            f"def outer():\n  def f(x):\n{BODY}  return f\nf = outer()",
            "f",
            "f is made by another function",
        ),
        (
            f"{APP}def f(context, parsl_context):\n    t = sorted([3, 1])\n    return t[context]\n",
            "f",
            "`context` and `parsl_context` mean something else in f, or in its file.",
        ),
        (
            f"{APP}def f(x):\n    import re\n    rows = re.finditer('a', 'aaa')\n    return x, str(rows.__class__)\n",
            "f",
            "Calls must not share what would be its context: rows is used up",
        ),
    ],
)
def test_what_cannot_be_rewritten_is_said(write, text, place, says):
    with pytest.raises(CommandError, match=says):
        applied(write, text, place)


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        (f"{APP}async def f(x):\n{BODY}", "f", "it is asynchronous"),
        (f"class Held:\n    def f(self, x):\n{textwrap.indent(BODY, '    ')}", "Held.f", "it is a method of Held"),
        (
            "import functools, parsl\ndef timed(f):\n    return functools.wraps(f)(lambda x: f(x))\n"
            f"@parsl.python_app\n@timed\ndef f(x):\n{BODY}",
            "f",
            "another decorator has wrapped it",
        ),
        (f"{APP}def f(x):\n    return x\n", "f", "nothing of it may become a context"),
        (f"{APP}def f(x):\n    t = sorted([1])\n    yield t\n", "f", "it is a generator function"),
    ],
)
def test_what_cannot_be_split_is_refused_as_ever(write, text, place, says):
    with pytest.raises(SplitError, match=says):
        applied(write, text, place)


def test_a_static_method_is_rewritten(write):
    made = applied(
        write, f"class Held:\n    @staticmethod\n    def f(x):\n{textwrap.indent(BODY, '    ')}", place="Held.f"
    )
    assert made.new.decode() == (
        "from parsl_context import context, context_app\n\n\nclass Held:\n    @staticmethod\n    @context_app\n"
        "    def f(x):\n        with context:\n            t = sorted([3, 1])\n        return t[x]\n"
    )
    assert write(made.new, "new.py").find("Held.f").func(1) == 3


def test_a_function_is_rewritten_where_it_is_written(write):
    loaded = write(f"{APP}def f(x):\n{BODY}", "other.py")
    here = write("")
    vars(here.module)["f"] = loaded.find("f")
    with pytest.raises(CommandError, match=r"f is written in .*other.py, not in script.py: name it there"):
        rewrite(here, here.find("f"), "f")


def test_a_file_that_was_changed_after_it_was_loaded_stays(write, tmp_path):
    loaded = write(f"{APP}def f(x):\n{BODY}")
    split_by_itself(loaded.find("f").func.__wrapped__)  # its lines are known
    (tmp_path / "script.py").write_text(f"{APP}def f(x):\n{BODY.replace('3', '4')}")
    with pytest.raises(CommandError, match="was changed after it was loaded, and stays as it is"):
        rewrite(loaded, loaded.find("f"), "f")


def test_what_the_block_would_not_be_split_at_is_not_written(write, monkeypatch):
    """Whatever goes wrong in the text, it is seen before it is written."""
    import parsl_context.cli.rewriting as rewriting

    def wrong(old, new):
        whole = rewriting.rewritten
        monkeypatch.setattr(rewriting, "rewritten", lambda *given: whole(*given).replace(old, new))

    text = f"{APP}def f(x):\n{BODY}"
    wrong(b"with context:", b"if context:")
    with pytest.raises(
        CommandError, match=r"f stays as it is: what would be written is refused in its line 6: it has no"
    ):
        applied(write, text)
    monkeypatch.undo()
    wrong(b"sorted([3, 1])", b"sorted([3, x])")
    with pytest.raises(CommandError, match=r"f stays as it is: .* as x would not flow"):
        applied(write, text)
    monkeypatch.undo()
    wrong(b"@context_app", b"@parsl.python_app")
    with pytest.raises(CommandError, match="its decorator is not context_app"):
        applied(write, text)


def test_a_build_that_fails_here_is_told(write):
    made = applied(
        write, f"{APP}def f(x):\n    import gone_for_good\n    t = gone_for_good.load('w')\n    return t(x)\n"
    )
    (note,) = made.notes
    assert note.startswith("The context could not be built here (ModuleNotFoundError: No module named 'gone_for_good')")
    assert b"with context:\n        import gone_for_good\n        t = gone" in made.new


def test_files_that_the_block_reads_are_told(write, tmp_path):
    (tmp_path / "data.txt").write_text("3")
    text = f"{APP}def f(x):\n    import numpy\n    t = numpy.loadtxt('{tmp_path}/data.txt')\n    return t * x\n"
    assert [f"a change of {tmp_path}/data.txt is not seen" in each for each in applied(write, text).notes] == [True]


def test_without_libcst_its_extra_is_named(write, monkeypatch):
    import parsl_context.cli

    monkeypatch.delitem(sys.modules, "parsl_context.cli.rewriting", raising=False)
    monkeypatch.delattr(parsl_context.cli, "rewriting", raising=False)
    monkeypatch.setitem(sys.modules, "libcst", None)
    with pytest.raises(CommandError, match=r"--apply takes libcst, .*: pip install 'parsl-context\[apply\]'"):
        applied(write, f"{APP}def f(x):\n{BODY}")


def test_what_libcst_cannot_read_is_said(write, monkeypatch):
    import libcst

    def fails(content):
        raise libcst.ParserSyntaxError("no", lines=["x"], raw_line=3, raw_column=0)

    monkeypatch.setattr(libcst, "parse_module", fails)
    with pytest.raises(CommandError, match=r"script.py stays as it is: libcst cannot read line 3 of it\."):
        applied(write, f"{APP}def f(x):\n{BODY}")


# --- the file


def test_a_file_is_replaced_with_its_permissions(tmp_path):
    path, link = tmp_path / "script.py", tmp_path / "link.py"
    path.write_bytes(b"old")
    path.chmod(0o750)
    link.symlink_to(path)
    replace_file(link, b"old", b"new")
    assert path.read_bytes() == b"new"
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert sorted(os.listdir(tmp_path)) == ["link.py", "script.py"]


def test_a_file_that_was_changed_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "script.py"
    path.write_bytes(b"mine")
    with pytest.raises(CommandError, match="was changed meanwhile, and stays as it is"):
        replace_file(path, b"old", b"new")
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["script.py"]


def test_a_file_that_is_read_only_is_said(tmp_path):
    path = tmp_path / "script.py"
    path.write_bytes(b"")
    check_writable(path)
    path.chmod(0o444)
    with pytest.raises(CommandError, match="is read-only, and stays as it is"):
        check_writable(path)


def test_a_diff_is_as_patch_takes_it():
    assert unified("f.py", "a\nb\r\nc", "a\nc") == (
        "--- f.py\n+++ f.py\n@@ -1,3 +1,2 @@\n a\n-b\r\n c\n\\ No newline at end of file\n"
    )


def test_what_is_bound_anew_in_a_module_is_seen_by_later_calls(write):
    made = applied(write, SAMPLES["what a module of the user's may bind anew"][0])
    new = write(made.new, "new.py").find("f")
    assert new.func(1) == '[1, 1, 4, {"a": 1}]'
    sys.modules["settings"].TABLE = 5
    assert new.func(1) == "[1, 1, 4, 5]"
