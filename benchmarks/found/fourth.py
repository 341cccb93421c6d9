# ruff: noqa
"""Thirty functions as researchers submit them to a cluster, with the set-up that calls may share."""

import heapq
import json
import math
import os
import sqlite3
from itertools import combinations_with_replacement, islice
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from numba import njit
from torch import nn

torch.set_num_threads(1)

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
PREDICTORS = ["elevation_m", "rainfall_mm", "ndvi"]
MUON_MASS = 0.1056583755
EARTH_RADIUS_KM = 6371.0
HU_SLOPE, HU_INTERCEPT = 1.0, -1024.0
KMER = 3
GAP_PENALTY = 4
REACTIVE_SMARTS = {
    "acyl_halide": "[CX3](=O)[F,Cl,Br,I]",
    "epoxide": "C1OC1",
    "michael_acceptor": "[CX3]=[CX3]-[CX3]=O",
}


# ---------------------------------------------------------------- helpers


class MaskedEncoder(nn.Module):
    """Small convolutional masked language model."""

    def __init__(self, n_tokens, dim):
        super().__init__()
        self.embed = nn.Embedding(n_tokens, dim)
        self.conv1 = nn.Conv1d(dim, dim, 5, padding=2)
        self.conv2 = nn.Conv1d(dim, dim, 5, padding=2)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(dim, n_tokens - 1)

    def forward(self, tokens):
        h = self.embed(tokens).transpose(1, 2)
        h = torch.relu(self.conv1(h))
        h = self.dropout(torch.relu(self.conv2(h)))
        return self.head(h.transpose(1, 2))


class RetentionNet(nn.Module):
    """Two-layer regressor for retention times."""

    def __init__(self, n_features=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_features, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x):
        return self.layers(x).squeeze(-1)


class AttenuationTable:
    """Photon attenuation coefficients, interpolated in log-log."""

    def __init__(self, path, density):
        raw = np.loadtxt(path)
        self.log_energy = np.log(raw[:, 0])
        self.log_mu = np.log(raw[:, 1] * density)

    def mu(self, energy_kev):
        if energy_kev <= 0:
            raise ValueError("photon energy must be positive")
        return float(np.exp(np.interp(np.log(energy_kev), self.log_energy, self.log_mu)))


class KalmanTracker:
    """Constant-velocity Kalman filter in one dimension."""

    def __init__(self, process_noise, measurement_noise):
        self.F = np.array([[1.0, 1.0], [0.0, 1.0]])
        self.H = np.array([[1.0, 0.0]])
        self.Q = process_noise
        self.R = np.array([[measurement_noise]])
        self.x = np.zeros(2)
        self.P = np.eye(2) * 100.0

    def update(self, z):
        self.x = self.F @ self.x
        self.P = self.F @ self.P @ self.F.T + self.Q
        gain = self.P @ self.H.T @ np.linalg.inv(self.H @ self.P @ self.H.T + self.R)
        self.x = self.x + gain @ (np.array([z]) - self.H @ self.x)
        self.P = (np.eye(2) - gain @ self.H) @ self.P


def _travel_times(xs, depths, station_x, layers):
    """Straight-ray travel times through the average velocity above each depth."""
    velocity = np.interp(depths, layers["depth_km"], layers["vp_km_s"])
    mean_v = np.cumsum(velocity) / np.arange(1, len(depths) + 1)
    distance = np.hypot(xs[None, :] - station_x, depths[:, None])
    return distance / mean_v[:, None]


def _log_factorials(n):
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


def _read_fasta(path):
    records, name = {}, None
    with open(path) as handle:
        for line in handle:
            line = line.strip()
            if line.startswith(">"):
                name = line[1:].split()[0]
                records[name] = []
            elif line:
                records[name].append(line)
    return {name: "".join(parts) for name, parts in records.items()}


def _kmer_logprob(sequence, k):
    counts = {}
    for i in range(len(sequence) - k + 1):
        kmer = sequence[i : i + k]
        counts[kmer] = counts.get(kmer, 0) + 1
    total = sum(counts.values()) + 4**k
    table = {kmer: math.log((n + 1) / total) for kmer, n in counts.items()}
    table[""] = math.log(1 / total)  # unseen
    return table


def _solve_riccati(A, B, Q, R, iterations=300):
    P = Q.copy()
    for _ in range(iterations):
        K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
        P = Q + A.T @ P @ (A - B @ K)
    return P


def _fcc_reflections(h_max):
    """Unmixed reflections of an fcc lattice and their multiplicities."""
    hkl, mult = [], []
    for trip in combinations_with_replacement(range(h_max, -1, -1), 3):
        if not any(trip) or len({i % 2 for i in trip}) > 1:
            continue
        perms = {1: 1, 2: 3, 3: 6}[len(set(trip))]
        hkl.append(trip)
        mult.append(perms * 2 ** sum(i > 0 for i in trip))
    return np.array(hkl, dtype=float), np.array(mult, dtype=float)


def _laplacian(n):
    main = -2.0 * np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1)
    main[0, -1] = main[-1, 0] = 1.0
    return main


def _read_substitution(path):
    with open(path) as handle:
        columns = handle.readline().split()
        rows = [[int(v) for v in line.split()[1:]] for line in handle]
    return np.array(rows, dtype=np.int64), {aa: i for i, aa in enumerate(columns)}


