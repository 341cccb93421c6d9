# ruff: noqa
"""Thirty functions as they are submitted to a cluster, one task per call.

``prepare(folder)`` writes the data they read, ``CALLS`` holds arguments and
``EXPECTED`` the local names of each function that its calls may share.
"""

from __future__ import annotations

import csv
import functools
import heapq
import itertools
import json
import math
import os
import re
import sqlite3
import struct
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import joblib
import networkx as nx
import numba
import numpy as np
import onnxruntime as ort
import pandas as pd
import sympy
import torch
from PIL import Image, ImageDraw, ImageFont
from rdkit import Chem, RDLogger
from rdkit.Chem import Descriptors, rdFingerprintGenerator
from scipy import linalg, ndimage, optimize, sparse, stats
from scipy.integrate import solve_ivp
from scipy.interpolate import RegularGridInterpolator
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, create_engine, func, insert, select
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

torch.set_num_threads(1)
RDLogger.DisableLog("rdApp.*")

FEATURES = ["ph", "salinity", "temp", "oxygen"]


# ---------------------------------------------------------------- chemistry


def screen_library(smiles, top=3, cutoff=0.05):
    """Most similar library compounds of one query molecule."""
    from rdkit import DataStructs

    lib = pd.read_csv("library.csv")
    gen = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    mols = [Chem.MolFromSmiles(s) for s in lib["smiles"]]
    fps = [gen.GetFingerprint(m) for m in mols]
    weights = [Descriptors.MolWt(m) for m in mols]

    query = Chem.MolFromSmiles(smiles)
    if query is None:
        return []
    sims = DataStructs.BulkTanimotoSimilarity(gen.GetFingerprint(query), fps)
    order = sorted(range(len(sims)), key=lambda i: (-sims[i], i))[:top]
    return [(lib["name"].iloc[i], round(sims[i], 4), round(weights[i], 2)) for i in order if sims[i] >= cutoff]


def functional_groups(smiles_list):
    groups = {}
    with open("groups.tsv") as fh:
        for line in fh:
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            name, smarts = line.split("\t")
            groups[name] = Chem.MolFromSmarts(smarts)

    rows = []
    for smi in smiles_list:
        try:
            mol = Chem.MolFromSmiles(smi)
            found = {g: len(mol.GetSubstructMatches(patt)) for g, patt in groups.items()}
        except Exception:
            rows.append({"smiles": smi, "ok": False})
            continue
        found["smiles"] = smi
        found["ok"] = True
        found["heavy"] = mol.GetNumHeavyAtoms()
        rows.append(found)
    return pd.DataFrame(rows).set_index("smiles")


# ---------------------------------------------------------------- genomics


def annotate_variants(variants: list[tuple[str, int, str, str]], flank: int = 0) -> pd.DataFrame:
    genes = defaultdict(list)
    for row in csv.DictReader(open("genes.bed"), delimiter="\t"):
        genes[row["chrom"]].append((int(row["start"]), int(row["end"]), row["gene"], row["strand"]))
    starts = {}
    longest = {}
    for chrom in genes:
        genes[chrom].sort()
        starts[chrom] = np.array([g[0] for g in genes[chrom]])
        longest[chrom] = max(g[1] - g[0] for g in genes[chrom])
    purines = frozenset("AG")

    records = []
    for chrom, pos, ref, alt in variants:
        kind = "snv" if len(ref) == len(alt) == 1 else "indel"
        if kind == "snv":
            same = (ref in purines) == (alt in purines)
            kind = "transition" if same else "transversion"
        if chrom not in starts:
            records.append((chrom, pos, kind, "", "unplaced"))
            continue
        lo = np.searchsorted(starts[chrom], pos - longest[chrom] - flank)
        hi = np.searchsorted(starts[chrom], pos + flank, side="right")
        hits = [g for g in genes[chrom][lo:hi] if g[0] - flank <= pos < g[1] + flank]
        if not hits:
            records.append((chrom, pos, kind, "", "intergenic"))
        for start, end, gene, strand in hits:
            where = "genic" if start <= pos < end else "flanking"
            records.append((chrom, pos, kind, gene + strand, where))
    return pd.DataFrame(records, columns=["chrom", "pos", "kind", "gene", "where"])


def fastq_records(handle):
    while True:
        head = handle.readline().strip()
        if not head:
            return
        seq = handle.readline().strip()
        handle.readline()
        qual = [ord(c) - 33 for c in handle.readline().strip()]
        yield head[1:], seq, qual


def trim_reads(n, min_q=20, min_len=10):
    handle = open("reads.fastq")
    records = fastq_records(handle)
    kept = []
    for name, seq, qual in itertools.islice(records, n):
        end = len(seq)
        while end > 0 and qual[end - 1] < min_q:
            end -= 1
        if end >= min_len:
            kept.append((name, seq[:end], round(sum(qual[:end]) / end, 2)))
    rest = sum(1 for _ in records)
    handle.close()
    return {"kept": kept, "unread": rest}


def lineage(taxid, rank="family", max_depth=30):
    """Names from a taxon up to the root, and the ancestor of a wanted rank."""
    if taxid <= 0:
        raise ValueError("taxid must be positive")
    con = sqlite3.connect("taxonomy.db")
    cur = con.execute("select id, parent, rank, name from nodes")
    parent, ranks, names = {}, {}, {}
    for i, p, r, nm in cur:
        parent[i] = p
        ranks[i] = r
        names[i] = nm
    con.close()
    children = Counter(parent.values())

    path = []
    node = taxid
    while node in parent and len(path) < max_depth:
        path.append(node)
        if parent[node] == node:
            break
        node = parent[node]
    wanted = [names[k] for k in path if ranks[k] == rank]
    return [names[k] for k in path], (wanted[0] if wanted else None), children[taxid]


# ---------------------------------------------------------------- astronomy


def fold_transit(period, t0=0.0, duration=0.15, nbins=20):
    with np.load("lightcurve.npz") as f:
        raw, stamps, quarter = f["flux"], f["time"], f["quarter"]
    good = np.isfinite(raw)
    t = stamps[good]
    flux = raw[good]
    season = quarter[good]
    edges = np.flatnonzero(np.diff(season)) + 1
    bounds = [0, *edges.tolist(), len(t)]

    phase = (t - t0 + 0.5 * period) % period - 0.5 * period
    out = np.abs(phase) > duration
    for a, b in zip(bounds[:-1], bounds[1:]):
        part = flux[a:b]
        ok = out[a:b]
        # straight line through the out-of-transit points of the quarter
        slope, icpt = np.polyfit(t[a:b][ok], part[ok], 1)
        part /= slope * t[a:b] + icpt
        part -= 1.0
    depth = -np.mean(flux[~out]) if (~out).any() else float("nan")
    binned = stats.binned_statistic(phase, flux, bins=nbins).statistic
    return {"depth": float(depth), "rms": float(flux[out].std()), "curve": binned}


@numba.njit("f8(f8, f8, f8)")
def pull(x, y, gm):
    return gm / (x * x + y * y) ** 1.5


