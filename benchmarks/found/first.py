"""Thirty-four small scientific functions of the kind that are submitted many times.

Call prepare(folder) first: it writes the data files and makes `folder` the
current working directory, because the functions open their files by bare name.
"""

# ruff: noqa
import bisect
import csv
import datetime
import hashlib
import itertools
import json
import os
import re
import sqlite3
import statistics
import struct
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

BASELINE_TITRES = (12.5, 40.0, 8.25, 160.0, 80.0, 20.0, 320.0, 5.0)
STATION_KEY = b"station-17/limnology"
CONTACTS = (("A12", "A40"), ("A12", "A41"), ("A40", "A77"), ("B3", "A41"), ("B3", "B9"))
CALIBRATION = ((1.0, 0.2, 0.1), (1.0, 0.5, 0.3), (1.0, 0.9, 0.7), (1.0, 1.4, 1.6))
REACTIONS = (
    ("glucose", "g6p", 1.0),
    ("g6p", "f6p", 0.5),
    ("f6p", "fbp", 1.2),
    ("fbp", "g3p", 0.8),
    ("g3p", "pyruvate", 2.5),
    ("g6p", "ru5p", 1.7),
    ("ru5p", "g3p", 1.1),
    ("pyruvate", "lactate", 0.6),
    ("pyruvate", "acetyl-coa", 1.0),
    ("heme", "biliverdin", 1.0),
)
ABSTRACTS = (
    "Deep sequencing of soil microbial communities under drought",
    "Bayesian inference of gravitational wave source populations",
    "Protein folding simulations with coarse grained force fields",
    "Drought tolerance genes in sorghum and maize",
    "Machine learned force fields for liquid water",
    "Stellar populations in dwarf galaxies of the local group",
)
UNITS_XML = """<units>
  <unit name="m" dim="length">1.0</unit> <unit name="cm" dim="length">0.01</unit>
  <unit name="ft" dim="length">0.3048</unit> <unit name="angstrom" dim="length">1e-10</unit>
  <unit name="g" dim="mass">0.001</unit> <unit name="kg" dim="mass">1.0</unit>
  <unit name="lb" dim="mass">0.45359237</unit>
</units>"""


