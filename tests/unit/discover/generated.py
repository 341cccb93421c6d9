"""Functions made at random: leading work, guards, and bodies that read, change, keep, give on and return what it made.

`module(seed, count)` is the text of a module. What its functions do is seen by results, errors, and `EFFECTS`.
"""

import random

HELPERS = """
import collections
import copy
import csv
import functools
import heapq
import json
import math
import operator
import os
import random
import re
import sys

this = sys.modules[__name__]  # as a module of the user's that another imports
EFFECTS = []
STORE = []
LIMIT = 4
TABLE = {"a": 1}
ROWS = [3, 1, 2]
CODES = {"a": 1, "b": 2}
FILE = "PLACE"
TICKS = [0]


def note(what):
    EFFECTS.append(what)
    return what


def pure(a, b=2):
    result = {"k": [a, b], "n": a}
    for i in range(2):
        result["k"].append(i)
    return result


def tick():
    TICKS[0] += 1
    return TICKS[0]


def reads_a_table(n):
    return [v + n for v in ROWS] + sorted(CODES)


def changes_a_table(n):
    ROWS.append(n)
    return list(ROWS)


def gives_a_table():
    return ROWS


def remembers(a, seen=[]):
    seen.append(a)
    return len(seen)


def fills(n):
    rows = [0] * n
    for i in range(n):
        rows[i] += i
    rows[0] = 7
    return rows


def fills_two(n):
    rows = [0, 0, 0]
    rows[0] = rows[-1] = n
    rows[1], last = 7, rows[0]
    return rows + [last]


def fills_a_table(n):
    rows = [0, 0]
    rows[0], ROWS[0] = n, n
    return rows


def makes_changer():
    return functools.partial(changes)


def makes_reader():
    return functools.partial(reads)


def makes_plain(n):
    return Plain([n])


def makes_marked(n):
    made = [Marked([n])]
    return made[0]


def keeps_part(t, x):
    STORE.append(t[0])
    return x


def gives_part(t, x):
    return t[0]


def hands_part_on(t, x):
    return STRANGE.process(t[0], x)


def walks(t, x):
    if x > 0:
        return walks(t, x - 1)
    return len(t)


def walks_and_changes(t, x):
    if x > 0:
        return walks_and_changes(t, x - 1)
    t.append(x)
    return len(t)


def boom(a):
    raise ValueError(f"boom {a}")


def reads(t, x):
    return len(t), x


def changes(t, x):
    t.append(x)
    return len(t)


def changes_by_key(t, x):
    t["new"] = x
    return len(t)


def keeps(t, x):
    STORE.append(t)
    return x


def same(t, x=None):
    return t


def deep(t, x):
    return changes_deeper(t, x)


def changes_deeper(t, x):
    inner = t
    inner.append(x)
    return x


def inside(t, x):
    first = t["k"]
    first.append(x)
    return len(first)


class Strange:
    def process(self, t, x):
        t.append(x)
        return len(t)

    @staticmethod
    def handle(t, x):
        t.append(x)


STRANGE = Strange()


class Plain:
    def __init__(self, rows):
        self.rows = list(rows)
        self.n = len(self.rows)

    def size(self):
        return self.n

    def first(self):
        return self.rows[0]

    def keep(self, t):
        STORE.append(t)
        return 1

    def change(self, t):
        t.append(1)

    def __call__(self, x):
        return self.n, x


class Marked(Plain):
    def mark(self, x):
        self.rows.append(x)
        return len(self.rows)


class Counting(Plain):
    def size(self):
        self.n += 1
        return self.n


class Logged(Plain):
    def __init__(self, rows):
        super().__init__(rows)
        self.log_rows = [len(self.rows)]

    def size(self):
        return max(self.log_rows) + self.log_rows[0]


class Logging(Plain):
    def log_row(self, x):
        self.rows.append(x)
        return len(self.rows)

    def size(self):
        return list(map(self.log_row, [1]))


class Storing(Plain):
    def size(self):
        STORE.append(self.rows)
        return len(self.rows)


class Loud(Plain):
    def __init__(self, rows):
        super().__init__(rows)
        EFFECTS.append("loud")


class Quiet(Plain):
    def __init__(self, rows):
        super().__init__(rows)
        self.more = {}

    def size(self):
        return len(self.more) + self.n


class Common:
    rows = []

    def size(self):
        return len(self.rows)


class Box:
    def __init__(self, value):
        self.value = value
        self.seen = []

    def look(self, x):
        self.seen.append(x)
        return len(self.seen)
"""

