"""Which calls compute from their arguments alone, as far as their names tell, and may move with what these are.

A part of `parsl_context.discover.leading`, which looks at the other expressions; the names are those of
`parsl_context.discover.known_names`. Functions and classes of the user's are looked into.
"""

from __future__ import annotations

import ast
import re

from parsl_context.discover import inside, leading, lively, shapes
from parsl_context.discover import known_effects as effects
from parsl_context.discover import known_names as known
from parsl_context.discover.classes import (
    initialisers_of,
    maker_of,
    methods_for,
    unnamed_methods_of,
    user_class,
    why_not_shared,
)
from parsl_context.discover.names import Names, Unknown

_ITEMS = ast.Name | ast.Subscript


def why_not_call(node: ast.Call, names: Names, *, is_used_up: bool) -> Unknown | None:
    """Why a call may not move; None if it may."""
    function = node.func
    full = names.full_name(function)
    uses_up, kind = False, None
    if (users := names.user_function(function)) is not None:
        if (unknown := inside.why_not_function(node, users, names)) is not None:
            return unknown
    elif (kind := user_class(function, names)) is not None:
        if (unknown := _why_not_class(node, kind, names)) is not None:
            return unknown
    elif (maker := maker_of(function, names)) is not None:
        kind, made_by = maker
        if (unknown := _why_not_class(node, kind, names) or inside.why_not_function(node, made_by, names)) is not None:
            return unknown
    elif _is_opened_here(node, full, names, is_used_up=is_used_up):
        return why_not_opened(node, names)
    elif _is_walked_here(node, full, names, is_used_up=is_used_up):
        uses_up = True
    elif full == "builtins.next" and node.args and shapes.root_name(node.args[0]) in names.files:
        pass
    elif isinstance(function, ast.Name) and full is not None and full.startswith("builtins."):
        name = function.id
        is_passed = names.known is not None and name in effects.PASSED_BUILTINS
        if name not in known.PLAIN_BUILTINS and not (name in known.ITERATORS and is_used_up) and not is_passed:
            return Unknown(f"{name}() does more than compute, or gives what can be used once", node)
        uses_up = name in known.CONSUMERS or name in known.ITERATORS
    elif full is not None:
        if (unknown := _why_not_library(node, full, names, is_used_up=is_used_up)) is not None:
            return unknown
    elif _is_read_to_its_end(function, names):
        assert isinstance(function, ast.Attribute)
        assert isinstance(function.value, ast.Call)
        if (unknown := why_not_opened(function.value, names)) is not None:
            return unknown
    elif _drops_in_training(function, names):
        names.drops.append(ast.unparse(function))
    elif isinstance(function, ast.Attribute) and not names.is_in_users_module(function):
        if (unknown := _why_not_method(node, function, names, is_used_up=is_used_up)) is not None:
            return unknown
        uses_up = function.attr in known.USING_UP_METHODS
    elif names.known is not None and shapes.root_name(function) in names.own - names.known:
        return Unknown("it may be anybody's code", node)
    elif (unknown := leading.why_not(function, names)) is not None:
        return unknown
    elif names.drops and isinstance(function, _ITEMS):
        return Unknown("it may drop values at random", node)
    if full is not None and names.runs_later and known.is_changing(full.rpartition(".")[2]):
        return Unknown(f"{full}() may be called later, and changes things", node)
    for given in (*node.args, *(each.value for each in node.keywords)):
        if isinstance(given, ast.Lambda):
            unknown = leading.why_not_lambda(given, names)
        else:
            inner = given.value if isinstance(given, ast.Starred) else given
            is_left = users is None and kind is None and _leaves_tables(full, node)
            if is_left and not (full is None and names.classes) and leading.is_table_read(inner, names):
                continue
            uses_up |= full in known.READING_FILES or (is_used_up and full in known.READERS)
            uses_up |= full in ("numpy.asarray", "numpy.array") and _is_image(inner, names)
            is_data = full is not None and known.computes(full)
            unknown = leading.why_not(
                inner, names, is_used_up=uses_up or isinstance(given, ast.Starred), is_data=is_data
            )
        if unknown is not None:
            return unknown
    return None