def prepare(folder):
    """Write every data file into `folder` and change into it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    bases = "TCAG"
    amino = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
    codons = {"".join(c): a for c, a in zip(itertools.product(bases, repeat=3), amino)}
    Path("codons.json").write_text(json.dumps(codons))
    with open("genes.csv", "w", newline="") as fh:
        out = csv.writer(fh)
        out.writerow(["chrom", "start", "end", "gene"])
        out.writerows(
            [
                ["chr1", 5000, 7200, "BETA1"],
                ["chr1", 100, 900, "ALPH2"],
                ["chr1", 9100, 9950, "GAMM4"],
                ["chr2", 250, 4000, "DELT1"],
                ["chr2", 6000, 6100, "MIR21"],
                ["chrX", 10, 800, "XIST9"],
            ]
        )
    rows = ["well,kind,signal"]
    rows += [
        f"{r}{c},{'blank' if c == 1 else 'sample'},{0.05 * c * c + 0.1 * i + 0.2:.3f}"
        for i, r in enumerate("ABC")
        for c in range(1, 5)
    ]
    Path("plate.csv").write_text("\n".join(rows) + "\n")
    Path("stock.db").unlink(missing_ok=True)
    con = sqlite3.connect("stock.db")
    con.execute("CREATE TABLE reagents (name TEXT, price TEXT)")
    con.executemany(
        "INSERT INTO reagents VALUES (?, ?)", [("ethanol", "0.045"), ("dmso", "0.312"), ("trypsin", "14.75")]
    )
    con.commit()
    con.close()
    samples = [round(1000 * np.sin(i / 5.0)) for i in range(120)]
    Path("trace.bin").write_bytes(struct.pack("<4sI", b"TRC1", 2) + struct.pack("<120h", *samples))
    Path("control.csv").write_text("\n".join(f"{4 + (i * 37 % 11) / 5:.2f}" for i in range(24)) + "\n")
    Path("instruments.json").write_text(
        json.dumps(
            {
                "default": {"gain": 1.0, "filters": ["none"]},
                "nmr-500": {"gain": 3.5, "filters": ["bandpass", "notch"]},
                "ftir": {"gain": 0.8, "filters": ["apodise"]},
            }
        )
    )
    Path("solvents.json").write_text(json.dumps({"water": 80.1, "dmso": 46.7, "hexane": 1.88}))
    Path("tally.json").write_text(json.dumps({"daphnia": 4, "copepod": 11}))
    Path("packets.log").write_text("")


# --------------------------------------------------------------------------
# helpers
# --------------------------------------------------------------------------


def _residue_masses():
    names = "GASPVTCLINDQKEMHFRYW"
    values = (
        57.02146,
        71.03711,
        87.03203,
        97.05276,
        99.06841,
        101.04768,
        103.00919,
        113.08406,
        113.08406,
        114.04293,
        115.02694,
        128.05858,
        128.09496,
        129.04259,
        131.04049,
        137.05891,
        147.06841,
        156.10111,
        163.06333,
        186.07931,
    )
    return dict(zip(names, values)), 18.010565, 1.007276


def _crc_table():
    table = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021) & 0xFFFF if crc & 0x8000 else (crc << 1) & 0xFFFF
        table.append(crc)
    return tuple(table)


def _lerp_energy(r, grid, table):
    total = 0.0
    step = grid[1] - grid[0]
    for i in range(r.shape[0]):
        x = min(max(r[i], grid[0]), grid[-1])
        j = min(int((x - grid[0]) / step), grid.shape[0] - 2)
        t = (x - grid[j]) / step
        total += table[j] * (1.0 - t) + table[j + 1] * t
    return total


def _collect_atoms(tokens, factor, totals):
    for part in tokens:
        if isinstance(part[0], str):
            totals[part[0]] += factor * part[1]
        else:
            _collect_atoms(part[0], factor * part[1], totals)
    return totals


def _partition_counter(store):
    def count(n, largest):
        if n == 0:
            return 1
        if n < 0 or largest == 0:
            return 0
        if (n, largest) not in store:
            store[n, largest] = count(n - largest, largest) + count(n, largest - 1)
        return store[n, largest]

    return count


def _contact_map(pairs):
    contacts = {}
    for a, b in pairs:
        contacts.setdefault(a, set()).add(b)
        contacts.setdefault(b, set()).add(a)
    return contacts


def _load_solvents(path):
    text = Path(path).read_text()
    print(f"loaded dielectric table {path}")
    return json.loads(text)


def _add_spike(frame, concentration, response):
    frame.loc[len(frame)] = [concentration, response]


# --------------------------------------------------------------------------
# functions with something worth hoisting
# --------------------------------------------------------------------------


def classify_wine(features):
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_wine()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model.fit(data.data, data.target)

    row = np.asarray(features, dtype=float).reshape(1, -1)
    proba = model.predict_proba(row)[0]
    best = int(proba.argmax())
    return str(data.target_names[best]), round(float(proba[best]), 6)


def recognise_digit(pixels):
    from sklearn.cluster import KMeans
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    X, y = load_digits(return_X_y=True)
    pca = PCA(n_components=8, random_state=0).fit(X)
    km = KMeans(n_clusters=12, n_init=1, random_state=0).fit(pca.transform(X))
    majority = [int(np.bincount(y[km.labels_ == c]).argmax()) for c in range(12)]

    image = np.asarray(pixels, dtype=float).reshape(1, 64)
    cluster = int(km.predict(pca.transform(image))[0])
    return majority[cluster]


def surrogate_energy(descriptor):
    import torch
    from torch import nn

    state = {
        "0.weight": torch.linspace(-1.0, 1.0, 32).reshape(8, 4),
        "0.bias": torch.linspace(0.0, 0.7, 8),
        "2.weight": torch.linspace(0.5, -0.5, 8).reshape(1, 8),
        "2.bias": torch.tensor([0.125]),
    }
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    net.load_state_dict(state)
    net.eval()
    with torch.no_grad():
        value = net(torch.tensor(descriptor, dtype=torch.float32))
    return round(value.item(), 5)


def screen_molecule(smiles):
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    alerts = {
        "nitro": Chem.MolFromSmarts("[N+](=O)[O-]"),
        "aldehyde": Chem.MolFromSmarts("[CX3H1](=O)[#6]"),
        "michael": Chem.MolFromSmarts("C=CC(=O)"),
        "aniline": Chem.MolFromSmarts("c[NX3;H2]"),
    }
    gen = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    refs = [
        gen.GetFingerprint(Chem.MolFromSmiles(s)) for s in ("CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C)C(=O)N2C")
    ]

    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise ValueError(f"unreadable SMILES: {smiles}")
    hits = [name for name, patt in alerts.items() if mol.HasSubstructMatch(patt)]
    near = DataStructs.BulkTanimotoSimilarity(gen.GetFingerprint(mol), refs)
    return {"alerts": hits, "nearest": round(max(near), 4)}


def translate_orf(sequence):
    codons = json.loads(Path("codons.json").read_text())
    stops = frozenset(c for c, aa in codons.items() if aa == "*")
    protein = []
    rna = sequence.upper().replace("U", "T")
    for i in range(0, len(rna) - 2, 3):
        codon = rna[i : i + 3]
        if codon in stops:
            break
        protein.append(codons.get(codon, "X"))
    return "".join(protein)


def annotate_variant(chrom, position):
    if position < 1:
        raise ValueError("positions are 1-based")
    genes = pd.read_csv("genes.csv")
    by_chrom = {c: g.sort_values("start") for c, g in genes.groupby("chrom")}
    local = by_chrom.get(chrom)
    if local is None:
        return "unplaced"
    i = int(local["start"].searchsorted(position, side="right")) - 1
    if i < 0 or position > local["end"].iloc[i]:
        return "intergenic"
    return str(local["gene"].iloc[i])


def pair_energy(distances):
    import numba

    grid = np.linspace(0.8, 3.0, 441)
    table = 4.0 * (grid**-12 - grid**-6)
    table -= table[-1]
    kernel = numba.njit(_lerp_energy)
    r = np.ascontiguousarray(distances, dtype=np.float64)
    return round(float(kernel(r, grid, table)), 8)


def parse_log_line(line):
    head = re.compile(r"^(?P<stamp>\d{4}-\d\d-\d\dT\d\d:\d\d) \[(?P<unit>[A-Z]+\d)\] (?P<rest>.*)$")
    pair = re.compile(r"(\w+)=(-?\d+(?:\.\d+)?)(mK|K|mbar|bar)?")
    scale = {"mK": 1e-3, "K": 1.0, "mbar": 100.0, "bar": 1e5}
    m = head.match(line.strip())
    if m is None:
        raise ValueError(f"bad log line: {line!r}")
    record = {"stamp": m["stamp"], "unit": m["unit"]}
    for key, number, suffix in pair.findall(m["rest"]):
        record[key] = float(number) * scale.get(suffix, 1.0)
    return record


def convert_units(value, source, target):
    print("convert_units: table v3")
    root = ET.fromstring(UNITS_XML)
    factors = {u.get("name"): (u.get("dim"), float(u.text)) for u in root.iter("unit")}
    (dim_a, a), (dim_b, b) = factors[source], factors[target]
    if dim_a != dim_b:
        raise TypeError(f"cannot convert {dim_a} to {dim_b}")
    return value * a / b


def compress_signal(signal, keep):
    n = 16
    k = np.arange(n)
    basis = np.cos(np.pi * (2 * k[None, :] + 1) * k[:, None] / (2 * n))
    basis[0] /= np.sqrt(2.0)
    basis *= np.sqrt(2.0 / n)
    padded = np.zeros(n)
    padded[: len(signal)] = signal
    coefs = basis @ padded
    order = np.argsort(-np.abs(coefs), kind="stable")
    coefs[order[keep:]] = 0.0
    return (basis.T @ coefs).round(6).tolist()


def peptide_ions(peptide, max_charge=2):
    if not peptide:
        return []
    masses, water, proton = _residue_masses()
    ions = []
    neutral = water + sum(masses[aa] for aa in peptide)
    for z in range(1, max_charge + 1):
        ions.append((z, round((neutral + z * proton) / z, 4)))
    return ions


def metabolic_route(source, target):
    import networkx as nx

    g = nx.Graph()
    g.add_weighted_edges_from(REACTIONS)
    g.remove_node("biliverdin")
    cost, path = nx.single_source_dijkstra(g, source, target)
    return {"cost": round(cost, 3), "path": path}


def formula_composition(text):
    import pyparsing as pp

    element = pp.Regex(r"[A-Z][a-z]?")
    count = pp.Regex(r"[1-9]\d*")
    count.set_parse_action(lambda toks: int(toks[0]))
    formula = pp.Forward()
    nested = pp.Group(pp.Suppress("(") + formula + pp.Suppress(")"))
    term = pp.Group((element | nested) + pp.Opt(count, default=1))
    formula <<= pp.OneOrMore(term)

    tokens = formula.parse_string(text, parse_all=True)
    totals = _collect_atoms(tokens, 1, Counter())
    return dict(sorted(totals.items()))


def predator_prey_jacobian(prey, predators):
    import sympy as sp

    sx, sy = sp.symbols("x y", positive=True)
    field = sp.Matrix([sx * (sp.Rational(11, 10) - sx / 10) - sx * sy / (1 + sx), sx * sy / (2 + 2 * sx) - sy / 5])
    jac = field.jacobian([sx, sy])
    fn = sp.lambdify((sx, sy), jac, "numpy")

    values = np.asarray(fn(float(prey), float(predators)), dtype=float)
    eig = np.linalg.eigvals(values)
    return round(float(np.trace(values)), 9), bool((eig.real < 0).all())


def check_sample_record(record):
    from jsonschema import Draft202012Validator

    schema = {
        "type": "object",
        "required": ["id", "depth_m"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "pattern": "^S[0-9]{4}$"},
            "depth_m": {"type": "number", "minimum": 0, "maximum": 11000},
            "tags": {"type": "array", "items": {"enum": ["core", "water", "biota"]}, "uniqueItems": True},
        },
    }
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    return sorted(f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in validator.iter_errors(record))


def reagent_cost(name, millilitres):
    con = sqlite3.connect("stock.db")
    rows = con.execute("SELECT name, price FROM reagents").fetchall()
    con.close()
    price = {reagent: Decimal(text) for reagent, text in rows}
    cent = Decimal("0.01")
    if name not in price:
        raise LookupError(f"no price for {name}")
    total = price[name] * Decimal(str(millilitres))
    return str(total.quantize(cent))


def related_abstract(query):
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(stop_words="english", ngram_range=(1, 2), sublinear_tf=True)
    matrix = vectoriser.fit_transform(ABSTRACTS)
    scores = (matrix @ vectoriser.transform([query]).T).toarray().ravel()
    best = int(scores.argmax())
    print(f"{query!r}: best of {len(ABSTRACTS)} is {best}")
    return best, round(float(scores[best]), 6)


def verify_packet(blob):
    header = struct.Struct("<HBf")
    crc = _crc_table()
    keyed = hashlib.sha256()
    keyed.update(STATION_KEY)

    station, kind, reading = header.unpack_from(blob)
    check = 0xFFFF
    for byte in blob:
        check = ((check << 8) & 0xFFFF) ^ crc[(check >> 8) ^ byte]
    digest = keyed.copy()
    digest.update(blob)
    with open("packets.log", "a") as log:
        log.write(f"{station} {kind} {check:04x}\n")
    return station, kind, round(reading, 4), check, digest.hexdigest()[:16]


def rescaled_plate_mean(factor, exclude=()):
    plate = pd.read_csv("plate.csv")
    blank = plate.loc[plate["kind"] == "blank", "signal"].mean()
    plate["net"] = plate["signal"] - blank
    plate = plate.set_index("well")

    work = plate.copy()
    work["net"] *= factor
    work.drop(index=list(exclude), inplace=True)
    return round(float(work.loc[work["kind"] == "sample", "net"].mean()), 6)


# --------------------------------------------------------------------------
# functions where nothing, or only part, may be hoisted
# --------------------------------------------------------------------------


def percentile_in_reference(titre):
    reference = sorted(BASELINE_TITRES)
    pool = reference
    bisect.insort(pool, titre)
    below = bisect.bisect_left(reference, titre)
    return round(100.0 * below / len(reference), 3), statistics.median(reference)


def flat_field_total(channel, gain):
    ramp = np.linspace(0.5, 2.0, 32)
    frame = ramp.reshape(4, 8)
    row = frame[channel]
    row *= gain
    return round(float(ramp.sum()), 8)


def count_partitions(n):
    if n < 0:
        raise ValueError("n must not be negative")
    memo = {}
    count = _partition_counter(memo)
    total = count(n, n)
    return total, len(memo)


def assign_adapters(samples, issued={}):
    adapters = ("ACGTAC", "TTAGGC", "GATCAG")
    lanes = itertools.cycle(adapters)
    sheet = []
    for sample in samples:
        issued[sample] = issued.get(sample, 0) + 1
        sheet.append(f"{sample}:{next(lanes)}:{issued[sample]}")
    return sheet


def store_and_summarise(site, reading):
    con = sqlite3.connect(":memory:")
    cur = con.cursor()
    cur.execute("CREATE TABLE obs (site TEXT, reading REAL)")
    cur.executemany("INSERT INTO obs VALUES (?, ?)", [("north", 3.5), ("north", 4.5), ("south", 7.0)])
    cur.execute("INSERT INTO obs VALUES (?, ?)", (site, reading))
    cur.execute("SELECT COUNT(*), AVG(reading) FROM obs WHERE site = ?", (site,))
    return cur.fetchone()


def first_trace_points(count):
    if count < 0 or count > 60:
        raise ValueError("between 0 and 60 points")
    fh = open("trace.bin", "rb")
    magic, channels = struct.unpack("<4sI", fh.read(8))
    raw = fh.read(2 * channels * count)
    fh.close()
    values = np.frombuffer(raw, dtype="<i2").reshape(count, channels)
    return magic.decode(), values.sum(axis=0).tolist()


def bootstrap_shift(treated, draws):
    control = np.loadtxt("control.csv", delimiter=",")
    base_mean = float(control.mean())
    rng = np.random.default_rng(2024)
    picks = rng.choice(control, size=(draws, control.size), replace=True)
    spread = float(picks.mean(axis=1).std())
    return round((float(np.mean(treated)) - base_mean) / spread, 8)


def contact_shell(residues):
    contacts = defaultdict(set)
    contacts.update(_contact_map(CONTACTS))
    shell = set()
    for residue in residues:
        shell |= contacts[residue]
    return sorted(shell.difference(residues)), len(contacts)


def instrument_profile(name):
    profiles = json.loads(Path("instruments.json").read_text())
    fallback = profiles["default"]
    if not name:
        return fallback
    return profiles.get(name, fallback)


def smooth_and_label(values, tag):
    kernel = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
    scratch = os.environ.get("SCRATCH_DIR", "/scratch")
    today = datetime.date.today()
    smooth = np.convolve(np.asarray(values, dtype=float), kernel, mode="valid")
    return {"path": f"{scratch}/{today:%Y%m%d}_{tag}.npy", "peak": round(float(smooth.max()), 6)}


def calibration_gradient(targets):
    import torch

    design = torch.tensor(CALIBRATION, dtype=torch.float64)
    weights = torch.linspace(0.0, 1.0, 3, dtype=torch.float64).requires_grad_()
    residual = design @ weights - torch.tensor(targets, dtype=torch.float64)
    loss = (residual**2).mean()
    loss.backward()
    return round(loss.item(), 8), [round(g, 8) for g in weights.grad.tolist()]


def born_solvation(solvent, charge, radius):
    table = _load_solvents("solvents.json")
    eps = table[solvent]
    energy = -166.03 * charge**2 / radius * (1.0 - 1.0 / eps)
    print(f"{solvent}: {energy:.3f} kcal/mol")
    return round(energy, 6)


def record_sighting(species, number):
    tally = json.loads(Path("tally.json").read_text())
    updated = {**tally, species: tally.get(species, 0) + number}
    Path("tally.json").write_text(json.dumps(updated, sort_keys=True))
    return updated[species], sum(updated.values())


def spiked_slope(concentration, response):
    curve = pd.DataFrame({"conc": [0.0, 1.0, 2.0, 4.0], "resp": [0.02, 0.98, 2.05, 3.9]})
    curve["resp"] = curve["resp"] - curve["resp"].iloc[0]
    _add_spike(curve, concentration, response)
    slope, intercept = np.polyfit(curve["conc"], curve["resp"], 1)
    return round(float(slope), 8), round(float(intercept), 8), len(curve)


def histogram_report(values, low, high):
    lines = ["bin,weight"]
    edges = np.linspace(low, high, 7)
    window = np.hanning(5)[1:-1]
    window /= window.sum()
    counts, _ = np.histogram(values, bins=edges)
    for left, weight in zip(edges, np.convolve(counts, window, mode="same")):
        lines.append(f"{left:.2f},{weight:.3f}")
    return "\n".join(lines)


# --------------------------------------------------------------------------
# Names of modules and classes bound by imports inside a function are not listed.
# --------------------------------------------------------------------------


EXPECTED = {
    # worthwhile
    "classify_wine": ["data", "model"],
    "recognise_digit": ["X", "y", "pca", "km", "majority"],
    "surrogate_energy": ["state", "net"],
    "screen_molecule": ["alerts", "gen", "refs"],
    "translate_orf": ["codons", "stops"],
    "annotate_variant": ["genes", "by_chrom"],
    "pair_energy": ["grid", "table", "kernel"],
    "parse_log_line": ["head", "pair", "scale"],
    "convert_units": ["root", "factors"],
    "compress_signal": ["n", "k", "basis"],
    "peptide_ions": ["masses", "water", "proton"],
    "metabolic_route": ["g"],
    "formula_composition": ["element", "count", "formula", "nested", "term"],
    "predator_prey_jacobian": ["sx", "sy", "field", "jac", "fn"],
    "check_sample_record": ["schema", "validator"],
    "reagent_cost": ["rows", "price", "cent"],
    "related_abstract": ["vectoriser", "matrix"],
    "verify_packet": ["header", "crc", "keyed"],
    "rescaled_plate_mean": ["plate", "blank"],
    # nothing, or only part
    "percentile_in_reference": [],
    "flat_field_total": [],
    "count_partitions": [],
    "assign_adapters": ["adapters"],
    "store_and_summarise": [],
    "first_trace_points": [],
    "bootstrap_shift": ["control", "base_mean"],
    "contact_shell": [],
    "instrument_profile": [],
    "smooth_and_label": ["kernel"],
    "calibration_gradient": ["design"],
    "born_solvation": [],
    "record_sighting": [],
    "spiked_slope": [],
    "histogram_report": ["window"],  # its author looked at what comes first; it is the same each time
}

_ZERO = (0,) * 20 + (16, 16) + (0,) * 20 + (16, 16) + (0,) * 20
_RING = (0, 0, 12, 15, 15, 10, 0, 0) + (0, 6, 14, 2, 2, 14, 4, 0) * 6 + (0, 0, 12, 15, 15, 10, 0, 0)

CALLS = {
    "classify_wine": [
        ((13.2, 1.8, 2.4, 16.0, 105, 2.8, 3.1, 0.28, 2.1, 5.6, 1.05, 3.4, 1050),),
        ((12.4, 2.0, 2.2, 20.0, 90, 2.1, 1.9, 0.36, 1.6, 2.9, 1.1, 2.8, 480),),
        ((13.3, 3.4, 2.5, 22.0, 98, 1.6, 0.7, 0.47, 1.1, 8.0, 0.66, 1.65, 620),),
        ((13.2, 1.8),),
    ],
    "recognise_digit": [(_ZERO,), (_RING,), ((0, 0, 0, 8, 8, 0, 0, 0) * 8,), (_RING,), ((1, 2, 3),)],
    "surrogate_energy": [([0.1, 0.2, 0.3, 0.4],), ([1.0, -1.0, 0.5, 0.0],), ([0.1, 0.2, 0.3, 0.4],), ([1.0, 2.0],)],
    "screen_molecule": [
        ("O=Cc1ccccc1",),
        ("Nc1ccc([N+](=O)[O-])cc1",),
        ("not a smiles",),
        ("C=CC(=O)OC",),
        ("O=Cc1ccccc1",),
    ],
    "translate_orf": [("ATGGCCAAATAGGGG",), ("auguuunnnccc",), ("",), ("ATGGCCAAATAGGGG",)],
    "annotate_variant": [("chr1", 450), ("chr1", 8000), ("chr7", 12), ("chr2", 0), ("chr2", 6100)],
    "pair_energy": [([1.0, 1.12, 1.5],), ([0.5, 5.0],), ([],), ([1.0, 1.12, 1.5],)],
    "parse_log_line": [
        ("2024-03-01T10:15 [CRYO2] temp=4200mK pressure=1.2bar",),
        ("2024-03-01T10:16 [PUMP1] speed=820",),
        ("garbage",),
        ("2024-03-01T10:17 [CRYO2] temp=-3.5K pressure=980mbar",),
    ],
    "convert_units": [(3.0, "ft", "m"), (2.0, "lb", "g"), (1.0, "kg", "m"), (1.0, "furlong", "m")],
    "compress_signal": [
        ([1.0, 2.0, 3.0, 4.0], 3),
        ([5.0] * 16, 1),
        ([0.0, 1.0] * 4, 16),
        ([1.0] * 20, 2),
        ([1.0, 2.0], 3),
    ],
    "peptide_ions": [("PEPTIDE",), ("GAVL", 3), ("",), ("ABC",)],
    "metabolic_route": [
        ("glucose", "lactate"),
        ("ru5p", "fbp"),
        ("glucose", "heme"),
        ("glucose", "biliverdin"),
        ("f6p", "f6p"),
    ],
    "formula_composition": [("C6H12O6",), ("Ca(OH)2",), ("Al2(SO4)3",), ("h2o",), ("K4(Fe(CN)6)",)],
    "predator_prey_jacobian": [(1.0, 0.5), (10, 3), (2.0 / 3.0, 1.2), (1.0, 0.5)],
    "check_sample_record": [
        ({"id": "S0042", "depth_m": 120.5, "tags": ["core"]},),
        ({"id": "X1", "depth_m": -4, "tags": ["core", "core"]},),
        ({"depth": 3},),
        ([],),
    ],
    "reagent_cost": [("ethanol", 250), ("trypsin", 0.35), ("acetone", 10), ("dmso", 12.5)],
    "related_abstract": [
        ("drought genes in maize",),
        ("force fields for water",),
        ("zzz",),
        ("drought genes in maize",),
    ],
    "verify_packet": [
        (struct.pack("<HBf", 17, 3, 8.25),),
        (struct.pack("<HBf", 400, 1, -0.5) + b"xyz",),
        (b"\x01",),
        (struct.pack("<HBf", 17, 3, 8.25),),
    ],
    "rescaled_plate_mean": [(1.0,), (2.5, ("A2", "C4")), (0.5, ("Z9",)), (1.0,)],
    "percentile_in_reference": [(40.0,), (7.5,), (500.0,), (40.0,)],
    "flat_field_total": [(0, 2.0), (3, 0.5), (9, 1.0), (0, 2.0)],
    "count_partitions": [(5,), (12,), (-1,), (5,)],
    "assign_adapters": [(["s1", "s2"],), (["s2", "s3", "s4", "s5"],), ([],), (["s1"],)],
    "store_and_summarise": [("north", 5.0), ("south", 1.0), ("east", 2.0), ("north", 5.0)],
    "first_trace_points": [(10,), (60,), (-1,), (10,), (0,)],
    "bootstrap_shift": [([5.5, 6.0, 5.8], 200), ([4.0, 4.4], 50), ([5.5, 6.0, 5.8], 200)],
    "contact_shell": [(["A12"],), (["B3", "Q1"],), (["Q2", "A40"],), (["A12"],)],
    "instrument_profile": [("nmr-500",), ("",), ("unknown",), ("ftir",), ("nmr-500",)],
    "smooth_and_label": [([0, 0, 1, 5, 1, 0, 0], "run7"), ([2.0] * 9, "run8"), ([], "empty")],
    "calibration_gradient": [([0.3, 0.6, 1.1, 2.2],), ([0.0, 0.0, 0.0, 0.0],), ([0.3, 0.6, 1.1, 2.2],), ([1.0, 2.0],)],
    "born_solvation": [("water", 1, 1.8), ("hexane", 2, 2.1), ("glycerol", 1, 2.0), ("water", 1, 1.8)],
    "record_sighting": [("daphnia", 3), ("rotifer", 9), ("daphnia", 3)],
    "spiked_slope": [(8.0, 8.2), (3.0, 2.0), (8.0, 8.2)],
    "histogram_report": [([1, 2, 2, 3, 8], 0, 9), ([0.1, 0.4, 0.45], 0.0, 0.5), ([1.0], 5, 1), ([1, 2, 2, 3, 8], 0, 9)],
}
