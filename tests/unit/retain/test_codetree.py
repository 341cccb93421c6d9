"""Trees of the user's modules on a node: written once, imported from, and given up for newer ones."""

import importlib
import os
import stat
import sys

import pytest

from parsl_context.content.carried import Tree
from parsl_context.content.digests import digest_bytes
from parsl_context.distribute import code_files
from parsl_context.errors import CarriedCodeError
from parsl_context.retain.codetree import CodeTree


class Node:
    """Trees that were made, and their content."""

    def __init__(self, folder):
        self.folder = folder
        self.content = {}
        self.read = []
        self.numbers = iter(range(1, 100))

    def tree(self, files, number=None):
        digests = {path: digest_bytes(text.encode()) for path, text in files.items()}
        self.content |= {digest: files[path].encode() for path, digest in digests.items()}
        tops = {path.partition("/")[0].removesuffix(".py") for path in files}
        return Tree(number or next(self.numbers), digests, dict.fromkeys(tops, "/home/user/project"))

    def adopt(self, code_tree, tree):
        code_tree.adopt(f"tree-{tree.number}", tree, tree.origins, self.give)
        return self.folder / "trees" / f"tree-{tree.number}"

    def give(self, digest):
        self.read.append(digest)
        return self.content[digest]


@pytest.fixture
def node(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "/some/where")
    before = set(sys.modules)
    yield Node(folder)
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def code_tree(node):
    return CodeTree(node.folder)


def test_modules_are_imported_from_the_tree_here_and_in_children(node, code_tree):
    path = node.adopt(code_tree, node.tree({"tree_a.py": "x = 1", "tree_p/__init__.py": "", "tree_p/d/x.txt": "data"}))
    assert importlib.import_module("tree_a").x == 1
    package = importlib.import_module("tree_p")
    assert (path / "tree_p/d/x.txt").read_text() == "data"
    assert package.__file__ == str(path / "tree_p/__init__.py")
    assert sys.path[0] == str(path)
    assert os.environ["PYTHONPATH"] == f"{path}:/some/where"


def test_files_are_read_only_and_each_content_is_there_once(node, code_tree):
    first = node.adopt(code_tree, node.tree({"tree_b.py": "x = 1", "tree_c.py": "x = 1"}))
    second = node.adopt(code_tree, node.tree({"tree_b.py": "x = 1", "tree_c.py": "x = 2"}))
    assert len(node.read) == 2
    assert os.path.samefile(first / "tree_b.py", second / "tree_b.py")
    assert stat.S_IMODE((first / "tree_b.py").stat().st_mode) == 0o400
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    assert {each.name for each in node.folder.iterdir()} == {"content", "trees"}


def test_another_process_finds_what_one_has_written(node):
    tree = node.tree({"tree_d.py": "x = 1"})
    node.adopt(CodeTree(node.folder), tree)
    node.read.clear()
    node.adopt(CodeTree(node.folder), tree)
    assert node.read == []


