# ruff: noqa
"""Thirty per-task functions as they are submitted to a cluster, with hand-made ground truth."""

import os

import numba
import numpy as np
import pandas as pd
import torch
from rdkit import RDLogger
from torch import nn

RDLogger.DisableLog("rdApp.*")

GAMMA = 1 / 5.0
KMER = 11
L1, L2 = 0.6, 0.45
TIME_LIMIT = 5.0
SEED = 20240611
CELL_TYPES = ("round", "elongated", "debris")
POS_TAGS = ("NOUN", "VERB", "ADJ", "OTHER")
FINGERPRINT_BITS = 1024


# ---------------------------------------------------------------- helpers
class TileNet(nn.Module):
    """Small convolutional classifier for 16x16 microscopy tiles."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 8 * 8, n_classes)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv(x)))
        x = torch.max_pool2d(x, 2)
        return self.head(x.flatten(1))


class Tagger(nn.Module):
    """Embedding, GRU and a linear layer per token."""

    def __init__(self, n_words, n_tags, dim=12):
        super().__init__()
        self.emb = nn.Embedding(n_words, dim)
        self.gru = nn.GRU(dim, dim, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * dim, n_tags)

    def forward(self, ids):
        h, _ = self.gru(self.emb(ids))
        return self.out(h)


class DoseNet(nn.Module):
    """Dose-response regressor."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        return self.layers(x).squeeze(-1)


def read_fasta(path):
    """Return a dict of sequence name to sequence."""
    seqs, name = {}, None
    with open(path) as handle:
        for line in handle:
            line = line.strip()
            if line.startswith(">"):
                name = line[1:].split()[0]
                seqs[name] = []
            elif line:
                seqs[name].append(line.upper())
    return {k: "".join(v) for k, v in seqs.items()}


