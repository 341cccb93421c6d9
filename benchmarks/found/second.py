# ruff: noqa
"""Thirty per-item functions of the kind that are mapped over a large list on a cluster."""

import itertools
import math
import os
import re

ABSTRACTS = [
    ("the perovskite film shows a high power conversion efficiency in solar cells", "materials"),
    ("annealing of the alloy changed grain size and hardness of the steel", "materials"),
    ("thin film deposition of oxide layers and their band gap", "materials"),
    ("gene expression in mouse liver cells was measured by sequencing", "biology"),
    ("the protein binds a membrane receptor and regulates cell growth", "biology"),
    ("mutation of the gene reduced bacterial growth and expression", "biology"),
    ("the galaxy survey measured redshift of distant quasars", "astronomy"),
    ("stellar spectra reveal the metallicity of stars in the galaxy halo", "astronomy"),
    ("a transit light curve of an exoplanet orbiting a dwarf star", "astronomy"),
]

ALERT_SMARTS = {
    "aldehyde": "[CX3H1](=O)[#6]",
    "nitro": "[N+](=O)[O-]",
    "michael": "C=CC(=O)[#6]",
    "epoxide": "C1OC1",
    "alkyl halide": "[CX4][Cl,Br,I]",
}

ELEMENTS = ("H", "C", "O")
WELL_DEPTH = {"H": 0.03, "C": 0.11, "O": 0.21}
DIAMETER = {"H": 2.4, "C": 3.4, "O": 3.1}

STOPWORDS = ["the", "a", "of", "in", "and", "is", "was", "by", "to", "for", "with", "on"]
WORD = re.compile(r"[a-z]{2,}")

SCHEMA = "CREATE TABLE runs (id INTEGER PRIMARY KEY AUTOINCREMENT, sample TEXT, yield REAL)"
PAST_RUNS = [("s1", 0.41), ("s2", 0.55), ("s1", 0.47), ("s3", 0.62)]


def _tokens(text, stopwords):
    return [word for word in WORD.findall(text.lower()) if word not in stopwords]


def _affinity_net():
    from torch import nn

    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))


def _scorer():
    from torch import nn

    return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))


def _calibration_set():
    import numpy as np

    points = np.random.default_rng(5).normal(size=(60, 2))
    return points, (points[:, 0] + 0.5 * points[:, 1] > 0).astype(int)


class _Vocabulary:
    def __init__(self, words):
        self.counter = itertools.count()
        self.ids = {word: next(self.counter) for word in words}

    def lookup(self, word):
        if word not in self.ids:
            self.ids[word] = next(self.counter)
        return self.ids[word]


# ---------------------------------------------------------------- scikit-learn


def predict_solubility(descriptors):
    """Predict the log solubility of a compound from four descriptors."""
    import numpy as np
    import pandas as pd
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    table = pd.read_csv("solubility.csv").dropna()
    columns = ["weight", "logp", "tpsa", "rotors"]
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), Ridge(alpha=0.5))
    model.fit(table[columns].to_numpy(), table["logs"].to_numpy())
    low, high = table["logs"].min(), table["logs"].max()

    if len(descriptors) != len(columns):
        raise ValueError(f"expected {len(columns)} descriptors, got {len(descriptors)}")
    prediction = float(model.predict(np.asarray([descriptors], dtype=float))[0])
    if not low <= prediction <= high:
        print(f"outside the training range: {prediction:.3f}")
    return round(prediction, 6)