def kepler_drift(names, dt=0.002):
    """Energy error of a leapfrog year for some planets, started at perihelion."""
    planets = json.loads(Path("planets.json").read_text())
    gm = 4 * math.pi**2

    @numba.njit
    def leapfrog(x, y, vx, vy, gm, dt, n):
        for _ in range(n):
            w = pull(x, y, gm)
            vx -= 0.5 * dt * w * x
            vy -= 0.5 * dt * w * y
            x += dt * vx
            y += dt * vy
            w = pull(x, y, gm)
            vx -= 0.5 * dt * w * x
            vy -= 0.5 * dt * w * y
        return x, y, vx, vy

    result = {}
    for name in names:
        a, ecc = planets[name]["a"], planets[name]["e"]
        q = a * (1 - ecc)
        v = math.sqrt(gm * (1 + ecc) / q)
        x, y, vx, vy = leapfrog(q, 0.0, 0.0, v, gm, dt, int(1 / dt))
        e0 = 0.5 * v * v - gm / q
        e1 = 0.5 * (vx * vx + vy * vy) - gm / math.hypot(x, y)
        result[name] = (round(math.hypot(x, y), 6), abs((e1 - e0) / e0))
    return result


# ---------------------------------------------------------------- text


@functools.lru_cache(maxsize=None)
def _lexicon(path):
    with open(path) as fh:
        return {w: float(s) for w, s in (line.split() for line in fh)}


def sentiment(texts, blend=0.5):
    model = joblib.load("sentiment.joblib")
    lex = _lexicon("lexicon.txt")
    word = re.compile(r"[a-z']+")
    negations = {"not", "never", "no", "hardly"}

    prob = model.predict_proba(texts)[:, 1]
    scores = []
    for text, p in zip(texts, prob):
        words = word.findall(text.lower())
        s = 0.0
        for prev, w in zip([""] + words, words):
            sign = -1 if prev in negations else 1
            s += sign * lex.get(w, 0.0)
        s = 1 / (1 + math.exp(-s))
        scores.append(blend * float(p) + (1 - blend) * s)
    return [round(s, 5) for s in scores]


def surprisal(texts: list[str], max_len: int | None = None, pad: bool = False) -> list[list[float]]:
    tok = Tokenizer.from_file("tokenizer.json")
    special = {tok.token_to_id(t) for t in ("[CLS]", "[SEP]", "[PAD]")}
    freq = json.loads(Path("token_freq.json").read_text())
    total = sum(freq.values())
    logp = {int(k): -math.log2(v / total) for k, v in freq.items()}
    unseen = -math.log2(0.5 / total)

    if max_len is not None:
        tok.enable_truncation(max_length=max_len)
    if pad:
        tok.enable_padding(pad_id=tok.token_to_id("[PAD]"), pad_token="[PAD]")
    values = []
    for enc in tok.encode_batch(texts):
        values.append([0.0 if i in special else round(logp.get(i, unseen), 4) for i in enc.ids])
    return values


def similar_abstracts(query, k=3, exclude=()):
    docs = []
    with open("abstracts.jsonl") as fh:
        for line in fh:
            docs.append(json.loads(line))
    stop = set(Path("stopwords.txt").read_text().split())

    def tokenise(text):
        return [w for w in re.findall(r"[a-z]+", text.lower()) if w not in stop]

    vocab = {}
    data, rows, cols = [], [], []
    for d, doc in enumerate(docs):
        for w, c in Counter(tokenise(doc["text"])).items():
            j = vocab.setdefault(w, len(vocab))
            data.append(1 + math.log(c))
            rows.append(d)
            cols.append(j)
    tf = sparse.csr_matrix((data, (rows, cols)), shape=(len(docs), len(vocab)))
    idf = np.log(len(docs) / (1 + np.bincount(cols, minlength=len(vocab)))) + 1
    # random projection, 24 dimensions are plenty
    rng = np.random.default_rng(11)
    proj = rng.normal(size=(len(vocab), 24)) / math.sqrt(24)
    emb = (tf @ sparse.diags(idf)) @ proj
    emb /= np.linalg.norm(emb, axis=1, keepdims=True)

    q = np.zeros(len(vocab))
    for w, c in Counter(tokenise(query)).items():
        if w in vocab:
            q[vocab[w]] = (1 + math.log(c)) * idf[vocab[w]]
    if not q.any():
        return []
    v = q @ proj
    cos = emb @ (v / np.linalg.norm(v))
    best = [int(i) for i in np.argsort(-cos, kind="stable") if docs[i]["id"] not in exclude]
    return [(docs[i]["id"], round(float(cos[i]), 5)) for i in best[:k]]


# ---------------------------------------------------------------- imaging


def count_cells(threshold: float, min_area: int = 12, channel_gain: float = 1.0) -> dict:
    img = np.asarray(Image.open("cells.png").convert("L"), dtype=np.float32)
    flat = np.load("flat.npy")
    corrected = img / np.maximum(flat, 0.1)
    background = ndimage.gaussian_filter(ndimage.minimum_filter(corrected, 15), 8)
    smooth = ndimage.gaussian_filter(corrected - background, 1.0)
    eight = np.ones((3, 3), dtype=int)

    mask = smooth * channel_gain > threshold
    mask = ndimage.binary_opening(mask, eight)
    labels, n = ndimage.label(mask, structure=eight)
    if n == 0:
        return {"n": 0, "area": [], "intensity": []}
    ids = np.arange(1, n + 1)
    area = ndimage.sum_labels(mask, labels, ids)
    for i in ids[area < min_area]:
        labels[labels == i] = 0
    ids = ids[area >= min_area]
    return {
        "n": len(ids),
        "area": [int(a) for a in area if a >= min_area],
        "intensity": np.round(ndimage.mean(corrected, labels, ids), 3).tolist() if len(ids) else [],
    }


def mark(draw, box, colour, font, text):
    draw.rectangle(box, outline=colour)
    draw.text((box[0] + 1, box[1] + 1), text, fill=colour, font=font)


def render_overlay(boxes, thumb=None):
    base = Image.open("slide.png").convert("RGB")
    lut = [tuple(c) for c in json.load(open("palette.json"))]
    colours = itertools.cycle(lut)
    font = ImageFont.load_default()
    draw = ImageDraw.Draw(base)
    for k, box in enumerate(boxes):
        mark(draw, box, next(colours), font, str(k))
    img = base if thumb is None else base.resize(thumb)
    arr = np.asarray(img)
    return arr.reshape(-1, 3).mean(axis=0).round(5), len(np.unique(arr.reshape(-1, 3), axis=0))


class PatchNet(nn.Module):
    def __init__(self, n_out=6):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1, stride=2)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(16, n_out)

    def features(self, x):
        x = torch.relu(self.bn(self.conv1(x)))
        x = torch.relu(self.conv2(x))
        return x.mean(dim=(2, 3))

    def forward(self, x):
        return self.head(self.drop(self.features(x)))