def radec_to_xyz(ra, dec):
    """Unit vectors from right ascension and declination in degrees."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def forward_kinematics(q):
    """Tip position of the planar two-link arm."""
    return np.array(
        [
            L1 * np.cos(q[0]) + L2 * np.cos(q[0] + q[1]),
            L1 * np.sin(q[0]) + L2 * np.sin(q[0] + q[1]),
        ]
    )


def jacobian(q):
    """Jacobian of forward_kinematics."""
    s1, c1 = np.sin(q[0]), np.cos(q[0])
    s12, c12 = np.sin(q[0] + q[1]), np.cos(q[0] + q[1])
    return np.array([[-L1 * s1 - L2 * s12, -L2 * s12], [L1 * c1 + L2 * c12, L2 * c12]])


def fill_bad_pixels(image, bad):
    """Replace flagged pixels, in place, by the last good pixel of their row."""
    for j in range(image.shape[0]):
        last = 0.0
        for i in range(image.shape[1]):
            if bad[j, i]:
                image[j, i] = last
            else:
                last = image[j, i]
    return image


def load_tagger(folder):
    """Vocabulary and trained tagger from a folder."""
    import json

    with open(os.path.join(folder, "vocab.json")) as handle:
        vocab = json.load(handle)
    net = Tagger(len(vocab), len(POS_TAGS))
    net.load_state_dict(torch.load(os.path.join(folder, "tagger.pt")))
    net.eval()
    return vocab, net


def load_panel(path):
    """Reference haplotype panel, one row per haplotype."""
    panel = pd.read_csv(path, index_col=0)
    print(f"[panel] {path}: {panel.shape[0]} haplotypes x {panel.shape[1]} sites")
    return panel


def mol_descriptors(smiles):
    """Five classical descriptors of a molecule."""
    from rdkit import Chem
    from rdkit.Chem import Crippen, Descriptors, rdMolDescriptors

    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise ValueError(f"cannot parse {smiles!r}")
    return [
        Descriptors.MolWt(mol),
        Crippen.MolLogP(mol),
        rdMolDescriptors.CalcTPSA(mol),
        rdMolDescriptors.CalcNumRotatableBonds(mol),
        rdMolDescriptors.CalcNumAromaticRings(mol),
    ]


# ---------------------------------------------------------------- the thirty
def nearest_reference_ligand(smiles):
    """Most similar known ligand by Tanimoto on Morgan fingerprints."""
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    library = pd.read_csv("ligands.csv")
    gen = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=FINGERPRINT_BITS)
    fps = [gen.GetFingerprint(Chem.MolFromSmiles(s)) for s in library["smiles"]]

    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise ValueError(f"bad SMILES: {smiles}")
    sims = DataStructs.BulkTanimotoSimilarity(gen.GetFingerprint(mol), fps)
    best = int(np.argmax(sims))
    return {
        "query": Chem.MolToSmiles(mol),
        "ligand": str(library["name"].iloc[best]),
        "similarity": round(sims[best], 4),
    }


def predict_band_gap(formula, supercell=1):
    """Band gap in eV of a composition such as Ga0.5In0.5As."""
    import re
    import joblib

    model = joblib.load("bandgap_rf.joblib")
    elements = pd.read_csv("elements.csv", index_col="symbol")
    token = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")

    amounts = {}
    for symbol, n in token.findall(formula):
        amounts[symbol] = amounts.get(symbol, 0.0) + float(n or 1) * supercell
    if not amounts:
        raise ValueError(f"no elements in {formula!r}")

    # composition-weighted mean and spread of each elemental property
    props = elements.loc[list(amounts)].to_numpy(dtype=float)
    w = np.array(list(amounts.values()))
    w /= w.sum()
    mean = w @ props
    spread = w @ np.abs(props - mean)
    x = np.concatenate([mean, spread])[None, :]
    return float(model.predict(x)[0])


def classify_cell_tile(path):
    """Label of one microscopy tile and its probability."""
    torch.set_num_threads(1)
    state = torch.load("tilenet.pt", map_location="cpu")
    net = TileNet(n_classes=len(CELL_TYPES))
    net.load_state_dict(state)
    net.eval()

    tile = np.load(path).astype(np.float32)
    tile -= tile.mean()
    tile /= tile.std() + 1e-6
    with torch.no_grad():
        logits = net(torch.from_numpy(tile)[None, None])
        probs = torch.softmax(logits, dim=1)[0]
    k = int(probs.argmax())
    return CELL_TYPES[k], float(probs[k])


def place_read(read, min_votes=3):
    """Contig and offset of a short read by k-mer voting."""
    from collections import Counter, defaultdict

    genome = read_fasta("contigs.fa")
    index = defaultdict(list)
    for contig, seq in genome.items():
        for start in range(len(seq) - KMER + 1):
            index[seq[start : start + KMER]].append((contig, start))

    read = read.strip().upper()
    if len(read) < KMER:
        raise ValueError("read shorter than the k-mer size")
    votes = Counter()
    for i in range(len(read) - KMER + 1):
        for where, pos in index.get(read[i : i + KMER], ()):
            votes[where, pos - i] += 1
    if not votes:
        return None
    (where, offset), n = votes.most_common(1)[0]
    if n < min_votes:
        return None
    ref = genome[where][max(offset, 0) : offset + len(read)]
    mismatches = sum(a != b for a, b in zip(ref, read))
    return where, offset, n, mismatches


def annotate_variant(chrom, pos):
    """Genes overlapping a position, else the nearest one."""
    genes = pd.read_csv("genes.tsv", sep="\t")
    genes["length"] = genes["end"] - genes["start"] + 1
    by_chrom = {c: sub.sort_values("start") for c, sub in genes.groupby("chrom")}

    sub = by_chrom[chrom]
    hits = sub[(sub["start"] <= pos) & (sub["end"] >= pos)]
    if len(hits):
        return [(g, int(n)) for g, n in zip(hits["gene"], hits["length"])]
    gap = np.minimum((sub["start"] - pos).abs(), (sub["end"] - pos).abs())
    row = sub.loc[gap.idxmin()]
    return [(f"near:{row['gene']}", int(gap.min()))]


def temperature_anomaly(lat, lon, month, t2m):
    """Standardised anomaly of a station temperature against the gridded climatology."""
    if not 1 <= month <= 12:
        raise ValueError(f"month {month} out of range")
    with np.load("climatology.npz") as data:
        lats = data["lat"]
        lons = data["lon"]
        mean = data["mean"]
        sd = data["sd"]

    lon = lon % 360.0
    j = int(np.clip(np.searchsorted(lats, lat) - 1, 0, len(lats) - 2))
    i = int(np.clip(np.searchsorted(lons, lon) - 1, 0, len(lons) - 2))
    fy = (lat - lats[j]) / (lats[j + 1] - lats[j])
    fx = (lon - lons[i]) / (lons[i + 1] - lons[i])
    weights = np.array([[(1 - fy) * (1 - fx), (1 - fy) * fx], [fy * (1 - fx), fy * fx]])
    m = (mean[month - 1, j : j + 2, i : i + 2] * weights).sum()
    s = (sd[month - 1, j : j + 2, i : i + 2] * weights).sum()
    return float((t2m - m) / s)


def crossmatch_source(ra, dec, radius_arcsec=30.0):
    """Nearest catalogue star within a radius."""
    from sklearn.neighbors import KDTree

    catalog = pd.read_csv("stars.csv")
    xyz = radec_to_xyz(catalog["ra"].to_numpy(), catalog["dec"].to_numpy())
    tree = KDTree(xyz, leaf_size=20)
    print(f"matching against {len(catalog)} sources")

    chord, idx = tree.query(radec_to_xyz(np.array([ra]), np.array([dec])), k=1)
    sep = float(np.degrees(2 * np.arcsin(chord[0, 0] / 2)) * 3600)
    if sep > radius_arcsec:
        print("no match")
        return None
    star = catalog.iloc[int(idx[0, 0])]
    return {"id": int(star["id"]), "mag": float(star["mag"]), "sep": round(sep, 3)}


def diffuse_pulse(width, alpha, steps):
    """Peak and second moment of a diffusing Gaussian pulse."""
    x = np.linspace(-1.0, 1.0, 201)

    @numba.njit("void(float64[::1], float64, int64)")
    def march(u, a, n):
        for _ in range(n):
            left = u[0]
            for k in range(1, u.size - 1):
                here = u[k]
                u[k] = here + a * (u[k + 1] - 2.0 * here + left)
                left = here

    if alpha > 0.5:
        raise ValueError("unstable: alpha must not exceed 0.5")
    u = np.exp(-((x / width) ** 2))
    march(u, alpha, steps)
    return float(u.max()), float((u * x**2).sum() / u.sum())


def outbreak_attack_rates(r0, seeds, days=200):
    """Attack rate by age group of an age-structured SIR epidemic."""
    demography = pd.read_csv("demography.csv")
    pop = demography["population"].to_numpy(dtype=float)
    contacts = np.loadtxt("contacts.csv", delimiter=",")
    # scale transmission by the spectral radius of the next-generation matrix
    ngm = contacts * pop[:, None] / pop[None, :]
    rho = np.abs(np.linalg.eigvals(ngm)).max()

    beta = r0 * GAMMA / rho
    s, i, r = pop.copy(), np.zeros_like(pop), np.zeros_like(pop)
    i[1] += seeds
    s[1] -= seeds
    for _ in range(days):
        foi = beta * contacts @ (i / pop)
        new = s * (1 - np.exp(-foi))
        rec = GAMMA * i
        s -= new
        i += new - rec
        r += rec
    rates = (1 - s / pop).round(8)
    return dict(zip(demography["age"].tolist(), rates.tolist()))


def closest_abstract(query, top=2):
    """Best matching abstracts by TF-IDF cosine."""
    from pathlib import Path
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not query.strip():
        raise ValueError("empty query")
    docs = Path("abstracts.txt").read_text().splitlines()
    vec = TfidfVectorizer(stop_words="english", ngram_range=(1, 2), sublinear_tf=True)
    matrix = vec.fit_transform(docs)

    scores = (matrix @ vec.transform([query]).T).toarray().ravel()
    order = np.argsort(-scores, kind="stable")[:top]
    return [(docs[k][:40], round(float(scores[k]), 6)) for k in order if scores[k] > 0]


def solve_reach(x, y):
    """Joint angles that bring the arm to (x, y), by table look-up and Newton steps."""
    import itertools
    import time
    from sklearn.neighbors import KDTree

    if np.hypot(x, y) > L1 + L2:
        raise ValueError(f"({x}, {y}) out of reach")

    # coarse reachability table
    shoulder = np.linspace(-np.pi, np.pi, 73)
    elbow = np.linspace(0.05, np.pi - 0.05, 36)
    grid = np.array(list(itertools.product(shoulder, elbow)))
    tips = np.array([forward_kinematics(q) for q in grid])
    tree = KDTree(tips)

    deadline = time.monotonic() + TIME_LIMIT
    target = np.array([x, y])
    q = grid[tree.query(target[None, :], return_distance=False)[0, 0]].copy()
    while True:
        err = target - forward_kinematics(q)
        if np.linalg.norm(err) < 1e-10:
            return q
        if time.monotonic() > deadline:
            raise TimeoutError("inverse kinematics did not converge")
        q += np.linalg.lstsq(jacobian(q), err, rcond=None)[0]


def correct_frame(path):
    """Dark- and flat-corrected CCD frame with bad pixels filled."""
    dark = np.load("dark.npy")
    flat = np.load("flat.npy")
    flat = flat / np.median(flat)
    bad = (flat < 0.5) | (dark > 60)
    fill = numba.njit(fill_bad_pixels)

    raw = np.load(path)
    if raw.shape != dark.shape:
        raise ValueError(f"{path}: shape {raw.shape}, expected {dark.shape}")
    image = (raw - dark) / np.where(bad, 1.0, flat)
    image = fill(image, bad)
    return image.astype(np.float32)


def tag_sentence(sentence):
    """Part-of-speech tag of every token."""
    vocab, net = load_tagger("tagger")

    tokens = sentence.lower().split()
    if not tokens:
        return []
    ids = torch.tensor([[vocab.get(t, 0) for t in tokens]])
    with torch.inference_mode():
        best = net(ids)[0].argmax(-1).tolist()
    return [(t, POS_TAGS[b]) for t, b in zip(tokens, best)]


def decode_chromatin(marks):
    """Viterbi path of chromatin states for a string of mark symbols."""
    import json

    with open("hmm.json") as handle:
        params = json.load(handle)
    states = params["states"]
    symbols = {s: k for k, s in enumerate(params["symbols"])}
    log_pi = np.log(params["initial"])
    log_a = np.log(np.array(params["transition"]))
    log_b = np.log(np.array(params["emission"]))

    obs = [symbols[m] for m in marks]
    score = log_pi + log_b[:, obs[0]]
    back = []
    for o in obs[1:]:
        step = score[:, None] + log_a
        back.append(step.argmax(axis=0))
        score = step.max(axis=0) + log_b[:, o]
    k = int(score.argmax())
    path = [k]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return "".join(states[k][0] for k in reversed(path)), float(score.max())


def calibrate_probe(voltages):
    """Temperature and uncertainty for probe voltages, from the bench calibration."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel

    bench = pd.read_csv("bench.csv").dropna()
    lo, hi = bench["volt"].min(), bench["volt"].max()
    kernel = RBF(0.5) + WhiteKernel(0.01)
    gp = GaussianProcessRegressor(kernel=kernel, normalize_y=True, random_state=0)
    gp.fit(bench[["volt"]].to_numpy(), bench["temp"].to_numpy())

    v = np.asarray(voltages, dtype=float)
    if v.min() < lo or v.max() > hi:
        raise ValueError(f"voltage outside the calibrated range {lo:.2f}-{hi:.2f} V")
    mean, std = gp.predict(v[:, None], return_std=True)
    return mean.round(6), std.round(6)