def classify_abstract(text):
    """Assign an abstract to a field of science with a TF-IDF classifier."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, labels = zip(*ABSTRACTS)
    vectorizer = TfidfVectorizer(stop_words="english", ngram_range=(1, 2), sublinear_tf=True)
    features = vectorizer.fit_transform(texts)
    if not text or not text.strip():
        raise ValueError("empty abstract")
    classifier = LogisticRegression(C=10.0, max_iter=500)
    classifier.fit(features, labels)
    names = classifier.classes_
    scores = classifier.predict_proba(vectorizer.transform([text]))[0]
    best = int(scores.argmax())
    print(f"{names[best]}: {scores[best]:.4f}")
    return {str(name): round(float(score), 6) for name, score in zip(names, scores)}


def score_formulation(amounts):
    """Score a three-component formulation with the stored random forest."""
    import joblib
    import pandas as pd

    columns = ["polymer", "solvent", "salt"]
    forest = joblib.load("forest.joblib")
    if min(amounts) < 0:
        raise ValueError("amounts must not be negative")
    frame = pd.DataFrame([amounts], columns=columns)
    frame = frame.div(frame.sum(axis=1), axis=0)
    votes = [float(tree.predict(frame.to_numpy())[0]) for tree in forest.estimators_]
    return {
        "columns": columns,
        "score": round(float(forest.predict(frame)[0]), 8),
        "spread": round(max(votes) - min(votes), 8),
    }


def nearest_colour(pixel):
    """Map one pixel to the palette learnt from the reference image."""
    import numpy as np
    from sklearn.cluster import KMeans

    pixels = np.load("pixels.npy")
    scaled = pixels / 255.0
    model = KMeans(n_clusters=4, n_init=1, max_iter=50, random_state=0, verbose=1)
    model.fit(scaled)

    query = np.asarray(pixel, dtype=float).reshape(1, -1) / 255.0
    cluster = int(model.predict(query)[0])
    members = scaled[model.labels_ == cluster]
    members -= query
    return cluster, round(float(np.sqrt((members**2).sum(axis=1)).mean()), 8)


def update_classifier(samples, labels):
    """Continue the training of the calibrated classifier with new samples."""
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(loss="log_loss", random_state=0)
    model.partial_fit(*_calibration_set(), classes=[0, 1])
    for _ in range(3):
        model.partial_fit(samples, labels)
    slope = [round(float(value), 6) for value in model.coef_[0]]
    return slope, round(float(model.intercept_[0]), 6)


# ------------------------------------------------------------------------ torch


def binding_affinity(features):
    """Predict a binding affinity with the trained network."""
    import torch

    device = torch.device("cpu")
    checkpoint = torch.load("affinity.pt", map_location=device, weights_only=True)
    model = _affinity_net()
    model.load_state_dict(checkpoint["weights"])
    model.to(device)
    model.eval()
    mean, scale = checkpoint["mean"], checkpoint["scale"]

    x = torch.tensor(features, dtype=torch.float32, device=device)
    if x.ndim != 1 or x.shape[0] != mean.shape[0]:
        raise ValueError(f"bad feature vector of shape {tuple(x.shape)}")
    with torch.no_grad():
        x = (x - mean) / scale
        affinity = model(x.unsqueeze(0)).item()
    return round(affinity, 6)


def calibrate_detector(reading, level, steps=20):
    """Calibrate the detector's response with one additional reading."""
    import torch

    data = torch.load("detector.pt", weights_only=True)
    inputs, targets = data["inputs"], data["targets"]
    loss_fn = torch.nn.MSELoss()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    x = torch.cat([inputs, torch.tensor([reading], dtype=torch.float32)])
    y = torch.cat([targets, torch.tensor([[level]], dtype=torch.float32)])
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    return round(loss.item(), 6)


def cluster_forces(positions):
    """Forces on the atoms of a cluster from a pairwise neural potential."""
    import torch

    torch.manual_seed(21)
    network = torch.nn.Sequential(
        torch.nn.Linear(1, 24), torch.nn.SiLU(), torch.nn.Linear(24, 24), torch.nn.SiLU(), torch.nn.Linear(24, 1)
    ).double()
    network.eval()

    def energy(coordinates):
        return network(torch.pdist(coordinates).unsqueeze(1)).sum()

    x = torch.tensor(positions, dtype=torch.float64, requires_grad=True)
    if x.shape[0] < 2:
        raise ValueError("at least two atoms are needed")
    total = energy(x)
    (gradient,) = torch.autograd.grad(total, x)
    return round(total.item(), 10), [[round(-v, 10) for v in row] for row in gradient.tolist()]


def adapt_and_score(batch):
    """Adapt the normalisation statistics to a batch of spectra, then score it."""
    import torch

    model = _scorer()
    model.load_state_dict(torch.load("scorer.pt", weights_only=True))
    x = torch.tensor(batch, dtype=torch.float32)
    with torch.no_grad():
        model(x)
        model.eval()
        scores = model(x)
    return [round(value, 5) for value in scores.squeeze(1).tolist()]