def embed_patches(corners, size=16):
    device = torch.device("cpu")
    state = torch.load("patchnet.pt", map_location=device, weights_only=True)
    net = PatchNet().to(device)
    net.load_state_dict(state)
    net.eval()
    slide = np.asarray(Image.open("slide.png").convert("L")) / 255.0
    mean, std = slide.mean(), slide.std()

    h, w = slide.shape
    usable = [(r, c) for r, c in corners if r + size <= h and c + size <= w]
    if not usable:
        return np.zeros((0, 16))
    patches = np.stack([slide[r : r + size, c : c + size] for r, c in usable])
    x = torch.from_numpy((patches - mean) / std).float().unsqueeze(1)
    with torch.no_grad():
        z = net.features(x.to(device))
        z = z / z.norm(dim=1, keepdim=True).clamp_min(1e-8)
    return z.cpu().numpy().round(5)


def load_net(path, n_out):
    net = PatchNet(n_out)
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.requires_grad_(False)


def adapt_and_predict(seed_values, passes=2):
    """Batch-norm statistics are moved to the new scanner before predicting."""
    classes = Path("classes.txt").read_text().split()
    net = load_net("patchnet.pt", len(classes))
    grid = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)

    batch = torch.cat([torch.sin(s * 6.0 * grid) + s for s in seed_values])
    net.train()
    for _ in range(passes):
        net.features(batch)
    net.eval()
    logits = net(batch)
    prob = torch.softmax(logits, dim=1)
    return [(classes[int(j)], round(float(q), 5)) for q, j in zip(*prob.max(dim=1))]


# ---------------------------------------------------------------- graphs


def reroute(src, dst, closed=(), slow=None):
    roads = pd.read_csv("roads.csv")
    places = pd.read_csv("places.csv").set_index("place")
    G = nx.Graph()
    for r in roads.itertuples(index=False):
        G.add_edge(r.a, r.b, minutes=60 * r.km / r.kmh, km=r.km)
    xy = {p: (row.x, row.y) for p, row in places.iterrows()}
    fastest = roads["kmh"].max()

    def lower_bound(u, v):
        return 60 * math.dist(xy[u], xy[v]) / fastest

    H = G.copy()
    H.remove_edges_from(closed)
    for u, v, factor in slow or []:
        if H.has_edge(u, v):
            H[u][v]["minutes"] *= factor
    try:
        path = nx.astar_path(H, src, dst, heuristic=lower_bound, weight="minutes")
    except nx.NetworkXNoPath:
        return None
    usual = nx.shortest_path_length(G, src, dst, weight="minutes")
    now = nx.path_weight(H, path, "minutes")
    return path, round(now, 3), round(now - usual, 3)


# ---------------------------------------------------------------- statistics


def null_correlation(r_obs, n_perm=200):
    np.random.seed(1234)
    x = np.random.normal(size=60)
    y = 0.4 * x + np.random.normal(size=60)
    null = np.array([np.corrcoef(x, np.random.permutation(y))[0, 1] for _ in range(n_perm)])
    return {
        "p": float((np.abs(null) >= abs(r_obs)).mean()),
        "q95": float(np.quantile(null, 0.95)),
        "observed": float(np.corrcoef(x, y)[0, 1]),
    }


def fit_decay(n_starts, lo=0.1, hi=20.0):
    t, counts = np.loadtxt("decay.txt", unpack=True)
    err = np.sqrt(np.maximum(counts, 1.0))
    rng = np.random.default_rng(20240501)
    trace = []

    def chi2(p):
        model = p[0] * np.exp(-t / max(p[1], 1e-6)) + p[2]
        value = float((((counts - model) / err) ** 2).sum())
        trace.append(value)
        return value

    fits = []
    for _ in range(n_starts):
        start = [counts.max(), rng.uniform(lo, hi), counts.min()]
        fits.append(optimize.minimize(chi2, start, method="Nelder-Mead", options={"maxiter": 120}))
    best = min(fits, key=lambda s: s.fun)
    return {
        "tau": round(float(best.x[1]), 4),
        "chi2": round(float(best.fun), 4),
        "converged": sum(bool(s.success) for s in fits),
        "evaluations": len(trace),
        "worst": round(max(trace), 2),
    }


def _absorb(clf, scaler, X, y, epochs):
    Z = scaler.transform(X)
    for _ in range(epochs):
        clf.partial_fit(Z, y)
    return clf


def update_classifier(x_new, y_new, epochs=3):
    train = pd.read_csv("ponds.csv")
    X = train[FEATURES].to_numpy()
    y = train["bloom"].to_numpy()
    scaler = StandardScaler().fit(X)
    clf = SGDClassifier(loss="log_loss", alpha=1e-3, random_state=0, max_iter=30, tol=None).fit(scaler.transform(X), y)
    before = clf.score(scaler.transform(X), y)

    x_new = np.asarray(x_new, dtype=float)
    clf = _absorb(clf, scaler, x_new, np.asarray(y_new), epochs)
    after = clf.score(scaler.transform(X), y)
    return {"before": before, "after": after, "coef": clf.coef_.ravel().round(6).tolist()}


# ---------------------------------------------------------------- physics


def bound_states(depth, width, n_levels=3):
    hbar2_2m = 0.0381  # eV nm^2
    x = np.linspace(-6, 6, 241)
    dx = x[1] - x[0]
    diag = np.full(x.size, 2 * hbar2_2m / dx**2)
    off = np.full(x.size - 1, -hbar2_2m / dx**2)
    parity = np.eye(x.size)[::-1]

    v = np.where(np.abs(x) < width / 2, -depth, 0.0)
    energy, psi = linalg.eigh_tridiagonal(diag + v, off, select="i", select_range=(0, n_levels - 1))
    levels = []
    for k in range(n_levels):
        if energy[k] >= 0:
            break
        even = float(psi[:, k] @ parity @ psi[:, k]) > 0
        spread = math.sqrt(float((psi[:, k] ** 2 * x**2).sum()))
        levels.append((round(float(energy[k]), 6), "even" if even else "odd", round(spread, 4)))
    return levels


def heat_rod(sources: dict[float, float], t_end: float = 0.2, alpha: float | None = None):
    n = 120
    dx = 1.0 / (n - 1)
    dt = 1e-3
    props = json.loads(Path("rod.json").read_text())
    kappa = props["k"] / (props["rho"] * props["cp"])
    lap = sparse.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n), format="lil")
    lap[0, :] = 0
    lap[-1, :] = 0
    lap = lap.tocsc() / dx**2
    lu = splu((sparse.identity(n, format="csc") - dt * kappa * lap).tocsc())
    u0 = np.interp(np.linspace(0, 1, n), [0, 1], props["ends"])
    deadline = time.monotonic() + 20

    q = np.zeros(n)
    for pos, power in sources.items():
        q[int(round(pos * (n - 1)))] += power / dx
    u = u0.copy()
    steps = int(round(t_end / dt))
    for s in range(steps):
        u = lu.solve(u + dt * q)
        if s % 50 == 0 and time.monotonic() > deadline:
            raise TimeoutError("rod solver")
    if alpha is not None:
        u = u * (1 + alpha * (u - 20.0))
    return u[::10].round(6)