def amide_products(acid_smiles, max_weight=400.0):
    """Amides of an acid with every amine in stock, lightest first."""
    from rdkit import Chem
    from rdkit.Chem import AllChem, Descriptors

    rxn = AllChem.ReactionFromSmarts("[C:1](=[O:2])[OX2H1].[N;H2,H1;!$(NC=O):3]>>[C:1](=[O:2])[N:3]")
    rxn.Initialize()
    with open("amines.smi") as handle:
        amines = [Chem.MolFromSmiles(line.split()[0]) for line in handle if line.strip()]

    acid = Chem.MolFromSmiles(acid_smiles)
    if acid is None:
        raise ValueError(f"bad SMILES: {acid_smiles}")
    found = {}
    for amine in amines:
        for (product,) in rxn.RunReactants((acid, amine)):
            Chem.SanitizeMol(product)
            weight = Descriptors.MolWt(product)
            if weight <= max_weight:
                found[Chem.MolToSmiles(product)] = round(weight, 3)
    return sorted(found.items(), key=lambda kv: (kv[1], kv[0]))


def bootstrap_var(weights, level=0.95, n_boot=200):
    """Bootstrap mean and spread of the historical value at risk."""
    prices = pd.read_csv("prices.csv", index_col="date", parse_dates=True)
    returns = np.log(prices).diff().dropna()
    values = returns.to_numpy()
    rng = np.random.default_rng(SEED)

    w = np.asarray(weights, dtype=float)
    if w.shape != (values.shape[1],):
        raise ValueError(f"need {values.shape[1]} weights")
    pnl = values @ (w / w.sum())
    draws = rng.choice(pnl, size=(n_boot, pnl.size))
    var = -np.quantile(draws, 1 - level, axis=1)
    return float(var.mean()), float(var.std())


