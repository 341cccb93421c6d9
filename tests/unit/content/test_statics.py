"""What the script has bound in a module is told from what importing the module makes."""

import pytest

from parsl_context.content.statics import bound_anew, static_of
from tests.unit.far import new_name

DETECT = "def detect():\n global DEVICE\n DEVICE = 'found'\n"

# Texts of modules whose import gives a name another value than the number or text that it is bound to at the top.
FOUND_BY_IMPORT = {
    "a function that is called": f"DEVICE = 'cpu'\n{DETECT}detect()",
    "a function that another one calls": f"DEVICE = 'cpu'\n{DETECT}def begin(): detect()\nbegin()",
    "a function that is called before it is written down": f"DEVICE = 'cpu'\ndef begin(): detect()\n{DETECT}begin()",
    "a function that is handed on": f"DEVICE = 'cpu'\n{DETECT}list(map(lambda each: each(), [detect]))",
    "a function that is decorated": ("DEVICE = 'cpu'\ndef now(f):\n f()\n return f\n@now\n" + DETECT),
    "a function within one": (
        "DEVICE = 'cpu'\ndef outer():\n def inner():\n  global DEVICE\n  DEVICE = 'found'\n return inner\nouter()()"
    ),
    "a method": "DEVICE = 'cpu'\nclass A:\n def __init__(self):\n  global DEVICE\n  DEVICE = 'found'\nA()",
    "a method of a base": (
        "DEVICE = 'cpu'\nclass A:\n def __init_subclass__(cls):\n  global DEVICE\n  DEVICE = 'found'\nclass B(A): pass"
    ),
    "the body of a class": "DEVICE = 'cpu'\nclass A:\n global DEVICE\n DEVICE = 'found'",
    "globals": "DEVICE = 'cpu'\nglobals()['DEVICE'] = 'found'",
    "globals, updated": "DEVICE = 'cpu'\nglobals().update(DEVICE='found')",
    "globals in a function": "DEVICE = 'cpu'\ndef f(): globals()['DEVICE'] = 'found'\nf()",
    "setattr": "import sys\nDEVICE = 'cpu'\nsetattr(sys.modules[__name__], 'DEVICE', 'found')",
    "an attribute of the module": "import sys\nDEVICE = 'cpu'\nsys.modules[__name__].DEVICE = 'found'",
}
# Texts of modules that bind it at the top alone, whatever else they have.
BOUND_AT_THE_TOP = {
    "a function that nothing calls": f"DEVICE = 'cpu'\n{DETECT}",
    "a function that runs in the script": f"DEVICE = 'cpu'\n{DETECT}if __name__ == '__main__': detect()",
    "a function that another one would call": f"DEVICE = 'cpu'\n{DETECT}def begin(): detect()",
    "a function that binds another name": (
        f"LEVEL = []\ndef f():\n global LEVEL\n LEVEL = [1]\nf()\nDEVICE = 'cpu'\n{DETECT}"
    ),
    "a method that nothing calls": (
        "DEVICE = 'cpu'\nclass A:\n def f(self):\n  global DEVICE\n  DEVICE = 'found'\n def g(self): pass"
    ),
    "names that nobody knows before": "DEVICE = 'cpu'\nfor each in ['OTHER']: globals()[each] = 1\nexec('MORE = 1')",
    "names that are read": (
        "DEVICE = 'cpu'\n__all__ = [each for each in globals() if each.isupper()]\nglobals()['DEVICE']"
    ),
    "another name among globals": "DEVICE = 'cpu'\nglobals()['OTHER'] = 1",
    "text that is run elsewhere": "DEVICE = 'cpu'\nexec('DEVICE = 1', {})",
    "names of another module": "DEVICE = 'cpu'\nfrom os.path import *",
}  # fmt: skip


def load(project, text):
    name = new_name("static_module")
    return project.load(name, text)


@pytest.mark.parametrize("text", FOUND_BY_IMPORT.values(), ids=FOUND_BY_IMPORT)
def test_what_importing_a_module_finds_out_is_not_bound_by_the_script(project, text):
    module = load(project, text)
    assert module.DEVICE == "found"
    assert "DEVICE" not in bound_anew(module.__name__)
    module.DEVICE = "mine"
    assert bound_anew(module.__name__)["DEVICE"] == "mine"


@pytest.mark.parametrize("text", BOUND_AT_THE_TOP.values(), ids=BOUND_AT_THE_TOP)
def test_a_number_or_a_text_that_the_script_binds_before_anyone_looks_is_seen(project, text):
    module = load(project, text)
    assert module.DEVICE == "cpu"
    module.DEVICE = "mine"
    assert bound_anew(module.__name__) == {"DEVICE": "mine"}


def test_what_a_function_of_the_module_binds_for_the_script_is_seen(project):
    module = load(project, f"DEVICE = 'cpu'\n{DETECT}")
    module.detect()
    assert bound_anew(module.__name__) == {"DEVICE": "found"}


def test_a_name_that_the_source_does_not_bind_is_the_script_s(project):
    module = load(project, "DEVICE = 'cpu'")
    module.other = 1
    assert bound_anew(module.__name__) == {"other": 1}


def test_a_worker_keeps_what_it_has_found_out(far, cell, project):
    """A node may have a device that the script's machine has not."""
    text = "import os\nDEVICE = 'cpu'\ndef detect():\n global DEVICE\n DEVICE = os.getpid()\ndetect()"
    module = load(project, text)
    main = cell(f"import {module.__name__} as m\ndef f(): return m.DEVICE, m.os.getpid()")
    device, there = far.call(main.f)
    assert device == there != module.DEVICE
    module.DEVICE = "mine"
    assert far.call(main.f) == ("mine", there)


def test_such_a_name_is_watched_in_modules_that_only_modules_name(far, cell, project):
    inner = load(project, f"DEVICE = 'cpu'\n{DETECT}detect()")
    outer = load(project, f"import {inner.__name__} as inner\ndef f(): return inner.DEVICE")
    main = cell(f"import {outer.__name__} as m\ndef f(): return m.f()")
    frames, package = far.pack((main.f, (), {}))
    assert far.run(frames, package) == "found"
    assert package.watch.is_current()
    inner.DEVICE = "mine"
    assert not package.watch.is_current()
    assert far.call(main.f) == "mine"


def test_what_cannot_be_read_tells_nothing(project):
    module = load(project, "DEVICE = 'cpu'")
    (project.path / f"{module.__name__}.py").unlink()
    assert bound_anew(module.__name__) == {}
    assert static_of(module.__name__).literals == {}