def molecule_vibration(d_e, a, r_e, mass=1.0, t_end=3.0):
    # Morse oscillator, forces derived instead of typed
    r, D, A, R = sympy.symbols("r D a r_e", positive=True)
    V = D * (1 - sympy.exp(-A * (r - R))) ** 2
    force = sympy.lambdify((r, D, A, R), -sympy.diff(V, r), "numpy")
    curvature = sympy.lambdify((D, A, R), sympy.simplify(sympy.diff(V, r, 2).subs(r, R)), "math")
    potential = sympy.lambdify((r, D, A, R), V, "numpy")

    omega = math.sqrt(curvature(d_e, a, r_e) / mass)
    sol = solve_ivp(
        lambda t, s: (s[1], force(s[0], d_e, a, r_e) / mass), (0, t_end), (1.2 * r_e, 0.0), rtol=1e-6, max_step=0.05
    )
    energy = 0.5 * mass * sol.y[1] ** 2 + potential(sol.y[0], d_e, a, r_e)
    return round(omega, 6), round(float(sol.y[0].min()), 5), round(float(np.ptp(energy)), 8)


# ---------------------------------------------------------------- geoscience


def _unit(lat, lon):
    lat, lon = np.radians(lat), np.radians(lon)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def first_arrivals(lat: float, lon: float, depth: float, n: int = 4) -> pd.DataFrame:
    stations = pd.read_csv("stations.csv", comment="#")
    tree = cKDTree(_unit(stations["lat"].values, stations["lon"].values))
    with np.load("traveltimes.npz") as npz:
        dist_axis, depth_axis, table = npz["dist"], npz["depth"], npz["p"]
    lookup = RegularGridInterpolator((dist_axis, depth_axis), table, bounds_error=False)
    print(f"{len(stations)} stations, table {table.shape[0]}x{table.shape[1]}")

    if not -90 <= lat <= 90:
        raise ValueError(f"latitude {lat}")
    chord, idx = tree.query(_unit(lat, lon), k=n)
    deg = np.degrees(2 * np.arcsin(chord / 2))
    near = stations.iloc[idx].reset_index(drop=True)
    near["deg"] = deg.round(4)
    near["eta_s"] = lookup(np.column_stack([deg, np.full(n, depth)])).round(3) + near["delay"]
    return near[["code", "deg", "eta_s"]].sort_values("eta_s", kind="stable")


def fit_gauges(path):
    df = pd.read_csv(path)
    bad = df["mm"] < 0
    if bad.any():
        print(f"{path}: {bad.sum()} bad readings dropped")
    peaks = df[~bad].groupby(["station", "year"])["mm"].max()
    out = {}
    for station, series in peaks.groupby(level=0):
        beta = series.std() * math.sqrt(6) / math.pi
        out[station] = (series.mean() - 0.57722 * beta, beta)
    return out


def return_level(station, period=50.0):
    fits = fit_gauges("gauges.csv")
    if station not in fits:
        return None
    mu, beta = fits[station]
    return round(float(mu - beta * math.log(-math.log(1 - 1 / period))), 3)


# ---------------------------------------------------------------- economics


def demand_shock(sector, amount, households=False):
    flows = pd.read_csv("io_table.csv", index_col=0)
    sectors = [c for c in flows.columns if c not in ("final", "output")]
    Z = flows.loc[sectors, sectors].to_numpy(dtype=float)
    x = flows.loc[sectors, "output"].to_numpy(dtype=float)
    A = Z / x
    L = np.linalg.inv(np.eye(len(sectors)) - A)
    wages = pd.read_csv("wages.csv").set_index("sector")["share"].reindex(sectors).fillna(0.0)
    mix = flows.loc[sectors, "final"] / flows.loc[sectors, "final"].sum()
    d = np.zeros(len(sectors))

    d[sectors.index(sector)] = amount
    effect = L @ d
    if households:
        # one induced round, spent like the present final demand
        effect = effect + L @ (mix.to_numpy() * 0.8 * float(wages @ effect))
    return pd.Series(effect, index=sectors).round(5)


class OrderBook:
    def __init__(self, bids, asks):
        self.bids = [[-p, q] for p, q in bids]
        self.asks = [[p, q] for p, q in asks]
        heapq.heapify(self.bids)
        heapq.heapify(self.asks)

    @classmethod
    def from_json(cls, path):
        raw = json.loads(Path(path).read_text())
        return cls(raw["bids"], raw["asks"])

    def take(self, side, qty, limit=None):
        heap, sign = (self.asks, 1) if side == "buy" else (self.bids, -1)
        fills = []
        while qty > 0 and heap:
            price = sign * heap[0][0]
            if limit is not None and sign * price > sign * limit:
                break
            got = min(qty, heap[0][1])
            heap[0][1] -= got
            qty -= got
            fills.append((price, got))
            if heap[0][1] == 0:
                heapq.heappop(heap)
        return fills, qty

    def spread(self):
        return self.asks[0][0] + self.bids[0][0]


def execute_orders(orders, fee=0.0005):
    book = OrderBook.from_json("book.json")
    report = []
    for side, qty, limit in orders:
        fills, left = book.take(side, qty, limit)
        cost = sum(p * q for p, q in fills)
        report.append((side, qty - left, round(cost * (1 + fee), 4)))
    return report, round(book.spread(), 4)


# ---------------------------------------------------------------- materials


@dataclass
class Featurizer:
    table: pd.DataFrame

    pattern = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")

    def composition(self, formula: str) -> dict[str, float]:
        parts: dict[str, float] = {}
        for el, amount in self.pattern.findall(formula):
            parts[el] = parts.get(el, 0.0) + float(amount or 1)
        total = sum(parts.values())
        return {el: v / total for el, v in parts.items()}

    def __call__(self, formula: str) -> np.ndarray:
        comp = self.composition(formula)
        props = self.table.loc[list(comp)].to_numpy(dtype=float)
        w = np.array(list(comp.values()))[:, None]
        mean = (w * props).sum(axis=0)
        return np.concatenate([mean, np.ptp(props, axis=0)])


def band_gaps(formulas: list[str], with_spread: bool = True) -> pd.DataFrame:
    elements = pd.read_csv("elements.csv", index_col="symbol", keep_default_na=False)
    featurize = Featurizer(elements)
    known = pd.read_csv("gaps.csv")
    X = np.vstack([featurize(f) for f in known["formula"]])
    forest = RandomForestRegressor(n_estimators=12, random_state=3)
    forest.fit(X, known["gap"])
    measured = dict(zip(known["formula"], known["gap"]))

    rows = []
    for formula in formulas:
        try:
            x = featurize(formula)[None, :]
        except KeyError:
            rows.append((formula, np.nan, np.nan, False))
            continue
        votes = np.array([tree.predict(x)[0] for tree in forest.estimators_])
        rows.append((formula, round(votes.mean(), 4), round(votes.std(), 4), formula in measured))
    out = pd.DataFrame(rows, columns=["formula", "gap", "spread", "measured"])
    return out if with_spread else out.drop(columns="spread")