def decay_profile(amplitude, rate):
    """Sample an exponential decay on the standard time grid."""
    import torch

    grid = torch.linspace(0.0, 10.0, 201)
    if rate <= 0:
        raise ValueError("the rate must be positive")
    profile = grid.float().contiguous()
    profile.mul_(-rate).exp_().mul_(amplitude)
    half = int((profile > amplitude / 2).sum())
    return half, round(float(profile.sum()), 4)


# ------------------------------------------------------------------------ rdkit


def structural_alerts(smiles):
    """List the structural alerts of a molecule, and its first PAINS match."""
    from rdkit import Chem
    from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

    if not smiles:
        raise ValueError("empty SMILES")
    params = FilterCatalogParams()
    params.AddCatalog(FilterCatalogParams.FilterCatalogs.PAINS_A)
    catalog = FilterCatalog(params)
    alerts = {name: Chem.MolFromSmarts(smarts) for name, smarts in ALERT_SMARTS.items()}

    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise ValueError(f"cannot parse {smiles!r}")
    found = sorted(name for name, pattern in alerts.items() if molecule.HasSubstructMatch(pattern))
    entry = catalog.GetFirstMatch(molecule)
    return found, None if entry is None else entry.GetDescription()


def most_similar(smiles, count=3):
    """Find the most similar molecules of the reference library."""
    from pathlib import Path

    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    lines = Path("reference.smi").read_text().splitlines()
    names, fingerprints = [], []
    for line in lines:
        text, name = line.split()
        names.append(name)
        fingerprints.append(generator.GetFingerprint(Chem.MolFromSmiles(text)))

    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise ValueError(f"cannot parse {smiles!r}")
    query = generator.GetFingerprint(molecule)
    scores = DataStructs.BulkTanimotoSimilarity(query, fingerprints)
    ranked = sorted(zip(scores, names), reverse=True)
    return [(name, round(score, 6)) for score, name in ranked[:count]]


def twist_chain(delta):
    """Turn the C-C-C-C torsion of 1-pentanol by some degrees and measure its length."""
    from rdkit import Chem
    from rdkit.Chem import AllChem
    from rdkit.Chem import rdMolTransforms as transforms

    molecule = Chem.AddHs(Chem.MolFromSmiles("CCCCCO"))
    AllChem.EmbedMolecule(molecule, randomSeed=13)
    pattern = Chem.MolFromSmarts("[CH3]CCC")
    torsion = molecule.GetSubstructMatch(pattern)
    conformer = molecule.GetConformer()
    if abs(delta) > 180:
        raise ValueError(f"angle out of range: {delta}")
    angle = transforms.GetDihedralDeg(conformer, *torsion)
    transforms.SetDihedralDeg(conformer, *torsion, angle + delta)
    length = transforms.GetBondLength(conformer, 0, 5)
    return round(length, 4)


def substitute_ring(number, position):
    """Put a substituent (by atomic number) on a pyridine ring."""
    from rdkit import Chem

    scaffold = Chem.RWMol(Chem.MolFromSmiles("c1ccncc1"))
    atom = scaffold.AddAtom(Chem.Atom(number))
    scaffold.AddBond(position, atom, Chem.BondType.SINGLE)
    Chem.SanitizeMol(scaffold)
    return Chem.MolToSmiles(scaffold), scaffold.GetNumAtoms()


# ----------------------------------------------------------------------- pandas


def plate_zscore(plate, signal):
    """Standardise a signal by the control wells of its plate."""
    import pandas as pd

    frame = pd.read_csv("plates.csv")
    frame = frame[frame["kind"] == "control"]
    print(f"{len(frame)} control wells")
    summary = frame.groupby("plate")["signal"].agg(["mean", "std"])
    if plate not in summary.index:
        raise KeyError(plate)
    mean = summary.loc[plate, "mean"]
    std = summary.loc[plate, "std"]
    return round(float((signal - mean) / std), 8)


