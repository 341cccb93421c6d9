"""`parsl-context discover`: it loads a script without running it, and says in sentences what it cannot do."""

import json
import sys

import pytest

from parsl_context.cli.main import main

SCRIPT = """
import parsl
from parsl_context import context, context_app
print("loading")
TABLE = [1, 2, 3]

@context
def words(path="words.txt"):
    import numpy
    return open(path)

@context_app(context=words())
def count(words, word):
    return TABLE

class Held:
    def method(self):
        import gone_for_good

number = 3
if __name__ == "__main__":
    parsl.load(parsl.Config(executors=[]))
    raise AssertionError
"""


@pytest.fixture
def discover(tmp_path, monkeypatch, capsys):
    """Writes scripts, and runs the command. Gives its exit status and what it printed to both streams."""
    monkeypatch.chdir(tmp_path)
    before = sys.modules["__main__"]
    path, arguments = list(sys.path), list(sys.argv)

    def run(target, *options, script=None):
        if script is not None:
            (tmp_path / "script.py").write_text(script)
        status = main(["discover", target, *options])
        return (status, *capsys.readouterr())

    yield run
    sys.path[:], sys.argv[:] = path, arguments
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    sys.modules["__main__"] = before


def test_without_a_name_it_lists_what_a_script_defines(discover):
    status, output, errors = discover("script.py", "--json", script=SCRIPT)
    assert status == 0
    assert {each["name"]: each["kind"] for each in json.loads(output)} == {
        "words": "context function",
        "count": "context app",
    }
    assert errors == "loading\n"  # what a script prints is no output of the command


def test_it_shows_what_an_app_needs(discover):
    status, output, _ = discover("script.py:count", "--json", script=SCRIPT)
    assert status == 0
    found = json.loads(output)
    assert found["name"] == "count"
    assert [each["name"] for each in found["distributions"]] == ["numpy"]
    assert found["requirements"] == [f"numpy=={found['distributions'][0]['version']}"]
    assert {each["name"]: each["kind"] for each in found["captured"]} == {"TABLE": "global", "path": "default"}
    assert found["distributions"][0]["wanted_by"]["line"] == 9
    assert "trace" not in found


def test_a_name_may_be_a_dotted_one(discover):
    status, output, _ = discover("script.py:Held.method", script=SCRIPT)
    assert status == 0
    assert "gone_for_good" in output
    assert "script.py:18" in output.replace("\n", "")


def test_a_module_is_named_as_python_names_it(discover, tmp_path):
    (tmp_path / "named").mkdir()
    for name, text in {"__init__": "", "part": "from . import other\ndef f(): pass", "other": ""}.items():
        (tmp_path / "named" / f"{name}.py").write_text(text)
    status, output, _ = discover("named.part:f", "--json")
    assert status == 0
    assert [each["name"] for each in json.loads(output)["modules"]] == ["named", "named.other", "named.part"]


def test_parsl_is_not_started(discover):
    """Many scripts load it at their top: what is defined above is what there is."""
    script = f"{SCRIPT.partition('if __name__')[0]}\nwith parsl.load(parsl.Config()):\n    pass\ndef later(): pass\n"
    status, output, errors = discover("script.py:count", script=script)
    assert status == 0
    assert "numpy" in output
    assert "script.py: It starts Parsl in line 22, and was loaded up to there." in errors
    status, _, errors = discover("script.py:later")
    assert status == 2
    assert "does not define 'later'. It starts Parsl in line 22" in errors


def test_a_script_that_ends_is_loaded_up_to_there(discover):
    status, output, errors = discover("script.py:f", script="import sys\ndef f(): pass\nsys.exit(3)")
    assert status == 0
    assert "It needs nothing but Python" in output
    assert "It ended in line 3 (SystemExit: 3)" in errors


@pytest.mark.parametrize(
    ("target", "script", "status", "told"),
    [
        ("gone.py:f", "", 2, "There is no file "),
        ("gone_module:f", "", 2, "There is no module gone_module here or on PYTHONPATH, and no file gone_module."),
        (
            "script.py:g",
            "def f(): pass",
            2,
            "script.py does not define 'g'. What it has: parsl-context discover script",
        ),
        ("script.py:x", "x = 3", 2, "x of script.py is neither an app nor a function nor a context, but an object of"),
        ("script.py", "x = 3", 1, "script.py defines no app, context or function."),
        ("script.py:f", "\nimport gone_module", 1, "as it needs the module gone_module in line 2, which is not found."),
        ("script.py:f", "def f():\n  1 / 0\nf()", 1, "in line 2 it raises ZeroDivisionError: division by zero."),
        ("script.py:f", "from . import x", 1, "It is part of a package: give the name of the module instead"),
        ("script.py:f", "def f(:", 1, "SyntaxError"),
        ("script:f", "raise SystemExit", 1, "script cannot be loaded. It ended"),
    ],
)
@pytest.mark.filterwarnings("ignore:can't resolve package:ImportWarning")
def test_it_says_what_it_cannot_do(discover, target, script, status, told):
    found, output, errors = discover(target, script=script)
    assert (found, output) == (status, "")
    assert told in errors
    assert "Traceback" not in errors