@njit
def _smith_waterman(a, b, matrix, gap):
    best = 0
    prev = np.zeros(len(b) + 1, dtype=np.int64)
    for i in range(len(a)):
        row = np.zeros(len(b) + 1, dtype=np.int64)
        for j in range(len(b)):
            s = max(0, prev[j] + matrix[a[i], b[j]])
            s = max(s, prev[j + 1] - gap)
            s = max(s, row[j] - gap)
            row[j + 1] = s
            if s > best:
                best = s
        prev = row
    return best


def _gabor_bank(n_orientations, size, frequency=0.2, sigma=3.0):
    half = size // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    kernels = []
    for k in range(n_orientations):
        theta = np.pi * k / n_orientations
        u = x * np.cos(theta) + y * np.sin(theta)
        g = np.exp(-(x**2 + y**2) / (2 * sigma**2)) * np.cos(2 * np.pi * frequency * u)
        kernels.append(g - g.mean())
    return torch.tensor(np.stack(kernels), dtype=torch.float32).unsqueeze(1)


def _read_nodes(path):
    """Heap of [busy-until, node name]."""
    table = pd.read_csv(path)
    heap = [[float(t), n] for t, n in zip(table["busy_until"], table["node"])]
    heapq.heapify(heap)
    return heap


def _frames(path):
    """Yield the coordinates of an xyz trajectory, frame by frame."""
    with open(path) as handle:
        while True:
            head = handle.readline()
            if not head:
                return
            n = int(head)
            handle.readline()
            yield np.array([[float(v) for v in handle.readline().split()[1:4]] for _ in range(n)])


def _load_potential(path):
    with open(path) as handle:
        spec = json.load(handle)
    print(f"potential {spec['name']}: cutoff {spec['cutoff']} A")
    return spec


# ---------------------------------------------------------------- splittable


def score_mutation(sequence, position, residue):
    """Log-odds of a point mutation under a masked language model."""
    if not 0 <= position < len(sequence):
        raise IndexError(f"position {position} outside a sequence of length {len(sequence)}")

    checkpoint = torch.load("plm.pt", weights_only=True)
    vocab = {aa: i for i, aa in enumerate(checkpoint["alphabet"])}
    model = MaskedEncoder(len(vocab) + 1, checkpoint["dim"])
    model.load_state_dict(checkpoint["state"])
    model.eval()

    tokens = torch.tensor([[vocab[aa] for aa in sequence]])
    tokens[0, position] = len(vocab)  # mask token
    with torch.no_grad():
        logp = torch.log_softmax(model(tokens)[0, position], dim=-1)
    delta = logp[vocab[residue]] - logp[vocab[sequence[position]]]
    return round(float(delta), 5)


def locate_event(picks):
    """Grid-search hypocentre from P arrival times."""
    import numpy as np
    import pandas as pd

    stations = pd.read_csv("stations.csv", index_col="code")
    layers = pd.read_csv("velocity.csv")
    xs = np.arange(0.0, 120.0, 1.0)
    depths = np.arange(0.0, 40.0, 1.0)
    table = {code: _travel_times(xs, depths, x, layers) for code, x in stations["x_km"].items()}

    used = [code for code in picks if code in table]
    if len(used) < 3:
        raise ValueError(f"need at least 3 known stations, got {len(used)}")
    residuals = np.stack([picks[code] - table[code] for code in used])
    # the origin time is the mean residual
    origin = residuals.mean(axis=0)
    residuals -= origin
    rms = np.sqrt((residuals**2).mean(axis=0))
    iz, ix = np.unravel_index(rms.argmin(), rms.shape)
    print(f"{len(used)} picks, rms {rms[iz, ix]:.3f} s")
    return {"x_km": float(xs[ix]), "depth_km": float(depths[iz]), "t0": round(float(origin[iz, ix]), 4)}


def habitat_suitability(elevation, rainfall, ndvi):
    """Probability that the species is present at a site."""
    from sklearn.ensemble import RandomForestClassifier

    if rainfall < 0:
        raise ValueError("rainfall cannot be negative")

    records = pd.read_csv("occurrences.csv")
    records = records.dropna(subset=PREDICTORS)
    X = records[PREDICTORS]
    y = records["present"]
    forest = RandomForestClassifier(n_estimators=30, min_samples_leaf=3, random_state=7)
    forest.fit(X, y)

    site = pd.DataFrame([[elevation, rainfall, ndvi]], columns=PREDICTORS)
    return round(float(forest.predict_proba(site)[0, 1]), 6)