def correct_drift(gain, offset=0.0):
    """Rescale the drift series and compare it with the reference levels."""
    import pandas as pd

    reference = pd.read_csv("levels.csv", index_col="time")["level"]
    series = pd.read_csv("drift.csv", index_col="time")
    blank = series.loc[series["kind"] == "blank", "signal"].mean()

    if gain == 0:
        raise ZeroDivisionError("gain is zero")
    series["signal"] = (series["signal"] - blank) / gain + offset
    residual = series["signal"] - reference.reindex(series.index).interpolate()
    return round(float((residual**2).mean()), 8), round(float(series["signal"].max()), 8)


# ------------------------------------------------------------------------ numba


def pair_potential(elements, positions):
    """Lennard-Jones energy of a small set of atoms."""
    import numba
    import numpy as np

    depth = np.array([[math.sqrt(WELL_DEPTH[a] * WELL_DEPTH[b]) for b in ELEMENTS] for a in ELEMENTS])
    width = np.array([[(DIAMETER[a] + DIAMETER[b]) / 2 for b in ELEMENTS] for a in ELEMENTS])

    @numba.njit
    def energy(kinds, xyz, depth, width):
        total = 0.0
        for i in range(len(kinds)):
            for j in range(i):
                r2 = ((xyz[i] - xyz[j]) ** 2).sum()
                s6 = (width[kinds[i], kinds[j]] ** 2 / r2) ** 3
                total += 4.0 * depth[kinds[i], kinds[j]] * (s6 * s6 - s6)
        return total

    kinds = np.array([ELEMENTS.index(element) for element in elements])
    xyz = np.asarray(positions, dtype=np.float64)
    return round(float(energy(kinds, xyz, depth, width)), 10)


def gaussian_moment(order, decay):
    """Even or odd moment of a Gaussian on [-1, 1] by Gauss-Legendre quadrature."""
    import numba
    import numpy as np

    if order < 0:
        raise ValueError("order must not be negative")
    nodes, weights = np.polynomial.legendre.leggauss(64)

    @numba.njit
    def integrate(x, w, a):
        total = 0.0
        for i in range(x.size):
            total += w[i] * x[i] ** order * math.exp(-a * x[i] * x[i])
        return total

    return round(integrate(nodes, weights, float(decay)), 12)


# ------------------------------------------------------------------------ numpy


def band_levels(signal):
    """Log power of a signal in eight frequency bands."""
    import numpy as np

    size = 256
    window = np.hanning(size)
    frequencies = np.fft.rfftfreq(size)
    centres = np.linspace(0.03, 0.45, 8)
    bank = np.exp(-(((frequencies[None, :] - centres[:, None]) / 0.03) ** 2))
    bank /= bank.sum(axis=1, keepdims=True)

    x = np.zeros(size)
    x[: len(signal)] = signal
    x *= window
    power = np.abs(np.fft.rfft(x)) ** 2
    with np.errstate(divide="raise"):
        levels = np.log10(bank @ power)
    return [round(float(level), 8) for level in levels]


def shift_spectrum(shift):
    """Shift the reference spectrum along its wavelength axis."""
    import numpy as np

    table = np.loadtxt("spectrum.txt")
    wavelengths = table[:, 0]
    intensity = table[:, 1] / table[:, 1].max()
    peak = int(intensity.argmax())
    if not np.isfinite(shift):
        raise ValueError("shift is not finite")
    shifted = np.interp(wavelengths, wavelengths + shift, intensity)
    return {"x": wavelengths, "y": shifted.round(10), "at": float(wavelengths[peak] + shift)}


def flip_spins(sites):
    """Flip some spins of the stored lattice and return its energy."""
    import numpy as np

    lattice = np.load("lattice.npy")
    spins = lattice.reshape(-1)
    for site in sites:
        spins[site] = -spins[site]
    energy = -(lattice * np.roll(lattice, 1, axis=0) + lattice * np.roll(lattice, 1, axis=1)).sum()
    return int(energy), int(spins.sum())