# What may stand at the beginning: (kind of what is made, expression). {0} and {1} are variables made before.
_EXPRESSIONS = [
    ("list", "[1, 2, 3]"),
    ("list", "[[1], [2]]"),
    ("list", "[i * i for i in range(4)]"),
    ("list", "list(map(str, range(3)))"),
    ("list", "sorted([3, 1, 2], key=lambda v: -v)"),
    ("list", "'a b c'.split()"),
    ("list", "list({dict}.values())"),
    ("list", "{list}"),
    ("list", "{list} + [7]"),
    ("list", "{list}[:2]"),
    ("list", "[{list}]"),
    ("list", "{dict}['k']"),
    ("list", "{list} or [0]"),
    ("list", "{list} if LIMIT > 3 else [0]"),
    ("list", "copy.copy({list})"),
    ("list", "copy.deepcopy({list})"),
    ("list", "same({list})"),
    ("list", "json.loads('[1, [2], 3]')"),
    ("list", "re.findall('a.', 'abacad')"),
    ("nested", "[[1], [2]]"),
    ("nested", "[[i] for i in range(3)]"),
    ("nested", "[{list}, [9]]"),
    ("nested", "list({nested})"),
    ("nested", "[[n] for n in CODES]"),
    ("dict", "{'k': [1, 2], 'n': 3}"),
    ("dict", "pure(3)"),
    ("dict", "pure(LIMIT, b=5)"),
    ("dict", "dict(k=[1], n=2)"),
    ("dict", "{w: [w] for w in 'kn'}"),
    ("dict", 'json.loads(\'{"k": [5], "n": 6}\')'),
    ("dict", "{dict}"),
    ("dict", "dict({dict})"),
    ("dict", "{'k': {list}, 'n': 1}"),
    ("dict", "collections.OrderedDict(k=[2], n=9)"),
    ("dict", "functools.reduce(lambda a, b: {**a, b: [b]}, 'kn', {})"),
    ("iterator", "iter([1, 2, 3])"),
    ("iterator", "(i for i in range(5))"),
    ("iterator", "zip([1, 2], [3, 4])"),
    ("iterator", "map(str, {list})"),
    ("iterator", "reversed([1, 2])"),
    ("iterator", "re.finditer('a', 'aaa')"),
    ("number", "3"),
    ("number", "'text'"),
    ("number", "len({list})"),
    ("number", "sum(range(9)) + LIMIT"),
    ("number", "math.sqrt(LIMIT)"),
    ("number", "{dict}['n']"),
    ("number", "tick()"),
    ("number", "random.random()"),
    ("number", "os.environ.get('MARK')"),
    ("list", "random.sample([1, 2, 3], 2)"),
    ("number", "remembers(1)"),
    ("number", "this.tick()"),
    ("number", "count()"),
    ("number", "me.tick()"),
    ("number", "this.changes({list}, 3)"),
    ("dict", "this.pure(3)"),
    ("adder", "functools.partial(this.changes, {list})"),
    ("number", "{list}.pop()"),
    ("number", "changes({list}, 3)"),
    ("number", "heapq.heappush({list}, 3)"),
    ("adder", "{list}.append"),
    ("adder", "functools.partial(list.append, {list})"),
    ("adder", "functools.partial(operator.iadd, {list})"),
    ("adder", "functools.partial(changes, {list})"),
    ("adder", "functools.partial(lambda a, b: a.append(b), {list})"),
    ("adder", "{dict}['k'].append"),
    ("changer", "changes"),
    ("changer", "functools.partial(changes)"),
    ("changer", "functools.partial(reads)"),
    ("changer", "functools.partial(deep)"),
    ("changer", "operator.concat"),
    ("list", "fills(3)"),
    ("list", "fills_two(3)"),
    ("list", "fills_a_table(3)"),
    ("list", "sorted({1, 2}.union(ROWS))"),
    ("list", "sorted({7}.difference(ROWS, CODES), key=str)"),
    ("list", "list('abcdefghijk'[ROWS[0]])"),
    ("number", "note('lead')"),
    ("number", "x + 1"),
    ("number", "len(str(x))"),
    ("number", "1 // 0"),
    ("number", "boom(1)"),
    ("number", "{dict}['missing']"),
    ("list", "[tick()]"),
    ("dict", "TABLE"),
    ("list", "ROWS"),
    ("list", "[ROWS]"),
    ("list", "list(ROWS)"),
    ("list", "sorted(ROWS)"),
    ("list", "[v for v in ROWS]"),
    ("list", "[n + str(v) for n, v in CODES.items()]"),
    ("list", "ROWS[:2]"),
    ("list", "ROWS + [1]"),
    ("list", "[*zip(ROWS, CODES)]"),
    ("list", "copy.copy(ROWS)"),
    ("list", "operator.iadd(ROWS, [5])"),
    ("dict", "{'k': list(ROWS), 'n': len(CODES)}"),
    ("dict", "dict(CODES, k=[1], n=2)"),
    ("number", "CODES['a'] + ROWS[0]"),
    ("number", "max(CODES.values()) + (3 in ROWS)"),
    ("number", "CODES.setdefault('z', 3)"),
    ("number", "CODES.get('b')"),
    ("number", "ROWS.append(4)"),
    ("list", "reads_a_table(3)"),
    ("list", "changes_a_table(3)"),
    ("list", "gives_a_table()"),
    ("dict", "{'k': STORE, 'n': 0}"),
    ("box", "Box(3)"),
    ("plain", "Plain([1, [2]])"),
    ("plain", "Plain({list})"),
    ("plain", "Quiet([1, 2])"),
    ("plain", "Quiet({list})"),
    ("plain", "Marked([1, 2])"),
    ("plain", "Counting([1, 2])"),
    ("plain", "Loud([1, 2])"),
    ("plain", "Logged({list})"),
    ("plain", "Logging([1, 2])"),
    ("plain", "Storing([1, 2])"),
    ("plain", "makes_plain(2)"),
    ("plain", "makes_marked(2)"),
    ("changer", "makes_changer()"),
    ("changer", "makes_reader()"),
    ("strangers", "[Strange()]"),
    ("strangers", "{'s': Strange()}"),
    ("plain", "Common()"),
    ("plain", "this.Plain([1, 2])"),
    ("list", "Plain({list}).rows"),
    ("list", "[Plain([1]).n]"),
    ("counter", "collections.Counter('abca')"),
    ("counter", "collections.defaultdict(list)"),
    ("pattern", "re.compile('a+')"),
    ("partial", "functools.partial(pow, 2)"),
    ("partial", "operator.itemgetter(0)"),
    ("cached", "functools.lru_cache(pure)"),
    ("random", "random.Random(3)"),
    ("random", "random.Random(LIMIT)"),
    ("random", "random.Random(len({list}))"),
    ("list", "list({iterator})"),
    ("list", "[{iterator}]"),
    ("list", "[v for v in {iterator}]"),
    ("number", "next({iterator}, 0)"),
    ("iterator", "zip({iterator}, [4, 5])"),
    ("iterator", "enumerate({list})"),
    ("list", "[{random}.random() for i in range(2)]"),
    ("number", "{random}.random()"),
    ("list", "[{caller}(2)]"),
    ("number", "{caller}({list})"),
    ("list", "sorted([[2], [1]], key={caller})"),
    ("adder", "functools.partial({caller})"),
    ("dict", "dict({counter}, k=[1], n=2)"),
    ("list", "sorted({counter})"),
    ("number", "{counter}['a']"),
]
# What binds {v} by more than an expression.
_BLOCKS = [
    ("list", "{v} = []\n    for i in [1, 2, 3]:\n        {v}.append([i])"),
    ("list", "{v} = []\n    for i, w in enumerate('abc'):\n        if i:\n            {v}.append(w)"),
    ("list", "{v} = []\n    for i in ROWS:\n        {v} += [i]"),
    ("list", "{v} = []\n    for i in range(3):\n        EFFECTS.append(i)\n        {v}.append(i)"),
    ("list", "{v} = []\n    for i in range(3):\n        {list}.append(i)\n        {v}.append({list})"),
    ("list", "{v} = []\n    for i in range(x):\n        {v}.append(i)"),
    ("list", "{v} = []\n    for i in ({v} or [4]):\n        {v}.append(i)\n        break"),
    ("dict", "{v} = {'k': [], 'n': 0}\n    for i in range(3):\n        {v}['k'].append(i)\n        {v}['n'] += i"),
    ("dict", "{v} = {}\n    for w in 'kn':\n        part = [w]\n        {v}[w] = part"),
    ("list", "for {v} in [[1], [2]]:\n        pass"),
    ("list", "for x in [1]:\n        {v} = [x]"),
    ("list", "for i in []:\n        {v} = [i]"),
    ("list", "if LIMIT > 3:\n        {v} = [1]\n    else:\n        {v} = [2]"),
    ("list", "if LIMIT > 30:\n        {v} = [1]"),
    ("list", "if {list}:\n        {v} = {list}\n    else:\n        {v} = [tick()]"),
    ("list", "with open(FILE) as handle:\n        {v} = handle.read().split()"),
    ("list", "with open(FILE) as handle:\n        {v} = [row for row in csv.reader(handle)]"),
    ("list", "with open(FILE) as handle:\n        {v} = []\n        for line in handle:\n            {v}.append(line)"),
    ("list", "with open(FILE + 'x') as handle:\n        {v} = handle.readlines()"),
    ("list", "with open(FILE, 'a') as handle:\n        {v} = [handle.write('5,6')]"),
    ("iterator", "with open(FILE) as handle:\n        {v} = csv.reader(handle)"),
    ("iterator", "with open(FILE) as {v}:\n        pass"),
    ("list", "{v}, other = zip(*[(1, 2), (3, 4)])"),
    ("iterator", "{v}, other = iter('ab'), [1]"),
    ("list", "{v}, other = map(list, ('ab', 'cd'))"),
    ("caller", "def {v}(a):\n        return len({list})"),
    ("caller", "def {v}(a):\n        {list}.append(a)"),
    ("caller", "def {v}(a):\n        return {list}"),
    ("caller", "def {v}(a):\n        return {list}[0]"),
    ("caller", "def {v}(a, seen=[]):\n        seen.append(a)\n        return len(seen)"),
    ("caller", "def {v}(a):\n        a.append(1)\n        return a"),
    ("caller", "def {v}(a):\n        return note(a)"),
    ("caller", "def {v}(a):\n        return a"),
    ("caller", "def {v}(a):\n        inner = {list}\n        inner.append(1)\n        return len(inner)"),
    ("caller", "def {v}({list}):\n        {list}.append(1)\n        return len({list})"),
    ("caller", "def {v}(a):\n        yield {list}"),
    ("caller", "def {v}(a):\n        return {v}(a - 1) if isinstance(a, int) and a > 0 else {list}[:1]"),
    ("caller", "@functools.singledispatch\n    def {v}(a):\n        return [a, LIMIT]"),
    ("caller", "@functools.singledispatch\n    def {v}(a):\n        return len({list}) + len(str(a))"),
    ("caller", "@functools.singledispatch\n    def {v}(a):\n        return {list}"),
    ("caller", "@functools.singledispatch\n    def {v}(a):\n        a.append(1)\n        return len(a)"),
    ("caller", "@functools.singledispatch\n    def {v}(a):\n        {list}.append(1)\n        return len({list})"),
    ("caller", "@functools.singledispatch\n    def {v}(a):\n        return note(a)"),
    (
        "caller",
        "@functools.singledispatch\n    def {v}(a):\n        total = 0\n        for i in range(x):\n"
        "            total += i\n        return total",
    ),
    ("caller", "@functools.lru_cache\n    def {v}(a):\n        return [a]"),
    ("caller", "{v} = lambda a: len({list})"),
    ("caller", "def {v}(a):\n        made = []\n        made.append(a)\n        return made"),
    ("caller", "def {v}(a):\n        return [a, len({list}), LIMIT]"),
    ("counter", "{v} = collections.defaultdict(list)\n    for w in 'aba':\n        {v}[w].append(1)"),
    ("counter", "{v} = collections.defaultdict(int)\n    for w in 'aba':\n        {v}[w] += 1"),
    ("list", "handle = open(FILE)\n    {v} = [line for line in handle]\n    handle.close()"),
    (
        "list",
        "try:\n        with open(FILE) as handle:\n            {v} = handle.readlines()\n"
        "    except OSError:\n        {v} = [0]",
    ),
    ("list", "try:\n        {v} = [CODES['c']]\n    except KeyError:\n        {v} = [0]"),
    ("list", "{v} = [3, 1, 2]\n    heapq.heapify({v})"),
    ("list", "{v} = [3, 1, 2]\n    while len({v}) > 1:\n        {v}.pop()"),
    ("list", "{v} = []\n    for i in range(3):\n        {v}.append(i)\n    for i in range(2):\n        {v}.append(i)"),
]
_KINDS = sorted({kind for kind, _ in _EXPRESSIONS})
_LEADS = [
    "print('text')",
    "print(len({list}), {list})",
    "print({dict}.pop('k'))",
    "print(note('printed'))",
    "print(x)",
    "{list}[0] = 5",
    "{dict}['k'] = [0]",
    "{list} += [8]",
    "{dict}['n'] += 2",
    "del {list}[0]",
    "{list}.append(9)",
    "{dict}.update(n=4)",
    "{list}.sort(key=str)",
    "{list}.pop()",
    "note('expression')",
    "{counter}.clear()",
]
_GUARDS = [
    "from NAME import tick as count",
    "import NAME as me",
    "if x == 3:\n        raise ValueError('three')",
    "if not isinstance(x, int):\n        return 'no number'",
    "if x > 5:\n        return x",
    "assert x != 4, 'four'",
    "if note(x) == 2:\n        return 'two'",
    "import bisect",
    "import os.path\n    import os",
    "import xml.dom\n    import xml.sax\n    r2 = xml.sax.__name__",
    "import os.path\n    import json as os",
    "import math as maths\n    import math as maths",
    "import no_such_module_at_all",
    "from math import floor",
    "y = x + 1",
    "y = str(x).upper()",
    "y = [x]\n    y.append(2)",
    "if x is None:\n        x = 1",
    "for i in range(2):\n        y = i + x",
    "try:\n        y = 1 // x\n    except ZeroDivisionError:\n        return 'zero'",
    "y = note(x)",
    "y = tick()",
    "y = pure(x)",
    "y = changes_a_table(x)",
    "y = reads_a_table(x)",
    "ROWS.append(x)",
    "CODES['c'] = x",
    "y = ROWS\n    y.append(x)",
    "y = ROWS[0] + x",
    "y = CODES.get('b')",
    "with open(FILE, 'w') as handle:\n        handle.write('7,8')",
    "with open(FILE) as handle:\n        y = handle.read() * x",
    "os.environ['MARK'] = str(x)",
    "y = os.environ.get('MARK')",
    "random.seed(x)",
    "y = random.random()",
    "y = random.Random(x)",
    "def helper(a):\n        ROWS.append(a)\n        return a\n    y = helper(x)",
    "def helper(a):\n        return a * 2\n    y = helper(x)",
    "y = Quiet([x])\n    z = y.size()",
    "y = Strange()\n    z = y.process([], x)",
    "LIMIT_OF_IT = LIMIT + x",
    "k = 2",
    "k = 'constant'",
]
_BODIES = {
    "list": [
        "r.append({0}[0])",
        "r.append(len({0}))",
        "r.append(x in {0})",
        "r.append([v for v in {0}])",
        "r.extend({0})",
        "{0}.append(x)",
        "{0}[0] = x",
        "{0} += [x]",
        "del {0}[0]",
        "{0} = [x]",
        "r.append({0})",
        "return {0}",
        "return {0}, x",
        "return [{0}, x]",
        "r += {0}",
        "y = {0}\n    y.append(x)",
        "y = {0}[0]\n    y.append(x)",
        "y = list({0})\n    y.append(x)",
        "y = list({0})\n    y[0].append(x)",
        "y = {0} + [x]\n    y.append(x)",
        "for v in {0}:\n        r.append(v)",
        "for v in {0}:\n        v.append(x)",
        "r.append(changes({0}, x))",
        "r.append(walks({0}, x))",
        "r.append(STRANGE.process({0}, x))",
        "s = Strange()\n    r.append(s.process({0}, x))",
        "r.append(Strange().process({0}, x))",
        "Strange.handle({0}, x)",
        "s = this.Strange()\n    s.process({0}, x)",
        "for s in [Strange()]:\n        s.process({0}, x)",
        "s = Strange() if x else None\n    if s:\n        s.process({0}, x)",
        "def mk():\n        return Strange()\n    s = mk()\n    s.process({0}, x)",
        "s, t = Strange(), 1\n    s.process({0}, x)",
        "r.append(this.changes({0}, x))",
        "r.append(this.reads({0}, x))",
        "from NAME import changes as put\n    put({0}, x)",
        "import NAME as me\n    me.changes({0}, x)",
        "y = {0}.append\n    y(x)",
        "getattr({0}, 'append')(x)",
        "list(map({0}.append, [x]))",
        "functools.partial(list.append, {0})(x)",
        "functools.partial(changes, {0})(x)",
        "y = changes\n    y({0}, x)",
        "y = changes\n    y({0}, x)\n    y = {0}[0]",
        "[changes][0]({0}, x)",
        "(lambda q: q.append(x))({0})",
        "{'f': changes}['f']({0}, x)",
        "functools.reduce(operator.iadd, [[x]], {0})",
        "r.append(walks_and_changes({0}, x))",
        "r.append(reads({0}, x))",
        "r.append(keeps({0}, x))",
        "same({0}).append(x)",
        "r.append(deep({0}, x))",
        "heapq.heappush({0}, x)",
        "r.append(max({0}, key=str))",
        "r.append(sorted({0}, key=str))",
        "first, *others = {0}\n    others.append(x)\n    r.append(others)",
        "r.append((lambda: {0})())",
        "r.append([v for v in {0} if v])",
        "def inner():\n        return {0}\n    r.append(inner())",
        "def inner():\n        {0}.append(x)\n    inner()",
        "operator.iadd({0}, [x])",
        "r.append({0} * 2)",
        "r.append(','.join(map(str, {0})))",
        "({0} or r).append(x)",
        "(y := {0}).append(x)",
        "with_item = {0}.__getitem__(0)\n    r.append(with_item)",
        "{0}.__setitem__(0, x)",
        "r.append({0}.index({0}[0]))",
        "r.append(STRANGE.process({0}[0], x))",
        "for v in {0}:\n        r.append(STRANGE.process(v, x))",
        "STRANGE.process([{0}], x)",
        "for i in {0}:\n        r.append(i)",
        "r.append(sorted([2, 1], key=lambda v: (-v, len({0}))))",
        "r.append(sorted([[2], [1]], key=lambda v: ({0}, v)))",
        "r.append(max([{0}], key=lambda v: (len(v), v.append(x))))",
        "r.append(min([{0}], key=lambda v: (v, 1)))",
        "match {0}:\n        case [one, *more]:\n            more.append(x)\n            r.append(more)",
        "r.append(copy.copy({0}))",
        "copy.copy({0}).append(x)",
        "sorted({0}, key=str).append(x)",
        "[v.append(x) for v in {0}]",
        "r.append(list(map(lambda v: {0}.append(v), [x])))",
        "r.append(any(v == x for v in {0}))",
    ],
    "strangers": [
        "for s in {0}:\n        s.process({list}, x)",
        "for s in {0}.values():\n        s.process({list}, x)",
        "s = {0}[0]\n    s.process({list}, x)",
        "{0}['s'].process({list}, x)",
        "[s.process({list}, x) for s in {0}]",
    ],
    "nested": [
        "r.append(keeps_part({0}, x))\n    STORE[-1].append(x)",
        "r.append(gives_part({0}, x))",
        "gives_part({0}, x).append(x)",
        "r.append(hands_part_on({0}, x))",
        "if x % 3:\n        y = {0}[0]\n    else:\n        y = list({0})\n    y.append(x)",
        "if x % 3:\n        y = list({0})\n    else:\n        y = {0} + [x]\n    y.append(x)",
        "y = list({0})\n    for i in range(2):\n        y.append(x)\n        y = {0}[0]",
        "y = {0}[0]\n    try:\n        y = list({0}[x])\n    except Exception:\n        pass\n    y.append(x)",
        "y = list({0})\n    later = map(lambda v: y.append(v), [x])\n    y = {0}[0]\n    r.append(list(later))",
        "r.append(0)\n    z = {'a': []}\n    z['a'] += {0}\n    z['a'][0].append(x)",
        "z = {'a': []}\n    z['a'] += {0}\n    r.append(z)",
        "def inner(v):\n        y = {0}[0]\n        y.append(v)\n    inner(x)",
        "def inner(v):\n        y = {0}[:1]\n        return len(y) + v\n    y = [inner(x)]\n    y.append(x)",
        "for v in {0}:\n        v.append(x)",
        "y = {0}[0]\n    y.append(x)",
        "y = list({0})\n    y[0].append(x)",
        "y = [v for v in {0}]\n    y[0].append(x)",
        "y, *z = {0}\n    y.append(x)",
        "y, *z = {0}\n    z.append(x)\n    r.append(z)",
        "r.append(STRANGE.process({0}[0], x))",
        "for v in {0}:\n        r.append(STRANGE.process(v, x))",
        "r.append(inside({'k': {0}[0]}, x))",
        "r.append(changes({0}[0], x))",
        "r.append(sum(map(len, {0})))",
        "r += {0}\n    r[0].append(x)",
        "y = {0}[1:]\n    y.append(x)",
        "y = {0}[1:]\n    y[0].append(x)",
    ],
    "dict": [
        "r.append({0}['k'])",
        "r.append({0}.get('n'))",
        "{0}['n'] = x",
        "{0}.update(n=x)",
        "{0}['k'].append(x)",
        "{0}.setdefault('z', []).append(x)",
        "{0}.get('k').append(x)",
        "r.append(sorted({0}))",
        "return {0}['k']",
        "return {0}",
        "y = {0}['k']\n    y.append(x)\n    r.append(y)",
        "y = {0}.get('k')\n    y += [x]",
        "for k2, v in {0}.items():\n        r.append(k2)",
        "for k2, v in {0}.items():\n        v.append(x)",
        "r.append(changes_by_key({0}, x))",
        "r.append(inside({0}, x))",
        "r.append(reads({0}, x))",
        "del {0}['n']",
        "r.append({0}.pop('n'))",
        "r.append('k' in {0})",
        "r.append(dict({0}))",
        "y = dict({0})\n    y['n'] = x\n    r.append(y)",
        "y = dict({0})\n    y['k'].append(x)",
        "{0} |= {'n': x}",
        "r.append(json.dumps({0}))",
        "r.append({**{0}, 'x': x})",
        "r.append([v for v in {0}.values()])",
        "return {'inner': {0}}",
        'r.append(f"{ {0} }")',
        "r.append(str({0}))",
        "operator.setitem({0}, 'n', x)",
        "y = copy.deepcopy({0})\n    y['k'].append(x)",
        "r.append(pure({0}))",
        "try:\n        {0}['k'].append(x)\n    finally:\n        r.append(1)",
        "r.append(STRANGE.process({0}['k'], x))",
        "r.append(STRANGE.process({0}.get('n'), x))",
        "while len({0}) < 4:\n        {0}[len({0})] = x",
    ],
    "iterator": [
        "r.append(next({0}, None))",
        "r.extend({0})",
        "r.append(list({0}))",
        "for v in {0}:\n        r.append(v)\n        break",
        "r.append([v for v in {0}])",
        "r.append(2 in {0})",
        "r.append(sum(1 for _ in {0}))",
        "a2, *b2 = {0}\n    r.append(a2)",
        "r.append(tuple(zip({0}, [1])))",
        "r.append(dict(enumerate({0})))",
    ],
    "number": [
        "r.append({0})",
        "return {0}",
        "{0} += 1\n    r.append({0})",
        "r.append(str({0}) + 'a')",
        "r.append([{0}, x])",
    ],
    "box": ["r.append({0}.look(x))", "r.append({0}.value)", "{0}.value = x", "r.append({0}.seen)"],
    "plain": [
        "r.append({0}.size())",
        "r.append({0}.first())",
        "r.append({0}(x))",
        "r.append({0}.keep([x]))",
        "r.append({0}.keep({list}))",
        "r.append({0}({list}))",
        "{0}.change({list})",
        "{0}.rows.append(x)",
        "r.append({0}.rows)",
        "r.append(len({0}.rows))",
        "{0}.n = x",
        "r.append({0}.mark(x))",
        "r.append({0}.first().append(x))",
        "return {0}",
        "r.append([{0}.size() for v in range(2)])",
        "r.append({0}.size())\n    if STORE:\n        STORE[-1].append(x)\n    r.append({0}.first())",
        "r.append({0}.n + {0}.log_rows[0])",
        "r.append(list(map({0}.log_row, [x])))",
        "r.append({0}.size())\n    r.append({0}.size())",
    ],
    "counter": [
        "r.append({0}['a'])",
        "r.append({0}[x])",
        "r.append({0}.get(x))",
        "r.append(x in {0})",
        "y = {0}['a']\n    r.append(y)",
        "r.append(sorted({0}.items()))",
        "return {0}[x]",
        "{0}['a'] += 1",
        "{0}[x]",
        "r.append(sorted({0}))",
        "{0}['l'] = {0}['l']",
        "{0}.update('ab')",
        "r.append(len({0}))",
        "r.append(dict({0}))",
    ],
    "pattern": ["r.append({0}.findall('aab'))", "r.append({0}.sub('b', str(x)))", "r.append(bool({0}.match(str(x))))"],
    "partial": ["r.append({0}([3, 4]) if '{0}' else 0)", "r.append(list(map({0}, [[1], [2]])))"],
    "random": [
        "r.append({0}.expovariate(1.0))",
        "r.append({0}.random())",
        "{0}.shuffle(r)",
        "r.append({0}.triangular())",
    ],
    "adder": ["{0}(x)", "r.append({0}([x]))", "r.append(list(map({0}, [[x]])))"],
    "changer": ["r.append({0}([1], x))", "r.append({0}({list}, [x]))", "{0}({list}, [x])"],
    "caller": [
        "r.append({0}(x))",
        "r.append({0}([x]))",
        "r.append({0}({list}))",
        "r.append(len({0}({list})))",
        "{0}([x])",
        "r.append(list(map({0}, [[x], [2]])))",
        "return {0}",
        "r.append({0})",
        "r.append(sorted([[2], [1]], key={0}))",
        "r.append(sorted([{list}, [1]], key={0}))",
        "y = {0}([x])\n    if y:\n        y.append(x)",
        "y = {0}({list})\n    r.append(y)",
        "r.append(functools.reduce(lambda a, b: {0}(b), [1, 2], 0))",
        "list({0}(x))[0].append(x)",
        "[{0}(v) for v in [{list}]]",
    ],
    "cached": ["{0}(x)['k'].append(x)", "r.append({0}(x)['k'])", "r.append({0}(1)['n'])"],
}
# Of these, what only reads: most of what is drawn, so that many functions can be split but for one line of them.
_GENTLE = {
    "list": [
        "r.append({0}[0])",
        "r.append(len({0}))",
        "r.append(str({0}))",
        "r.append(reads({0}, x))",
        "r.append({0} * 2)",
        "r.append(max({0}, key=str))",
        "r.append({0}.index({0}[0]))",
        "y = {0}[0]\n    r.append(y)",
        "y = {0} + [x]\n    r.append(len(y))",
        "y = [x]\n    y.append(len({0}))\n    r.append(y)",
        "for i in range(len({0})):\n        r.append({0}[i])",
    ],
    "nested": ["r.append(len({0}[0]))", "r.append([len(v) for v in {0}])", "r.append(max({0}, key=len)[0])"],
    "dict": [
        "r.append({0}['k'])",
        "r.append({0}.get('n'))",
        "y = {0}['k']\n    r.append(y)",
        "r.append(json.dumps({0}))",
        "for k2, v in {0}.items():\n        r.append(v)",
        "r.append(reads({0}, x))",
        "y = str({0})\n    y += 'a'\n    r.append(y)",
        "y = {0}.get(x, 0)\n    r.append(y)",
        "if {0}.get('n') == x:\n        r.append(x)",
    ],
}
_FREE_BODIES = [
    "r.append(random.random())",
    "ROWS.append(x)",
    "ROWS[0] = x",
    "CODES['c'] = x",
    "r.append(len(ROWS))",
    "for i in range(2):\n        r.append(i)",
    "r.append(i)",
    "r.append(line)",
    "part.append(x)",
    "print(x)",
    "note(x)",
    "r.append(tick())",
    "EFFECTS.append('body')",
    "r.append(LIMIT)",
    "r.append(x)",
    "if x == 1:\n        raise KeyError(x)",
]