def _why_not_library(node: ast.Call, full: str, names: Names, *, is_used_up: bool) -> Unknown | None:
    """Why a call of a library's function or class, by its full name, may not move."""
    if names.known is not None and may_be_passed(full, names):
        return None
    is_read_here = is_used_up or (bool(node.args) and shapes.root_name(node.args[0]) in names.files)
    is_told = any(each.arg in known.STATES and shapes.root_name(each.value) in names.live for each in node.keywords)
    is_told |= full == "pandas.Timestamp" and bool(node.args)
    if known.is_outside(full) and not (is_read_here and full in known.READERS) and not is_told:
        return Unknown(f"{full}() looks at the outside world, or gives another value each time", node)
    if any(isinstance(each, ast.Constant) and each.value in ("now", "today") for each in node.args):
        return Unknown(f"{full}() looks at the clock", node)
    if full.endswith("defaultdict"):
        return Unknown("a defaultdict makes entries when it is asked for them", node, is_harmless=True)
    if known.draws_weights(full):
        names.drawn.append(full)
    if full in known.LIVE_MAKERS:
        return Unknown(f"what {full}() makes changes when it is used", node, is_harmless=True)
    if known.draws_random_numbers(full.rpartition(".")[2], frozenset(each.arg or "" for each in node.keywords)):
        return Unknown(f"{full} draws random numbers unless random_state= is given", node)
    if any(known.tells(each.arg or "", getattr(each.value, "value", True)) for each in node.keywords):
        return Unknown(f"{full} tells about what it does", node)
    return None


def _why_not_method(node: ast.Call, function: ast.Attribute, names: Names, *, is_used_up: bool) -> Unknown | None:
    """Why a call of a method may not move."""
    if names.known is not None:
        return _why_not_passed_method(node, function, names)
    if names.runs_later and known.is_changing(function.attr):
        return Unknown(f".{function.attr}() may be called later, and changes things", node)
    is_read_at_once = is_used_up and function.attr in known.READING_METHODS
    is_outside = known.is_outside_name(function.attr) and not is_read_at_once and not _is_of_live(function, names)
    if is_outside or function.attr.startswith("__"):
        return Unknown(f".{function.attr}() may look at the outside world, or give another value each time", node)
    if isinstance(function.value, ast.Call) and _is_of_live(function, names):
        return None
    methods = {each for kind in names.classes for each in methods_for(kind, function.attr)}
    if methods and names.drops:
        return Unknown("it may drop values at random", node)
    for method in methods:
        if (unknown := inside.why_not_function(node, method, names)) is not None:
            return unknown
    is_read = function.attr in known.READING_TABLES and leading.is_table_read(function.value, names)
    return None if is_read else leading.why_not(function.value, names)


def may_be_passed(full: str, names: Names) -> bool:
    """Whether a call that stays may be stepped over: it leaves the outside world as it is."""
    if names.known is None:
        return False
    if effects.seeds(full):
        names.seeds.append(full)
    is_maker = full in known.LIVE_MAKERS or full.endswith("defaultdict")
    return effects.only_looks(full) or is_maker or not known.is_outside(full)


def _why_not_passed_method(node: ast.Call, function: ast.Attribute, names: Names) -> Unknown | None:
    """Why a call of a method that stays may not be stepped over."""
    root, attr = shapes.root(function), function.attr
    assert names.known is not None
    for method in {each for kind in names.classes for each in methods_for(kind, attr)}:
        if (unknown := inside.why_not_function(node, method, names)) is not None:
            return unknown
    if attr == "execute":
        is_known = effects.only_asks(getattr(node.args[0], "value", None) if node.args else None)
    elif not isinstance(root, ast.Name) or root.id in names.known or names.full_name(root) is not None:
        is_known = effects.is_plain_method(attr) or not known.is_outside_name(attr)
    else:
        is_known = effects.is_plain_method(attr) and (root.id in names.own or not known.is_changing(attr))
    if not is_known:
        return Unknown(f".{attr}() may change the outside world", node)
    return None if leading.is_table_read(function.value, names) else leading.why_not(function.value, names)


def _why_not_class(node: ast.AST, kind: type, names: Names) -> Unknown | None:
    """Why making an object of a class of the user's may not move."""
    if names.known is None and (reason := why_not_shared(kind)) is not None:
        return Unknown(f"an object of {kind.__name__} {reason}", node)
    for method in {*initialisers_of(kind), *unnamed_methods_of(kind)}:
        if (unknown := inside.why_not_function(node, method, names)) is not None:
            return unknown
    names.classes.add(kind)
    return None