def noisy_projection(vector, level):
    """Project a vector on a fixed random basis and add measurement noise."""
    import numpy as np

    rng = np.random.default_rng(12)
    projection = rng.normal(size=(6, 3)) / np.sqrt(6)
    vector = np.asarray(vector, dtype=float)
    noise = rng.normal(scale=level, size=3)
    return (vector @ projection + noise).round(9).tolist()


# ----------------------------------------------------------------------- sqlite


def molar_mass(formula):
    """Molar mass of a chemical formula from the element database."""
    import sqlite3

    connection = sqlite3.connect("elements.db")
    rows = connection.execute("SELECT symbol, mass FROM elements ORDER BY number").fetchall()
    connection.close()
    masses = dict(rows)
    pattern = re.compile(r"([A-Z][a-z]?)(\d*)")

    if not formula or pattern.sub("", formula):
        raise ValueError(f"bad formula {formula!r}")
    total = 0.0
    for symbol, count in pattern.findall(formula):
        total += masses[symbol] * int(count or 1)
    return round(total, 4)


def record_run(sample, fraction):
    """Enter a run in a scratch database and return its id and the sample's mean."""
    import sqlite3

    connection = sqlite3.connect(":memory:")
    cursor = connection.cursor()
    cursor.execute(SCHEMA)
    cursor.executemany("INSERT INTO runs (sample, yield) VALUES (?, ?)", PAST_RUNS)
    cursor.execute("INSERT INTO runs (sample, yield) VALUES (?, ?)", (sample, fraction))
    number = cursor.lastrowid
    cursor.execute("SELECT COUNT(*), AVG(yield) FROM runs WHERE sample = ?", (sample,))
    count, mean = cursor.fetchone()
    connection.commit()
    return number, count, round(mean, 8)


# ------------------------------------------------------------------------- text


def extract_keywords(text, top=4):
    """Rank the words of a text by TF-IDF against the stored corpus."""
    import json
    from collections import Counter

    stopwords = frozenset(STOPWORDS)
    with open("corpus.json", encoding="utf-8") as handle:
        documents = json.load(handle)
    frequency = Counter()
    for document in documents:
        frequency.update(set(_tokens(document, stopwords)))
    idf = {word: math.log((1 + len(documents)) / (1 + n)) + 1 for word, n in frequency.items()}
    unseen = math.log(1 + len(documents)) + 1

    counts = Counter(_tokens(text, stopwords))
    if not counts:
        raise ValueError("no words to rank")
    scores = {word: n * idf.get(word, unseen) for word, n in counts.items()}
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [(word, round(score, 6)) for word, score in ranked[:top]]


def encode_note(text):
    """Lemmatise a clinical note and encode its words as integers."""
    import csv

    pattern = re.compile(r"[a-z]+|\d+")
    with open("lemmas.csv", newline="", encoding="utf-8") as handle:
        lemmas = {row["form"]: row["lemma"] for row in csv.DictReader(handle)}
    vocabulary = _Vocabulary(sorted(set(lemmas.values())))

    tokens = pattern.findall(text.lower())
    words = [lemmas.get(token, token) for token in tokens]
    ids = [vocabulary.lookup(word) for word in words]
    print(f"{len(set(ids))} different words")
    return ids


# ----------------------------------------------------------------------- others


def attack_network(nodes):
    """Remove nodes from the interaction network and measure what is left."""
    import networkx as nx

    graph = nx.read_weighted_edgelist("network.txt")
    before = nx.number_connected_components(graph)
    centrality = nx.betweenness_centrality(graph, weight="weight")
    ranking = sorted(centrality, key=lambda node: (-centrality[node], node))

    damaged = graph.copy()
    lost = 0.0
    for node in nodes:
        damaged.remove_node(node)
        ranking.remove(node)
        lost += centrality[node]
    pieces = nx.number_connected_components(damaged) - before
    return pieces, round(lost, 8), ranking[:3], damaged.number_of_edges()


def exact_exponential(text, terms):
    """Truncated exponential series in exact arithmetic, rounded once to 30 digits."""
    from decimal import Context, Decimal, Inexact
    from fractions import Fraction

    context = Context(prec=30)
    weights = [Fraction(1, math.factorial(k)) for k in range(60)]
    x = Fraction(text)
    total = sum((weight * x**k for k, weight in enumerate(weights[:terms])), Fraction(0))
    value = context.divide(Decimal(total.numerator), Decimal(total.denominator))
    return str(value), bool(context.flags[Inexact])


