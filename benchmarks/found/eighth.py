"""Thirty task functions from many fields, labelled before any of them was split (set 8).

The rule for the labels: would keeping what these statements made, shared by all calls on one worker in any order,
give every call the same results and effects as the plain function?
"""

# ruff: noqa
from __future__ import annotations

import csv
import decimal
import itertools
import json
import math
import re
import sqlite3
import string
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import torch
from scipy import ndimage, signal, sparse
from scipy.integrate import solve_ivp
from scipy.interpolate import RegularGridInterpolator
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree
from torch import nn

CATALOGUE = "catalogue.csv"
HIGHLY_EXPRESSED = ("ATGGCTAAAGCTGAACTGCGTAAATAA", "ATGCTGGCTGAAAAACGTCTGGGTTAA", "ATGAAAGAACTGGGTGCTCGTGCTTAA")
CODON_TABLE = {
    a + b + c: aa
    for (a, b, c), aa in zip(
        itertools.product("TCAG", repeat=3), "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
    )
}
CORPUS = (
    ("spectra of distant galaxies show redshifted emission lines", "astro"),
    ("dark matter halos around dwarf galaxies and lensing", "astro"),
    ("stellar winds enrich the gas of young galaxies", "astro"),
    ("gene expression in yeast responds to heat shock", "bio"),
    ("protein folding chaperones protect the cell from heat", "bio"),
    ("mutations of the gene alter protein binding in the cell", "bio"),
    ("perovskite films improve solar cell efficiency", "materials"),
    ("thin films of oxide show high conductivity", "materials"),
    ("alloy grain boundaries limit conductivity of films", "materials"),
)


def prepare(folder):
    """Write every data file into `folder`."""
    folder = Path(folder)
    rng = np.random.default_rng(808)

    smiles = [
        "CCO",
        "CCCCO",
        "c1ccccc1",
        "Cc1ccccc1",
        "CC(=O)O",
        "CCCCCC",
        "CCN",
        "OCC(O)CO",
        "Clc1ccccc1",
        "CCOC(C)=O",
    ]
    logs = [1.1, 0.0, -1.6, -2.2, 1.2, -3.8, 1.3, 1.1, -2.4, -0.1]
    pd.DataFrame({"smiles": smiles, "logS": logs}).to_csv(folder / "solubility.csv", index=False)

    yy, xx = np.mgrid[0:32, 0:32]
    np.save(folder / "flat.npy", 0.6 + 0.4 * np.exp(-((yy - 15) ** 2 + (xx - 17) ** 2) / 400.0))

    with open(folder / "roads.csv", "w", newline="") as handle:
        out = csv.writer(handle)
        out.writerow(["a", "b", "km", "kmh"])
        for i in range(40):
            out.writerow([f"n{i}", f"n{(i + 1) % 40}", round(float(rng.uniform(1, 5)), 2), 50])
            if i % 3 == 0:
                out.writerow([f"n{i}", f"n{(i * 7 + 5) % 40}", round(float(rng.uniform(4, 20)), 2), 90])

    ra, dec = rng.uniform(0, 360, 200), rng.uniform(-30, 30, 200)
    mags = rng.uniform(12, 20, 200)
    with open(folder / CATALOGUE, "w") as handle:
        handle.write("# id ra dec mag\nid,ra,dec,mag\n")
        for i in range(200):
            handle.write(f"S{i:04d},{ra[i]:.5f},{dec[i]:.5f},{mags[i]:.3f}\n")

    rows = [(t, d, 0.02 * t + 3.0 * d**0.5) for t in (100, 200, 300, 400) for d in (0.0, 0.1, 0.2, 0.4)]
    pd.DataFrame(rows, columns=["T", "doping", "sigma"]).to_csv(folder / "transport.csv", index=False)

    (folder / "triage.json").write_text(
        json.dumps(
            {
                "severity": {"acute": 3, "severe": 4, "mild": 1, "moderate": 2},
                "negation": ["no", "without", "denies"],
                "findings": {
                    "fracture": r"fractur(?:e|ed|es)",
                    "effusion": r"effusions?",
                    "nodule": r"nodul(?:e|es|ar)",
                },
            }
        )
    )
    (folder / "nearest_neighbours.json").write_text(
        json.dumps({"AA": [-7.9, -22.2], "AT": [-7.2, -20.4], "TA": [-7.2, -21.3], "CA": [-8.5, -22.7],
                    "GT": [-8.4, -22.4], "CT": [-7.8, -21.0], "GA": [-8.2, -22.2], "CG": [-10.6, -27.2],
                    "GC": [-9.8, -24.4], "GG": [-8.0, -19.9]})
    )  # fmt: skip

    db = folder / "enzymes.db"
    db.unlink(missing_ok=True)
    con = sqlite3.connect(db)
    con.execute("create table enzyme (ec text, name text, km real)")
    con.executemany(
        "insert into enzyme values (?, ?, ?)",
        [("1.1.1.1", "alcohol dehydrogenase", 0.5), ("2.7.1.1", "hexokinase", 0.1), ("1.1.1.27", "LDH", 0.2)],
    )
    con.commit()
    con.close()

    torch_state = torch.random.get_rng_state()
    torch.manual_seed(88)
    net = nn.Sequential(nn.Conv1d(1, 4, 5, padding=2), nn.ReLU(), nn.Conv1d(4, 1, 5, padding=2))
    torch.save(net.state_dict(), folder / "denoiser.pt")
    torch.random.set_rng_state(torch_state)

    survey = pd.DataFrame({"site": ["a", "b"] * 20, "biomass": rng.gamma(2, 3, 40), "depth": rng.uniform(1, 9, 40)})
    survey.loc[::9, "biomass"] = np.nan
    survey.to_csv(folder / "survey.csv", index=False)

    reads = ("".join(rng.choice(list("ACGT"), 30)) for _ in range(12))
    (folder / "reads.fasta").write_text("".join(f">read{i}\n{s}\n" for i, s in enumerate(reads)))