def function(number, rng):
    """Text of one function."""
    made = {}
    lines = []

    def filled(text):
        for kind in ("list", "nested", "dict", "counter", "iterator", "random", "caller"):
            while f"{{{kind}}}" in text:
                if not made.get(kind):
                    return None
                text = text.replace(f"{{{kind}}}", rng.choice(made[kind]), 1)
        return text

    is_short = rng.random() < 0.4  # so that one line alone decides
    for place in range(rng.randint(1, 2) if is_short else rng.randint(1, 6)):
        draw = rng.random()
        if draw < 0.15:
            lines.append(rng.choice(_GUARDS))
        elif draw < 0.25:
            text = filled(rng.choice(_LEADS))
            lines.append(text or "pass")
        else:
            kind, expression = rng.choice(_EXPRESSIONS if rng.random() < 0.75 else _BLOCKS)
            if is_short and rng.random() < 0.5:  # each kind as often as others
                kind = rng.choice(_KINDS)
                expression = rng.choice([text for other, text in _EXPRESSIONS if other == kind])
            elif kind not in (*_GENTLE, "random", "adder", "changer", "caller", "plain") and rng.random() < 0.5:
                kind, expression = rng.choice(_EXPRESSIONS)
            text = filled(expression.replace("{v}", f"v{place}"))
            if text is None:
                continue
            lines.append(text if "{v}" in expression else f"v{place} = {text}")
            made.setdefault(kind, []).append(f"v{place}")
            if kind == "dict" and rng.random() < 0.2:
                lines.append(f"w{place}, u{place} = v{place}['k'], v{place}['n']")
                made.setdefault("list", []).append(f"w{place}")
    lines.append("r = []")
    kinds = [(kind, name) for kind, names in made.items() for name in names]
    for _ in range(1 if is_short else rng.randint(1, 4)):
        if kinds and rng.random() < 0.85:
            kind, name = rng.choice(kinds)
            is_gentle = rng.random() < (0.1 if is_short else 0.7)
            choices = _GENTLE.get(kind, _BODIES[kind]) if is_gentle else _BODIES[kind]
            text = filled(rng.choice(choices).replace("{0}", name)) or "pass"
        else:
            text = rng.choice(_FREE_BODIES)
        if rng.random() < 0.15:
            text = "if x % 2:\n        " + text.replace("\n", "\n    ")
        lines.append(text)
    if is_short:  # what was done to a value is seen
        lines += [f"r.append(str({name}))" for kind, name in kinds if kind in ("list", "nested", "dict", "counter")]
    lines.append(rng.choice(["return r", "return r", "return r, x", "return len(r)"]))
    return f"def f{number}(x):\n    " + "\n    ".join(lines) + "\n"


def module(seed, count, place):
    """Text of a module with so many functions, which read a file at a place."""
    rng = random.Random(seed)
    text = HELPERS + "\n\n" + "\n\n".join(function(i, rng) for i in range(count))
    return text.replace("NAME", f"generated_{seed}").replace("PLACE", str(place))
