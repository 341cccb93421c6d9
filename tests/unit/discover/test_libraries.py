"""Functions that use libraries: what of them is shared by calls, each with a near twin that must stay undivided."""

import linecache
from pathlib import Path

import pytest

from parsl_context.discover.automatic import split_by_itself
from parsl_context.errors import SplitError
from parsl_context.retain.undivided import EitherWay, LeadingWork

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x)

    @torch.no_grad()
    def scored(self, x):
        return self.forward(x).sum()

WEIGHTS = ((1.0, 2.0), (3.0, 4.0))

def loaded():
    net = Net()
    net.load_state_dict({"layer.weight": torch.tensor(WEIGHTS), "layer.bias": torch.zeros(2)})
    return net.eval()

def unloaded():
    net = Net()
    return net.eval()

def partly_loaded():
    net = Net()
    net.load_state_dict({"layer.bias": torch.zeros(2)}, strict=False)
    return net.eval()
"""
SCALING = NET.replace("return self.forward(x).sum()", "self.layer.weight *= x; return self.forward(x).sum()")
GRAPH = """
import networkx as nx
"""
FRAME = """
import pandas as pd
"""
IMAGE = """
import numpy as np
from PIL import Image, ImageDraw
"""
LEARN = """
import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler
"""
# Library, module, lines of the function, what is shared.
TWINS = {
    "loaded in a helper": ("torch", NET, ["net = loaded()", "return net(torch.ones(2) * x).tolist()"], "net"),
    "not loaded": ("torch", NET, ["net = unloaded()", "return net(torch.ones(2) * x).tolist()"], ""),
    "loaded in part": ("torch", NET, ["net = partly_loaded()", "return net(torch.ones(2) * x).tolist()"], ""),
    "under no_grad": ("torch", NET, ["net = loaded()", "return float(net.scored(torch.ones(2) * x))"], "net"),
    "changed under no_grad": ("torch", SCALING, ["net = loaded()", "return float(net.scored(torch.ones(2) * x))"], ""),
    "new tensors": (
        "torch",
        NET,
        ["t = torch.tensor([1.0, 2.0])", "p = torch.log_softmax(t, 0)", "p += x", "return p.tolist()"],
        "t",
    ),
    "the same tensor": (
        "torch",
        NET,
        ["t = torch.tensor([1.0, 2.0])", "p = torch.as_tensor(t)", "p += x", "return p.tolist()"],
        "",
    ),
    "a device": (
        "torch",
        NET,
        [
            "device = torch.device('cpu')",
            "net = loaded().to(device)",
            "return net((torch.ones(2) * x).to(device)).tolist()",
        ],
        "device net",
    ),
    "weights after a seed": (
        "torch",
        NET,
        ["torch.manual_seed(x)", "net = unloaded()", "return net(torch.ones(2)).tolist()"],
        "",
    ),
    "a copy of a graph": (
        "networkx",
        GRAPH,
        ["g = nx.path_graph(4)", "h = g.copy()", "h.remove_node(x)", "return len(h), len(g)"],
        "g",
    ),
    "a view of a graph": (
        "networkx",
        GRAPH,
        ["g = nx.path_graph(4)", "h = g.subgraph([0, 1])", "g.remove_node(x)", "return len(h), len(g)"],
        "",
    ),
    "a copy of a graph that holds lists": (
        "networkx",
        GRAPH,
        [
            "g = nx.path_graph(4)",
            "nx.set_node_attributes(g, {n: [n] for n in g}, 'seen')",
            "h = g.copy()",
            "h.nodes[x]['seen'].append(x)",
            "return [g.nodes[n]['seen'] for n in g]",
        ],
        "",
    ),
    "parts of a graph": (
        "networkx",
        GRAPH,
        ["g = nx.path_graph(4)", "parts = [sorted(c) for c in nx.connected_components(g)]", "return parts[0][x]"],
        "parts",
    ),
    "a layout that is drawn": (
        "networkx",
        GRAPH,
        ["g = nx.path_graph(4)", "place = nx.spring_layout(g)", "return len(place) + x"],
        "g",
    ),
    "chosen rows of a frame": (
        "pandas",
        FRAME,
        ["f = pd.DataFrame({'a': [1, 2, 3]})", "g = f[f['a'] > x]", "return int(g['a'].sum()) + x"],
        "f",
    ),
    "a column that is stored": (
        "pandas",
        FRAME,
        ["f = pd.DataFrame({'a': [1, 2, 3]})", "f['b'] = x", "return int(f['b'].sum())"],
        "",
    ),
    "a moment": ("pandas", FRAME, ["t = pd.to_datetime('2020-01-02')", "return t.year + x"], "t"),
    "this moment": ("pandas", FRAME, ["t = pd.to_datetime('now')", "return str(t)[:2] + str(x)"], ""),
    "an image": (
        "PIL",
        IMAGE,
        ["a = np.asarray(Image.open('dots.pgm').convert('L'))", "return int(a.sum()) + x"],
        "a",
    ),
    "an image that is read at once": (
        "PIL",
        IMAGE,
        ["image = Image.open('dots.pgm')", "a = np.asarray(image)", "return int(a.sum()) + x"],
        "a",
    ),
    "an image that calls read": (
        "PIL",
        IMAGE,
        ["image = Image.open('dots.pgm')", "return int(np.asarray(image).sum()) + x"],
        "",
    ),
    "an image that is drawn on": (
        "PIL",
        IMAGE,
        [
            "image = Image.open('dots.pgm').convert('L')",
            "draw = ImageDraw.Draw(image)",
            "draw.point((0, 0), fill=x)",
            "return int(np.asarray(image).sum())",
        ],
        "",
    ),
    "what was fitted to": (
        "sklearn",
        LEARN,
        [
            "a = np.arange(8.0).reshape(4, 2)",
            "b = np.array([0, 0, 1, 1])",
            "model = SGDClassifier(random_state=0).fit(a, b)",
            "model.partial_fit([[x, x]], [1])",
            "return model.coef_.tolist(), float(a.sum()), int(b.sum())",
        ],
        "a b",
    ),
    "what is fitted again": (
        "sklearn",
        LEARN,
        ["scaler = StandardScaler()", "return scaler.fit_transform([[x, 1.0], [2.0, 3.0]]).tolist()"],
        "",
    ),
}


def module_of(text):
    file = f"<library {len(linecache.cache)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    names = {"__name__": __name__}
    exec(compile(text, file, "exec"), names)
    return names


@pytest.fixture
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dots.pgm").write_bytes(b"P5 2 1 255\n\x00\xff")


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(
    ("module", "lines", "shared"),
    [
        pytest.param(module, lines, shared.split(), id=name, marks=pytest.mark.library(library))
        for name, (library, module, lines, shared) in TWINS.items()
    ],
)
def test_what_libraries_make_is_shared_if_calls_leave_it_as_it_is(module, lines, shared):
    names = module_of(module + "\ndef app(x):\n    " + "\n    ".join(lines) + "\n")
    app = names["app"]
    try:
        found = split_by_itself(app)
    except SplitError:
        assert not shared
        return
    made = LeadingWork(found.context, found.terms)()
    if made is None:
        assert not shared
        return
    assert sorted(made) == shared
    divided = EitherWay(found.body, app, terms=found.terms)
    assert [repr(divided(made, x)) for x in (1, 2, 1)] == [repr(app(x)) for x in (1, 2, 1)]