def xrd_pattern(a, structure="fcc", element="Cu", wavelength=1.5406):
    coefs = json.load(open("form_factors.json"))
    hkl = [(h, k, l) for h, k, l in itertools.product(range(5), repeat=3) if h >= k >= l and h > 0]
    mult = {}
    for plane in hkl:
        mult[plane] = len({s for p in itertools.permutations(plane) for s in itertools.product(*[(v, -v) for v in p])})
    two_theta = np.linspace(20, 120, 1001)
    fwhm = float(os.environ.get("XRD_FWHM", "0.4"))
    pattern = np.zeros_like(two_theta)

    for h, k, l in hkl:
        if structure == "fcc" and len({h % 2, k % 2, l % 2}) > 1:
            continue
        if structure == "bcc" and (h + k + l) % 2:
            continue
        s = wavelength * math.sqrt(h * h + k * k + l * l) / (2 * a)
        if s >= 1:
            continue
        theta = math.asin(s)
        c = coefs[element]
        f = c["c"] + sum(ai * math.exp(-bi * (s / wavelength) ** 2) for ai, bi in zip(c["a"], c["b"]))
        lp = (1 + math.cos(2 * theta) ** 2) / (math.sin(theta) ** 2 * math.cos(theta))
        shape = np.exp(-4 * math.log(2) * ((two_theta - 2 * math.degrees(theta)) / fwhm) ** 2)
        pattern += mult[h, k, l] * f**2 * lp * shape
    if pattern.max() == 0:
        return []
    pattern *= 100 / pattern.max()
    inner = pattern[1:-1]
    peaks = np.flatnonzero((inner > pattern[:-2]) & (inner >= pattern[2:]) & (inner > 0.5)) + 1
    return [(round(float(two_theta[i]), 2), round(float(pattern[i]), 3)) for i in peaks]


def identify_mineral(peaks, background=0.02, top=2):
    opts = ort.SessionOptions()
    opts.intra_op_num_threads = 1
    opts.inter_op_num_threads = 1
    sess = ort.InferenceSession("raman.onnx", opts, providers=["CPUExecutionProvider"])
    inp = sess.get_inputs()[0].name
    minerals = Path("minerals.txt").read_text().splitlines()
    shift = np.linspace(100, 1200, 64)

    spectrum = np.full(shift.shape, background)
    for pos, height, width in peaks:
        spectrum += height / (1 + ((shift - pos) / width) ** 2)
    spectrum = (spectrum / spectrum.max()).astype(np.float32)
    prob = sess.run(None, {inp: spectrum[None, :]})[0][0]
    order = np.argsort(-prob)[:top]
    return [(minerals[i], round(float(prob[i]), 4)) for i in order]


# ---------------------------------------------------------------- field data


def register_samples(records, min_mass=0.0):
    known = pd.read_csv("known_samples.csv")
    engine = create_engine("sqlite://")
    meta = MetaData()
    samples = Table(
        "samples",
        meta,
        Column("id", Integer, primary_key=True),
        Column("site", String(20), nullable=False),
        Column("mass", Float),
    )
    meta.create_all(engine)
    per_site = (
        select(samples.c.site, func.count(), func.avg(samples.c.mass)).group_by(samples.c.site).order_by(samples.c.site)
    )
    with engine.begin() as conn:
        conn.execute(insert(samples), known.to_dict("records"))

    with engine.begin() as conn:
        for site, mass in records:
            if mass < min_mass:
                continue
            conn.execute(insert(samples).values(site=site, mass=mass))
        rows = conn.execute(per_site).all()
    return {site: (n, round(avg, 4)) for site, n, avg in rows}


def outbreak(beta, vaccinated=(), days=60):
    """Age-structured SEIR, peak and final size."""
    contacts = np.loadtxt("contacts.csv", delimiter=",")
    ages = pd.read_csv("ages.csv")
    pop = ages["population"].to_numpy(dtype=float)
    contacts = 0.5 * (contacts + (contacts * pop[:, None]).T / pop[:, None])
    scale = np.abs(np.linalg.eigvals(contacts)).max()
    sigma, gamma = 1 / 4.0, 1 / 6.0
    labels = ages["group"].tolist()

    s = pop.copy()
    for group, share in vaccinated:
        s[labels.index(group)] *= 1 - share
    immune = pop - s
    e = np.full(len(pop), 5.0)
    i = np.zeros_like(e)
    curve = []
    for _ in range(days * 4):
        force = beta / scale * (contacts @ (i / pop))
        new = 0.25 * force * s
        s = s - new
        i = i + 0.25 * (sigma * e - gamma * i)
        e = e + new - 0.25 * sigma * e
        curve.append(float(i.sum()))
    attack = (pop - immune - s) / pop
    return int(np.argmax(curve)), round(max(curve), 3), dict(zip(labels, attack.round(5).tolist()))


# ============================================================ data of the set


def _varint(n):
    out = b""
    while True:
        n, low = n >> 7, n & 127
        if n:
            out += bytes([low | 128])
        else:
            return out + bytes([low])


def _pb(field, value):
    """One protobuf field (enough of it for a small ONNX file)."""
    if isinstance(value, int):
        return _varint(field << 3) + _varint(value)
    if isinstance(value, str):
        value = value.encode()
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _onnx_mlp(weights):
    def tensor(name, arr):
        return (
            b"".join(_pb(1, int(d)) for d in arr.shape)
            + _pb(2, 1)
            + _pb(8, name)
            + _pb(9, struct.pack(f"<{arr.size}f", *arr.ravel().tolist()))
        )

    def node(op, ins, out):
        return b"".join(_pb(1, i) for i in ins) + _pb(2, out) + _pb(3, out + "_n") + _pb(4, op)

    def info(name, dims):
        shape = b"".join(_pb(1, _pb(2, d) if isinstance(d, str) else _pb(1, d)) for d in dims)
        return _pb(1, name) + _pb(2, _pb(1, _pb(1, 1) + _pb(2, shape)))

    nodes = [
        node("MatMul", ["x", "w1"], "a"),
        node("Add", ["a", "b1"], "b"),
        node("Relu", ["b"], "c"),
        node("MatMul", ["c", "w2"], "d"),
        node("Add", ["d", "b2"], "e"),
        node("Softmax", ["e"], "y"),
    ]
    graph = b"".join(_pb(1, n) for n in nodes) + _pb(2, "mlp")
    graph += b"".join(_pb(5, tensor(k, v)) for k, v in weights.items())
    graph += _pb(11, info("x", ["n", weights["w1"].shape[0]])) + _pb(12, info("y", ["n", weights["w2"].shape[1]]))
    return _pb(1, 8) + _pb(7, graph) + _pb(8, _pb(1, "") + _pb(2, 13))