# ---------------------------------------------------------------- chemistry


def estimate_solubility(smiles):
    """Predict logS with a ridge model of a few descriptors."""
    from rdkit import Chem
    from rdkit.Chem import Crippen, Descriptors, rdMolDescriptors
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def describe(mol):
        return [
            Descriptors.MolWt(mol),
            Crippen.MolLogP(mol),
            rdMolDescriptors.CalcTPSA(mol),
            rdMolDescriptors.CalcNumRotatableBonds(mol),
        ]

    measured = pd.read_csv("solubility.csv")
    features = np.array([describe(Chem.MolFromSmiles(s)) for s in measured["smiles"]])
    model = make_pipeline(StandardScaler(), Ridge(alpha=0.5))
    model.fit(features, measured["logS"])

    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise ValueError(f"cannot parse {smiles!r}")
    return round(float(model.predict([describe(mol)])[0]), 4)


def rate_of_turnover(substrate, inhibitor=0.0):
    """Rate of competitive inhibition, derived from the mass balance with sympy."""
    import sympy as sp

    S, I, E, ES, EI, Et = sp.symbols("S I E ES EI Et", positive=True)
    k1, km1, k2, ki = sp.symbols("k1 km1 k2 ki", positive=True)
    balance = [
        sp.Eq(k1 * E * S - (km1 + k2) * ES, 0),
        sp.Eq(E * I - ki * EI, 0),
        sp.Eq(E + ES + EI, Et),
    ]
    solution = sp.solve(balance, [E, ES, EI], dict=True)[0]
    velocity = sp.simplify(k2 * solution[ES]).subs({k1: 10.0, km1: 1.0, k2: 4.0, ki: 0.3, Et: 0.01})
    evaluate = sp.lambdify((S, I), velocity, "math")
    return round(evaluate(substrate, inhibitor), 8)


# ---------------------------------------------------------------- signals, images, physics


def find_shot_peaks(samples, threshold=0.5):
    """Times [us] of the peaks of one oscilloscope trace."""
    fs = 5.0e6
    sos = signal.butter(4, [2.0e4, 6.0e5], btype="bandpass", fs=fs, output="sos")
    template = signal.windows.gaussian(41, std=6.0)
    template -= template.mean()
    template /= np.linalg.norm(template)

    trace = np.asarray(samples, dtype=float)
    trace = trace - np.median(trace)
    filtered = signal.sosfiltfilt(sos, trace)
    score = np.correlate(filtered, template, mode="same")
    scale = np.abs(score).max() or 1.0
    peaks, _ = signal.find_peaks(score / scale, height=threshold, distance=20)
    return [round(float(p) / fs * 1e6, 3) for p in peaks]


def count_nuclei(frame, min_area=4):
    """Count bright blobs in a microscope frame after flat-field correction."""
    flat = ndimage.gaussian_filter(np.load("flat.npy"), 2.0)
    flat /= flat.mean()
    yy, xx = np.ogrid[-2:3, -2:3]
    disk = (yy**2 + xx**2) <= 4

    image = np.asarray(frame, dtype=float) / flat
    background = ndimage.grey_opening(image, footprint=disk)
    image -= background
    mask = image > image.mean() + 2.0 * image.std()
    labels, n = ndimage.label(mask)
    if n == 0:
        return 0, []
    areas = ndimage.sum_labels(mask, labels, index=np.arange(1, n + 1))
    keep = [int(a) for a in areas if a >= min_area]
    return len(keep), sorted(keep)