def test_where_files_cannot_be_linked_they_are_copied(node, code_tree, monkeypatch):
    def refuse(*paths):
        raise OSError(1, "not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = node.adopt(code_tree, node.tree({"tree_e.py": "x = 1"}))
    assert (path / "tree_e.py").read_text() == "x = 1"


def test_modules_that_have_changed_are_loaded_anew_in_a_newer_tree_and_others_are_not(node, code_tree):
    files = {"tree_f.py": "x = 1", "tree_g.py": "x = []", "tree_q/__init__.py": "", "tree_q/m.py": "x=1"}
    old = node.adopt(code_tree, node.tree(files))
    changed, same = importlib.import_module("tree_f"), importlib.import_module("tree_g")
    kept, package, part = same.x, importlib.import_module("tree_q"), importlib.import_module("tree_q.m")
    new = node.adopt(code_tree, node.tree({**files, "tree_f.py": "x = 2", "tree_q/n.py": "x = 3"}))
    assert sys.modules["tree_f"] is changed
    assert (changed.x, changed.__file__) == (2, str(new / "tree_f.py"))
    assert same.x is kept
    assert package.__path__ == [str(new / "tree_q")]
    assert importlib.import_module("tree_q.n").x == 3
    assert sys.modules["tree_q.m"] is part
    assert str(old) not in sys.path
    assert os.environ["PYTHONPATH"] == f"{new}:/some/where"


def test_an_older_tree_is_not_gone_back_to(node, code_tree):
    old, new = node.tree({"tree_h.py": "x = 1"}), node.tree({"tree_h.py": "x = 2"})
    path = node.adopt(code_tree, new)
    node.adopt(code_tree, old)
    assert sys.path[0] == str(path)
    assert code_tree.tree is new


def test_a_call_that_needs_an_older_module_than_is_loaded_is_in_conflict(node, code_tree):
    old = node.tree({"tree_i.py": "x = 1", "tree_j.py": "x = 1"})
    middle = node.tree({"tree_i.py": "x = 1"})
    new = node.tree({"tree_i.py": "x = 1", "tree_j.py": "x = 2"})
    assert code_tree.conflict(old) is None
    node.adopt(code_tree, new)
    assert code_tree.conflict(old) is None  # it is not loaded
    importlib.import_module("tree_i")
    assert code_tree.conflict(old) is None
    importlib.import_module("tree_j")
    assert code_tree.conflict(old) == "tree_j"
    assert code_tree.conflict(middle) is None  # it does not need it
    assert code_tree.conflict(new) is None


def test_a_name_that_the_worker_itself_uses_is_refused_in_a_sentence(node, code_tree):
    with pytest.raises(CarriedCodeError) as caught:
        node.adopt(code_tree, node.tree({"zmq.py": "x = 1"}))
    import zmq

    assert str(caught.value) == (
        "Module zmq of /home/user/project has the name of a module that the workers themselves use "
        f"({zmq.__file__}). Give it another name."
    )
    assert code_tree.tree is None
    assert not (node.folder / "trees").exists()


def test_a_name_of_a_library_that_the_worker_has_not_imported_is_the_user_s(node, code_tree):
    """In the script, too, its own folder comes first."""
    assert "this" not in sys.modules
    node.adopt(code_tree, node.tree({"this.py": "x = 1"}))
    assert importlib.import_module("this").x == 1


def test_what_was_imported_from_the_user_s_own_folder_is_no_other(node, code_tree, tmp_path, monkeypatch):
    """It may be on the worker's path, too."""
    (tmp_path / "tree_k.py").write_text("x = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("tree_k")
    tree = node.tree({"tree_k.py": "x = 1"})
    tree.origins["tree_k"] = str(tmp_path)
    node.adopt(code_tree, tree)
    assert sys.modules["tree_k"] is module


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755, 0o1777])
def test_a_folder_that_others_may_enter_is_refused(node, code_tree, mode):
    node.folder.chmod(mode)
    with pytest.raises(CarriedCodeError, match=r"is not a folder that belongs to this user alone. .*start the block"):
        node.adopt(code_tree, node.tree({"tree_l.py": "x = 1"}))
    assert "tree_l" not in sys.modules
    assert str(node.folder) not in sys.path[0]


def test_a_folder_of_another_user_is_refused(node, code_tree, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(CarriedCodeError, match="belongs to this user alone"):
        node.adopt(code_tree, node.tree({"tree_l.py": "x = 1"}))


def test_a_link_in_place_of_the_folder_is_refused(node, tmp_path):
    (tmp_path / "link").symlink_to(node.folder)
    with pytest.raises(CarriedCodeError, match="belongs to this user alone"):
        node.adopt(CodeTree(tmp_path / "link"), node.tree({"tree_l.py": "x = 1"}))


def test_content_that_is_not_what_its_digest_says_is_refused(node, code_tree):
    tree = node.tree({"tree_m.py": "x = 1"})
    node.content[tree.files["tree_m.py"]] = b"import os"
    with pytest.raises(CarriedCodeError, match="other content than it was sent with"):
        node.adopt(code_tree, tree)
    assert not (node.folder / "trees" / f"tree-{tree.number}").exists()
    assert not list(node.folder.glob("content/*"))
    assert not list(node.folder.glob("new-*"))


def test_a_full_disk_leaves_nothing_half_done(node, code_tree, monkeypatch):
    tree = node.tree({"tree_n.py": "x = 1", "tree_o.py": "x = 2"})
    write, written = code_files.write, []

    def fill_up(folder, digest, data):
        if written:
            raise OSError(28, "No space left on device")
        written.append(digest)
        return write(folder, digest, data)

    monkeypatch.setattr(code_files, "write", fill_up)
    with pytest.raises(CarriedCodeError, match=r"cannot be written to .*/run: .*No space left on device. Make room"):
        node.adopt(code_tree, tree)
    assert not list(node.folder.glob("new-*"))
    assert not list((node.folder / "trees").iterdir())
    assert code_tree.tree is None
    monkeypatch.setattr(code_files, "write", write)
    node.adopt(code_tree, tree)
    assert importlib.import_module("tree_o").x == 2


def test_a_module_that_fails_as_it_is_loaded_anew_is_tried_again(node, code_tree):
    node.adopt(code_tree, node.tree({"tree_r.py": "x = 1"}))
    module = importlib.import_module("tree_r")
    bad = node.tree({"tree_r.py": "import os\nif 'TREE_R_IS_FINE' not in os.environ: raise OSError('no')\nx = 2"})
    with pytest.raises(OSError, match="no"):
        node.adopt(code_tree, bad)
    with pytest.raises(OSError, match="no"):
        node.adopt(code_tree, bad)  # it does not go on with what is old
    os.environ["TREE_R_IS_FINE"] = "1"
    try:
        node.adopt(code_tree, bad)
    finally:
        del os.environ["TREE_R_IS_FINE"]
    assert module.x == 2