def finetune_on_plate(path, epochs=40, lr=0.1):
    """Fine-tune the pretrained dose-response net on one plate; returns the final loss."""
    state = torch.load("dosenet.pt")
    net = DoseNet()
    net.load_state_dict(state)

    plate = pd.read_csv(path)
    x = torch.tensor(plate[["dose", "time", "cells"]].to_numpy(), dtype=torch.float32)
    y = torch.tensor(plate["response"].to_numpy(), dtype=torch.float32)
    for _ in range(epochs):
        net.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        with torch.no_grad():
            for p in net.parameters():
                p -= lr * p.grad
    with torch.no_grad():
        final = nn.functional.mse_loss(net(x), y).item()
    return final, net.layers[2].bias.item()


def site_adapted_accuracy(site):
    """Holdout accuracy of the general classifier after adapting it to one hospital."""
    import copy
    import joblib

    base = joblib.load("sepsis_sgd.joblib")
    holdout = pd.read_csv("holdout.csv")
    features = [c for c in holdout.columns if c.startswith("lab_")]
    X_hold = holdout[features].to_numpy()
    y_hold = holdout["sepsis"].to_numpy()

    local = pd.read_csv(f"site_{site}.csv")
    clf = copy.deepcopy(base)
    for _ in range(3):
        clf.partial_fit(local[features].to_numpy(), local["sepsis"].to_numpy())
    before = base.score(X_hold, y_hold)
    after = clf.score(X_hold, y_hold)
    print(f"site {site}: {before:.3f} -> {after:.3f}")
    return after - before


def first_codoping_pairs(host, n):
    """First n dopant pairs whose mean radius matches the host ion within 2 percent."""
    import itertools

    table = pd.read_csv("dopants.csv").sort_values(["charge", "ion"])
    radius = dict(zip(table["ion"], table["radius"]))
    pairs = itertools.combinations(table["ion"].tolist(), 2)

    target = radius[host]
    found = []
    for a, b in pairs:
        if host in (a, b):
            continue
        mismatch = (radius[a] + radius[b]) / 2 / target - 1
        if abs(mismatch) < 0.02:
            found.append((a, b, round(mismatch, 5)))
        if len(found) == n:
            break
    # how much of the list had to be looked at
    remaining = sum(1 for _ in pairs)
    return found, remaining


# ------------------------------------------------ these cannot be divided
def expression_of(gene, tissue):
    """Median expression of a gene in a tissue, from the atlas database."""
    import sqlite3
    import statistics

    con = sqlite3.connect("atlas.db")
    cur = con.cursor()
    cur.execute(
        "SELECT tpm FROM expression WHERE gene = ? AND tissue = ? ORDER BY sample",
        (gene, tissue),
    )
    values = [row[0] for row in cur.fetchall()]
    con.close()
    if not values:
        raise LookupError(f"{gene} not measured in {tissue}")
    return statistics.median(values), len(values)