def comet_distance(day):
    """Distance [au] of a comet from the Sun on a day of its passage."""
    mu = 2.959122e-4

    def acceleration(t, state):
        r3 = np.hypot(state[0], state[1]) ** 3
        return [state[2], state[3], -mu * state[0] / r3, -mu * state[1] / r3]

    start = [1.2, 0.0, 0.004, math.sqrt(1.6 * mu / 1.2)]
    orbit = solve_ivp(acceleration, (0.0, 600.0), start, rtol=1e-9, atol=1e-12, dense_output=True)
    x, y = orbit.sol(day)[:2]
    return round(float(math.hypot(x, y)), 7)


def ising_averages(beta, field=0.0):
    """Exact energy and magnetisation of a 3 x 4 periodic Ising lattice."""
    rows, cols = 3, 4
    states = np.array(list(itertools.product((-1, 1), repeat=rows * cols)), dtype=np.int8).reshape(-1, rows, cols)
    bonds = states * np.roll(states, 1, axis=1) + states * np.roll(states, 1, axis=2)
    energy = -bonds.sum(axis=(1, 2)).astype(float)
    moment = states.sum(axis=(1, 2)).astype(float)

    exponent = -beta * (energy - field * moment)
    boltzmann = np.exp(exponent - exponent.max())
    z = boltzmann.sum()
    return round(float((energy * boltzmann).sum() / z), 6), round(float((np.abs(moment) * boltzmann).sum() / z), 6)


def diffuse(initial, steps=10):
    """Implicit heat equation on a rod with cold ends."""
    n = 101
    dx = 1.0 / (n - 1)
    dt = 2.0e-4
    laplace = sparse.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n), format="lil")
    laplace[0, :] = 0.0
    laplace[-1, :] = 0.0
    system = sparse.identity(n, format="csc") - dt / dx**2 * laplace.tocsc()
    lu = splu(system.tocsc())

    u = np.zeros(n)
    centre, width = initial
    u[max(0, centre - width) : centre + width] = 1.0
    for _ in range(steps):
        u[0] = u[-1] = 0.0
        u = lu.solve(u)
    return round(float(u.max()), 7), int(u.argmax())


def radial_distribution(positions, box=5.0):
    """Histogram of pair distances in a periodic box, with a compiled loop."""
    import numba

    edges = np.linspace(0.0, 2.5, 26)
    shells = 4.0 / 3.0 * np.pi * (edges[1:] ** 3 - edges[:-1] ** 3)

    @numba.njit
    def histogram(points, length, bins):
        width = 2.5 / bins
        counts = np.zeros(bins)
        for i in range(points.shape[0]):
            for j in range(i + 1, points.shape[0]):
                d2 = 0.0
                for k in range(3):
                    d = points[i, k] - points[j, k]
                    d -= length * np.round(d / length)
                    d2 += d * d
                b = int(np.sqrt(d2) / width)
                if b < bins:
                    counts[b] += 2.0
        return counts

    points = np.asarray(positions, dtype=np.float64)
    found = histogram(points, float(box), len(shells))
    density = len(points) / box**3
    return np.round(found / (shells * density * len(points)), 5).tolist()


def clean_trace(trace):
    """Denoise a trace with a small convolutional net."""
    net = nn.Sequential(nn.Conv1d(1, 4, 5, padding=2), nn.ReLU(), nn.Conv1d(4, 1, 5, padding=2))
    net.load_state_dict(torch.load("denoiser.pt", weights_only=True))
    net.eval()
    x = torch.tensor(trace, dtype=torch.float32)
    mean, std = x.mean(), x.std().clamp_min(1e-6)
    with torch.no_grad():
        y = net(((x - mean) / std)[None, None])[0, 0]
    return [round(v, 5) for v in (y * std + mean).tolist()]


# ---------------------------------------------------------------- astronomy


@dataclass(frozen=True)
class Unit:
    """A unit as a factor to SI and exponents of (m, kg, s)."""

    factor: float
    powers: tuple

    def __mul__(self, other):
        return Unit(self.factor * other.factor, tuple(a + b for a, b in zip(self.powers, other.powers)))

    def __truediv__(self, other):
        return Unit(self.factor / other.factor, tuple(a - b for a, b in zip(self.powers, other.powers)))

    def __pow__(self, n):
        return Unit(self.factor**n, tuple(a * n for a in self.powers))


