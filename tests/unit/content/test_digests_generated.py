"""Digests against a model: what is made from equal descriptions has equal digests, from others other ones.

A description is a nested tuple of its kind and parts, and says all that counts: values, objects of classes, functions
generated as source, modules. Two of them are the same build exactly if they are equal (sets are described as sets).
"""

import collections
import functools
import types

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl_context.content.digests import digest_content
from tests.unit.builders import script

numbers = st.sampled_from(
    ["0", "1", "True", "None", "0.0", "-0.0", "1.0", "1j", "'1'", "b'1'", "''", "10**30", "'\\ud800'"]
)
names = st.sampled_from(["alpha", "beta", "gamma", "delta"])
# No two of these are equal, so none keeps another out of a set.
unequal = st.sampled_from(["0", "1", "None", "1j", "'1'", "b'1'", "''", "10**30", "'\\ud800'"])
atoms = st.tuples(st.just("atom"), numbers)
items_of_sets = st.frozensets(st.tuples(st.just("atom"), unequal), max_size=3)
hashables = st.recursive(
    atoms,
    lambda inner: (
        st.tuples(st.just("tuple"), st.lists(inner, max_size=3).map(tuple))
        | st.tuples(st.just("frozenset"), items_of_sets)
    ),
    max_leaves=4,
)


def named(inner):
    """Names with values, in order."""
    return st.lists(st.tuples(names, inner), unique_by=lambda item: item[0], max_size=3).map(tuple)


def compounds(inner):
    items = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(
        st.tuples(st.sampled_from(["list", "tuple", "deque"]), items),
        st.tuples(st.sampled_from(["set", "subclass of set"]), items_of_sets),
        st.tuples(st.sampled_from(["dict", "OrderedDict", "mappingproxy", "namespace"]), named(inner)),
        st.tuples(st.sampled_from(["text", "number"]), named(inner)),
        st.tuples(st.sampled_from(["partial", "class", "object", "method", "module"]), named(inner)),
        st.tuples(st.just("slots"), named(inner).map(lambda parts: tuple(sorted(parts)))),
        st.tuples(
            st.just("function"),
            st.fixed_dictionaries(
                {
                    "constant": numbers,
                    "default": inner,
                    "keyword": inner,
                    "closure": inner,
                    "global": inner,
                    "attributes": named(inner),
                    "guarded": st.booleans(),
                    "cached": st.booleans(),
                }
            ).map(lambda parts: tuple(sorted(parts.items()))),  # hypothesis may draw them in another order
        ),
    )


descriptions = st.recursive(hashables, compounds, max_leaves=6)

FUNCTION = """
def outer(closure):
  def load(x=default, *, y=keyword):
    {first}
    return helper(x, y, closure, {constant}), used
  return load
def helper(*values):
  return values
load = outer(closed)
"""


def moved(source, lines):
    """The same source with empty lines and comments above each of its own."""
    return "".join(f"{'# moved' if lines % 2 else ''}\n" * lines + line + "\n" for line in source.splitlines())


def built(description, lines=0):
    """What a description describes; nothing in it is shared with what was built before."""
    kind, parts = description
    make = functools.partial(built, lines=lines)
    if kind == "atom":
        return eval(parts)
    if kind in ("list", "tuple", "deque"):
        return {"list": list, "tuple": tuple, "deque": collections.deque}[kind](map(make, parts))
    if kind in ("set", "frozenset", "subclass of set"):
        items = [make(part) for part in sorted(parts, reverse=lines > 0)]
        return {"set": set, "frozenset": frozenset}.get(kind, script("class Kind(set): pass", "Kind"))(items)
    if kind == "function":
        return _function(dict(parts), make, lines)
    values = {name: make(part) for name, part in parts}
    match kind:
        case "dict" | "OrderedDict" | "mappingproxy" | "namespace":
            wrap = {"OrderedDict": collections.OrderedDict, "mappingproxy": types.MappingProxyType}
            return types.SimpleNamespace(**values) if kind == "namespace" else wrap.get(kind, dict)(values)
        case "partial":
            return functools.partial(dict, **values)
        case "class":
            made = script(moved("class load:\n  def run(self): return self", lines), "load")
            for name, value in values.items():
                setattr(made, name, value)
            return made
        case "module":
            module = types.ModuleType("module_that_is_generated")
            vars(module).update(values)
            return module
        case _:
            return _object(kind, values, lines)


def _object(kind, values, lines):
    bases = {"text": "str", "number": "float"}
    slots = f"__slots__ = {tuple(sorted(values))!r}" if kind == "slots" else "pass"
    source = f"class Kind({bases.get(kind, 'object')}):\n  {slots}\n  def run(self): return self"
    made = script(moved(source, lines), "Kind")(*["1.5"] if kind in bases else [])
    for name, value in values.items():
        setattr(made, name, value)
    return made.run if kind == "method" else made


def _function(parts, make, lines):
    first = "try: helper()\n    except ValueError: pass" if parts["guarded"] else "helper()"
    source = moved(FUNCTION.format(first=first, constant=parts["constant"]), lines)
    known = {"closed": "closure", "used": "global", "default": "default", "keyword": "keyword"}
    load = script(source, "load", **{name: make(parts[part]) for name, part in known.items()})
    for name, part in parts["attributes"]:
        setattr(load, name, make(part))
    return functools.lru_cache(load) if parts["cached"] else load


@given(descriptions, st.integers(1, 3))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_what_is_built_twice_from_one_description_has_one_digest(description, lines):
    assert digest_content(built(description)) == digest_content(built(description, lines))


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_what_is_built_from_a_changed_description_has_another_digest(data):
    one = data.draw(descriptions)
    other = data.draw(changes_of(one))
    assert (digest_content(built(one)) == digest_content(built(other))) == (one == other)


def changes_of(description):
    """Descriptions that differ in one place, or not at all."""
    kind, parts = description
    ways = [descriptions]
    if isinstance(parts, tuple):
        if kind not in ("function", "slots"):
            ways.append(st.permutations(parts).map(lambda items: (kind, tuple(items))))
        for i, part in enumerate(parts):
            changed = changes_of(part) if kind in ("list", "tuple", "deque") else _changed(*part)
            ways.append(changed.map(lambda part, i=i: (kind, (*parts[:i], part, *parts[i + 1 :]))))
    return st.one_of(ways)


def _changed(name, value):
    """A name with another value: a description, what the description of a function adds, or several such."""
    if name == "constant":
        return st.tuples(st.just(name), numbers)
    if isinstance(value, bool):
        return st.just((name, not value))
    if name == "attributes":
        return st.tuples(st.just(name), named(hashables))
    return st.tuples(st.just(name), changes_of(value))