def test_to_trace_it_needs_a_name(discover):
    status, _, errors = discover("script.py", "--trace", script=SCRIPT)
    assert status == 2
    assert errors.endswith("--trace needs to know what to trace: parsl-context discover --trace script.py:APP\n")


def test_values_that_cannot_be_pickled_are_shown_with_the_reason(discover):
    script = "LINES = (each for each in [])\ndef f(): return LINES"
    _, output, _ = discover("script.py:f", script=script)
    assert "cannot pickle" in output
    assert "make them in a context function" in output


SPLITS = '''
import parsl
from parsl_context import context, context_app

@parsl.python_app
def plain(x):
    import re
    if x is None:
        raise ValueError("none")
    pattern = re.compile("a+")
    return pattern.findall(x)

@context_app
def block(x):
    """Doc."""
    with context:
        table = [1]
    return table[x]

@context_app(context=lambda: 1)
def two(c, x):
    return x

def nothing(x):
    return x
'''


def places(text):
    return [(each["text"].splitlines()[0], each["place"]) for each in json.loads(text)]


def test_how_any_app_would_be_split_is_shown(discover):
    status, out, _ = discover("script.py:plain", "--split", "--json", script=SPLITS)
    assert status == 0
    assert places(out) == [
        ("import re", "both"),
        ("if x is None:", "body"),
        ('pattern = re.compile("a+")', "context"),
        ("return pattern.findall(x)", "body"),
    ]
    status, out, _ = discover("script.py:plain", "--split")
    assert "why it stays" in out


def test_how_a_block_is_split_is_shown(discover):
    status, out, _ = discover("script.py:block", "--split", "--json", script=SPLITS)
    assert status == 0
    assert places(out) == [("table = [1]", "context"), ("return table[x]", "body")]


def test_what_cannot_be_split_is_said(discover):
    status, out, _ = discover("script.py:nothing", "--split", script=SPLITS)
    assert status == 0
    assert "Nothing of it may become a context." in out
    status, _, err = discover("script.py:two", "--split")
    assert status == 1
    assert "written as two functions" in err
    status, _, err = discover("script.py", "--split")
    assert status == 2
    assert "needs to know what to split" in err


def test_a_call_is_made_and_shown(discover):
    status, out, err = discover("script.py:plain", "--run", "plain('aab')", script=SPLITS)
    assert (status, err) == (0, "")
    for told in ("pattern = ", "context", "why it stays", "is set-up that may be shared", "1,000 calls on 4 workers"):
        assert told in out
    status, out, _ = discover("script.py:plain", "--run", "plain('aab')", "--json")
    assert status == 0
    assert [each["line"] for each in json.loads(out)["statements"]] == [7, 8, 10, 11]
    status, out, err = discover("script.py:plain", "--run", "plain(None)")
    assert (status, err) == (1, "plain raised in line 9 ValueError: none.\n")
    assert "import re" in out
    status, out, err = discover("script.py:plain", "--run", "block(1)")
    assert (status, out) == (2, "")
    assert "'block(1)' calls block, which is another." in err


def test_a_diff_alone_leaves_the_file_as_it_is(discover, tmp_path):
    status, out, err = discover("script.py:plain", "--apply", "--diff", script=SPLITS)
    assert status == 0
    assert out.startswith("--- script.py\n+++ script.py\n")
    assert "+    with context:\n" in out
    assert err.startswith("Note: Line 8, a guard, ran before line 10: ")
    assert (tmp_path / "script.py").read_text() == SPLITS


def test_a_split_is_written(discover, tmp_path):
    status, out, err = discover("script.py:plain", "--apply", "--json", script=SPLITS)
    made = json.loads(out)
    assert (status, err) == (0, "")
    assert (made["file"], made["is_written"]) == (str(tmp_path / "script.py"), True)
    assert [each.partition(",")[0] for each in made["notes"]] == ["Line 8"]
    text = (tmp_path / "script.py").read_text()
    assert "@context_app\ndef plain(x):\n    with context:\n        import re\n        pattern =" in text
    status, out, err = discover("script.py:plain", "--apply")
    assert (status, out) == (1, "")
    assert err == "plain is split already: it has a `with context:` block.\n"
    assert (tmp_path / "script.py").read_text() == text


@pytest.mark.parametrize("options", [["--diff"], ["--apply", "--split"], ["--run", "f(1)", "--trace"]])
def test_options_that_do_not_go_together_are_refused(discover, options):
    with pytest.raises(SystemExit) as ended:
        discover("script.py:plain", *options, script=SPLITS)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("option", "told"), [(["--run", "f(1)"], "--run needs to know what to call"), (["--apply"], "what to rewrite")]
)
def test_to_run_or_rewrite_it_needs_a_name(discover, option, told):
    status, _, err = discover("script.py", *option, script=SPLITS)
    assert status == 2
    assert told in err