def dimuon_mass(first, second):
    """Invariant mass of two muons after the momentum-scale correction."""
    import numpy as np
    import pandas as pd

    calib = pd.read_csv("muon_scale.csv").sort_values("eta_low")
    edges = calib["eta_low"].to_numpy()
    scale = calib["scale"].to_numpy()

    def corrected(muon):
        pt, eta, phi = muon
        if pt <= 0:
            raise ValueError(f"unphysical muon pt {pt}")
        i = np.clip(np.digitize(eta, edges) - 1, 0, len(scale) - 1)
        pt = pt * scale[i]
        p3 = np.array([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
        return np.sqrt(p3 @ p3 + MUON_MASS**2), p3

    e1, p1 = corrected(first)
    e2, p2 = corrected(second)
    m2 = (e1 + e2) ** 2 - ((p1 + p2) ** 2).sum()
    return round(float(np.sqrt(max(m2, 0.0))), 6)


def nearest_library_compound(smiles):
    """Most similar compound of the screening library, with its Tanimoto score."""
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    names = []
    fps = []
    with open("library.smi") as handle:
        for line in handle:
            smi, name = line.split()
            names.append(name)
            fps.append(generator.GetFingerprint(Chem.MolFromSmiles(smi)))

    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise ValueError(f"cannot parse {smiles!r}")
    scores = DataStructs.BulkTanimotoSimilarity(generator.GetFingerprint(mol), fps)
    best = max(range(len(scores)), key=scores.__getitem__)
    return names[best], round(scores[best], 4)


def structural_alerts(smiles):
    """Names of the medicinal-chemistry alerts that a molecule raises."""
    from rdkit import Chem
    from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

    if not smiles:
        return []

    params = FilterCatalogParams()
    params.AddCatalog(FilterCatalogParams.FilterCatalogs.BRENK)
    catalog = FilterCatalog(params)
    reactive = {name: Chem.MolFromSmarts(s) for name, s in REACTIVE_SMARTS.items()}

    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise ValueError(f"cannot parse {smiles!r}")
    alerts = [entry.GetDescription() for entry in catalog.GetMatches(mol)]
    for label, pattern in reactive.items():
        if mol.HasSubstructMatch(pattern):
            alerts.append(label)
    return sorted(alerts)


def lesion_area(row, col, tolerance):
    """Area (mm2) of the connected region around a seed pixel."""
    import json

    import numpy as np
    from numba import njit

    @njit
    def flood(image, r0, c0, tol):
        seen = np.zeros(image.shape, dtype=np.bool_)
        stack = np.empty((image.size, 2), dtype=np.int64)
        stack[0, 0], stack[0, 1] = r0, c0
        seen[r0, c0] = True
        top, count, ref = 1, 0, image[r0, c0]
        while top > 0:
            top -= 1
            r, c = stack[top, 0], stack[top, 1]
            count += 1
            for k in range(4):
                rr = r + (k == 0) - (k == 1)
                cc = c + (k == 2) - (k == 3)
                if 0 <= rr < image.shape[0] and 0 <= cc < image.shape[1]:
                    if not seen[rr, cc] and abs(image[rr, cc] - ref) <= tol:
                        seen[rr, cc] = True
                        stack[top, 0], stack[top, 1] = rr, cc
                        top += 1
        return count

    image = np.load("mri_slice.npy")
    with open("mri_slice.json") as f:
        header = json.load(f)
    pixel_mm2 = header["dx_mm"] * header["dy_mm"]

    if not (0 <= row < image.shape[0] and 0 <= col < image.shape[1]):
        raise IndexError(f"seed ({row}, {col}) outside the slice")
    return flood(image, row, col, tolerance) * pixel_mm2


def pathway_enrichment(genes):
    """Hypergeometric over-representation of a gene list in each pathway."""
    pathways = {name: frozenset(members) for name, members in json.loads(Path("pathways.json").read_text()).items()}
    background = frozenset().union(*pathways.values())
    N = len(background)
    logfact = _log_factorials(N)

    hits = background.intersection(genes)
    if not hits:
        raise ValueError("none of the genes is annotated")

    def log_choose(n, k):
        return logfact[n] - logfact[k] - logfact[n - k]

    n = len(hits)
    results = []
    for name, members in pathways.items():
        K, k = len(members), len(members & hits)
        if k == 0:
            continue
        tail = [
            np.exp(log_choose(K, i) + log_choose(N - K, n - i) - log_choose(N, n))
            for i in range(k, min(K, n) + 1)
            if n - i <= N - K
        ]
        results.append((name, k, round(float(sum(tail)), 8)))
    results.sort(key=lambda item: (item[2], item[0]))
    return results


def classify_read(read):
    """Assign a sequencing read to the reference genome that explains it best."""
    genomes = _read_fasta("genomes.fa")
    models = {name: _kmer_logprob(seq, KMER) for name, seq in genomes.items()}

    read = read.upper()
    if len(read) < KMER:
        raise ValueError("read shorter than k")
    kmers = [read[i : i + KMER] for i in range(len(read) - KMER + 1)]
    scores = {}
    for name, table in models.items():
        scores[name] = sum(table.get(kmer, table[""]) for kmer in kmers)
    best = max(sorted(scores), key=scores.get)
    others = [s for name, s in scores.items() if name != best]
    scores = {name: round(s, 6) for name, s in scores.items()}
    print(f"{best} by {scores[best] - max(others):.2f} nats")
    return best, scores


def land_cover(reflectances):
    """Land-cover class of each pixel from its six Landsat bands."""
    import joblib
    import numpy as np

    bundle = joblib.load("landcover.joblib")
    scaler = bundle["scaler"]
    model = bundle["model"]
    labels = bundle["labels"]
    print(f"classifier with {len(labels)} classes")

    pixels = np.asarray(reflectances, dtype=float)
    if pixels.ndim == 1:
        pixels = pixels[None, :]
    valid = np.isfinite(pixels).all(axis=1)
    out = ["nodata"] * len(pixels)
    if valid.any():
        predicted = model.predict(scaler.transform(pixels[valid]))
        for where, cls in zip(np.flatnonzero(valid), predicted):
            out[where] = labels[int(cls)]
    return out


def similar_abstracts(query, k):
    """The k abstracts nearest to a query in latent semantic space."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    with open("abstracts.txt") as f:
        corpus = f.read().splitlines()
    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    tfidf = vectorizer.fit_transform(corpus)
    svd = TruncatedSVD(n_components=8, random_state=0)
    embedded = svd.fit_transform(tfidf)

    if k < 1:
        raise ValueError("k must be at least 1")
    q = svd.transform(vectorizer.transform([query]))
    similarity = cosine_similarity(q, embedded)[0]
    order = np.argsort(-similarity, kind="stable")[:k]
    return [(corpus[i][:40], round(float(similarity[i]), 5)) for i in order]


def simulate_lqr(state, n_steps):
    """Closed-loop trajectory cost of a cart-pole under LQR."""
    import numpy as np

    dt = 0.02
    A = np.eye(4) + dt * np.loadtxt("cartpole_A.txt")
    B = dt * np.loadtxt("cartpole_B.txt").reshape(4, 1)
    Q = np.diag([1.0, 0.1, 10.0, 0.1])
    R = np.array([[0.01]])
    P = _solve_riccati(A, B, Q, R)
    K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)

    x = np.array(state, dtype=float)
    cost = 0.0
    for _ in range(n_steps):
        u = -K @ x
        cost += float(x @ Q @ x + u @ R @ u)
        x = A @ x + B @ u
    return round(cost, 6), [round(float(v), 8) for v in x]


def powder_pattern(lattice_a, wavelength):
    """Two-theta positions and relative intensities of an fcc metal."""
    import numpy as np

    coeffs = np.loadtxt("form_factor_al.txt")  # a1..a4, b1..b4, c
    hkl, multiplicity = _fcc_reflections(8)
    order = np.argsort((hkl**2).sum(axis=1), kind="stable")
    hkl = hkl[order]
    multiplicity = multiplicity[order]

    d = lattice_a / np.sqrt((hkl**2).sum(axis=1))
    s = wavelength / (2 * d)
    seen = s < 1
    if not seen.any():
        raise ValueError("wavelength too long for any reflection")
    theta = np.arcsin(s[seen])
    q2 = (1 / (2 * d[seen])) ** 2
    f = (coeffs[:4] * np.exp(-coeffs[4:8] * q2[:, None])).sum(axis=1) + coeffs[8]
    lorentz = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    intensity = multiplicity[seen] * f**2 * lorentz
    intensity *= 100 / intensity.max()
    return [(round(float(a), 3), round(float(i), 2)) for a, i in zip(np.degrees(2 * theta), intensity)]


def plot_biomass(species, diameters_cm):
    """Above-ground biomass of a plot from a species' allometry, as a report."""
    import json
    from pathlib import Path

    trees = pd.read_csv("harvested_trees.csv")
    trees = trees[trees["biomass_kg"] > 0]
    density = trees.groupby("species")["wood_density"].mean()
    report = json.loads(Path("report_template.json").read_text())

    subset = trees[trees["species"] == species]
    if len(subset) < 5:
        raise ValueError(f"only {len(subset)} harvested trees of {species}")
    slope, intercept = np.polyfit(np.log(subset["dbh_cm"]), np.log(subset["biomass_kg"]), 1)
    biomass = np.exp(intercept + slope * np.log(np.asarray(diameters_cm, dtype=float)))

    report["species"] = species
    report["wood_density"] = round(float(density[species]), 4)
    report["biomass_kg"] = round(float(biomass.sum()), 3)
    report["notes"].append(f"{len(diameters_cm)} stems")
    return report


def shield_transmission(energy_kev, thickness_cm, seed):
    """Monte Carlo transmission of photons through a lead shield."""
    import numpy as np

    table = AttenuationTable("lead_mu.txt", density=11.35)

    rng = np.random.default_rng(seed)
    mu = table.mu(energy_kev)
    n = 20000
    depth = rng.exponential(1 / mu, size=n)
    passed = int((depth > thickness_cm).sum())
    return passed / n, math.sqrt(passed) / n


def diffuse(overrides):
    """Peak and mean of a concentration profile after explicit diffusion."""
    laplacian = _laplacian(200)
    initial = np.load("concentration.npy")
    with open("diffusion.json") as fh:
        settings = json.load(fh)
    settings.update(overrides)

    number = settings["diffusivity"] * settings["dt"]
    if number > 0.5:
        raise ValueError(f"unstable step: D dt/dx2 = {number:.3f}")
    field = initial.copy()
    for _ in range(settings["steps"]):
        field += number * (laplacian @ field)
    if settings["floor"] is not None:
        field[field < settings["floor"]] = 0.0
    return round(float(field.max()), 8), round(float(field.mean()), 8)


def align_score(query, target):
    """Smith-Waterman score of two peptides."""
    matrix, index = _read_substitution("substitution.txt")

    a = np.array([index[aa] for aa in query], dtype=np.int64)
    b = np.array([index[aa] for aa in target], dtype=np.int64)
    return int(_smith_waterman(a, b, matrix, GAP_PENALTY))


def texture_energy(row, col, size):
    """Gabor energy per orientation in one window of a micrograph."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    image = torch.from_numpy(np.load("micrograph.npy")).float()
    image = (image - image.mean()) / image.std()
    bank = _gabor_bank(6, 11)

    window = image[row : row + size, col : col + size]
    if window.shape != (size, size):
        raise ValueError("window leaves the image")
    window = window - window.mean()
    with torch.no_grad():
        response = F.conv2d(window[None, None], bank)
        energy = response.pow(2).mean(dim=(0, 2, 3))
    return [round(v, 4) for v in energy.tolist()]


def nearest_stations(lat, lon, k):
    """Names and distances (km) of the k weather stations nearest to a point."""
    from sklearn.neighbors import BallTree

    if abs(lat) > 90:
        raise ValueError(f"latitude {lat} out of range")

    stations = pd.read_csv("weather_stations.csv")
    coords = np.radians(stations[["lat", "lon"]].to_numpy())
    tree = BallTree(coords, metric="haversine")

    distance, where = tree.query(np.radians([[lat, lon]]), k=k)
    found = stations.iloc[where[0]]
    return {name: round(float(d) * EARTH_RADIUS_KM, 3) for name, d in zip(found["name"], distance[0])}


# ---------------------------------------------------------------- not splittable


def cohort_expression(sample_ids):
    """Mean expression per gene of the samples asked for."""
    import sqlite3

    connection = sqlite3.connect("expression.db")
    cursor = connection.cursor()
    cursor.execute("CREATE TEMP TABLE wanted (sample TEXT)")
    cursor.executemany("INSERT INTO wanted VALUES (?)", [(s,) for s in sample_ids])
    cursor.execute("SELECT gene, AVG(tpm) FROM expression JOIN wanted USING (sample) GROUP BY gene ORDER BY gene")
    means = {gene: round(tpm, 6) for gene, tpm in cursor.fetchall()}
    if not means:
        raise LookupError(f"no expression for {sample_ids}")
    return means


def bulletin_picks(event_id):
    """Phase picks of one event in a bulletin."""
    handle = open("bulletin.txt")
    for line in handle:
        if line.startswith("EVENT") and line.split()[1] == event_id:
            break
    else:
        raise KeyError(event_id)
    picks = []
    for line in handle:
        if not line.strip():
            break
        station, phase, seconds = line.split()
        picks.append((station, phase, float(seconds)))
    return picks


def bootstrap_interval(values, level):
    """Bootstrap confidence interval of the mean."""
    import numpy as np

    rng = np.random.default_rng(20240501)
    data = np.asarray(values, dtype=float)
    draws = rng.choice(data, size=(2000, len(data)))
    means = draws.mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return round(float(low), 6), round(float(high), 6)


def calibrate_retention(features, times):
    """Fine-tune the retention model on a run's calibrants and report the loss."""
    import torch
    import torch.nn.functional as F

    model = RetentionNet()
    model.load_state_dict(torch.load("retention.pt", weights_only=True))

    x = torch.tensor(features, dtype=torch.float32)
    y = torch.tensor(times, dtype=torch.float32)
    model.train()
    for _ in range(40):
        model.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.02 * p.grad
    model.eval()
    with torch.no_grad():
        return round(float(F.mse_loss(model(x), y)), 5)


def schedule_makespan(durations):
    """Greedy makespan of a batch of jobs on the telescope's reduction nodes."""
    nodes = _read_nodes("nodes.csv")

    assigned = []
    for duration in sorted(durations, reverse=True):
        node = heapq.heappop(nodes)
        node[0] += duration
        assigned.append(node[1])
        heapq.heappush(nodes, node)
    return max(busy for busy, _ in nodes), assigned


def mean_square_displacement(start, n_frames):
    """MSD of a stretch of the trajectory against its first frame."""
    import numpy as np

    frames = _frames("trajectory.xyz")
    for _ in range(start):
        next(frames)
    reference = next(frames)
    msd = []
    for frame in islice(frames, n_frames):
        msd.append(round(float(((frame - reference) ** 2).sum(axis=1).mean()), 6))
    return msd


def passes_quality(snr, gaps):
    """Whether a trace passes the site's quality thresholds."""
    import os

    min_snr = float(os.environ.get("QC_MIN_SNR", "3.0"))
    max_gaps = int(os.environ.get("QC_MAX_GAPS", "2"))
    if snr < 0:
        raise ValueError("negative signal-to-noise ratio")
    return snr >= min_snr and gaps <= max_gaps


def predict_hardness(alloy, composition):
    """Hardness from the regression fitted for an alloy family."""
    import joblib

    path = Path("hardness") / f"{alloy}.joblib"
    if not path.exists():
        raise FileNotFoundError(f"no hardness model for {alloy}")
    model = joblib.load(path)
    return round(float(model.predict([composition])[0]), 5)


def lung_volume(low_hu, high_hu):
    """Volume (ml) and mean density of the voxels in a Hounsfield window."""
    import numpy as np

    volume = np.load("ct.npy").astype(float)
    volume *= HU_SLOPE
    volume += HU_INTERCEPT

    volume[(volume < low_hu) | (volume > high_hu)] = np.nan
    inside = np.isfinite(volume)
    if not inside.any():
        raise ValueError("no voxel in the window")
    return round(float(inside.sum()) * 0.001, 6), round(float(np.nanmean(volume)), 4)


def track_vehicle(measurements):
    """Final position and speed of a vehicle from its range measurements."""
    import numpy as np

    tracker = KalmanTracker(np.loadtxt("process_noise.txt"), measurement_noise=0.5)
    for z in measurements:
        tracker.update(float(z))
    return [round(float(v), 6) for v in tracker.x]


def cluster_energy(positions):
    """Lennard-Jones energy of a cluster of atoms."""
    import numpy as np

    potential = _load_potential("lj_argon.json")
    epsilon, sigma, cutoff = potential["epsilon"], potential["sigma"], potential["cutoff"]

    xyz = np.asarray(positions, dtype=float)
    i, j = np.triu_indices(len(xyz), k=1)
    r = np.linalg.norm(xyz[i] - xyz[j], axis=1)
    if (r == 0).any():
        raise ZeroDivisionError("two atoms at the same place")
    sr6 = (sigma / r[r < cutoff]) ** 6
    return round(float((4 * epsilon * (sr6**2 - sr6)).sum()), 8)


# ---------------------------------------------------------------- data files


def prepare(folder):
    """Write every data file into a folder and make it the working directory."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    rng = np.random.default_rng(11)

    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = MaskedEncoder(len(AMINO_ACIDS) + 1, 24)
        torch.save({"alphabet": AMINO_ACIDS, "dim": 24, "state": model.state_dict()}, "plm.pt")
        torch.save(RetentionNet().state_dict(), "retention.pt")

    pd.DataFrame({"code": ["ANK", "BRN", "CLF", "DRY", "ELM"], "x_km": [3.0, 27.0, 55.0, 81.0, 112.0]}).to_csv(
        "stations.csv", index=False
    )
    pd.DataFrame({"depth_km": [0, 5, 15, 30, 45], "vp_km_s": [4.5, 5.6, 6.1, 6.8, 7.9]}).to_csv(
        "velocity.csv", index=False
    )

    n = 300
    occ = pd.DataFrame(
        {
            "elevation_m": rng.uniform(0, 2500, n).round(1),
            "rainfall_mm": rng.uniform(200, 2000, n).round(1),
            "ndvi": rng.uniform(0, 1, n).round(3),
        }
    )
    occ["present"] = ((occ["ndvi"] > 0.4) & (occ["elevation_m"] < 1500)).astype(int)
    occ.loc[::50, "ndvi"] = np.nan
    occ.to_csv("occurrences.csv", index=False)

    pd.DataFrame({"eta_low": [0.0, -2.4, 1.2, -1.2], "scale": [1.001, 0.997, 1.004, 0.999]}).to_csv(
        "muon_scale.csv", index=False
    )

    Path("library.smi").write_text(
        "CC(=O)Oc1ccccc1C(=O)O aspirin\nCn1cnc2c1c(=O)n(C)c(=O)n2C caffeine\n"
        "CC(C)Cc1ccc(cc1)C(C)C(=O)O ibuprofen\nCC(=O)Nc1ccc(O)cc1 paracetamol\n"
        "c1ccc2ccccc2c1 naphthalene\nOCC1OC(O)C(O)C(O)C1O glucose\nCCN(CC)CC triethylamine\n"
    )

    yy, xx = np.mgrid[0:96, 0:96]
    mri = 100.0 + 80.0 * (np.hypot(yy - 40, xx - 50) < 14) + 40.0 * (np.hypot(yy - 75, xx - 20) < 9)
    np.save("mri_slice.npy", mri + rng.normal(0, 1.5, mri.shape))
    Path("mri_slice.json").write_text(json.dumps({"dx_mm": 0.8, "dy_mm": 0.9}))

    genes = [f"G{i:03d}" for i in range(150)]
    Path("pathways.json").write_text(
        json.dumps({f"path{p}": sorted(str(g) for g in rng.choice(genes, 25, replace=False)) for p in range(12)})
    )

    fasta = []
    for name, probs in {
        "ecoli": [0.25] * 4,
        "plasmodium": [0.4, 0.1, 0.1, 0.4],
        "myco": [0.17, 0.33, 0.33, 0.17],
    }.items():
        fasta.append(
            f">{name} simulated\n" + "\n".join("".join(rng.choice(list("ACGT"), 70, p=probs)) for _ in range(60))
        )
    Path("genomes.fa").write_text("\n".join(fasta) + "\n")

    centres = rng.uniform(0.05, 0.6, (4, 6))
    which = rng.integers(0, 4, 400)
    pixels = centres[which] + rng.normal(0, 0.03, (400, 6))
    scaler = StandardScaler().fit(pixels)
    clf = RandomForestClassifier(n_estimators=15, random_state=1).fit(scaler.transform(pixels), which)
    joblib.dump({"scaler": scaler, "model": clf, "labels": ["water", "forest", "crop", "urban"]}, "landcover.joblib")

    topics = [
        "protein folding structure binding ligand enzyme stability mutation".split(),
        "earthquake rupture fault seismic velocity slip aftershock magnitude".split(),
        "forest species biodiversity habitat climate drought canopy growth".split(),
        "neutrino detector quark collision boson decay luminosity lepton".split(),
    ]
    lines = []
    for i in range(80):
        words = list(rng.choice(topics[i % 4], 9)) + list(rng.choice(topics[(i + 1) % 4], 2))
        lines.append(f"study {i}: " + " ".join(str(w) for w in words))
    Path("abstracts.txt").write_text("\n".join(lines) + "\n")

    np.savetxt("cartpole_A.txt", [[0, 1, 0, 0], [0, -0.1, 3.0, 0], [0, 0, 0, 1], [0, -0.5, 30.0, 0]])
    np.savetxt("cartpole_B.txt", [0, 2.0, 0, 5.0])
    np.savetxt("form_factor_al.txt", [6.4202, 1.9002, 1.5936, 1.9646, 3.0387, 0.7426, 31.5472, 85.0886, 1.1151])

    dbh = rng.uniform(5, 60, 90)
    species = np.array(["Fagus", "Quercus", "Picea"])[np.arange(90) % 3]
    trees = pd.DataFrame(
        {"species": species, "dbh_cm": dbh, "biomass_kg": 0.12 * dbh**2.45 * rng.lognormal(0, 0.1, 90)}
    )
    trees["wood_density"] = trees["species"].map({"Fagus": 0.58, "Quercus": 0.6, "Picea": 0.37})
    trees.loc[::17, "biomass_kg"] = -1.0
    trees.to_csv("harvested_trees.csv", index=False)
    Path("report_template.json").write_text(json.dumps({"method": "allometry", "notes": ["draft"]}))

    np.savetxt("lead_mu.txt", [[50, 8.04], [100, 5.549], [200, 0.9985], [500, 0.1614], [1000, 0.0710], [2000, 0.0461]])

    np.save("concentration.npy", np.exp(-((np.arange(200) - 100) ** 2) / 50.0))
    Path("diffusion.json").write_text(json.dumps({"diffusivity": 0.8, "dt": 0.5, "steps": 120, "floor": None}))

    sub = rng.integers(-4, 3, (20, 20))
    sub = np.minimum(sub, sub.T)
    np.fill_diagonal(sub, 5)
    Path("substitution.txt").write_text(
        " ".join(AMINO_ACIDS) + "\n" + "".join(f"{aa} {' '.join(map(str, row))}\n" for aa, row in zip(AMINO_ACIDS, sub))
    )

    np.save("micrograph.npy", np.sin(0.2 * 2 * np.pi * np.mgrid[0:128, 0:128][1]) + rng.normal(0, 0.5, (128, 128)))

    pd.DataFrame(
        {
            "name": [f"WS{i:02d}" for i in range(60)],
            "lat": rng.uniform(-60, 70, 60).round(3),
            "lon": rng.uniform(-180, 180, 60).round(3),
        }
    ).to_csv("weather_stations.csv", index=False)

    Path("expression.db").unlink(missing_ok=True)
    db = sqlite3.connect("expression.db")
    db.execute("CREATE TABLE expression (sample TEXT, gene TEXT, tpm REAL)")
    db.executemany(
        "INSERT INTO expression VALUES (?, ?, ?)",
        [(f"S{s}", g, float(rng.gamma(2.0, 10.0))) for s in range(6) for g in ("TP53", "MYC", "EGFR")],
    )
    db.commit()
    db.close()

    Path("bulletin.txt").write_text(
        "EVENT ev1 2021-03-01\nANK P 3.21\nBRN P 5.90\nBRN S 9.75\n\n"
        "EVENT ev2 2021-03-02\nCLF P 1.10\nDRY S 4.40\n\nEVENT ev3 2021-03-05\nELM P 7.77\n"
    )

    pd.DataFrame({"node": ["n1", "n2", "n3"], "busy_until": [0.0, 2.5, 1.0]}).to_csv("nodes.csv", index=False)

    xyz = rng.normal(0, 2, (12, 3))
    with open("trajectory.xyz", "w") as handle:
        for t in range(30):
            handle.write(f"12\nframe {t}\n")
            handle.writelines(f"Ar {x:.5f} {y:.5f} {z:.5f}\n" for x, y, z in xyz)
            xyz = xyz + rng.normal(0, 0.1, xyz.shape)

    Path("hardness").mkdir(exist_ok=True)
    for alloy, offset in (("steel", 150.0), ("bronze", 80.0)):
        X = rng.uniform(0, 1, (40, 3))
        joblib.dump(Ridge(alpha=0.1).fit(X, offset + X @ [30.0, -12.0, 55.0]), f"hardness/{alloy}.joblib")

    np.save("ct.npy", rng.integers(0, 2000, (16, 16, 16)).astype(np.int16))
    np.savetxt("process_noise.txt", [[0.02, 0.01], [0.01, 0.02]])
    Path("lj_argon.json").write_text(json.dumps({"name": "LJ-Ar", "epsilon": 0.0104, "sigma": 3.4, "cutoff": 8.5}))


# ---------------------------------------------------------------- ground truth

EXPECTED: dict[str, tuple[str, ...]] = {
    "score_mutation": ("checkpoint", "vocab", "model"),
    "locate_event": ("stations", "layers", "xs", "depths", "table"),
    "habitat_suitability": ("records", "X", "y", "forest"),
    "dimuon_mass": ("calib", "edges", "scale", "corrected"),
    # line, smi and name: what the reading loop leaves behind (strings)
    "nearest_library_compound": ("generator", "names", "fps", "line", "smi", "name"),
    "structural_alerts": ("params", "catalog", "reactive"),
    "lesion_area": ("flood", "image", "header", "pixel_mm2"),
    # log_choose closes over logfact only, so it too may be shared
    "pathway_enrichment": ("pathways", "background", "N", "logfact", "log_choose"),
    "classify_read": ("genomes", "models"),
    # the inline print must be repeated by every call
    "land_cover": ("bundle", "scaler", "model", "labels"),
    "similar_abstracts": ("corpus", "vectorizer", "tfidf", "svd", "embedded"),
    "simulate_lqr": ("A", "B", "Q", "R", "P", "K"),
    "powder_pattern": ("coeffs", "hkl", "multiplicity", "order"),
    "plot_biomass": ("trees", "density"),  # report is changed and returned
    "shield_transmission": ("table",),  # rng depends on the seed and is consumed
    "diffuse": ("laplacian", "initial"),  # settings is updated by the call
    "align_score": ("matrix", "index"),
    "texture_energy": ("image", "bank"),
    "nearest_stations": ("stations", "coords", "tree"),
    "cohort_expression": (),
    "bulletin_picks": (),
    "bootstrap_interval": (),
    "calibrate_retention": (),
    "schedule_makespan": (),
    "mean_square_displacement": (),
    "passes_quality": (),
    "predict_hardness": (),
    "lung_volume": (),
    "track_vehicle": (),
    "cluster_energy": (),  # the helper that loads the set-up prints, in every call
}

CALLS: dict[str, list[tuple]] = {
    "score_mutation": [("MKTAYIAKQRQISFVK", 4, "W"), ("GSHMLEDPVAG", 2, "A"), ("MKTAYIAK", 30, "A")],
    "locate_event": [
        ({"ANK": 9.1, "BRN": 6.0, "CLF": 5.2, "DRY": 8.3},),
        ({"BRN": 12.0, "CLF": 8.1, "ELM": 9.9, "XXX": 1.0},),
        ({"ANK": 9.1, "BRN": 6.0},),
    ],
    "habitat_suitability": [(420.0, 900.0, 0.66), (1900.0, 700.0, 0.5), (300.0, -5.0, 0.7)],
    "dimuon_mass": [
        ((45.2, 0.31, 0.2), (43.8, -1.4, 3.3)),
        ((12.0, 2.1, -1.0), (15.5, 1.9, 1.4)),
        ((0.0, 0.5, 0.0), (20.0, 0.1, 2.0)),
    ],
    "nearest_library_compound": [("CC(=O)Nc1ccc(OC)cc1",), ("OC(=O)c1ccccc1O",), ("C1CC(",)],
    "structural_alerts": [("CC(=O)C=CC(=O)Cl",), ("",), ("O=[N+]([O-])c1ccc(C2CO2)cc1",)],
    "lesion_area": [(40, 50, 20.0), (75, 20, 15), (120, 5, 10.0)],
    "pathway_enrichment": [
        (["G001", "G004", "G010", "G033", "G077", "G120"],),
        ([f"G{i:03d}" for i in range(0, 150, 7)],),
        (["BRCA1", "nonsense"],),
    ],
    "classify_read": [("ATTATAATTTAAATATTAGAT",), ("GCCGCGGCACGGCCGTCGAC",), ("AC",)],
    "land_cover": [
        ([[0.2, 0.1, 0.3, 0.4, 0.2, 0.1], [0.5, float("nan"), 0.2, 0.1, 0.3, 0.2]],),
        ([0.1, 0.2, 0.5, 0.3, 0.3, 0.4],),
        ([[0.1, 0.2, 0.3]],),
    ],
    "similar_abstracts": [
        ("protein ligand binding mutation", 3),
        ("seismic slip on a fault in a forest", 2),
        ("boson", 0),
    ],
    "simulate_lqr": [([0.5, 0.0, 0.1, 0.0], 100), ((0.0, 0.2, -0.2, 0.1), 60), ([0.1, 0.2], 10)],
    "powder_pattern": [(4.0495, 1.5406), (3.6149, 0.7107), (4.05, 9.0)],
    "plot_biomass": [("Fagus", [12.0, 33.5, 20.1]), ("Picea", (8.0, 41.0)), ("Betula", [10.0])],
    "shield_transmission": [(300.0, 0.5, 1), (1200.0, 2.0, 42), (-4.0, 1.0, 3)],
    "diffuse": [({},), ({"steps": 40, "floor": 0.01},), ({"diffusivity": 3.0},)],
    "align_score": [("MKTAYIAKQR", "TAYLAKQWR"), ("GGGWPVL", "PVLWGG"), ("MKB", "MKT")],
    "texture_energy": [(0, 0, 32), (40, 60, 48), (110, 10, 40)],
    "nearest_stations": [(48.1, 11.6, 3), (-33.9, 151.2, 2), (95.0, 0.0, 1)],
    "cohort_expression": [(["S0", "S3"],), (["S5"],), (["S99"],)],
    "bulletin_picks": [("ev1",), ("ev2",), ("ev9",)],
    "bootstrap_interval": [([1.2, 3.4, 2.2, 5.1, 4.0], 0.95), ([10.0, 11.0, 9.5], 0.9), ([2.0, 2.5, 7.5, 1.0], 0.5)],
    "calibrate_retention": [
        ([[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.0, 0.9], [0.7, 0.7, 0.2, 0.1]], [1.0, 2.0, 1.5]),
        ([[0.9, 0.2, 0.4, 0.4], [0.3, 0.3, 0.3, 0.9]], [0.2, 0.8]),
        ([[0.0, 1.0, 0.0, 1.0]], [3.0]),
    ],
    "schedule_makespan": [([3.0, 1.0, 4.0, 1.5],), ([10.0, 2.0],), ([1.0, 1.0, 1.0, 1.0, 1.0],)],
    "mean_square_displacement": [(0, 5), (10, 4), (24, 20)],
    "passes_quality": [(4.2, 1), (2.0, 0), (-1.0, 0)],
    "predict_hardness": [("steel", [0.2, 0.3, 0.5]), ("bronze", [0.1, 0.6, 0.3]), ("unobtainium", [0.0, 0.5, 0.5])],
    "lung_volume": [(-950.0, -400.0), (-100.0, 200.0), (5000.0, 6000.0)],
    "track_vehicle": [([1.0, 2.1, 2.9, 4.2],), ([10.0, 9.0, 8.2],), ([0.0],)],
    "cluster_energy": [
        ([[0, 0, 0], [3.8, 0, 0], [0, 3.8, 0]],),
        ([[0, 0, 0], [4.1, 0, 0]],),
        ([[0, 0, 0], [0, 0, 0]],),
    ],
}