def first_event_above(threshold):
    """Find the first recorded event above an energy threshold."""
    import csv

    handle = open("events.csv", newline="", encoding="utf-8")
    reader = csv.DictReader(handle)
    for row in reader:
        if float(row["energy"]) > threshold:
            handle.close()
            return row["event"], reader.line_num
    handle.close()
    raise LookupError(f"no event above {threshold}")


def run_label(sample, replicate):
    """Label of a run from the working folder, the settings and the year."""
    import time
    from pathlib import Path

    folder = Path.cwd()
    settings = {key: value for key, value in os.environ.items() if key.startswith("SIM_")}
    year = time.strftime("%Y")
    if replicate < 1:
        raise ValueError("replicates count from one")
    options = ",".join(f"{key}={settings[key]}" for key in sorted(settings))
    return f"{folder.name}/{year}/{sample}-{replicate:03d}[{options}]"


# ------------------------------------------------------------------ test material


def prepare(folder):
    """Write every data file that the functions read into folder, and go there."""
    import csv
    import json
    import sqlite3

    import joblib
    import numpy as np
    import pandas as pd
    import torch
    from sklearn.ensemble import RandomForestRegressor

    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    rng = np.random.default_rng(2024)

    values = rng.uniform([100, -2, 10, 0], [500, 6, 150, 10], size=(80, 4))
    frame = pd.DataFrame(values.round(3), columns=["weight", "logp", "tpsa", "rotors"])
    frame["logs"] = (0.5 - 0.9 * frame["logp"] - 0.004 * frame["weight"] + rng.normal(0, 0.2, 80)).round(4)
    frame.loc[[7, 31], "tpsa"] = np.nan
    frame.to_csv("solubility.csv", index=False)

    mixtures = pd.DataFrame(rng.dirichlet([2, 2, 1], 70), columns=["polymer", "solvent", "salt"])
    score = np.sin(4 * mixtures["polymer"]) + mixtures["salt"] ** 2
    joblib.dump(RandomForestRegressor(12, random_state=0).fit(mixtures, score), "forest.joblib")

    centres = np.array([[200, 30, 30], [30, 180, 60], [40, 50, 210], [220, 220, 190]])
    pixels = centres[rng.integers(0, 4, 120)] + rng.normal(0, 12, (120, 3))
    np.save("pixels.npy", pixels.clip(0, 255).round())
    np.save("lattice.npy", rng.choice([-1, 1], size=(12, 12)))

    generator = torch.Generator().manual_seed(3)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    weights = {key: 0.5 * noise(*value.shape) for key, value in _affinity_net().state_dict().items()}
    torch.save({"weights": weights, "mean": noise(5), "scale": noise(5).abs() + 0.5}, "affinity.pt")
    inputs = noise(30, 3)
    torch.save({"inputs": inputs, "targets": torch.sin(inputs.sum(dim=1, keepdim=True))}, "detector.pt")
    state = _scorer().state_dict()
    for key in ("0.weight", "0.bias", "3.weight", "3.bias"):
        state[key] = noise(*state[key].shape)
    torch.save(state, "scorer.pt")

    library = {
        "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
        "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
        "phenol": "Oc1ccccc1",
        "paracetamol": "CC(=O)Nc1ccc(O)cc1",
        "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
        "toluene": "Cc1ccccc1",
        "nicotine": "CN1CCCC1c1cccnc1",
        "glucose": "OCC1OC(O)C(O)C(O)C1O",
        "salicylic": "O=C(O)c1ccccc1O",
    }
    with open("reference.smi", "w") as handle:
        handle.writelines(f"{smiles} {name}\n" for name, smiles in library.items())

    plates = pd.DataFrame({"plate": np.repeat(["P1", "P2", "P3"], 12), "kind": ["control", "sample", "control"] * 12})
    plates["signal"] = (100 + np.repeat([0, 8, -5], 12) + rng.normal(0, 3, 36)).round(3)
    plates.to_csv("plates.csv", index=False)
    pd.DataFrame({"time": range(0, 40, 4), "level": np.linspace(1, 2, 10).round(4)}).to_csv("levels.csv", index=False)
    drift = pd.DataFrame({"time": range(37), "kind": (["blank"] + ["probe"] * 5) * 6 + ["blank"]})
    drift["signal"] = (5 + 0.1 * drift["time"] + rng.normal(0, 0.3, 37)).round(4)
    drift.to_csv("drift.csv", index=False)

    axis = np.linspace(400, 700, 121)
    np.savetxt("spectrum.txt", np.column_stack([axis, 3 * np.exp(-(((axis - 530) / 25) ** 2)) + 0.1]), fmt="%.6f")

    if os.path.exists("elements.db"):
        os.remove("elements.db")
    connection = sqlite3.connect("elements.db")
    connection.execute("CREATE TABLE elements (number INTEGER, symbol TEXT, mass REAL)")
    elements = [
        (1, "H", 1.008),
        (6, "C", 12.011),
        (7, "N", 14.007),
        (8, "O", 15.999),
        (11, "Na", 22.99),
        (17, "Cl", 35.45),
    ]
    connection.executemany("INSERT INTO elements VALUES (?, ?, ?)", elements)
    connection.commit()
    connection.close()

    with open("corpus.json", "w", encoding="utf-8") as handle:
        json.dump([text for text, _ in ABSTRACTS], handle)
    forms = {
        "patients": "patient",
        "reported": "report",
        "reports": "report",
        "pains": "pain",
        "was": "be",
        "is": "be",
        "treated": "treat",
        "doses": "dose",
        "coughing": "cough",
    }
    with open("lemmas.csv", "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("form", "lemma"), *forms.items()])
    edges = [
        ("a", "b", 1),
        ("b", "c", 2),
        ("c", "a", 1),
        ("c", "d", 1),
        ("d", "e", 3),
        ("e", "f", 1),
        ("f", "d", 1),
        ("g", "h", 1),
    ]
    with open("network.txt", "w") as handle:
        handle.writelines(f"{a} {b} {weight}.0\n" for a, b, weight in edges)
    energies = rng.gamma(2.0, 10.0, 50).round(3)
    with open("events.csv", "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("event", "energy"), *((f"e{i:03d}", value) for i, value in enumerate(energies))])


EXPECTED: dict[str, tuple[str, ...]] = {
    "predict_solubility": ("table", "columns", "model", "low", "high"),
    "classify_abstract": ("texts", "labels", "vectorizer", "features", "classifier", "names"),
    "score_formulation": ("forest",),
    "nearest_colour": ("pixels", "scaled"),
    "update_classifier": (),
    "binding_affinity": ("device", "checkpoint", "model", "mean", "scale"),
    "calibrate_detector": ("data", "inputs", "targets", "loss_fn"),
    "cluster_forces": ("network", "energy"),
    "adapt_and_score": (),
    "decay_profile": (),
    "structural_alerts": ("params", "catalog", "alerts"),
    "most_similar": ("generator", "lines", "names", "fingerprints"),
    "twist_chain": ("pattern", "torsion"),
    "substitute_ring": (),
    "plate_zscore": ("frame", "summary"),
    "correct_drift": ("reference", "blank"),
    "pair_potential": ("depth", "width", "energy"),
    "gaussian_moment": ("nodes", "weights"),
    "band_levels": ("window", "frequencies", "centres", "bank"),
    "shift_spectrum": ("intensity", "peak"),
    "flip_spins": (),
    "noisy_projection": (),
    "molar_mass": ("rows", "masses", "pattern"),
    "record_run": (),
    "extract_keywords": ("stopwords", "documents", "frequency", "idf", "unseen"),
    "encode_note": ("pattern", "lemmas"),
    "attack_network": ("graph", "before", "centrality"),
    "exact_exponential": ("weights",),
    "first_event_above": (),
    "run_label": (),
}

CALLS: dict[str, list[tuple]] = {
    "predict_solubility": [([180.2, 1.2, 63.6, 3],), ([480.0, 7.5, 20.0, 1],), ([1.0, 2.0],)],
    "classify_abstract": [
        ("expression of a gene in liver cells",),
        ("  ",),
        ("spectra of stars and a distant galaxy",),
    ],
    "score_formulation": [([2.0, 5.0, 1.0],), ([1.0, 1.0, 3.0],), ([1.0, -1.0, 3.0],)],
    "nearest_colour": [((250, 10, 10),), ((10, 200, 90),), ((1, 2),)],
    "update_classifier": [
        ([[0.5, 1.0], [-1.0, -0.2]], [1, 0]),
        ([[3.0, -4.0], [2.0, 2.0], [0.1, 0.1]], [0, 1, 1]),
        ([[1.0, 1.0]], [7]),
    ],
    "binding_affinity": [([0.1, 0.2, -0.3, 1.0, 2.0],), ([1.0, 2.0],), ([3.0, -1.0, 0.0, 0.5, -2.0],)],
    "calibrate_detector": [([0.1, 0.2, 0.3], 0.5), ([2.0, -1.0, 1.0], -0.7, 35), ([1.0, 2.0], 0.1)],
    "cluster_forces": [
        ([[0.0, 0.0, 0.0], [1.1, 0.0, 0.0], [0.0, 1.3, 0.2]],),
        ([[0.0, 0.0, 0.0]],),
        ([[0.0, 0.5, 0.0], [1.0, 1.0, 2.0]],),
    ],
    "adapt_and_score": [
        ([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0], [2.0, 2.0, 2.0]],),
        ([[1.0, 2.0, 3.0]],),
        ([[9.0, 5.0, 1.0], [4.0, 4.0, 0.0]],),
    ],
    "decay_profile": [(2.0, 0.3), (5.0, 1.5), (1.0, 0.0)],
    "structural_alerts": [("CC(=O)/C=C/c1ccccc1[N+](=O)[O-]",), ("",), ("CN(C)c1ccc(cc1)N=Nc1ccccc1",)],
    "most_similar": [("CC(=O)Oc1ccccc1",), ("not a molecule",), ("Cn1ccnc1", 2)],
    "twist_chain": [(30.0,), (-95.0,), (270.0,)],
    "substitute_ring": [(9, 0), (17, 1), (9, 3)],
    "plate_zscore": [("P1", 104.0), ("P9", 1.0), ("P3", 88.5)],
    "correct_drift": [(2.0,), (0.5, 1.0), (0,)],
    "pair_potential": [
        (["H", "O", "H"], [[0, 0, 0], [2.8, 0, 0], [0, 3.1, 0]]),
        (["C", "Xe"], [[0, 0, 0], [4, 0, 0]]),
        (["C", "C"], [[0, 0, 0], [3.9, 0, 0]]),
    ],
    "gaussian_moment": [(2, 1.5), (4, 3), (-1, 1.0)],
    "band_levels": [([math.sin(0.7 * i) for i in range(200)],), ([0.0] * 50,), ([1.0, -1.0, 0.5, 0.25],)],
    "shift_spectrum": [(5.0,), (-12.5,), (float("nan"),)],
    "flip_spins": [([0, 5, 77],), ([143],), ([1, 500],)],
    "noisy_projection": [([1, 2, 3, 4, 5, 6], 0.1), ([0, 0, 1, 0, 0, 1], 2.0), ([1, 1, 1, 1, 1, 1], -1.0)],
    "molar_mass": [("C6H12O6",), ("NaXe",), ("C2H5OH",)],
    "record_run": [("s1", 0.9), ("s9", 0.2), ("s2", "high")],
    "extract_keywords": [
        ("the growth of gene mutants and gene expression in yeast",),
        ("of the",),
        ("galaxy galaxy redshift", 2),
    ],
    "encode_note": [("Patients reported pains, 3 doses",), ("Coughing was treated with zinc and honey",), (None,)],
    "attack_network": [(["c"],), (["d", "a"],), (["e", "zz"],)],
    "exact_exponential": [("1/3", 25), ("2", 3), ("one", 5)],
    "first_event_above": [(30.0,), (1000.0,), (12.5,)],
    "run_label": [("alpha", 1), ("beta", 12), ("gamma", 0)],
}