def first_trigger(threshold):
    """First detector event over the threshold, and how many came before it."""
    import csv

    handle = open("events.csv", newline="")
    reader = csv.reader(handle)
    next(reader)  # header

    skipped = 0
    for event, energy, channel in reader:
        if float(energy) > threshold:
            handle.close()
            return event, int(channel), skipped
        skipped += 1
    handle.close()
    raise LookupError(f"no event above {threshold}")


def ensemble_forecast(forcing, steps=30):
    """Mean and spread of a perturbed Lorenz-63 ensemble."""
    np.random.seed(SEED % 1000)
    members = np.array([1.0, 1.0, 20.0]) + 0.5 * np.random.randn(40, 3)

    dt = 0.01
    for _ in range(steps):
        x, y, z = members.T
        drift = np.stack([10 * (y - x) + forcing, x * (28 - z) - y, x * y - 8 / 3 * z], axis=1)
        members = members + dt * drift + np.sqrt(dt) * 0.1 * np.random.randn(*members.shape)
    return members.mean(axis=0), members.std(axis=0)


def run_settings(name, overrides):
    """Default simulation settings with this run's overrides."""
    import json

    with open("defaults.json") as handle:
        settings = json.load(handle)
    for key, value in overrides.items():
        section, _, option = key.partition(".")
        if option not in settings[section]:
            raise KeyError(f"unknown option {key}")
        settings[section][option] = value
    settings["run"] = name
    return settings


def exposure_risk(pm25, age):
    """Relative risk from the study region's exposure-response table."""
    region = os.environ.get("STUDY_REGION", "north")
    curve = pd.read_csv(f"risk_{region}.csv")

    rr = np.interp(pm25, curve["pm25"], curve["rr"])
    return region, float(rr * (1 + 0.01 * max(age - 40, 0)))


def predict_toxicity(endpoint, smiles):
    """Probability of toxicity for one endpoint."""
    import joblib

    model = joblib.load(f"tox_{endpoint}.joblib")
    x = np.array([mol_descriptors(smiles)])
    return float(model.predict_proba(x)[0, 1])


