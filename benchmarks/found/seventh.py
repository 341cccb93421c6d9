# ruff: noqa
"""Second collection of task functions: signal, finance, chemistry, logs, text, physics (set 7)."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import linalg, signal

LOG_RULES = "log_rules.yaml"
LIB_DIR = Path("library")


def prepare(folder: Path) -> None:
    import struct

    import joblib
    import networkx as nx
    import yaml
    from PIL import Image
    from rdkit import Chem
    from sklearn.cluster import MiniBatchKMeans
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(707)

    # --- tiny BERT
    words = (
        "protein binds ligand strongly weakly cell membrane receptor the a of to enzyme inhibits "
        "activates pathway kinase gene expression increases decreases in mouse human tissue"
    ).split()
    vocab = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + words)}
    tk = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tk.normalizer = normalizers.Lowercase()
    tk.pre_tokenizer = pre_tokenizers.Whitespace()
    tk.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tk, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(str(folder / "biobert-mini"))
    torch.manual_seed(7)
    BertModel(
        BertConfig(
            vocab_size=len(vocab),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
    ).save_pretrained(folder / "biobert-mini")

    # --- a one-layer ONNX model, written by hand (the onnx package is not needed)
    def vint(n):
        out = b""
        while True:
            n, low = n >> 7, n & 127
            out += bytes([low | (128 if n else 0)])
            if not n:
                return out

    def fint(f, n):
        return vint(f << 3) + vint(n)

    def fbytes(f, b):
        b = b.encode() if isinstance(b, str) else b
        return vint(f << 3 | 2) + vint(len(b)) + b

    def tensor(name, a):
        a = np.ascontiguousarray(a, dtype="<f4")
        return b"".join(fint(1, d) for d in a.shape) + fint(2, 1) + fbytes(8, name) + fbytes(9, a.tobytes())

    def value(name, dims):
        shape = b"".join(fbytes(1, fbytes(2, d) if isinstance(d, str) else fint(1, d)) for d in dims)
        return fbytes(1, name) + fbytes(2, fbytes(1, fint(1, 1) + fbytes(2, shape)))

    def node(op, ins, outs):
        return (
            b"".join(fbytes(1, i) for i in ins)
            + b"".join(fbytes(2, o) for o in outs)
            + fbytes(3, op + outs[0])
            + fbytes(4, op)
        )

    smooth = np.array([[np.exp(-(((i - j) / 2.0) ** 2)) for j in range(32)] for i in range(32)])
    smooth /= smooth.sum(0)
    graph = (
        fbytes(1, node("MatMul", ["x", "W"], ["h"]))
        + fbytes(1, node("Add", ["h", "b"], ["s"]))
        + fbytes(1, node("Tanh", ["s"], ["y"]))
        + fbytes(2, "denoise")
        + fbytes(5, tensor("W", smooth))
        + fbytes(5, tensor("b", np.full(32, 0.01)))
        + fbytes(11, value("x", ["N", 32]))
        + fbytes(12, value("y", ["N", 32]))
    )
    (folder / "denoise.onnx").write_bytes(fint(1, 8) + fbytes(7, graph) + fbytes(8, fbytes(1, "") + fint(2, 13)))

    # --- chemistry
    (folder / "library").mkdir(exist_ok=True)
    (folder / "library" / "fragments.smi").write_text(
        "\n".join(
            f"{s}\tF{i:02d}"
            for i, s in enumerate(
                "CCO CCN c1ccccc1O c1ccccc1N CC(=O)O CC(=O)N c1ccncc1 C1CCNCC1 C1COCCN1 "
                "OC(=O)c1ccccc1 Cc1ccccc1 CCOC(=O)C NCCc1ccccc1 O=C1CCCN1 c1ccc2[nH]ccc2c1".split()
            )
        )
    )
    (folder / "library" / "amines.smi").write_text(
        "CN methylamine\nNCC ethylamine\nC1CCNCC1 piperidine\nC1COCCN1 morpholine\nNc1ccccc1 aniline\n"
    )
    Chem.MolToMolFile(Chem.MolFromSmiles("CC(C)Cc1ccc(cc1)C(C)C(=O)O"), str(folder / "ligand.mol"))

    # --- tables and models
    blobs = np.vstack([rng.normal(c, 0.6, (80, 3)) for c in ((0, 0, 0), (4, 4, 0), (0, 5, 5))])
    joblib.dump(MiniBatchKMeans(3, random_state=0, n_init=3).fit(blobs), folder / "regimes.joblib")
    np.save(folder / "blobs.npy", blobs)
    soil = pd.DataFrame(
        rng.normal(size=(120, 4)) @ rng.normal(size=(4, 4)) + 10, columns=["ph", "clay", "carbon", "moisture"]
    )
    soil.mask(rng.random(soil.shape) < 0.05).to_csv(folder / "soil.csv", index=False)
    np.save(folder / "features.npy", rng.normal(5, 3, (60, 8)))
    np.save(folder / "nbody.npy", np.c_[rng.normal(size=(20, 6)), rng.uniform(0.5, 2, 20)])
    ser = np.sin(np.arange(600) / 25) + rng.normal(0, 0.1, 600)
    ser[rng.integers(0, 600, 40)] = np.nan
    ser[rng.integers(0, 600, 6)] = 25
    np.save(folder / "buoy.npy", ser)

    root = "".join(
        f'<star id="HD{i}" type="{"OBAFGKM"[i % 7]}"><ra>{i * 3.1:.2f}</ra><dec>{i * 1.3 - 60:.2f}</dec><mag>{4 + (i * 37 % 60) / 10}</mag></star>'
        for i in range(100)
    )
    (folder / "catalogue.xml").write_text(f"<catalogue epoch='J2000'>{root}</catalogue>")
    (folder / "article.html").write_text(
        "<html><body><div class='ad'>Buy now!</div><h1>Storm surge</h1><p id='p1'>Level rose to 3.2 m.</p>"
        "<aside class='note'>Editor note here</aside><p id='p2'>Gates were closed at <b>04:10</b>.</p><div class='ad'>Ad 2</div></body></html>"
    )
    (folder / "log_rules.yaml").write_text(
        yaml.safe_dump(
            {
                "rules": [
                    {"name": "oom", "re": r"Out of memory: Killed process (?P<pid>\d+)", "level": 3},
                    {"name": "disk", "re": r"I/O error.*sector (?P<sector>\d+)", "level": 2},
                    {"name": "login", "re": r"session opened for user (?P<user>\w+)", "level": 0},
                ]
            }
        )
    )
    (folder / "schema.json").write_text(
        json.dumps(
            {
                "type": "object",
                "required": ["id", "depth"],
                "properties": {
                    "id": {"type": "string", "pattern": "^C[0-9]+$"},
                    "depth": {"type": "number", "minimum": 0},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
            }
        )
    )
    nx.write_edgelist(nx.karate_club_graph(), folder / "contacts.edgelist", data=False)

    lines = [(i, (i + 1) % 14, 0.05 + 0.01 * (i % 4)) for i in range(14)] + [(0, 7, 0.1), (3, 11, 0.08), (2, 9, 0.12)]
    pd.DataFrame(lines, columns=["frm", "to", "x"]).to_csv(folder / "lines.csv", index=False)
    pd.DataFrame(rng.gamma(2, 3, (5, 5)).round(3)).to_csv(folder / "contact_matrix.csv", index=False, header=False)
    (folder / "age_pop.json").write_text(json.dumps([9000, 12000, 15000, 11000, 7000]))

    fs = 10000
    t = np.arange(40)
    tmpl = np.array([-np.exp(-(((t - 12) / 3.0) ** 2)) + a * np.exp(-(((t - 20) / 5.0) ** 2)) for a in (0.3, 0.6, 0.1)])
    rec = rng.normal(0, 0.08, (3, fs))
    for ch in range(3):
        for k in rng.integers(100, fs - 100, 30):
            rec[ch, k : k + 40] += tmpl[k % 3]
    np.savez(folder / "spikes.npz", templates=tmpl, rec=rec)

    days = pd.bdate_range("2023-01-02", periods=260)
    tick = ["AAA", "BBB", "CCC", "DDD"]
    steps = rng.normal(0.0004, 0.012, (260, 1)) + rng.normal(0, 0.008, (260, 4))
    px = pd.DataFrame(50 * np.exp(np.cumsum(steps, axis=0)), index=days, columns=tick).round(3)
    px.rename_axis("date").reset_index().melt("date", var_name="ticker", value_name="close").to_csv(
        folder / "prices.csv", index=False
    )
    px[["AAA"]].rename(columns={"AAA": "close"}).rename_axis("date").to_csv(folder / "aaa.csv")
    (folder / "site_salt.bin").write_bytes(rng.bytes(4096))

    rows = [
        "! opacity table",
        "! log R across, log T down",
        "   logT " + "".join(f"{r:8.2f}" for r in np.arange(-6, 1.01, 0.5)),
    ]
    for lt in np.arange(3.7, 7.01, 0.1):
        rows.append(
            f"{lt:8.2f}"
            + "".join(f"{np.sin(lt) + 0.2 * r - 0.1 * (lt - 5) ** 2:8.3f}" for r in np.arange(-6, 1.01, 0.5))
        )
    (folder / "opal.tab").write_text("\n".join(rows) + "\n")

    (folder / "inventory.json").write_text(
        json.dumps([{"sku": f"P{i}", "qty": 10 + i * 3, "bin": "AB"[i % 2]} for i in range(8)])
    )
    (folder / "faces").mkdir(exist_ok=True)
    for i in range(12):
        g = np.add.outer(np.linspace(0, 120, 16) * (i % 4 + 1) / 4, np.linspace(0, 100, 16)) + rng.normal(
            0, 6, (16, 16)
        )
        Image.fromarray(np.clip(g, 0, 255).astype("uint8")).save(folder / "faces" / f"{i:03d}.png")
    docs = []
    topics = [
        ["ocean", "salinity", "current", "tide", "wave"],
        ["market", "bond", "yield", "equity", "credit"],
        ["galaxy", "star", "redshift", "dust", "quasar"],
    ]
    for i in range(45):
        docs.append(
            " ".join(rng.choice(topics[i % 3], 12).tolist() + rng.choice(["study", "model", "data"], 3).tolist())
        )
    (folder / "abstracts.txt").write_text("\n".join(docs))
    (folder / "base_run.yaml").write_text(
        yaml.safe_dump(
            {"solver": {"dt": 0.01, "order": 2, "tol": 1e-6}, "physics": {"nu": 0.3, "k": 2.0}, "outputs": ["u"]}
        )
    )
    Xg = np.sort(rng.uniform(0, 10, 40))
    pd.DataFrame({"depth": Xg, "vp": np.sin(Xg) + rng.normal(0, 0.1, 40)}).to_csv(folder / "well.csv", index=False)
    np.savetxt(folder / "ladder.txt", rng.uniform(0.1, 1.0, 30))
    pd.DataFrame({"item": [f"i{k}" for k in range(6)], "size": [4, 8, 1, 4, 2, 1]}).to_csv(
        folder / "items.csv", index=False
    )


# --- helpers used by some tasks --------------------------------------------
def _despike(x, limit):
    bad = np.abs(x) > limit
    x[bad] = np.nan
    return int(bad.sum())


def _haversine_like(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(((a - b) ** 2).sum(axis=-1))


# --- tasks ------------------------------------------------------------------
def embed_sentence(text: str, pooling: str = "mean") -> list[float]:
    from transformers import AutoModel, AutoTokenizer

    tok = AutoTokenizer.from_pretrained("./biobert-mini")
    model = AutoModel.from_pretrained("./biobert-mini")
    model.eval()

    batch = tok(text, return_tensors="pt", truncation=True, max_length=32, return_token_type_ids=False)
    with torch.inference_mode():
        hidden = model(**batch).last_hidden_state
    if pooling == "cls":
        vec = hidden[0, 0]
    else:
        mask = batch["attention_mask"].unsqueeze(-1)
        vec = ((hidden * mask).sum(1) / mask.sum(1))[0]
    return [round(v, 4) for v in vec[:6].tolist()]


def denoise_shot(freq: float, noise: float, seed: int) -> float:
    import onnxruntime as ort

    opts = ort.SessionOptions()
    opts.intra_op_num_threads = 1
    sess = ort.InferenceSession("denoise.onnx", sess_options=opts, providers=["CPUExecutionProvider"])
    name = sess.get_inputs()[0].name

    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, 32)
    clean = 0.5 * np.sin(2 * np.pi * freq * t)
    noisy = clean + noise * rng.standard_normal((5, 32))
    (out,) = sess.run(None, {name: noisy.astype(np.float32)})
    return round(float(np.abs(out.mean(0) - clean).mean()), 5)


def closest_fragments(smiles: str, top: int = 3):
    """Tanimoto ranking of the fragment library against one query."""
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator as rfg

    gen = rfg.GetMorganGenerator(radius=2, fpSize=1024)
    ids, fps = [], []
    for line in (LIB_DIR / "fragments.smi").read_text().splitlines():
        smi, name = line.split("\t")
        ids.append(name)
        fps.append(gen.GetFingerprint(Chem.MolFromSmiles(smi)))

    query = gen.GetFingerprint(Chem.MolFromSmiles(smiles))
    sims = DataStructs.BulkTanimotoSimilarity(query, fps)
    order = sorted(range(len(ids)), key=lambda i: (-sims[i], ids[i]))[:top]
    return [(ids[i], round(sims[i], 6)) for i in order]


def amide_products(acid_smiles: str, max_mw: float):
    from rdkit import Chem
    from rdkit.Chem import Descriptors, rdChemReactions

    rxn = rdChemReactions.ReactionFromSmarts("[C:1](=[O:2])[OX2H1].[N;!H0;!$(N-C=O):3]>>[C:1](=[O:2])[N:3]")
    amines = [Chem.MolFromSmiles(l.split()[0]) for l in open(LIB_DIR / "amines.smi") if l.strip()]

    acid = Chem.MolFromSmiles(acid_smiles)
    out = set()
    for amine in amines:
        for (prod,) in rxn.RunReactants((acid, amine)):
            Chem.SanitizeMol(prod)
            if Descriptors.MolWt(prod) <= max_mw:
                out.add(Chem.MolToSmiles(prod))
    return sorted(out)


def conformer_spread(n_confs: int, seed: int) -> dict:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    ligand = Chem.AddHs(Chem.MolFromMolFile("ligand.mol"))
    props = AllChem.MMFFGetMoleculeProperties(ligand)

    for k in range(n_confs):
        AllChem.EmbedMultipleConfs(ligand, 1, randomSeed=seed + k, clearConfs=(k == 0 and n_confs > 1))
    energies = []
    for conf in ligand.GetConformers():
        ff = AllChem.MMFFGetMoleculeForceField(ligand, props, confId=conf.GetId())
        ff.Minimize(maxIts=100)
        energies.append(ff.CalcEnergy())
    return {"n": len(energies), "best": round(min(energies), 1)}


def assign_regime(lo: int, hi: int, drift: float):
    import joblib

    km = joblib.load("regimes.joblib")

    batch = np.load("blobs.npy")[lo:hi] + drift
    km.partial_fit(batch)
    labels = km.predict(batch)
    return np.bincount(labels, minlength=3).tolist(), [round(float(c), 4) for c in km.cluster_centers_.mean(axis=1)]


def impute_sample(ph=None, clay=None, carbon=None, moisture=None):
    from sklearn.impute import KNNImputer
    from sklearn.preprocessing import StandardScaler

    train = pd.read_csv("soil.csv")
    cols = list(train.columns)
    scaler = StandardScaler().fit(train)
    imp = KNNImputer(n_neighbors=7, weights="distance").fit(scaler.transform(train))

    given = {"ph": ph, "clay": clay, "carbon": carbon, "moisture": moisture}
    row = pd.DataFrame([[np.nan if given[c] is None else given[c] for c in cols]], columns=cols, dtype=float)
    filled = scaler.inverse_transform(imp.transform(scaler.transform(row)))[0]
    return dict(zip(cols, filled.round(6).tolist()))


def pca_window(lo: int, hi: int) -> list[float]:
    # scaler works on the memory it is given: copy=False
    from sklearn.preprocessing import StandardScaler

    feats = np.load("features.npy")
    scaler = StandardScaler(copy=False)

    window = feats[lo:hi]
    Z = scaler.fit_transform(window)
    C = Z.T @ Z / len(Z)
    lead = float(np.linalg.eigvalsh(C)[-1])
    return [round(lead, 6), round(float(feats.mean()), 6)]


def leapfrog(steps: int, dt: float) -> float:
    state = np.load("nbody.npy")
    pos, vel, m = np.split(state, [3, 6], axis=1)

    def acc():
        d = pos[None, :, :] - pos[:, None, :]
        r3 = ((d**2).sum(-1) + 0.05) ** 1.5
        return (d * (m.T / r3)[:, :, None]).sum(axis=1)

    for _ in range(steps):
        np.add(vel, 0.5 * dt * acc(), out=vel)
        np.add(pos, dt * vel, out=pos)
        np.add(vel, 0.5 * dt * acc(), out=vel)
    return round(float(0.5 * (m * vel**2).sum()), 8)


def clean_buoy(limit: float, smooth: int):
    series = np.load("buoy.npy")

    removed = _despike(series, limit)
    ok = np.isfinite(series)
    filled = np.interp(np.arange(series.size), np.flatnonzero(ok), series[ok])
    out = np.convolve(filled, np.ones(smooth) / smooth, mode="valid")
    return removed, int((~ok).sum()), round(float(out.std()), 8)


def cone_search(ra: float, dec: float, radius: float, max_mag=99.0):
    import xml.etree.ElementTree as ET

    tree = ET.parse("catalogue.xml")
    stars = []
    for el in tree.getroot().iter("star"):
        stars.append((el.get("id"), el.get("type"), float(el.findtext("mag"))))
    coords = np.array([[float(e.findtext("ra")), float(e.findtext("dec"))] for e in tree.getroot()])

    d = _haversine_like(coords, np.array([ra, dec]))
    sel = [i for i in np.argsort(d, kind="stable") if d[i] <= radius and stars[i][2] <= max_mag]
    return [(stars[i][0], stars[i][1], round(float(d[i]), 4)) for i in sel]


def readable_text(drop: tuple, keep_bold: bool) -> str:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(Path("article.html").read_text(), "html.parser")

    for css in drop:
        for tag in soup.select(css):
            tag.decompose()
    if not keep_bold:
        for b in soup.find_all("b"):
            b.unwrap()
    return f"{len(soup.find_all(True))}|{soup.get_text(' ', strip=True)}"


def triage(line: str):
    import yaml

    with open(LOG_RULES) as fh:
        spec = yaml.safe_load(fh)
    rules = [(r["name"], re.compile(r["re"]), r["level"]) for r in spec["rules"]]
    stamp = re.compile(r"^(?P<mon>\w{3})\s+(?P<day>\d+) (?P<clock>[\d:]{8})\s+(?P<host>\S+)")

    head = stamp.match(line)
    if head is None:
        return None
    rest = line[head.end() :]
    for name, rx, level in rules:
        m = rx.search(rest)
        if m:
            return {"host": head["host"], "rule": name, "level": level, **m.groupdict()}
    return {"host": head["host"], "rule": None, "level": -1}


def evaluate_rate_law(text: str, A: float, B: float) -> float:
    import operator

    import pyparsing as pp

    number = pp.pyparsing_common.number()
    species = pp.Word(pp.alphas, pp.alphanums)
    expr = pp.infix_notation(
        number | species,
        [
            (pp.one_of("^"), 2, pp.OpAssoc.RIGHT),
            (pp.one_of("* /"), 2, pp.OpAssoc.LEFT),
            (pp.one_of("+ -"), 2, pp.OpAssoc.LEFT),
        ],
    )
    ops = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "^": operator.pow}

    conc = {"A": A, "B": B}

    def ev(tok):
        if isinstance(tok, pp.ParseResults):
            val = ev(tok[0])
            for op, rhs in zip(tok[1::2], tok[2::2]):
                val = ops[op](val, ev(rhs))
            return val
        return conc[tok] if isinstance(tok, str) else tok

    return round(float(ev(expr.parse_string(text, parse_all=True)[0])), 10)


def check_record(payload: str) -> list[str]:
    from jsonschema import Draft202012Validator

    schema = json.loads(Path("schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    try:
        record = json.loads(payload)
    except json.JSONDecodeError as err:
        return [f"not json: {err.msg}"]
    problems = sorted(validator.iter_errors(record), key=lambda e: list(map(str, e.absolute_path)))
    return ["/".join(map(str, p.absolute_path)) + ": " + p.validator for p in problems]


def spread_from(seeds: tuple, rounds: int, nodes_max: int = 30):
    import networkx as nx

    net = nx.read_edgelist("contacts.edgelist", nodetype=int)

    ward = net.subgraph(range(nodes_max))  # a view
    for s in seeds:
        ward.nodes[s]["day"] = 0
    for day in range(1, rounds + 1):
        sick = [n for n, d in ward.nodes(data=True) if "day" in d]
        for n in sick:
            for nb in sorted(ward[n])[:2]:
                ward.nodes[nb].setdefault("day", day)
    return sorted((n, d) for n, d in ward.nodes(data="day") if d is not None)


def dc_power_flow(injections: dict, slack_mw: float = 0.0):
    lines = pd.read_csv("lines.csv")
    nb = int(lines[["frm", "to"]].to_numpy().max()) + 1
    inc = np.zeros((len(lines), nb))
    inc[np.arange(len(lines)), lines["frm"]] = 1
    inc[np.arange(len(lines)), lines["to"]] = -1
    b = 1 / lines["x"].to_numpy()
    B = inc.T @ (b[:, None] * inc)
    fac = linalg.cho_factor(B[1:, 1:])

    p = np.zeros(nb)
    for bus, mw in injections.items():
        p[bus] += mw
    theta = np.r_[0.0, linalg.cho_solve(fac, p[1:])]
    flow = b * (inc @ theta)
    worst = int(np.abs(flow).argmax())
    return {"line": worst, "mw": round(float(flow[worst]), 6), "slack": round(float(slack_mw - p.sum()), 6)}


def sir_replicate(seed: int, r0: float, days: int = 60):
    rng = np.random.default_rng(seed)
    contact = np.loadtxt("contact_matrix.csv", delimiter=",")
    pop = np.array(json.load(open("age_pop.json")))
    sym = 0.5 * (contact + (contact * pop[:, None]).T / pop[:, None])
    lead = np.linalg.eigvals(sym).real.max()

    gamma = 1 / 5
    beta = r0 * gamma / lead
    S, I = pop - 10, np.full(len(pop), 10)
    peak = 0
    for _ in range(days):
        foi = beta * sym @ (I / pop)
        new = rng.binomial(S, 1 - np.exp(-foi))
        rec = rng.binomial(I, 1 - np.exp(-gamma))
        S = S - new
        I = I + new - rec
        peak = max(peak, int(I.sum()))
    return peak, int((pop - S).sum())


def beam_response(freq_hz: float, damping: float, node: int):
    n = 30
    L, EI, rho = 2.0 / n, 2100.0, 7.8
    ke = (
        EI
        / L**3
        * np.array(
            [
                [12, 6 * L, -12, 6 * L],
                [6 * L, 4 * L**2, -6 * L, 2 * L**2],
                [-12, -6 * L, 12, -6 * L],
                [6 * L, 2 * L**2, -6 * L, 4 * L**2],
            ]
        )
    )
    K = np.zeros((2 * n + 2, 2 * n + 2))
    M = np.zeros_like(K)
    for e in range(n):
        K[2 * e : 2 * e + 4, 2 * e : 2 * e + 4] += ke
        M[2 * e : 2 * e + 4, 2 * e : 2 * e + 4] += rho * L * np.diag([0.5, L**2 / 24, 0.5, L**2 / 24])
    w2, phi = linalg.eigh(K[2:, 2:], M[2:, 2:])
    wn = np.sqrt(w2[:12])

    w = 2 * np.pi * freq_hz
    force = phi[-2, :12]
    modal = force / (wn**2 - w**2 + 2j * damping * wn * w)
    return round(float(abs(phi[2 * node, :12] @ modal)) * 1e3, 8)


def sort_spikes(channel: int, k_mad: float = 5.0):
    with np.load("spikes.npz") as z:
        templates = z["templates"]
        rec = z["rec"]
    sos = signal.butter(3, 300, "highpass", fs=10_000, output="sos")
    filtered = signal.sosfiltfilt(sos, rec, axis=1)
    unit = templates / np.linalg.norm(templates, axis=1, keepdims=True)
    unit.setflags(write=False)

    x = filtered[channel]
    thr = k_mad * np.median(np.abs(x)) / 0.6745
    peaks, _ = signal.find_peaks(-x, height=thr, distance=30)
    peaks = peaks[(peaks > 12) & (peaks < x.size - 28)]
    snippets = np.stack([x[p - 12 : p + 28] for p in peaks])
    label = (snippets @ unit.T).argmax(axis=1)
    return {"n": len(peaks), "per_unit": np.bincount(label, minlength=3).tolist()}


def backtest(fast: int, slow: int, use_stop: bool):
    bars = pd.read_csv("aaa.csv", parse_dates=["date"], index_col="date")

    bars["ret"] = bars["close"].pct_change().fillna(0.0)
    bars["pos"] = (
        (bars["close"].rolling(fast).mean() > bars["close"].rolling(slow).mean()).astype(float).shift(1, fill_value=0.0)
    )
    if use_stop:
        dd = bars["close"] / bars["close"].cummax() - 1
        bars.loc[dd < -0.08, "pos"] = 0.0
        bars["stopped"] = dd < -0.08
    pnl = (1 + bars["pos"] * bars["ret"]).prod() - 1
    return round(float(pnl), 8), int(bars["pos"].diff().abs().sum()), len(bars.columns)


def market_beta(ticker: str, last_days: int):
    px = pd.read_csv("prices.csv", parse_dates=["date"])
    wide = px.pivot(index="date", columns="ticker", values="close").sort_index()
    rets = np.log(wide).diff().dropna()
    rets = rets - rets.mean()
    market = rets.mean(axis=1)

    sub = rets[[ticker]].tail(last_days)
    sub["mkt"] = market.tail(last_days)
    sub["x"] = sub[ticker] * sub["mkt"]
    beta = sub["x"].sum() / (sub["mkt"] ** 2).sum()
    resid = sub[ticker] - beta * sub["mkt"]
    return round(float(beta), 8), round(float(resid.std() * np.sqrt(252)), 8)


def pseudonymise(patient_id: str, length: int = 12) -> str:
    salt = Path("site_salt.bin").read_bytes()
    base = hashlib.blake2b(salt, digest_size=32)
    for i in range(200):
        base.update(salt[i * 16 : (i + 1) * 16])

    h = base.copy()
    h.update(patient_id.strip().upper().encode("utf-8"))
    token = h.hexdigest()[:length]
    check = sum(int(c, 16) for c in token) % 10
    return f"{token}-{check}"


def opacity(log_T: float, log_rho: float):
    from scipy.interpolate import RectBivariateSpline

    lt, tab = [], []
    lr = None
    with open("opal.tab") as fh:
        for line in fh:
            if line.startswith("!"):
                continue
            cells = line.split()
            if cells[0] == "logT":
                lr = np.array(cells[1:], dtype=float)
                continue
            lt.append(float(cells[0]))
            tab.append([float(c) for c in cells[1:]])
    spline = RectBivariateSpline(lt, lr, np.array(tab), kx=3, ky=3)

    R = log_rho - 3 * (log_T - 6)
    if not (lr[0] <= R <= lr[-1]):
        return None
    return round(float(spline(log_T, R)[0, 0]), 8), round(float(spline(log_T, R, dx=1)[0, 0]), 8)


def pick_order(order: dict, allow_partial: bool):
    from sqlalchemy import Column, Integer, String, create_engine, select
    from sqlalchemy.orm import Session, declarative_base

    Base = declarative_base()

    class Stock(Base):
        __tablename__ = "stock"
        sku = Column(String, primary_key=True)
        qty = Column(Integer)
        bin = Column(String)

    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    session = Session(engine)
    session.add_all(Stock(**row) for row in json.load(open("inventory.json")))
    session.flush()

    picked = {}
    for sku, want in order.items():
        item = session.get(Stock, sku)
        take = min(want, item.qty) if allow_partial else (want if want <= item.qty else 0)
        item.qty -= take
        picked[sku] = take
    left = sum(s.qty for s in session.scalars(select(Stock)))
    return picked, left


def eigenface_code(index: int, brightness: float):
    from PIL import Image, ImageEnhance

    files = sorted(os.listdir("faces"))
    imgs = [Image.open(os.path.join("faces", f)).convert("L").resize((16, 16)) for f in files]
    stack = np.stack([np.asarray(im, dtype=np.float64).ravel() for im in imgs])
    mean = stack.mean(axis=0)
    U, s, Vt = np.linalg.svd(stack - mean, full_matrices=False)
    basis = Vt[:3] * np.sign(Vt[:3].sum(axis=1))[:, None]

    face = imgs[index].copy()
    face.thumbnail((12, 12))
    face = ImageEnhance.Brightness(face).enhance(brightness).resize((16, 16))
    v = np.asarray(face, dtype=np.float64).ravel()
    v -= mean
    return [round(float(c), 5) for c in basis @ v]


def staged_sum(label: str, n: int):
    # scratch directory and deadline belong to the call
    deadline = time.monotonic() + 120.0
    scratch = tempfile.mkdtemp(prefix="staged_")
    log = open(os.path.join(scratch, "progress.log"), "w+")

    total, done = 0.0, 0
    for k, v in enumerate(np.loadtxt("ladder.txt")[:n]):
        if time.monotonic() > deadline:
            break
        total += v * (k + 1)
        done += 1
        log.write(f"{label} {k} {v:.4f}\n")
    log.seek(0)
    digest = hashlib.sha1(log.read().encode()).hexdigest()[:10]
    log.close()
    os.remove(log.name)
    os.rmdir(scratch)
    return round(float(total), 8), done, digest


def topic_of(doc: str):
    from sklearn.decomposition import NMF
    from sklearn.feature_extraction.text import TfidfVectorizer

    with open("abstracts.txt", encoding="utf8") as f:
        corpus = [line.strip() for line in f if line.strip()]
    vec = TfidfVectorizer(min_df=2, sublinear_tf=True)
    X = vec.fit_transform(corpus)
    nmf = NMF(n_components=3, init="nndsvd", random_state=0, max_iter=400)
    nmf.fit(X)
    terms = vec.get_feature_names_out()
    top = [[str(terms[i]) for i in comp.argsort()[::-1][:3]] for comp in nmf.components_]

    w = nmf.transform(vec.transform([doc]))[0]
    if w.sum() == 0:
        return None
    k = int(w.argmax())
    return sorted(top[k]), round(float(w[k] / w.sum()), 4)


def run_oscillator(dt=None, order=None, extra_outputs=()):
    import yaml

    base = yaml.safe_load(open("base_run.yaml"))

    cfg = dict(base)
    if dt is not None:
        cfg["solver"]["dt"] = dt
    if order is not None:
        cfg["solver"]["order"] = order
    cfg["outputs"] += list(extra_outputs)
    u, v = 1.0, 0.0
    h, nu, k = cfg["solver"]["dt"], cfg["physics"]["nu"], cfg["physics"]["k"]
    for _ in range(int(round(2.0 / h))):
        a = -k * u - nu * v
        if cfg["solver"]["order"] == 2:
            um, vm = u + 0.5 * h * v, v + 0.5 * h * a
            u, v = u + h * vm, v + h * (-k * um - nu * vm)
        else:
            u, v = u + h * v, v + h * a
    return {name: round({"u": u, "v": v, "e": 0.5 * (v * v + k * u * u)}[name], 8) for name in cfg["outputs"]}


def gp_velocity(depth: float, z: float = 1.96):
    torch.set_num_threads(1)
    well = pd.read_csv("well.csv")
    X = torch.tensor(well["depth"].to_numpy(), dtype=torch.float64)[:, None]
    y = torch.tensor(well["vp"].to_numpy(), dtype=torch.float64)

    def kern(a, b, ell=0.9, amp=1.0):
        return amp * torch.exp(-0.5 * torch.cdist(a, b) ** 2 / ell**2)

    K = kern(X, X)
    K.diagonal().add_(0.01)
    chol = torch.linalg.cholesky(K)
    alpha = torch.cholesky_solve(y[:, None], chol)

    xs = torch.tensor([[depth]], dtype=torch.float64)
    ks = kern(X, xs)
    mu = (ks.T @ alpha).item()
    var = (1.0 - (ks * torch.cholesky_solve(ks, chol)).sum()).clamp_min(0).item()
    half = z * var**0.5
    return round(mu, 6), round(mu - half, 6), round(mu + half, 6)


CALLS: dict[str, list[tuple]] = {
    "embed_sentence": [
        ("The kinase activates a pathway",),
        ("gene expression decreases in mouse tissue", "cls"),
        ("unknown words here",),
    ],
    "denoise_shot": [(2.0, 0.1, 1), (3.0, 0.3, 2), (1.0, 0.05, 3)],
    "closest_fragments": [("c1ccccc1O",), ("CCOC(=O)CC", 2), ("C1CCNCC1C", 4)],
    "amide_products": [("OC(=O)c1ccccc1", 300.0), ("CC(=O)O", 110.0), ("OC(=O)CCC(=O)O", 1000.0)],
    "conformer_spread": [(2, 11), (3, 5), (1, 42)],
    "assign_regime": [(0, 40, 0.0), (60, 120, 0.5), (100, 240, -1.0)],
    "impute_sample": [(10.0, 9.0), (None, 11.0, 10.5, None), (8.0, None, None, 12.0)],
    "pca_window": [(0, 20), (10, 60), (30, 45)],
    "leapfrog": [(5, 0.01), (20, 0.02), (10, 0.005)],
    "clean_buoy": [(10.0, 5), (1.2, 9), (0.8, 3)],
    "cone_search": [(100.0, -20.0, 15.0), (10.0, -55.0, 8.0, 6.0), (200.0, 20.0, 12.0, 9.0)],
    "readable_text": [((".ad",), True), ((".ad", "aside"), False), ((), False)],
    "triage": [
        ("Jan  3 04:10:11 node7 kernel: Out of memory: Killed process 4123 (python)",),
        ("Feb 12 23:59:59 db1 kernel: blk_update: I/O error, dev sda, sector 8812",),
        ("Mar  1 00:00:01 gw sshd: hello",),
        ("garbage",),
    ],
    "evaluate_rate_law": [("2*A^2/B + 1", 3.0, 4.0), ("A-B-1", 10.0, 2.5), ("(A+B)*(A-B)", 5.0, 2.0)],
    "check_record": [
        ('{"id": "C12", "depth": 3}',),
        ('{"id": "X", "depth": -1}',),
        ('{"id": "C1", "tags": [1]}',),
        ("{oops",),
    ],
    "spread_from": [((0,), 2), ((5, 16), 3), ((29,), 1)],
    "dc_power_flow": [({3: 50, 9: -50},), ({1: 120, 5: -40, 12: -60}, 10.0), ({7: -80},)],
    "sir_replicate": [(1, 1.8), (2, 2.5, 40), (3, 0.9)],
    "beam_response": [(1.0, 0.02, 20), (6.5, 0.01, 10), (30.0, 0.05, 29)],
    "sort_spikes": [(0,), (1, 4.0), (2, 6.5)],
    "backtest": [(5, 20, False), (10, 40, True), (3, 15, True)],
    "market_beta": [("AAA", 60), ("CCC", 250), ("DDD", 120)],
    "pseudonymise": [("p-001",), ("P-002 ", 16), ("x77", 8)],
    "opacity": [(5.0, -6.0), (6.2, -2.0), (4.0, 3.0), (5.55, -3.3)],
    "pick_order": [({"P0": 4, "P3": 50}, True), ({"P1": 99}, False), ({"P7": 10, "P2": 3}, False)],
    "eigenface_code": [(0, 1.0), (5, 1.2), (11, 0.7)],
    "staged_sum": [("alpha", 10), ("beta", 30), ("gamma", 3)],
    "topic_of": [
        ("tide and current data of the ocean",),
        ("bond yield",),
        ("zzz",),
        ("quasar redshift dust salinity",),
    ],
    "run_oscillator": [(0.02, None), (None, 1, ("v",)), (0.005, 2, ("v", "e"))],
    "gp_velocity": [(1.5,), (4.2, 1.0), (9.9,)],
}

EXPECTED: dict[str, set[str]] = {
    "embed_sentence": {"tok", "model"},
    "denoise_shot": {"opts", "sess", "name"},
    "closest_fragments": {"gen", "ids", "fps"},
    "amide_products": {"rxn", "amines"},
    "conformer_spread": set(),
    "assign_regime": set(),
    "impute_sample": {"train", "cols", "scaler", "imp"},
    "pca_window": set(),
    "leapfrog": set(),
    "clean_buoy": set(),
    "cone_search": {"tree", "stars", "coords"},
    "readable_text": set(),
    "triage": {"spec", "rules", "stamp"},
    "evaluate_rate_law": {"number", "species", "expr", "ops"},
    "check_record": {"schema", "validator"},
    "spread_from": set(),
    "dc_power_flow": {"lines", "nb", "inc", "b", "B", "fac"},
    "sir_replicate": {"contact", "pop", "sym", "lead"},
    "beam_response": {"n", "L", "EI", "rho", "ke", "K", "M", "w2", "phi", "wn"},
    "sort_spikes": {"templates", "rec", "sos", "filtered", "unit"},
    "backtest": set(),
    "market_beta": {"px", "wide", "rets", "market"},
    "pseudonymise": {"salt", "base"},
    "opacity": {"lt", "tab", "lr", "spline"},
    "pick_order": set(),
    "eigenface_code": {"files", "imgs", "stack", "mean", "U", "s", "Vt", "basis"},
    "staged_sum": set(),
    "topic_of": {"corpus", "vec", "X", "nmf", "terms", "top"},
    "run_oscillator": set(),
    "gp_velocity": {"well", "X", "y", "kern", "K", "chol", "alpha"},
}

# Names outside EXPECTED whose sharing would do no harm (neither wanted nor wrong).
OPTIONAL: dict[str, set[str]] = {
    "denoise_shot": {"t"},
    "beam_response": {"force"},
    "sir_replicate": {"gamma"},
    "pick_order": {"Base", "Stock"},
}