def prepare(folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2024)

    def write(name, text):
        (folder / name).write_text(text)

    # chemistry
    library = {
        "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
        "paracetamol": "CC(=O)Nc1ccc(O)cc1",
        "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
        "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
        "salicylic acid": "O=C(O)c1ccccc1O",
        "nicotine": "CN1CCCC1c1cccnc1",
        "benzocaine": "CCOC(=O)c1ccc(N)cc1",
        "theobromine": "Cn1cnc2c1c(=O)[nH]c(=O)n2C",
        "dopamine": "NCCc1ccc(O)c(O)c1",
        "naproxen": "COc1ccc2cc(ccc2c1)C(C)C(=O)O",
        "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
        "vanillin": "COc1cc(C=O)ccc1O",
    }
    pd.DataFrame({"name": list(library), "smiles": list(library.values())}).to_csv(folder / "library.csv", index=False)
    write(
        "groups.tsv",
        "# name\tSMARTS\nacid\tC(=O)[OX2H1]\nester\tC(=O)O[#6]\namide\tC(=O)N\n"
        "\nphenol\tc[OX2H]\nether\t[#6]O[#6]\namine\t[NX3;!$(NC=O)]\nring\tc1ccccc1\n",
    )

    # genomics
    lines = ["chrom\tstart\tend\tgene\tstrand"]
    for k in range(120):
        start = int(rng.integers(0, 100000))
        lines.append(f"chr{k % 3 + 1}\t{start}\t{start + int(rng.integers(200, 4000))}\tG{k:03d}\t{'+-'[k % 2]}")
    write("genes.bed", "\n".join(lines) + "\n")
    fastq = []
    for k in range(25):
        n = int(rng.integers(20, 40))
        seq = "".join(rng.choice(list("ACGT"), n))
        qual = "".join(chr(33 + max(2, int(38 - 0.9 * i + rng.normal(0, 4)))) for i in range(n))
        fastq.append(f"@read{k}\n{seq}\n+\n{qual}\n")
    write("reads.fastq", "".join(fastq))
    (folder / "taxonomy.db").unlink(missing_ok=True)
    con = sqlite3.connect(folder / "taxonomy.db")
    con.execute("create table nodes (id integer primary key, parent integer, rank text, name text)")
    con.executemany(
        "insert into nodes values (?, ?, ?, ?)",
        [
            (1, 1, "root", "root"),
            (2, 1, "kingdom", "Animalia"),
            (3, 2, "phylum", "Chordata"),
            (4, 3, "class", "Mammalia"),
            (5, 4, "order", "Carnivora"),
            (6, 5, "family", "Felidae"),
            (7, 6, "genus", "Felis"),
            (8, 7, "species", "Felis catus"),
            (9, 5, "family", "Canidae"),
            (10, 9, "genus", "Canis"),
            (11, 10, "species", "Canis lupus"),
            (12, 3, "class", "Aves"),
        ],
    )
    con.commit()
    con.close()

    # astronomy
    t = np.arange(0, 40, 0.05)
    flux = 1 + 0.003 * rng.normal(size=t.size) + 0.002 * t
    flux[np.abs((t - 0.7 + 1.5) % 3.0 - 1.5) < 0.12] -= 0.02
    quarter = np.digitize(t, [12, 25])
    flux = flux * np.array([1000.0, 870.0, 930.0])[quarter]
    flux[::37] = np.nan
    np.savez(folder / "lightcurve.npz", time=t, flux=flux, quarter=quarter)
    write(
        "planets.json",
        json.dumps(
            {
                "mercury": {"a": 0.387, "e": 0.2056},
                "venus": {"a": 0.723, "e": 0.0068},
                "earth": {"a": 1.0, "e": 0.0167},
                "mars": {"a": 1.524, "e": 0.0934},
                "icarus": {"a": 1.078, "e": 0.827},
            }
        ),
    )

    # text
    good = [
        "great work",
        "a lovely result",
        "very good paper",
        "excellent and clear",
        "clear good methods",
        "i love this model",
        "great clear figures",
        "not bad at all",
    ]
    bad = [
        "poor work",
        "a bad result",
        "very weak paper",
        "confusing and bad",
        "unclear weak methods",
        "i hate this model",
        "awful figures",
        "not good at all",
    ]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=5.0))
    model.fit(good + bad, [1] * len(good) + [0] * len(bad))
    joblib.dump(model, folder / "sentiment.joblib")
    write("lexicon.txt", "good 1.2\ngreat 1.8\nlovely 1.5\nclear 0.8\nbad -1.4\nawful -2.0\nweak -0.9\nhate -1.9\n")
    words = "the cell gene star galaxy model of in a red blood spectrum shows high low rate un ##known ##s ##ing map".split()
    vocab = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + words)}
    tok = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tok.pre_tokenizer = pre_tokenizers.Whitespace()
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tok.save(str(folder / "tokenizer.json"))
    write("token_freq.json", json.dumps({str(i): 500 // (i + 1) for i in range(1, 20)}))
    topics = {
        "bio": "gene protein cell membrane expression kinase receptor signalling mouse tumour".split(),
        "astro": "star galaxy redshift spectrum telescope dust orbit planet luminosity survey".split(),
        "geo": "fault earthquake mantle seismic basin sediment crust wave magma volcano".split(),
    }
    with open(folder / "abstracts.jsonl", "w") as fh:
        for k in range(60):
            topic = list(topics)[k % 3]
            text = " ".join(rng.choice(topics[topic] + ["the", "of", "model", "data", "we", "show"], 30))
            fh.write(json.dumps({"id": f"{topic}{k}", "text": text}) + "\n")
    write("stopwords.txt", "the of we a in and\n")

    # imaging
    yy, xx = np.mgrid[:128, :128]
    img = np.full((128, 128), 25.0)
    for _ in range(14):
        cy, cx, r = rng.uniform(8, 120), rng.uniform(8, 120), rng.uniform(2.5, 6)
        img += rng.uniform(60, 140) * np.exp(-((yy - cy) ** 2 + (xx - cx) ** 2) / (2 * r**2) * 2)
    flat = 1 - 0.3 * ((yy - 64) ** 2 + (xx - 64) ** 2) / 64**2 / 2
    img = img * flat + rng.normal(0, 2, img.shape)
    Image.fromarray(np.clip(img, 0, 255).astype(np.uint8)).save(folder / "cells.png")
    np.save(folder / "flat.npy", flat.astype(np.float32))
    slide = (
        128
        + 60 * np.sin(xx / 9.0)[..., None] * np.cos(yy / 7.0)[..., None] * np.array([1, 0.7, 0.4])
        + rng.normal(0, 8, (128, 128, 3))
    )
    Image.fromarray(np.clip(slide, 0, 255).astype(np.uint8)[:96]).save(folder / "slide.png")
    write("palette.json", json.dumps([[230, 25, 75], [60, 180, 75], [0, 130, 200], [245, 130, 48]]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net = PatchNet()
        net.bn.running_mean.uniform_(-0.2, 0.2)
        net.bn.running_var.uniform_(0.5, 1.5)
    torch.save(net.state_dict(), folder / "patchnet.pt")
    write("classes.txt", "stroma tumour fat necrosis blood glass\n")

    # graphs
    places = pd.DataFrame(
        {
            "place": [f"P{k}" for k in range(30)],
            "x": rng.uniform(0, 50, 30).round(2),
            "y": rng.uniform(0, 50, 30).round(2),
        }
    )
    places.to_csv(folder / "places.csv", index=False)
    xy = places[["x", "y"]].to_numpy()
    dist = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
    pairs = sorted({tuple(sorted((k, int(j)))) for k in range(30) for j in np.argsort(dist[k])[1:5]})
    pd.DataFrame(
        [
            (f"P{a}", f"P{b}", round(float(dist[a, b] * rng.uniform(1.05, 1.4)), 2), int(rng.choice([50, 80, 100])))
            for a, b in pairs
        ],
        columns=["a", "b", "km", "kmh"],
    ).to_csv(folder / "roads.csv", index=False)

    # statistics
    t = np.linspace(0, 20, 60)
    np.savetxt(folder / "decay.txt", np.column_stack([t, rng.poisson(400 * np.exp(-t / 4.2) + 12)]))
    ponds = pd.DataFrame(rng.normal([7.5, 2, 16, 8], [0.6, 1, 4, 1.5], (160, 4)), columns=FEATURES)
    score = (ponds["ph"] - 7.5) + 0.15 * (ponds["temp"] - 16) - 0.3 * (ponds["oxygen"] - 8)
    ponds["bloom"] = (score + rng.normal(0, 0.4, 160) > 0).astype(int)
    ponds.to_csv(folder / "ponds.csv", index=False)

    # physics
    write("rod.json", json.dumps({"k": 200.0, "rho": 2700.0, "cp": 0.9, "ends": [20.0, 80.0]}))

    # geoscience
    codes = ["".join(c) for c in itertools.islice(itertools.product("ABCD", "EFGH", "KLM"), 40)]
    st = pd.DataFrame(
        {
            "code": codes,
            "lat": rng.uniform(-60, 70, 40).round(3),
            "lon": rng.uniform(-180, 180, 40).round(3),
            "delay": rng.normal(0, 0.4, 40).round(3),
        }
    )
    write("stations.csv", "# made-up network\n" + st.to_csv(index=False))
    deg, dep = np.linspace(0, 180, 91), np.array([0.0, 35, 100, 300, 700])
    np.savez(
        folder / "traveltimes.npz",
        dist=deg,
        depth=dep,
        p=1180 * np.sin(np.radians(deg / 2))[:, None] ** 0.9 - 0.06 * dep + 0.12 * dep * np.exp(-deg / 20)[:, None],
    )
    gauges = [
        (s, y, d, round(float(rng.gamma(0.6, 12 + 6 * k)), 1))
        for k, s in enumerate(["alm", "brook", "cairn"])
        for y in range(1980, 2010)
        for d in range(12)
    ]
    gauges = pd.DataFrame(gauges, columns=["station", "year", "month", "mm"])
    gauges.loc[[5, 300, 777], "mm"] = -99.9
    gauges.to_csv(folder / "gauges.csv", index=False)

    # economics
    sectors = ["agri", "mining", "steel", "cars", "trade", "services"]
    Z = rng.uniform(1, 20, (6, 6)).round(2)
    final = rng.uniform(20, 80, 6).round(2)
    io = pd.DataFrame(Z, index=sectors, columns=sectors)
    io["final"] = final
    io["output"] = Z.sum(axis=1) + final
    io.to_csv(folder / "io_table.csv")
    write("wages.csv", "sector,share\nagri,0.22\nsteel,0.3\ncars,0.35\ntrade,0.4\nservices,0.5\n")
    write(
        "book.json",
        json.dumps(
            {
                "bids": [[99.5 - 0.5 * k, 10 + 3 * k] for k in range(8)],
                "asks": [[100.5 + 0.5 * k, 8 + 4 * k] for k in range(8)],
            }
        ),
    )

    # materials
    write(
        "elements.csv",
        "symbol,chi,radius,valence,mass\nH,2.2,31,1,1.0\nN,3.04,71,5,14.0\nO,3.44,66,6,16.0\n"
        "Na,0.93,166,1,23.0\nMg,1.31,141,2,24.3\nAl,1.61,121,3,27.0\nSi,1.9,111,4,28.1\nS,2.58,105,6,32.1\n"
        "Cl,3.16,102,7,35.5\nZn,1.65,122,2,65.4\nGa,1.81,122,3,69.7\nAs,2.18,119,5,74.9\nCd,1.69,144,2,112.4\n"
        "In,1.66,142,3,114.8\nTe,2.1,138,6,127.6\n",
    )
    write(
        "gaps.csv",
        "formula,gap\nSi,1.12\nGaAs,1.42\nZnO,3.3\nZnS,3.6\nCdTe,1.45\nCdS,2.42\nAlN,6.0\nGaN,3.4\nInN,0.7\n"
        "InAs,0.35\nMgO,7.8\nSiO2,8.9\nNaCl,8.5\nAl2O3,8.8\nZnTe,2.26\nIn2O3,2.9\nAlAs,2.16\nGa2O3,4.8\n",
    )
    write(
        "form_factors.json",
        json.dumps(
            {
                "Cu": {"a": [13.338, 7.1676, 5.6158, 1.6735], "b": [3.5828, 0.247, 11.3966, 64.8126], "c": 1.191},
                "Fe": {"a": [11.7695, 7.3573, 3.5222, 2.3045], "b": [4.7611, 0.3072, 15.3535, 76.8805], "c": 1.0369},
                "Al": {"a": [6.4202, 1.9002, 1.5936, 1.9646], "b": [3.0387, 0.7426, 31.5472, 85.0886], "c": 1.1151},
            }
        ),
    )
    minerals = ["quartz", "calcite", "olivine", "gypsum"]
    write("minerals.txt", "\n".join(minerals) + "\n")
    shift = np.linspace(100, 1200, 64)
    lines = {"quartz": 464, "calcite": 1086, "olivine": 840, "gypsum": 1008}
    w1 = np.stack([np.exp(-(((shift - p) / 30) ** 2)) for p in lines.values()], axis=1)
    w1 = np.hstack([w1, rng.normal(0, 0.05, (64, 4))]).astype(np.float32)
    w2 = np.vstack([3 * np.eye(4), rng.normal(0, 0.1, (4, 4))]).astype(np.float32)
    (folder / "raman.onnx").write_bytes(
        _onnx_mlp({"w1": w1, "b1": np.full(8, -0.1, np.float32), "w2": w2, "b2": np.zeros(4, np.float32)})
    )

    # field data
    write("known_samples.csv", "site,mass\nnorth,12.5\nnorth,9.75\nridge,3.25\nvalley,20.0\n")
    write("contacts.csv", "8.2,3.1,0.6\n2.9,6.4,1.5\n0.9,2.2,2.0\n")
    write("ages.csv", "group,population\nchild,18000\nadult,52000\nsenior,21000\n")


# Rules used below: names bound by imports, loops and with-statements of the set-up
# (closed files included) are intermediate names and listed; lists and arrays which
# the calls fill, even when created before anything depends on the arguments, are not.
EXPECTED: dict[str, tuple[str, ...]] = {
    "screen_library": ("DataStructs", "lib", "gen", "mols", "fps", "weights"),
    "functional_groups": ("groups", "fh", "line", "name", "smarts"),
    "annotate_variants": ("genes", "row", "starts", "longest", "chrom", "purines"),
    "trim_reads": (),  # open file and a generator over it
    "lineage": ("parent", "ranks", "names", "i", "p", "r", "nm", "children"),  # not con, cur
    # flux is normalised in place through the views called part
    "fold_transit": ("f", "raw", "stamps", "quarter", "good", "t", "season", "edges", "bounds"),
    "kepler_drift": ("planets", "gm", "leapfrog"),
    "sentiment": ("model", "lex", "word", "negations"),
    "surprisal": ("special", "freq", "total", "logp", "unseen"),  # tok keeps truncation and padding
    "similar_abstracts": (
        "docs",
        "fh",
        "line",
        "stop",
        "tokenise",
        "vocab",
        "data",
        "rows",
        "cols",
        "d",
        "doc",
        "w",
        "c",
        "j",
        "tf",
        "idf",
        "rng",
        "proj",
        "emb",
    ),  # rng: drawn from in the set-up only
    "count_cells": ("img", "flat", "corrected", "background", "smooth", "eight"),
    "render_overlay": ("lut", "font"),  # base is drawn on, colours is an iterator
    "embed_patches": ("device", "state", "net", "slide", "mean", "std", "h", "w"),
    "adapt_and_predict": ("classes", "grid"),  # batch norm of net moves
    "reroute": ("roads", "places", "G", "r", "xy", "fastest", "lower_bound"),
    "null_correlation": (),  # global random state runs through set-up and body
    "fit_decay": ("t", "counts", "err"),  # rng is drawn from, chi2 appends to trace
    "update_classifier": ("train", "X", "y", "scaler", "before"),  # clf is fitted further
    "bound_states": ("hbar2_2m", "x", "dx", "diag", "off", "parity"),
    "heat_rod": ("n", "dx", "dt", "props", "kappa", "lap", "lu", "u0"),  # not deadline, q
    "molecule_vibration": ("r", "D", "A", "R", "V", "force", "curvature", "potential"),
    "first_arrivals": ("stations", "tree", "npz", "dist_axis", "depth_axis", "table", "lookup"),
    "return_level": (),  # the helper prints in every call
    "demand_shock": ("flows", "sectors", "Z", "x", "A", "L", "wages", "mix"),  # d is filled by the call
    "execute_orders": (),  # the book is eaten
    "band_gaps": ("elements", "featurize", "known", "X", "forest", "measured"),
    "xrd_pattern": ("coefs", "hkl", "mult", "plane", "two_theta"),  # fwhm: environment; pattern is summed up
    "identify_mineral": ("opts", "sess", "inp", "minerals", "shift"),
    "register_samples": ("known", "meta", "samples", "per_site"),  # engine holds the database
    "outbreak": ("contacts", "ages", "pop", "scale", "sigma", "gamma", "labels", "e", "i"),
}

CALLS: dict[str, list[tuple]] = {
    "screen_library": [("OC(=O)c1ccccc1OC",), ("Cn1cnc2c1c(=O)[nH]c(=O)[nH]2", 2), ("not a molecule", 5, 0.1)],
    "functional_groups": [
        (["CC(=O)Oc1ccccc1C(=O)O", "CCO"],),
        (["xyz", "CCN(CC)CC(=O)Nc1c(C)cccc1C"],),
        (["NCCc1ccc(O)c(O)c1", "COC", "c1ccccc1"],),
    ],
    "annotate_variants": [
        ([("chr1", 40000, "A", "G"), ("chrX", 5, "A", "T")],),
        ([("chr2", 1500, "A", "AT"), ("chr3", 77777, "C", "A")], 2000),
        ([("chr1", p, "C", "T") for p in range(0, 100000, 9000)], 50),
    ],
    "trim_reads": [(5,), (12, 15), (25, 25, 18)],
    "lineage": [(8,), (11, "order"), (999, "class", 5)],
    "fold_transit": [(3.0, 0.7), (2.5,), (3.0, 0.7, 0.1, 10)],
    "kepler_drift": [(["earth", "mars"],), (["icarus"], 0.001), (["mercury", "venus"], 0.004)],
    "sentiment": [
        (["great paper, clear", "awful"],),
        (["not good, weak methods"], 0.2),
        (["i love it", "never bad"], 0.9),
    ],
    "surprisal": [
        (["the red blood cell shows high rate", "star"], 5),
        (["unknown galaxys of a map", "the gene"],),
        (["mapping the galaxy", "low spectrum in the star model"], None, True),
    ],
    "similar_abstracts": [
        ("seismic wave in the mantle",),
        ("galaxy redshift survey of dust", 5),
        ("xylophone", 2, ("bio0",)),
    ],
    "count_cells": [(20.0,), (45.0, 25), (30.0, 5, 0.5)],
    "render_overlay": [([(5, 5, 40, 30), (50, 20, 90, 70)],), ([(10, 40, 60, 80)], (48, 36)), ([],)],
    "embed_patches": [([(0, 0), (30, 40)],), ([(500, 2)],), ([(8, 8), (64, 100), (90, 0)], 24)],
    "adapt_and_predict": [([0.3, 1.2, 2.0],), ([4.0, -1.0], 1), ([0.3, 1.2, 2.0], 5)],
    "reroute": [
        ("P0", "P17"),
        ("P3", "P22", (("P3", "P7"),)),
        ("P0", "P17", (), [("P0", "P21", 1.5), ("P14", "P18", 3.0)]),
    ],
    "null_correlation": [(0.3,), (0.1, 80), (-0.2, 150)],
    "fit_decay": [(2,), (1, 1.0, 5.0), (3, 0.5)],
    "update_classifier": [
        ([[8.4, 2.0, 22.0, 6.0], [6.9, 1.0, 12.0, 9.5]], [1, 0]),
        ([[7.0, 3.0, 25.0, 9.9], [8.0, 0.5, 9.0, 5.0]], [0, 1], 8),
        ([[7.5, 2.0, 16.0, 8.0]], [1], 1),
    ],
    "bound_states": [(1.0, 2.0), (0.3, 1.5, 4), (2.5, 3.0, 6)],
    "heat_rod": [({0.5: 10.0},), ({0.2: 5.0, 0.8: -3.0}, 0.1), ({}, 0.05, 1e-3)],
    "molecule_vibration": [(4.5, 1.9, 0.74), (2.0, 1.2, 1.1, 2.0), (7.0, 2.3, 1.0, 0.5, 2.0)],
    "first_arrivals": [(35.0, 139.0, 40.0), (-20.0, -70.5, 110.0, 6), (0.0, 0.0, 10.0, 2)],
    "return_level": [("alm",), ("cairn", 100.0), ("nowhere", 10.0)],
    "demand_shock": [("steel", 10.0), ("cars", -4.0, True), ("agri", 2.5)],
    "execute_orders": [
        ([("buy", 30, None), ("sell", 12, 98.0)],),
        ([("sell", 50, None)], 0.001),
        ([("buy", 5, 100.5)],),
    ],
    "band_gaps": [(["GaAs", "InGaN2"],), (["ZnSe", "AlGaAs2"], False), (["CdZnTe2"],)],
    "xrd_pattern": [(3.615,), (2.866, "bcc", "Fe"), (4.05, "fcc", "Al", 0.7107)],
    "identify_mineral": [
        ([(465, 1.0, 12)],),
        ([(1086, 0.8, 8), (712, 0.3, 10)], 0.05),
        ([(840, 0.5, 15), (1008, 0.6, 10)], 0.0, 3),
    ],
    "register_samples": [([("north", 8.0), ("shore", 1.5)],), ([("ridge", 0.2), ("ridge", 4.0)], 1.0), ([],)],
    "outbreak": [(0.4,), (0.3, (("senior", 0.6),)), (0.5, (("child", 0.5), ("adult", 0.2)), 90)],
}