def convert_flux(value, source, target):
    """Convert between flux units written like 'erg/s/cm2'."""
    units = {"m": Unit(1.0, (1, 0, 0)), "kg": Unit(1.0, (0, 1, 0)), "s": Unit(1.0, (0, 0, 1))}
    units["g"] = Unit(1e-3, units["kg"].powers)
    units["N"] = units["kg"] * units["m"] / units["s"] ** 2
    units["J"] = units["N"] * units["m"]
    units["W"] = units["J"] / units["s"]
    units["erg"] = Unit(1e-7, units["J"].powers)
    units["Hz"] = units["s"] ** -1
    units["Jy"] = Unit(1e-26, (units["W"] / units["m"] ** 2 / units["Hz"]).powers)
    for prefix, factor in (("k", 1e3), ("c", 1e-2), ("m", 1e-3), ("n", 1e-9)):
        for name in ("m", "s", "Jy", "W"):
            if prefix + name not in units:
                units[prefix + name] = Unit(factor * units[name].factor, units[name].powers)
    term = re.compile(r"([a-zA-Z]+)(-?\d*)")

    def parse(text):
        first, *rest = text.split("/")
        total = None
        for i, part in enumerate([first, *rest]):
            name, power = term.fullmatch(part).groups()
            one = units[name] ** int(power or 1)
            total = one if i == 0 else total / one
        return total

    a, b = parse(source), parse(target)
    if a.powers != b.powers:
        raise ValueError(f"{source} is not {target}")
    return float(f"{value * a.factor / b.factor:.8g}")


def match_source(ra, dec, radius_deg=10.0):
    """Names of the catalogue stars near a position, the nearest first."""
    with open(CATALOGUE) as handle:
        rows = list(csv.DictReader(line for line in handle if not line.startswith("#")))
    lon = np.radians([float(row["ra"]) for row in rows])
    lat = np.radians([float(row["dec"]) for row in rows])
    xyz = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    tree = cKDTree(xyz)

    a, d = math.radians(ra), math.radians(dec)
    here = np.array([math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d)])
    near = tree.query_ball_point(here, 2.0 * math.sin(math.radians(radius_deg) / 2.0))
    near.sort(key=lambda i: float(np.sum((xyz[i] - here) ** 2)))
    return [(rows[i]["id"], float(rows[i]["mag"])) for i in near[:5]]


# ---------------------------------------------------------------- biology


def codon_adaptation(sequence):
    """Codon adaptation index against a handful of highly expressed genes."""
    counts = Counter()
    for gene in HIGHLY_EXPRESSED:
        counts.update(gene[i : i + 3] for i in range(0, len(gene) - 2, 3))
    synonymous = {}
    for codon, residue in CODON_TABLE.items():
        synonymous.setdefault(residue, []).append(codon)
    weights = {}
    for residue, codons in synonymous.items():
        if residue == "*" or len(codons) == 1:
            continue
        best = max(counts[c] for c in codons) or 1
        for c in codons:
            weights[c] = max(counts[c], 0.5) / best

    logs = []
    for i in range(0, len(sequence) - 2, 3):
        weight = weights.get(sequence[i : i + 3])
        if weight is not None:
            logs.append(math.log(weight))
    return round(math.exp(sum(logs) / len(logs)), 5) if logs else 0.0


def pick_primer(template, length=18, target_tm=52.0):
    """The window of a template whose melting temperature is nearest to the target."""
    table = json.loads(Path("nearest_neighbours.json").read_text())
    complement = str.maketrans("ACGT", "TGCA")
    for pair in list(table):
        table[pair.translate(complement)[::-1]] = table[pair]

    best = None
    for start in range(len(template) - length + 1):
        window = template[start : start + length]
        dh = sum(table[window[i : i + 2]][0] for i in range(length - 1))
        ds = sum(table[window[i : i + 2]][1] for i in range(length - 1))
        tm = 1000.0 * dh / (ds - 10.8 + 1.987 * math.log(2.5e-7)) - 273.15
        if best is None or abs(tm - target_tm) < abs(best[1] - target_tm):
            best = (window, tm)
    return None if best is None else (best[0], round(best[1], 2))


def enzyme_of(ec, concentration):
    """Name of an enzyme and its saturation."""
    con = sqlite3.connect("enzymes.db")
    by_ec = {ec_number: (name, km) for ec_number, name, km in con.execute("select ec, name, km from enzyme")}
    con.close()
    if ec not in by_ec:
        parent = ec.rsplit(".", 1)[0]
        return sorted(name for key, (name, _) in by_ec.items() if key.startswith(parent + "."))
    name, km = by_ec[ec]
    return name, round(concentration / (concentration + km), 5)