def relax_head(pumping_rate, sweeps=40):
    """Groundwater head after Gauss-Seidel-like relaxation with one pumping well."""
    head = np.load("initial_head.npy")
    ny, nx = head.shape

    head[ny // 2, nx // 2] -= pumping_rate
    for _ in range(sweeps):
        head[1:-1, 1:-1] = 0.25 * (head[:-2, 1:-1] + head[2:, 1:-1] + head[1:-1, :-2] + head[1:-1, 2:])
        head[ny // 2, nx // 2] -= pumping_rate
    return head


def best_turbine_site(x, y, hub_height=100.0):
    """Best site for a turbine of this hub height, discounted by distance to the grid at (x, y)."""
    sites = pd.read_csv("sites.csv")
    if hub_height <= 0:
        raise ValueError("hub_height must be positive")

    # mast winds were measured at 80 m; power-law shear to the hub
    sites["wind"] *= (hub_height / 80.0) ** 0.143
    sites["distance"] = np.hypot(sites["x"] - x, sites["y"] - y)
    sites["score"] = sites["wind"] ** 3 / (1 + 0.02 * sites["distance"])
    best = sites.loc[sites["score"].idxmax()]
    return best["site"], float(best["wind"]), float(best["score"])


def impute_genotype(known, site):
    """Allele frequency at a site among panel haplotypes that agree with the known alleles."""
    panel = load_panel("panel.csv")

    agree = np.ones(len(panel), dtype=bool)
    for snp, allele in known.items():
        agree &= (panel[snp] == allele).to_numpy()
    if not agree.any():
        return None
    return float(panel.loc[agree, site].mean())


def template_spectrum(redshift):
    """Galaxy template nearest to a redshift, from the 0.05-spaced grid."""
    templates = np.load("templates.npy")

    k = int(round(redshift / 0.05))
    if not 0 <= k < len(templates):
        raise IndexError(f"no template for z={redshift}")
    return templates[k]


# ---------------------------------------------------------------- ground truth
# Not listed, as they are no set-up value that a call could use: imported modules, literal
# constants, closed with-handles, and what a finished set-up loop leaves in its loop variables.
EXPECTED: dict[str, tuple[str, ...]] = {
    "nearest_reference_ligand": ("library", "gen", "fps"),
    "predict_band_gap": ("model", "elements", "token"),
    "classify_cell_tile": ("state", "net"),
    "place_read": ("genome", "index"),  # index is a defaultdict, but only read with .get
    "annotate_variant": ("genes", "by_chrom"),
    "temperature_anomaly": ("lats", "lons", "mean", "sd"),
    "crossmatch_source": ("catalog", "xyz", "tree"),  # the print stays in the call
    "diffuse_pulse": ("x", "march"),
    "outbreak_attack_rates": ("demography", "pop", "contacts", "ngm", "rho"),
    "closest_abstract": ("docs", "vec", "matrix"),
    "solve_reach": ("shoulder", "elbow", "grid", "tips", "tree"),  # not deadline, not q
    "correct_frame": ("dark", "flat", "bad", "fill"),
    "tag_sentence": ("vocab", "net"),
    "decode_chromatin": ("params", "states", "symbols", "log_pi", "log_a", "log_b"),
    "calibrate_probe": ("bench", "lo", "hi", "kernel", "gp"),
    "amide_products": ("rxn", "amines"),
    "bootstrap_var": ("prices", "returns", "values"),  # not rng
    "finetune_on_plate": ("state",),  # net is trained; load_state_dict copies
    "site_adapted_accuracy": ("base", "holdout", "features", "X_hold", "y_hold"),  # clf is a copy
    "first_codoping_pairs": ("table", "radius"),  # pairs is consumed
    "expression_of": (),
    "first_trigger": (),
    "ensemble_forecast": (),
    "run_settings": (),
    "exposure_risk": (),
    "predict_toxicity": (),
    "relax_head": (),
    "best_turbine_site": (),
    "impute_genotype": (),
    "template_spectrum": (),
}

CALLS: dict[str, list[tuple]] = {
    "nearest_reference_ligand": [("CC(=O)Oc1ccccc1C(=O)OC",), ("CN1CCCC1",), ("C1CC(",)],
    "predict_band_gap": [("GaAs",), ("Ga0.5In0.5P", 4), ("XxO2",)],
    "classify_cell_tile": [("tiles/tile_0.npy",), ("tiles/tile_1.npy",), ("tiles/tile_9.npy",)],
    "place_read": [("READ_A",), ("READ_B", 5), ("ACGT",)],  # reads are put in below
    "annotate_variant": [("chr1", 1500), ("chr2", 90), ("chrX", 5)],
    "temperature_anomaly": [(51.2, -3.4, 7, 295.1), (-12.0, 130.8, 1, 301.9), (10.0, 10.0, 13, 290.0)],
    "crossmatch_source": [(150.1003, 2.2001), (150.4, 2.4, 400.0), (10.0, -60.0)],
    "diffuse_pulse": [(0.1, 0.25, 200), (0.2, 0.4, 50), (0.1, 0.6, 10)],
    "outbreak_attack_rates": [(1.8, 10), (3.2, 1, 120), (0.9, 100)],
    "closest_abstract": [("perovskite solar cell stability",), ("gut microbiome diet", 3), ("   ",)],
    "solve_reach": [(0.5, 0.4), (-0.7, 0.1), (2.0, 0.0)],
    "correct_frame": [("frames/f0.npy",), ("frames/f1.npy",), ("frames/cropped.npy",)],
    "tag_sentence": [("the quick cell divides",), ("zebra fish swim",), ("",)],
    "decode_chromatin": [("aabbccba",), ("ccccccaaabab",), ("abz",)],
    "calibrate_probe": [([0.5, 1.0, 1.5],), ([2.7],), ([9.0, 1.0],)],
    "amide_products": [("CC(=O)O",), ("O=C(O)c1ccccc1", 220.0), ("C(=O)(",)],
    "bootstrap_var": [([1, 1, 1, 1],), ([4, 1, 0, 2], 0.9, 100), ([1, 2],)],
    "finetune_on_plate": [("plate_a.csv",), ("plate_b.csv", 10), ("plate_a.csv", 30, 0.01)],
    "site_adapted_accuracy": [("oslo",), ("lima",), ("nowhere",)],
    "first_codoping_pairs": [("Zr4+", 3), ("Hf4+", 50), ("Unobtainium", 1)],
    "expression_of": [("TP53", "liver"), ("BRCA1", "brain"), ("TP53", "moon")],
    "first_trigger": [(40.0,), (75.0,), (1e9,)],
    "ensemble_forecast": [(0.0,), (2.5, 50), (-1.0, 5)],
    "run_settings": [("a1", {"solver.tol": 1e-8}), ("a2", {}), ("a3", {"mesh.colour": "red"})],
    "exposure_risk": [(12.0, 35), (44.0, 70), (80.0, 41)],
    "predict_toxicity": [("ahr", "c1ccccc1O"), ("er", "CCO"), ("ahr", "C1CC(")],
    "relax_head": [(0.5,), (0.0, 10), (2.0, 25)],
    "best_turbine_site": [(10.0, 20.0), (80.0, 5.0, 140.0), (0.0, 0.0, -1.0)],
    "impute_genotype": [({"rs1": 1}, "rs5"), ({"rs2": 0, "rs3": 1}, "rs4"), ({"rs99": 1}, "rs4")],
    "template_spectrum": [(0.1,), (0.42,), (7.0,)],
}


def _contigs():
    """The random contigs that place_read is run on."""
    rng = np.random.default_rng(3)
    return {f"contig{k}": "".join(rng.choice(list("ACGT"), size=900)) for k in range(3)}


_seqs = _contigs()
CALLS["place_read"][0] = (_seqs["contig1"][200:260],)
CALLS["place_read"][1] = (_seqs["contig2"][700:730].lower() + "A" + _seqs["contig2"][731:760], 5)


def prepare(folder):
    """Write every data file into folder and change there."""
    import json
    import sqlite3

    import joblib
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LogisticRegression, SGDClassifier

    torch.set_num_threads(1)
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    for sub in ("tiles", "frames", "tagger"):
        os.makedirs(sub, exist_ok=True)
    rng = np.random.default_rng(0)
    torch.manual_seed(0)

    pd.DataFrame(
        [
            ("aspirin", "CC(=O)Oc1ccccc1C(=O)O"),
            ("nicotine", "CN1CCC[C@H]1c1cccnc1"),
            ("caffeine", "Cn1cnc2c1c(=O)n(C)c(=O)n2C"),
            ("ibuprofen", "CC(C)Cc1ccc(cc1)C(C)C(=O)O"),
            ("paracetamol", "CC(=O)Nc1ccc(O)cc1"),
            ("dopamine", "NCCc1ccc(O)c(O)c1"),
        ],
        columns=["name", "smiles"],
    ).to_csv("ligands.csv", index=False)

    symbols = ["Ga", "In", "Al", "As", "P", "N", "O", "Zn", "Ti"]
    elements = pd.DataFrame(
        rng.uniform(0.5, 3.5, (len(symbols), 4)).round(3), columns=["en", "radius", "valence", "period"], index=symbols
    )
    elements.to_csv("elements.csv", index_label="symbol")
    X = rng.uniform(0, 3.5, (120, 8))
    joblib.dump(RandomForestRegressor(20, random_state=0).fit(X, X[:, 0] * 1.5 - X[:, 5]), "bandgap_rf.joblib")

    tile_net = TileNet()
    with torch.no_grad():
        tile_net(torch.randn(32, 1, 16, 16))  # non-trivial running statistics
    torch.save(tile_net.state_dict(), "tilenet.pt")
    for k in range(3):
        np.save(f"tiles/tile_{k}.npy", rng.integers(0, 255, (16, 16)).astype(np.uint8))

    with open("contigs.fa", "w") as handle:
        for name, seq in _contigs().items():
            handle.write(f">{name} synthetic\n")
            handle.writelines(seq[k : k + 60] + "\n" for k in range(0, len(seq), 60))

    pd.DataFrame(
        {
            "gene": ["ABC1", "DEF2", "GHI3", "JKL4", "MNO5"],
            "chrom": ["chr1", "chr1", "chr2", "chr2", "chr3"],
            "start": [1000, 1400, 200, 5000, 10],
            "end": [1600, 2500, 900, 7000, 400],
        }
    ).to_csv("genes.tsv", sep="\t", index=False)

    np.savez(
        "climatology.npz",
        lat=np.linspace(-90, 90, 37),
        lon=np.linspace(0, 360, 73),
        mean=285 + 10 * rng.standard_normal((12, 37, 73)),
        sd=1 + rng.random((12, 37, 73)),
    )

    pd.DataFrame(
        {"id": np.arange(400), "ra": 150 + rng.random(400), "dec": 2 + rng.random(400), "mag": rng.uniform(14, 22, 400)}
    ).to_csv("stars.csv", index=False)
    stars = pd.read_csv("stars.csv")
    stars.loc[17, ["ra", "dec"]] = [150.1, 2.2]
    stars.to_csv("stars.csv", index=False)

    pd.DataFrame({"age": ["0-14", "15-39", "40-64", "65+"], "population": [180000, 330000, 310000, 180000]}).to_csv(
        "demography.csv", index=False
    )
    np.savetxt("contacts.csv", [[7, 3, 2, 1], [3, 9, 4, 1.5], [2, 4, 6, 2], [1, 1.5, 2, 3]], delimiter=",")

    with open("abstracts.txt", "w") as handle:
        handle.write(
            "\n".join(
                [
                    "Long-term stability of perovskite solar cells under humidity and light",
                    "Diet shapes the human gut microbiome across continents",
                    "A deep survey of transiting exoplanets around cool stars",
                    "Tin-based perovskite absorbers for lead-free photovoltaics",
                    "Gut bacteria modulate immune response to dietary fibre",
                    "Ocean heat uptake and the pace of sea level rise",
                ]
            )
        )

    np.save("dark.npy", rng.normal(20, 2, (32, 32)) + 80 * (rng.random((32, 32)) < 0.01))
    np.save("flat.npy", np.where(rng.random((32, 32)) < 0.02, 0.1, rng.normal(1, 0.05, (32, 32))) * 900)
    for k in range(2):
        np.save(f"frames/f{k}.npy", rng.poisson(300, (32, 32)).astype(float))
    np.save("frames/cropped.npy", np.zeros((16, 32)))

    words = "<unk> the a quick cell divides protein binds slow fish swim".split()
    with open("tagger/vocab.json", "w") as handle:
        json.dump({w: k for k, w in enumerate(words)}, handle)
    torch.save(Tagger(len(words), len(POS_TAGS)).state_dict(), "tagger/tagger.pt")

    with open("hmm.json", "w") as handle:
        json.dump(
            {
                "states": ["Active", "Bivalent", "Silent"],
                "symbols": ["a", "b", "c"],
                "initial": [0.3, 0.2, 0.5],
                "transition": [[0.8, 0.15, 0.05], [0.2, 0.6, 0.2], [0.05, 0.15, 0.8]],
                "emission": [[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.1, 0.2, 0.7]],
            },
            handle,
        )

    volt = np.linspace(0.2, 3.0, 25)
    bench = pd.DataFrame({"volt": volt, "temp": 20 + 30 * np.tanh(volt - 1) + rng.normal(0, 0.5, 25)})
    bench.loc[4, "temp"] = np.nan
    bench.to_csv("bench.csv", index=False)

    with open("amines.smi", "w") as handle:
        handle.write("NCc1ccccc1 benzylamine\nC1CCNCC1 piperidine\nNc1ccccc1 aniline\nCCN ethylamine\n")

    steps = rng.normal(0.0003, 0.012, (260, 4)).cumsum(axis=0)
    pd.DataFrame(
        100 * np.exp(steps),
        columns=["AAA", "BBB", "CCC", "DDD"],
        index=pd.date_range("2023-01-02", periods=260, freq="B", name="date"),
    ).to_csv("prices.csv")

    torch.save(DoseNet().state_dict(), "dosenet.pt")
    for p in "ab":
        x = rng.random((48, 3))
        plate = pd.DataFrame(x, columns=["dose", "time", "cells"])
        plate["response"] = 1 / (1 + np.exp(-4 * (x[:, 0] - 0.5))) + rng.normal(0, 0.02, 48)
        plate.to_csv(f"plate_{p}.csv", index=False)

    def patients(n, shift):
        labs = rng.normal(shift, 1, (n, 5))
        frame = pd.DataFrame(labs, columns=[f"lab_{k}" for k in range(5)])
        frame["sepsis"] = (labs[:, 0] + 0.5 * labs[:, 2] + rng.normal(0, 0.7, n) > shift).astype(int)
        return frame

    train = patients(300, 0.0)
    sgd = SGDClassifier(loss="log_loss", random_state=0)
    sgd.fit(train.drop(columns="sepsis").to_numpy(), train["sepsis"].to_numpy())
    joblib.dump(sgd, "sepsis_sgd.joblib")
    patients(200, 0.3).to_csv("holdout.csv", index=False)
    patients(80, 0.3).to_csv("site_oslo.csv", index=False)
    patients(60, -0.5).to_csv("site_lima.csv", index=False)

    ions = ["Ti4+", "Zr4+", "Hf4+", "Al3+", "Ga3+", "In3+", "Sc3+", "Nb5+", "Ta5+", "V5+", "Mg2+", "Zn2+"]
    radii = [0.605, 0.72, 0.71, 0.535, 0.62, 0.80, 0.745, 0.64, 0.64, 0.54, 0.72, 0.74]
    pd.DataFrame({"ion": ions, "radius": radii, "charge": [int(s[-2]) for s in ions]}).to_csv(
        "dopants.csv", index=False
    )

    if os.path.exists("atlas.db"):
        os.remove("atlas.db")
    con = sqlite3.connect("atlas.db")
    con.execute("CREATE TABLE expression (gene TEXT, tissue TEXT, sample INTEGER, tpm REAL)")
    con.executemany(
        "INSERT INTO expression VALUES (?, ?, ?, ?)",
        [(g, t, s, float(rng.gamma(2, 10))) for g in ("TP53", "BRCA1") for t in ("liver", "brain") for s in range(9)],
    )
    con.commit()
    con.close()

    pd.DataFrame(
        {
            "event": [f"ev{k:04d}" for k in range(300)],
            "energy": rng.exponential(20, 300).round(3),
            "channel": rng.integers(0, 64, 300),
        }
    ).to_csv("events.csv", index=False)

    with open("defaults.json", "w") as handle:
        json.dump({"solver": {"tol": 1e-6, "max_iter": 500}, "mesh": {"nx": 64, "ny": 64}}, handle)

    for region, slope in (("north", 0.006), ("south", 0.009)):
        pm = np.arange(0, 101, 10.0)
        pd.DataFrame({"pm25": pm, "rr": 1 + slope * pm}).to_csv(f"risk_{region}.csv", index=False)

    smiles = ["CCO", "c1ccccc1", "c1ccccc1O", "CC(=O)O", "CCCCCC", "c1ccc2ccccc2c1", "CCN", "Clc1ccccc1"]
    X = np.array([mol_descriptors(s) for s in smiles])
    for endpoint, y in (("ahr", [0, 1, 1, 0, 0, 1, 0, 1]), ("er", [0, 0, 1, 0, 1, 1, 0, 0])):
        joblib.dump(LogisticRegression(max_iter=5000).fit(X, y), f"tox_{endpoint}.joblib")

    np.save("initial_head.npy", np.linspace(10, 5, 24)[None, :] + rng.normal(0, 0.05, (24, 24)))
    pd.DataFrame(
        {
            "site": [f"S{k:02d}" for k in range(40)],
            "x": rng.uniform(0, 100, 40),
            "y": rng.uniform(0, 50, 40),
            "wind": rng.uniform(5, 10, 40),
        }
    ).to_csv("sites.csv", index=False)
    pd.DataFrame(
        rng.integers(0, 2, (60, 6)), columns=[f"rs{k}" for k in range(1, 7)], index=[f"hap{k}" for k in range(60)]
    ).to_csv("panel.csv")
    np.save("templates.npy", rng.random((21, 50)))