def _leaves_tables(full: str | None, node: ast.Call) -> bool:
    """Whether what a library gives shares nothing with a table that it is given, and does not change it."""
    if full is None:
        return isinstance(node.func, ast.Attribute) and node.func.attr in known.METHODS_READING_TABLES
    top, _, name = full.partition(".")
    if node.keywords and top == "builtins":
        return False
    if top == "builtins":
        return name in known.ITERATORS or (name in known.PLAIN_BUILTINS and len(node.args) == 1)
    keywords = [(each.arg or "", getattr(each.value, "value", None)) for each in node.keywords]
    if known.is_changing(name.rpartition(".")[2]) or any(known.allows_changes(*each) for each in keywords):
        return False
    return top in known.COPYING_MODULES or full in known.COPYING_FUNCTIONS | known.READERS


def _is_read_to_its_end(function: ast.expr, names: Names) -> bool:
    """Whether it is a method that reads a file which is opened for it."""
    match function:
        case ast.Attribute(value=ast.Call(func=opened), attr=attr):
            full = names.full_name(opened)
            is_image = full == "PIL.Image.open"
            return full in known.OPENING and attr in (known.IMAGE_METHODS if is_image else known.READING_FILE_METHODS)
    return False


def _is_opened_here(node: ast.Call, full: str | None, names: Names, *, is_used_up: bool) -> bool:
    """Whether it opens what is read at once, or is only to be stepped over."""
    if full is None:
        return is_used_up and isinstance(node.func, ast.Attribute) and node.func.attr == "open"
    return full in known.OPENING and (is_used_up or names.known is not None)


def _is_walked_here(node: ast.Call, full: str | None, names: Names, *, is_used_up: bool) -> bool:
    """Whether it makes an iterator that is used up at once, or takes the first of what such a one gives."""
    if full == "builtins.iter":
        return is_used_up and len(node.args) == 1
    if full != "builtins.next" or not node.args:
        return False
    inner = node.args[0]
    is_made = isinstance(inner, ast.Call) and names.full_name(inner.func) == "builtins.iter"
    return is_made or isinstance(inner, ast.GeneratorExp)


def _is_image(node: ast.expr, names: Names) -> bool:
    """Whether it is an image that is opened where it is read."""
    return isinstance(node, ast.Call) and names.full_name(node.func) == "PIL.Image.open"


def _is_of_live(function: ast.Attribute, names: Names) -> bool:
    """Whether it is a method of what is used up or changed by being read: nothing else sees what it does."""
    is_made_here = isinstance(function.value, ast.Call) and lively.is_seeded(function.value, names)
    return is_made_here or (isinstance(function.value, ast.Name) and function.value.id in names.live)


def _drops_in_training(function: ast.expr, names: Names) -> bool:
    """Whether it is a layer of the network whose method this is, that drops values unless it is told not to.

    Where the network is called is looked at as well, and calls share no network in training mode.
    """
    match function:
        case ast.Attribute(value=ast.Name(id=itself), attr=attr):
            code = names.source.function.__code__
            kind = names.source.function.__globals__.get(names.source.class_name or "")
            if names.depth == 0 or code.co_varnames[:1] != (itself,) or not isinstance(kind, type):
                return False
            is_network = any(
                f"{base.__module__}.{base.__name__}" == "torch.nn.modules.module.Module" for base in kind.__mro__
            )
            return is_network and not hasattr(kind, attr) and re.fullmatch(r"(\w+_)?drop(out)?_?\d?", attr) is not None
    return False


def why_not_opened(call: ast.Call, names: Names) -> Unknown | None:
    """Why something may not be opened: a file that may be written to, or what is no file."""
    full = names.full_name(call.func)
    is_file = full in known.OPENING or (full is None and getattr(call.func, "attr", "") == "open")
    if not is_file and full not in known.PLAIN_BLOCKS:
        return Unknown("it is entered by `with`", call)
    given = list(call.args)
    if is_file and isinstance(call.func, ast.Attribute) and full is None:
        given.insert(0, call.func.value)  # of a path
    modes = given[1:2] + [each.value for each in call.keywords if each.arg in ("mode", "mmap_mode")]
    if is_file and not all(isinstance(each, ast.Constant) and each.value in known.READING_MODES for each in modes):
        return Unknown("the file may be written to", call)
    for each in (*given, *(each.value for each in call.keywords)):
        if (unknown := leading.why_not(each, names)) is not None:
            return unknown
    return None
