"""A package that is put off gives its modules at once, and what its `__init__` defines when it is asked for."""

import gc
import importlib
import subprocess
import sys
import threading

import pytest

from parsl_context.parsl_parts.lightly import complete, put_off, settle, uncollected

HEAVY = ("heavy", "heavy.inner")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `heavy` whose `__init__` is put off, and says when it is run."""
    (tmp_path / "heavy" / "inner").mkdir(parents=True)
    (tmp_path / "heavy" / "__init__.py").write_text(
        "from heavy.log import ran\nran.append(__name__)\nfrom heavy.inner import Thing\nVALUE = 5\n"
    )
    (tmp_path / "heavy" / "log.py").write_text("ran = []\n")
    (tmp_path / "heavy" / "part.py").write_text("from heavy import log\n")
    (tmp_path / "heavy" / "circular.py").write_text("from heavy import VALUE\n")
    (tmp_path / "heavy" / "inner" / "__init__.py").write_text(
        "from heavy.log import ran\nran.append(__name__)\nclass Thing: pass\n"
    )
    (tmp_path / "heavy" / "inner" / "leaf.py").write_text("NAME = __name__\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    put_off(HEAVY)
    yield importlib.import_module("heavy")
    for name in [name for name in sys.modules if name.partition(".")[0] == "heavy"]:
        del sys.modules[name]


def ran():
    return importlib.import_module("heavy.log").ran


def test_modules_of_the_package_are_imported_without_its_init(package):
    from heavy import part
    from heavy.inner import leaf

    assert (part.__name__, leaf.NAME, ran()) == ("heavy.part", "heavy.inner.leaf", [])


def test_what_the_init_defines_comes_into_being_when_it_is_asked_for(package):
    from heavy import VALUE

    assert (VALUE, package.VALUE) == (5, 5)
    assert ran() == ["heavy", "heavy.inner"]
    assert sys.modules["heavy"] is package


def test_the_init_is_run_once_and_only_for_the_package_that_is_asked(package):
    from heavy.inner import Thing

    assert Thing.__module__ == "heavy.inner"
    assert ran() == ["heavy.inner"]
    assert package.VALUE == 5
    assert ran() == ["heavy.inner", "heavy"]


def test_what_is_nowhere_is_missing_as_ever(package):
    with pytest.raises(AttributeError, match="module 'heavy' has no attribute 'nothing'"):
        package.nothing  # noqa: B018
    with pytest.raises(ImportError):
        from heavy import nowhere  # noqa: F401


def test_a_module_may_import_from_the_package_that_it_belongs_to(package):
    assert importlib.import_module("heavy.circular").VALUE == 5


def test_all_that_was_put_off_can_be_run_at_once(package):
    complete(HEAVY)
    complete(HEAVY)
    assert ran() == ["heavy", "heavy.inner"]


def test_once_settled_a_further_module_completes_the_packages_first(package):
    from heavy import log

    settle(HEAVY)
    assert importlib.import_module("heavy.log") is log
    assert log.ran == []
    importlib.import_module("heavy.circular")
    assert log.ran == ["heavy", "heavy.inner"]


def test_another_thread_finds_it_too(package):
    found = []
    thread = threading.Thread(target=lambda: found.append(package.VALUE))
    thread.start()
    thread.join()
    assert found == [5]


def test_what_does_not_exist_or_is_imported_already_is_left_alone():
    before = sys.modules["parsl"]
    put_off(("parsl", "parsl.no_such_package"))
    assert sys.modules["parsl"] is before
    assert "parsl.no_such_package" not in sys.modules


def test_no_collection_runs_during_imports_and_what_they_made_is_frozen():
    gc.unfreeze()
    try:
        with uncollected():
            assert not gc.isenabled()
            made = [[]]
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        assert not any(found is made for found in gc.get_objects())
    finally:
        gc.unfreeze()


def test_collections_run_again_after_an_import_that_failed():
    try:
        with pytest.raises(ImportError), uncollected():
            importlib.import_module("no_such_module")
        assert gc.isenabled()
    finally:
        gc.unfreeze()


PARSL_AS_A_ZYGOTE_HAS_IT = """
import pickle, sys
from parsl_context.parsl_parts import lightly
lightly.put_off()
import parsl_context.pool.zygote
lightly.settle()
lightly.complete_for_users()
import parsl
assert type(parsl).__name__ == "module" and parsl.python_app
"""


@pytest.mark.parametrize(
    "use",
    [
        "assert not {'sqlalchemy', 'urllib3', 'filelock._core', 'parsl.monitoring.db_manager'} & set(sys.modules)",
        "import filelock; assert filelock.__version__ and filelock.FileLock",
        "import requests.adapters; assert requests.adapters.HTTPAdapter and requests.get",
        "from requests import get; assert get.__module__ == 'requests.api'",
        "import parsl.monitoring.db_manager as d; assert d.dbm_starter.__module__ == d.__name__",
        "from parsl.monitoring.monitoring import dbm_starter as one, _db_manager_excepts as error; "
        "import parsl.monitoring.db_manager as d; assert error is None; "
        "assert pickle.loads(pickle.dumps(one)) is d.dbm_starter",
        "from parsl.monitoring import MonitoringHub; from parsl.addresses import address_by_hostname as f; assert f()",
    ],
)
def test_what_few_tasks_need_of_parsl_loads_when_one_does(use):
    subprocess.run([sys.executable, "-W", "error", "-c", PARSL_AS_A_ZYGOTE_HAS_IT + use], check=True, timeout=60)


@pytest.mark.parametrize(("module", "role"), [("interchange.__main__", "interchange"), ("pool.__main__", "manager")])
def test_a_process_that_somebody_waits_for_has_not_imported_parsl_when_it_has_a_title(module, role):
    code = (
        "import sys\n"
        f"import parsl_context.{module}\n"
        "from parsl_context.parsl_parts.titles import set_title\n"
        f"set_title({role!r})\n"
        "print('parsl.dataflow.dflow' in sys.modules, 'setproctitle' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