# ---------------------------------------------------------------- tables, graphs, text


def travel_minutes(origin, destination, avoid=None):
    """Shortest travel time over the road graph, if wished without one node."""
    graph = nx.Graph()
    for road in pd.read_csv("roads.csv").itertuples():
        graph.add_edge(road.a, road.b, minutes=60.0 * road.km / road.kmh)
    central = nx.betweenness_centrality(graph, weight="minutes")
    hubs = sorted(central, key=central.get, reverse=True)[:3]

    usable = graph
    if avoid is not None:
        usable = graph.subgraph([node for node in graph if node != avoid])
    minutes, path = nx.single_source_dijkstra(usable, origin, destination, weight="minutes")
    return round(minutes, 3), len(path), [hub for hub in hubs if hub in path]


def conductivity(temperature, doping):
    """Conductivity between the measured points."""
    measured = pd.read_csv("transport.csv").pivot(index="T", columns="doping", values="sigma").sort_index()
    interpolate = RegularGridInterpolator(
        (measured.index.to_numpy(float), measured.columns.to_numpy(float)), measured.to_numpy()
    )
    low, high = measured.index.min(), measured.index.max()
    if not low <= temperature <= high:
        return None
    return round(float(interpolate([[temperature, doping]])[0]), 6)


def topic_of(abstract):
    """Most likely field of an abstract, and the words that say so."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, fields = zip(*CORPUS)
    vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english")
    matrix = vectorizer.fit_transform(texts)
    classifier = LogisticRegression(C=5.0).fit(matrix, fields)
    vocabulary = vectorizer.get_feature_names_out()

    row = vectorizer.transform([abstract])
    winner = int(classifier.decision_function(row)[0].argmax())
    pull = row.toarray()[0] * classifier.coef_[winner]
    words = [str(vocabulary[i]) for i in np.argsort(-pull, kind="stable")[:3] if pull[i] > 0]
    return str(classifier.classes_[winner]), words


@dataclass
class Doc:
    """A text on its way through the pipeline."""

    text: str
    tokens: list = field(default_factory=list)
    tags: list = field(default_factory=list)
    entities: list = field(default_factory=list)


class Tokenizer:
    def __init__(self, pattern):
        self.find = re.compile(pattern).findall

    def __call__(self, doc):
        doc.tokens = self.find(doc.text)
        return doc


class Tagger:
    def __init__(self, lexicon, suffixes):
        self.lexicon = lexicon
        self.suffixes = suffixes

    def __call__(self, doc):
        for token in doc.tokens:
            tag = self.lexicon.get(token.lower())
            if tag is None:
                tag = next((t for s, t in self.suffixes if token.endswith(s)), "NOUN")
            doc.tags.append(tag)
        return doc


class EntityRuler:
    def __init__(self):
        self.rules = []

    def add(self, label, pattern):
        self.rules.append((label, re.compile(pattern)))

    def __call__(self, doc):
        for label, rule in self.rules:
            doc.entities.extend((label, hit.group()) for hit in rule.finditer(doc.text))
        return doc


class Pipeline:
    def __init__(self, *steps):
        self.steps = list(steps)

    def __call__(self, text):
        doc = Doc(text)
        for step in self.steps:
            doc = step(doc)
        return doc


def read_protocol(sentence):
    """Verbs and quantities of one sentence of a lab protocol."""
    lexicon = {"the": "DET", "a": "DET", "at": "ADP", "for": "ADP", "in": "ADP", "and": "CONJ"}
    lexicon.update(dict.fromkeys(("add", "mix", "heat", "stir", "spin", "wash"), "VERB"))
    ruler = EntityRuler()
    ruler.add("TEMPERATURE", r"-?\d+(?:\.\d+)?\s?°?C\b")
    ruler.add("VOLUME", r"\d+(?:\.\d+)?\s?[mu]?L\b")
    ruler.add("DURATION", r"\d+\s?(?:min|h|s)\b")
    nlp = Pipeline(Tokenizer(r"\w+|[^\w\s]"), Tagger(lexicon, (("ate", "VERB"), ("ly", "ADV"))), ruler)

    doc = nlp(sentence)
    verbs = [token.lower() for token, tag in zip(doc.tokens, doc.tags) if tag == "VERB"]
    return verbs, sorted(doc.entities)


def triage_report(report):
    """Highest severity in a radiology report, and the findings that are not denied."""
    config = json.loads(Path("triage.json").read_text())
    findings = {name: re.compile(rf"\b{pattern}\b", re.I) for name, pattern in config["findings"].items()}
    denied = re.compile(r"\b(?:" + "|".join(config["negation"]) + r")\b[^.;]*$", re.I)
    found = Counter()
    worst = 0
    for clause in re.split(r"[.;]\s*", report):
        for name, pattern in findings.items():
            hit = pattern.search(clause)
            if hit and not denied.search(clause[: hit.start()]):
                found[name] += 1
        words = clause.lower().split()
        worst = max([worst, *(config["severity"].get(word, 0) for word in words)])
    return worst, sorted(found.items())


def bootstrap_biomass(site, draws=200):
    """Bootstrap interval of the mean biomass of a site."""
    survey = pd.read_csv("survey.csv")
    survey["biomass"] = survey.groupby("site")["biomass"].transform(lambda s: s.fillna(s.median()))
    rng = np.random.default_rng(7)
    values = survey.loc[survey["site"] == site, "biomass"].to_numpy()
    means = rng.choice(values, size=(draws, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return round(float(low), 5), round(float(high), 5)


# ---------------------------------------------------------------- nothing to keep


def wafer_yield(n_chips, clustering=1.5):
    """Share of working chips, by Monte Carlo over a wafer with clustered defects."""
    rng = np.random.default_rng(11)
    centres = rng.uniform(-1.0, 1.0, size=(60, 2))
    strength = rng.gamma(2.0, 1.0, size=60)
    chips = rng.uniform(-1.0, 1.0, size=(n_chips, 2))
    distance = np.hypot(*(chips[:, None, :] - centres[None]).transpose(2, 0, 1))
    rate = (strength * np.exp(-distance * 4.0 * clustering)).sum(axis=1)
    return round(float((rng.poisson(rate) == 0).mean()), 5)


def first_read_with(motif):
    """The first read that has a motif, and how many reads are left behind it."""
    handle = open("reads.fasta")
    lines = (line.strip() for line in handle)
    records = zip(lines, lines)
    for title, sequence in records:
        if motif in sequence:
            break
    else:
        title = None
    left = sum(1 for _ in records)
    handle.close()
    return title, left


def log_reading(sensor, values):
    """Put readings into a scratch table and give its statistics."""
    db = sqlite3.connect(":memory:")
    db.execute("create table reading (id integer primary key, sensor text, value real)")
    db.executemany("insert into reading (sensor, value) values (?, ?)", [("zero", 0.0), ("span", 100.0)])
    db.executemany("insert into reading (sensor, value) values (?, ?)", [(sensor, v) for v in values])
    (n, mean) = db.execute("select count(*), avg(value) from reading").fetchone()
    (last,) = db.execute("select max(id) from reading").fetchone()
    return n, round(mean, 5), last


def drift_correction(samples):
    """Adapt a base regression to new samples, then predict the zero point."""
    from sklearn.linear_model import SGDRegressor

    model = SGDRegressor(learning_rate="constant", eta0=0.01, random_state=0)
    model.fit(np.linspace(-1, 1, 50)[:, None], 0.3 + 2.0 * np.linspace(-1, 1, 50))
    x = np.array([[s[0]] for s in samples])
    y = np.array([s[1] for s in samples])
    for _ in range(5):
        model.partial_fit(x, y)
    return round(float(model.predict([[0.0]])[0]), 6), int(model.t_)


def dropout_uncertainty(x, passes=20):
    """Mean and spread of a net whose dropout stays on."""
    torch.manual_seed(5)
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Dropout(0.3), nn.BatchNorm1d(16), nn.Linear(16, 1))
    net.train()
    batch = torch.tensor(x, dtype=torch.float32)
    with torch.no_grad():
        out = torch.stack([net(batch)[:, 0] for _ in range(passes)])
    return [round(v, 5) for v in out.mean(0).tolist()], round(float(net[3].running_mean.abs().sum()), 5)


def many_digits(x, digits):
    """log10 of x, to so many digits."""
    decimal.getcontext().prec = digits
    ln10 = decimal.Decimal(10).ln()
    return str(decimal.Decimal(x).ln() / ln10)


def hot_pixels(frame, bad_rows=()):
    """How many usable pixels of a frame are above the threshold."""
    usable = np.load("flat.npy") > 0.65
    inner = usable[2:-2, 2:-2]
    for row in bad_rows:
        inner[row] = False
    data = np.asarray(frame)
    return int((data[usable] > 1.0).sum()), int(usable.sum())


def repeated_words(sequence, k):
    """Words of length k that a sequence shares with the reads."""
    index = defaultdict(set)
    with open("reads.fasta") as handle:
        for number, line in enumerate(handle):
            for i in range(len(line) - k):
                index[line[i : i + k]].add(number)
    hits = Counter()
    for i in range(len(sequence) - k + 1):
        hits.update(index.get(sequence[i : i + k], ()))
    return sorted(hits.items())[:5]


def residue_profile(peptide):
    """Mean hydropathy of a peptide, and how many kinds of residue were looked up."""
    scale = defaultdict(float)
    for residues, value in (("AMC", 1.9), ("ILVF", 4.0), ("KRDENQH", -3.6), ("STGPWY", -0.8)):
        for residue in residues:
            scale[residue] = value
    total = sum(scale[residue] for residue in peptide)
    strange = sorted(residue for residue in scale if scale[residue] == 0.0)
    return round(total / max(1, len(peptide)), 4), strange, len(scale)


def run_in_scratch(values):
    """Write chunks to a scratch folder, and merge what lies there."""
    scratch = Path(tempfile.mkdtemp(prefix="merge-"))
    (scratch / "part-000.txt").write_text("0.0\n")
    for i in range(0, len(values), 3):
        part = scratch / f"part-{len(list(scratch.iterdir())):03d}.txt"
        part.write_text("".join(f"{v}\n" for v in values[i : i + 3]))
    merged = [float(line) for part in sorted(scratch.iterdir()) for line in part.read_text().split()]
    return len(list(scratch.iterdir())), round(sum(merged), 6)


# ---------------------------------------------------------------- arguments and labels


def _frame(*spots):
    yy, xx = np.mgrid[0:32, 0:32]
    image = 0.2 + sum((8.0 * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 3.0) for y, x in spots), np.zeros((32, 32)))
    return np.round(image, 4).tolist()


def _trace(*centres):
    t = np.arange(400)
    return np.round(sum((np.exp(-((t - c) ** 2) / 72.0) for c in centres), 0.01 * np.sin(t / 9.0)), 5).tolist()


def _points(n, seed):
    return np.round(np.random.default_rng(seed).uniform(0, 5, (n, 3)), 4).tolist()


_DNA = "ATGGCTAAAGCTGAACTGCGTGATTACAGGCATCCGTTAGACCTAGGCATTAA"

CALLS = {
    "estimate_solubility": [("CCCO",), ("CCc1ccccc1",), ("not a molecule",), ("CC(=O)OC",)],
    "rate_of_turnover": [(0.5,), (2.0, 0.3), (0.1, 1.0)],
    "find_shot_peaks": [(_trace(100, 250),), (_trace(60, 200, 330), 0.3), ([0.0] * 400,)],
    "count_nuclei": [(_frame((8, 8), (20, 24)),), (_frame((5, 16)), 2), (_frame(), 1)],
    "comet_distance": [(0.0,), (123.4,), (599.0,)],
    "ising_averages": [(0.3,), (0.44, 0.1), (1.0, -0.5)],
    "diffuse": [((50, 10),), ((20, 5), 40), ((80, 3), 1)],
    "radial_distribution": [(_points(30, 1),), (_points(50, 2), 6.0), (_points(10, 3),)],
    "clean_trace": [([0.0, 1.0, 0.2, 3.0, 0.1, 0.0],), ([5.0, 4.0, 3.0, 4.0],), ([1.0] * 8,)],
    "convert_flux": [(3.0, "erg/s/cm2", "W/m2"), (1.0, "W/m2/Hz", "Jy"), (2.5, "mJy", "W"), (7.0, "km/s", "m/s")],
    "match_source": [(120.0, 5.0), (300.0, -20.0, 15.0), (10.0, 80.0, 2.0)],
    "codon_adaptation": [("ATGGCTAAACTGTAA",), ("ATGGCGAAACTTCGATAA",), ("ATG",)],
    "pick_primer": [(_DNA,), (_DNA[::-1], 20, 55.0), ("ACGT",)],
    "enzyme_of": [("2.7.1.1", 0.4), ("1.1.1.1", 2.0), ("1.1.1.99", 1.0)],
    "travel_minutes": [("n0", "n20"), ("n3", "n33", "n34"), ("n8", "n9")],
    "conductivity": [(150.0, 0.05), (399.0, 0.3), (900.0, 0.1)],
    "topic_of": [("lensing by distant galaxies",), ("heat shock in a cell",), ("oxide films",)],
    "read_protocol": [
        ("Add 50 mL and stir at 37 C for 10 min",),
        ("Incubate the plate at 4 °C for 2 h",),
        ("Wash gently in 2.5 uL",),
    ],
    "triage_report": [
        ("Severe fracture of the radius. No effusion.",),
        ("Mild nodular change; patient denies fracture",),
        ("",),
    ],
    "bootstrap_biomass": [("a",), ("b", 50), ("a", 80)],
    "wafer_yield": [(100,), (400, 0.8), (50, 3.0)],
    "first_read_with": [("ACG",), ("TTT",), ("ACGTACGTACGTACGT",)],
    "log_reading": [("t1", [3.0, 4.0]), ("t2", [9.5]), ("t1", [])],
    "drift_correction": [([(0.1, 0.9), (0.5, 1.6)],), ([(0.0, 0.1)],), ([(-1.0, -2.0), (1.0, 2.5)],)],
    "dropout_uncertainty": [([[0.1, 0.2], [1.0, -1.0]],), ([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]], 5)],
    "many_digits": [("2", 20), ("3.7", 40), ("2", 12)],
    "hot_pixels": [(_frame((8, 8)),), (_frame((15, 15), (20, 20)), (3, 4, 12)), (_frame((15, 15)), (13,))],
    "repeated_words": [("ACGTTGCA", 3), (_DNA, 5), ("ACGTTGCA", 4)],
    "residue_profile": [("AVKLXB",), ("GGSST",), ("MZZ",)],
    "run_in_scratch": [([1.0, 2.0, 3.0, 4.0],), ([0.5],), ([float(i) for i in range(10)],)],
}

# What calls may share, and whoever wrote the function would want them to. Empty: nothing may.
EXPECTED = {
    # something to keep
    "estimate_solubility": {"measured", "features", "model"},
    "rate_of_turnover": {
        *("S", "I", "E", "ES", "EI", "Et", "k1", "km1", "k2", "ki", "balance", "solution", "velocity", "evaluate")
    },
    "find_shot_peaks": {"fs", "sos", "template"},
    "count_nuclei": {"flat", "yy", "xx", "disk"},
    "comet_distance": {"mu", "start", "orbit"},
    "ising_averages": {"rows", "cols", "states", "bonds", "energy", "moment"},
    "diffuse": {"n", "dx", "dt", "laplace", "system", "lu"},
    "radial_distribution": {"edges", "shells", "histogram"},
    "clean_trace": {"net"},
    "convert_flux": {"units", "term"},
    "match_source": {"rows", "lon", "lat", "xyz", "tree"},
    "codon_adaptation": {"counts", "synonymous", "weights"},
    "pick_primer": {"table", "complement"},
    "enzyme_of": {"by_ec"},
    "travel_minutes": {"graph", "central", "hubs"},
    "conductivity": {"measured", "interpolate", "low", "high"},
    "topic_of": {"texts", "fields", "vectorizer", "matrix", "classifier", "vocabulary"},
    "read_protocol": {"lexicon", "ruler", "nlp"},
    "triage_report": {"config", "findings", "denied"},
    "bootstrap_biomass": {"survey"},  # the generator starts anew in each call
    # nothing to keep
    "wafer_yield": set(),  # calls draw on from where the set-up left the generator
    "first_read_with": set(),  # an open file and an iterator that calls use up
    "log_reading": set(),  # rows stay in the table
    "drift_correction": set(),  # calls train the model further
    "dropout_uncertainty": set(),  # the seed is global, and batch norm in training mode remembers
    "many_digits": set(),  # ln10 depends on the digits by way of the global context
    "hot_pixels": set(),  # written to through a view
    "repeated_words": set(),  # the index depends on k
    "residue_profile": set(),  # looking up adds keys, which are counted
    "run_in_scratch": set(),  # files stay in the folder
}

# Names whose sharing would do no harm: what is imported or defined inside, what loops leave behind.
OPTIONAL = {
    "estimate_solubility": {
        *("Chem", "Crippen", "Descriptors", "rdMolDescriptors", "Ridge", "make_pipeline", "StandardScaler", "describe")
    },
    "rate_of_turnover": {"sp"},
    "comet_distance": {"acceleration"},
    "radial_distribution": {"numba"},
    "convert_flux": {"parse", "prefix", "factor", "name"},
    "match_source": {"handle"},
    "codon_adaptation": {"gene", "codon", "residue", "codons", "best", "c"},
    "pick_primer": {"pair"},
    "enzyme_of": {"con"},
    "travel_minutes": {"road", "usable"},
    "topic_of": {"TfidfVectorizer", "LogisticRegression"},
    "drift_correction": {"SGDRegressor"},
}
