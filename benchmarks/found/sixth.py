# ruff: noqa
"""Thirty task bodies collected from different groups (set 6)."""

import json
import math
from pathlib import Path

import numpy as np


# --------------------------------------------------------------------------
# data files
# --------------------------------------------------------------------------
def prepare(folder: Path) -> None:
    import sqlite3

    import joblib
    import pandas as pd
    import torch
    import yaml
    from PIL import Image
    from rdkit import Chem
    from rdkit.Chem import AllChem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(606)

    (folder / "alerts.csv").write_text(
        "name,smarts,weight\nnitro,[N+](=O)[O-],3\nmichael,C=CC(=O),2\nepoxide,C1OC1,4\n"
        'aniline,c[NH2],2\nacyl_halide,"C(=O)[Cl,Br]",5\nthiol,[SH],1\naldehyde,[CX3H1](=O)[#6],2\n'
    )
    n = 400
    pd.DataFrame(
        {
            "id": [f"ST{i:04d}" for i in range(n)],
            "lat": np.round(rng.uniform(-60, 75, n), 3),
            "lon": np.round(rng.uniform(-180, 180, n), 3),
            "elev": np.round(rng.gamma(2, 200, n), 1),
        }
    ).to_csv(folder / "stations.csv", index=False)

    m = Chem.AddHs(Chem.MolFromSmiles("c1ccc2c(c1)CCN2"))
    AllChem.EmbedMolecule(m, randomSeed=7)
    Chem.MolToMolFile(m, str(folder / "core.mol"))

    wl = np.linspace(400, 1000, 60)
    X = np.vstack([np.exp(-(((wl - c) / 60) ** 2)) + rng.normal(0, 0.05, 60) for c in rng.choice([500, 640, 820], 150)])
    y = np.argmin(np.abs(wl[X.argmax(1)][:, None] - np.array([500, 640, 820])), axis=1)
    clf = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, np.array(["oak", "pine", "soil"])[y])
    joblib.dump(clf, folder / "veg.joblib")
    np.savetxt(folder / "wavelengths.txt", wl)
    np.save(folder / "spectra.npy", X)

    lines = ["##gff-version 3"]
    for c in ("chr1", "chr2"):
        pos = 1000
        for g in range(60):
            pos += int(rng.integers(200, 4000))
            end = pos + int(rng.integers(300, 3000))
            lines.append(f"{c}\tsim\tgene\t{pos}\t{end}\t.\t{'+-'[g % 2]}\t.\tID={c}g{g};Name=GEN{g}")
            lines.append(f"{c}\tsim\texon\t{pos}\t{pos + 100}\t.\t+\t.\tParent={c}g{g}")
            pos = end
    (folder / "genes.gff").write_text("\n".join(lines) + "\n")

    corpus = [
        "patient denies chest pain and shortness of breath",
        "history of hypertension and diabetes mellitus",
        "no acute distress noted on examination",
        "prescribed metformin and lisinopril daily",
    ]
    vocab = (
        ["[UNK]", "[PAD]"]
        + sorted({w for line in corpus for w in line.split()})
        + sorted({"##" + c for line in corpus for c in line if c != " "})
    )
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocab)}, unk_token="[UNK]"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.save(str(folder / "clinical_tokenizer.json"))

    pts = rng.uniform(0, 10, (300, 2))
    np.savez(folder / "mesh.npz", pts=pts, field=np.sin(pts[:, 0])[None, :] * np.arange(1, 6)[:, None] + pts[:, 1])
    gx, gy = np.meshgrid(np.linspace(1, 9, 12), np.linspace(1, 9, 12))
    np.save(folder / "target_grid.npy", np.c_[gx.ravel(), gy.ravel()])

    torch.manual_seed(6)
    reg = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    torch.save(reg.state_dict(), folder / "surrogate.pt")
    Xt = rng.normal(size=(64, 4)).astype("float32")
    np.savez(folder / "surrogate_data.npz", X=Xt, y=(Xt.sum(1, keepdims=True) ** 2).astype("float32"))

    tox = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(16, 2))
    torch.save(tox.state_dict(), folder / "tox.pt")
    (folder / "tox_norm.json").write_text(json.dumps({"mean": [250, 2, 3, 1, 60, 4], "std": [120, 1.5, 2, 1, 30, 3]}))

    bn = torch.nn.Sequential(
        torch.nn.Linear(3, 12), torch.nn.BatchNorm1d(12), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(12, 1)
    )
    torch.save(bn.state_dict(), folder / "bnn.pt")

    rows = []
    for i in range(8):
        for j in range(8):
            if i < 7:
                rows.append((f"{i}-{j}", f"{i + 1}-{j}", round(float(rng.uniform(1, 5)), 2)))
            if j < 7:
                rows.append((f"{i}-{j}", f"{i}-{j + 1}", round(float(rng.uniform(1, 5)), 2)))
    pd.DataFrame(rows, columns=["u", "v", "minutes"]).to_csv(folder / "roads.csv", index=False)

    pd.DataFrame(
        {"tenor": [0.25, 0.5, 1, 2, 3, 5, 7, 10, 20, 30], "rate": [5.1, 5.0, 4.8, 4.4, 4.2, 4.0, 4.0, 4.1, 4.4, 4.3]}
    ).to_csv(folder / "ust_curve.csv", index=False)
    L = rng.normal(size=(4, 4)) * 0.01
    pd.DataFrame(rng.normal(size=(250, 4)) @ L + 0.0003, columns=["EQ", "FI", "FX", "CM"]).to_csv(
        folder / "returns.csv", index=False
    )

    fs = 500
    tt = np.arange(0, 8, 1 / fs)
    ecg = sum(np.exp(-(((tt - b) / 0.02) ** 2)) for b in np.arange(0.4, 8, 0.8))
    np.save(
        folder / "ecg.npy",
        np.vstack([ecg * g + 0.1 * np.sin(2 * np.pi * 50 * tt) + rng.normal(0, 0.03, tt.size) for g in (1, 0.7, 1.4)]),
    )
    np.savetxt(folder / "qrs_template.txt", np.exp(-((np.linspace(-0.05, 0.05, 50) / 0.02) ** 2)))

    np.savez(
        folder / "kf.npz",
        x=np.zeros(4),
        P=np.eye(4) * 10.0,
        F=np.array([[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
        H=np.eye(2, 4),
        Q=np.eye(4) * 0.01,
        R=np.eye(2) * 0.5,
    )
    E = np.logspace(-2, 2, 80)
    np.savetxt(folder / "cross_section.dat", np.c_[E, 4.0 / np.sqrt(E) + 20 * np.exp(-((np.log(E)) ** 2) * 8)])

    db = sqlite3.connect(folder / "shop.db")
    db.executescript(
        "DROP TABLE IF EXISTS orders; DROP TABLE IF EXISTS products; DROP TABLE IF EXISTS tiers;"
        "CREATE TABLE orders(id INTEGER, customer TEXT, sku TEXT, qty INTEGER);"
        "CREATE TABLE products(sku TEXT, price REAL, family TEXT);"
        "CREATE TABLE tiers(family TEXT, min_qty INTEGER, discount REAL);"
    )
    for i in range(200):
        db.execute("INSERT INTO orders VALUES(?,?,?,?)", (i, "c%d" % (i % 7), "S%02d" % (i * 13 % 30), 1 + i % 5))
    for i in range(30):
        db.execute(
            "INSERT INTO products VALUES(?,?,?)",
            ("S%02d" % i, 3.5 + i * 1.25, "AB C".split()[i % 2] if i % 3 else "AB"),
        )
    db.executemany(
        "INSERT INTO tiers VALUES(?,?,?)",
        [("AB", 1, 0), ("AB", 10, 0.05), ("AB", 100, 0.12), ("C", 1, 0), ("C", 50, 0.2)],
    )
    db.commit()
    db.close()

    (folder / "templates").mkdir(exist_ok=True)
    (folder / "templates" / "qc.md.j2").write_text(
        "# {{ sample }}\n{% for k, v in metrics|dictsort %}- {{ k }}: {{ '%.2f'|format(v) }}"
        "{% if k in limits and v > limits[k] %} **FAIL**{% endif %}\n{% endfor %}"
    )
    (folder / "qc_limits.yaml").write_text(yaml.safe_dump({"dup_rate": 0.3, "n_rate": 0.05, "adapter": 0.1}))

    from scipy import sparse

    d = np.full(120, 4.0)
    S = sparse.diags([d, -np.ones(119), -np.ones(119)], [0, 1, -1]).tocsr()
    sparse.save_npz(folder / "stiffness.npz", S)

    (folder / "words.txt").write_text(
        "\n".join(
            "temperature pressure humidity precipitation evaporation radiation convection "
            "circulation stratosphere troposphere monsoon cyclone anticyclone drought "
            "glacier permafrost albedo aerosol ozone methane salinity upwelling".split()
        )
    )
    (folder / "background.fa").write_text(">bg\n" + "".join(rng.choice(list("ACGT"), 3000)) + "\n")

    img = rng.integers(80, 230, (64, 64, 3)).astype("uint8")
    Image.fromarray(img).save(folder / "he_reference.png")
    for i in range(3):
        Image.fromarray(rng.integers(60, 250, (32, 32, 3)).astype("uint8")).save(folder / f"tile_{i}.png")
    Image.fromarray(rng.integers(0, 60, (120, 160, 3)).astype("uint8")).save(folder / "site_map.png")

    with open(folder / "readings.csv", "w") as fh:
        fh.write("sensor,value\n")
        for i in range(90):
            fh.write(f"s{i % 5},{rng.normal(20, 3):.3f}\n")

    (folder / "design.json").write_text(json.dumps({"temp": [280, 420], "flow": [0.1, 2.5], "ph": [4, 9]}))
    (folder / "basis").mkdir(exist_ok=True)
    for el, z in (("H", 1.24), ("C", 5.67), ("O", 7.66)):
        (folder / "basis" / f"{el}.json").write_text(
            json.dumps({"exps": [z * f for f in (4, 1, 0.25)], "coef": [0.15, 0.53, 0.44]})
        )
    pd.DataFrame(
        {"site": range(12), "x": rng.uniform(0, 50, 12), "y": rng.uniform(0, 50, 12), "hours": rng.integers(1, 6, 12)}
    ).to_csv(folder / "sites.csv", index=False)
    pd.DataFrame({"depot": list("PQR"), "x": [5, 25, 45.0], "y": [10, 40, 5.0]}).to_csv(
        folder / "depots.csv", index=False
    )


# --------------------------------------------------------------------------
# 1  med-chem
def structural_alerts(smiles):
    import csv
    from rdkit import Chem

    if not smiles:
        return None

    alerts = []
    with open("alerts.csv", newline="") as fh:
        for row in csv.DictReader(fh):
            patt = Chem.MolFromSmarts(row["smarts"])
            if patt is None:
                raise ValueError("bad SMARTS " + row["smarts"])
            alerts.append((row["name"], patt, int(row["weight"])))

    mol = Chem.MolFromSmiles(smiles)
    hits, score = [], 0
    for name, patt, weight in alerts:
        n = len(mol.GetSubstructMatches(patt))
        if n:
            hits.append(name)
            score += n * weight
    return {"smiles": Chem.MolToSmiles(mol), "hits": hits, "score": score}


# 2  climate observation network
def nearest_stations(lat, lon, k=3):
    import pandas as pd
    from scipy.spatial import cKDTree

    stations = pd.read_csv("stations.csv")
    stations = stations[stations["elev"] < 1500].reset_index(drop=True)
    phi = np.deg2rad(stations["lat"].to_numpy())
    lam = np.deg2rad(stations["lon"].to_numpy())
    xyz = np.column_stack((np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)))
    tree = cKDTree(xyz)

    p, q = math.radians(lat), math.radians(lon)
    chord, idx = tree.query([math.cos(p) * math.cos(q), math.cos(p) * math.sin(q), math.sin(p)], k=k)
    km = 2 * 6371.0 * np.arcsin(np.clip(chord / 2, 0, 1))
    near = stations.iloc[idx].copy()
    near["km"] = km.round(2)
    return near[["id", "km"]].to_dict("records")


# 3  cheminformatics, labels the template it has read
def label_core(positions, numbering="map"):
    from rdkit import Chem

    core = Chem.MolFromMolFile("core.mol", removeHs=True)
    ring = core.GetRingInfo()

    for n, idx in enumerate(positions, start=1):
        atom = core.GetAtomWithIdx(idx)
        if numbering == "map":
            atom.SetAtomMapNum(n)
        else:
            atom.SetIsotope(n)
    in_ring = [ring.NumAtomRings(i) for i in positions]
    return Chem.MolToSmiles(core), in_ring


# 4  remote sensing
def classify_pixel(i, gain):
    import joblib

    clf = joblib.load("veg.joblib")
    wl = np.loadtxt("wavelengths.txt")
    cube = np.load("spectra.npy")
    water = (wl > 930) & (wl < 970)
    spec = np.array(cube[i]) * gain
    spec[water] = np.interp(wl[water], wl[~water], spec[~water])
    proba = clf.predict_proba(spec[None, :])[0]
    best = int(proba.argmax())
    return str(clf.classes_[best]), round(float(proba[best]), 6)


# 5  genomics
def annotate_variant(chrom: str, pos: int, ref: str, alt: str) -> dict:
    import bisect

    genes = {}
    with open("genes.gff") as gff:
        for line in gff:
            if line.startswith("#"):
                continue
            f = line.rstrip("\n").split("\t")
            if f[2] != "gene":
                continue
            attrs = dict(kv.split("=", 1) for kv in f[8].split(";"))
            genes.setdefault(f[0], []).append((int(f[3]), int(f[4]), f[6], attrs["Name"]))
    for c in genes:
        genes[c].sort()
    starts = {c: [g[0] for g in gs] for c, gs in genes.items()}

    kind = "SNV" if len(ref) == len(alt) == 1 else ("DEL" if len(ref) > len(alt) else "INS")
    k = bisect.bisect_right(starts.get(chrom, []), pos) - 1
    out = {"kind": kind, "gene": None, "strand": None}
    if k >= 0:
        s, e, strand, name = genes[chrom][k]
        if pos <= e:
            out.update(gene=name, strand=strand, offset=pos - s)
        else:
            out["upstream_of_next"] = (genes[chrom][k + 1][0] - pos) if k + 1 < len(genes[chrom]) else None
    return out


# 6  clinical NLP: options are set on the tokenizer
def encode_note(text, max_len=None, pad_to=None):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file("clinical_tokenizer.json")

    if max_len is not None:
        tokenizer.enable_truncation(max_length=max_len)
    if pad_to:
        tokenizer.enable_padding(length=pad_to, pad_id=tokenizer.token_to_id("[PAD]"), pad_token="[PAD]")
    enc = tokenizer.encode(text.lower())
    return {"ids": enc.ids, "n": len(enc.ids), "mask": enc.attention_mask}


# 7  climate: barycentric weights for regridding
def regrid_level(level, scale):
    from scipy.spatial import Delaunay

    with np.load("mesh.npz") as src:
        pts, field = src["pts"], src["field"]
    target = np.load("target_grid.npy")
    tri = Delaunay(pts)
    simplex = tri.find_simplex(target)
    T = tri.transform[simplex]
    b = np.einsum("nij,nj->ni", T[:, :2], target - T[:, 2])
    w = np.c_[b, 1 - b.sum(axis=1)]
    verts = tri.simplices[simplex]
    inside = simplex >= 0

    vals = scale * field[level]
    out = np.einsum("nj,nj->n", vals[verts], w)
    out[~inside] = np.nan
    return float(np.nanmean(out)), float(np.nanmax(out))


# 8  torch training in place
def refit_surrogate(lr, epochs, seed):
    import torch
    from torch import nn

    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    net.load_state_dict(torch.load("surrogate.pt", weights_only=True))
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)

    data = np.load("surrogate_data.npz")
    order = np.random.default_rng(seed).permutation(64)
    xb, yb = torch.from_numpy(data["X"][order[:48]]), torch.from_numpy(data["y"][order[:48]])
    for group in opt.param_groups:
        group["lr"] = lr
    for _ in range(epochs):
        opt.zero_grad()
        loss = nn.functional.mse_loss(net(xb), yb)
        loss.backward()
        opt.step()
    return round(loss.item(), 5)


# 9  QSAR inference
def predict_tox(smiles):
    import torch
    from rdkit import Chem
    from rdkit.Chem import Descriptors, rdMolDescriptors as rd

    m = Chem.MolFromSmiles(smiles)
    net = torch.nn.Sequential(
        torch.nn.Linear(6, 16),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.2),
        torch.nn.Linear(16, 2),
    )
    net.load_state_dict(torch.load("tox.pt", weights_only=True))
    net.eval()
    norm = json.loads(Path("tox_norm.json").read_text())
    mean = torch.tensor(norm["mean"], dtype=torch.float32)
    std = torch.tensor(norm["std"], dtype=torch.float32)

    feats = [
        Descriptors.MolWt(m),
        Descriptors.MolLogP(m),
        rd.CalcNumHBA(m),
        rd.CalcNumHBD(m),
        rd.CalcTPSA(m),
        rd.CalcNumRotatableBonds(m),
    ]
    x = (torch.tensor(feats, dtype=torch.float32) - mean) / std
    with torch.no_grad():
        p = torch.softmax(net(x), dim=-1)
    return [round(v, 5) for v in p.tolist()]


# 10  "adapt then predict": batch-norm statistics move in train mode
def predict_adapted(shift, n_adapt):
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(3, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 1))
    model.load_state_dict(torch.load("bnn.pt", weights_only=True))

    g = torch.Generator().manual_seed(int(shift * 100))
    x = torch.randn(32, 3, generator=g) + shift
    with torch.no_grad():
        for _ in range(n_adapt):
            model(x)  # still in train mode, lets BN see the new domain
        model.eval()
        out = model(x)
    return round(out.mean().item(), 5)


# 11  logistics
def travel_time(origin, dest, depart_hour):
    import networkx as nx
    import pandas as pd

    roads = pd.read_csv("roads.csv", dtype={"u": str, "v": str})
    G = nx.from_pandas_edgelist(roads, "u", "v", edge_attr="minutes")
    coords = {node: tuple(int(c) for c in node.split("-")) for node in G}
    fastest = roads["minutes"].min()

    rush = 1.6 if 7 <= depart_hour <= 9 or 16 <= depart_hour <= 18 else 1.0

    def h(a, b):
        (i, j), (k, l) = coords[a], coords[b]
        return fastest * (abs(i - k) + abs(j - l))

    path = nx.astar_path(G, origin, dest, heuristic=h, weight="minutes")
    return path, round(rush * nx.path_weight(G, path, "minutes"), 2)


# 12  field-service scheduling
def assign_crews(depots_open, wage):
    import pandas as pd
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    sites = pd.read_csv("sites.csv")
    depots = pd.read_csv("depots.csv").set_index("depot")
    km = pd.DataFrame(cdist(depots[["x", "y"]], sites[["x", "y"]]), index=depots.index, columns=sites["site"])

    rows = [d for d in depots_open for _ in range(4)]
    cost = km.loc[rows].to_numpy() * 0.9
    cost += wage * sites["hours"].to_numpy()
    r, c = linear_sum_assignment(cost)
    plan = {}
    for i, j in zip(r, c):
        plan.setdefault(rows[i], []).append(int(sites["site"].iat[j]))
    return plan, round(float(cost[r, c].sum()), 3)


# 13  finance
def bond_price(face, coupon, years, spread_bp=0):
    import pandas as pd
    from scipy.interpolate import CubicSpline

    curve = pd.read_csv("ust_curve.csv")
    zero = CubicSpline(curve.tenor, curve.rate / 100, bc_type="natural")
    times = np.arange(0.5, years + 1e-9, 0.5)
    r = zero(times) + spread_bp * 1e-4
    df = np.exp(-r * times)
    cf = np.full(times.shape, face * coupon / 2)
    cf[-1] += face
    price = float(cf @ df)
    duration = float((times * cf) @ df / price)
    return round(price, 6), round(duration, 6)


# 14  market risk: covariance is common, the generator is not
def portfolio_var(weights, level, n_paths=4000):
    import pandas as pd

    returns = pd.read_csv("returns.csv")
    mu = returns.mean().to_numpy()
    chol = np.linalg.cholesky(returns.cov().to_numpy())
    rng = np.random.default_rng(20240131)

    w = np.asarray(weights, dtype=float)
    w = w / w.sum()
    shocks = rng.standard_normal((n_paths, len(mu))) @ chol.T + mu
    pnl = shocks @ w
    var = -np.quantile(pnl, 1 - level)
    tail = pnl[pnl <= -var]
    return {"VaR": round(float(var), 8), "ES": round(float(-tail.mean()), 8)}


# 15  biosignals
def heart_rate(lead, t0, t1):
    from scipy import signal

    fs = 500.0
    ecg = np.load("ecg.npy")
    sos = signal.butter(4, [5, 30], btype="bandpass", fs=fs, output="sos")
    b, a = signal.iirnotch(50, 30, fs=fs)
    template = np.loadtxt("qrs_template.txt")
    template = (template - template.mean()) / np.linalg.norm(template)

    x = ecg[lead, int(t0 * fs) : int(t1 * fs)]
    x = signal.filtfilt(b, a, x)
    x = signal.sosfiltfilt(sos, x)
    score = np.correlate(x, template, mode="same")
    peaks, _ = signal.find_peaks(score, height=0.5 * score.max(), distance=int(0.3 * fs))
    if len(peaks) < 2:
        return None
    return round(60.0 * fs / float(np.diff(peaks).mean()), 2)


# 16  tracking: x and P are the arrays held by the filter dict
def track(observations):
    with np.load("kf.npz") as z:
        kf = {k: z[k] for k in z.files}

    x, P = kf["x"], kf["P"]
    for obs in observations:
        x[:] = kf["F"] @ x
        P[...] = kf["F"] @ P @ kf["F"].T + kf["Q"]
        if obs is None:
            continue
        S = kf["H"] @ P @ kf["H"].T + kf["R"]
        K = P @ kf["H"].T @ np.linalg.inv(S)
        x += K @ (np.asarray(obs, float) - kf["H"] @ x)
        P -= K @ kf["H"] @ P
    return [round(float(v), 6) for v in x]


# 17  neutron transport with a compiled kernel
def transmission(thickness_cm, density, n, seed):
    import numba

    E, sigma = np.loadtxt("cross_section.dat", unpack=True)
    logE = np.log(E)

    @numba.njit
    def walk(mfp, u, thick):
        passed = 0
        for i in range(u.shape[0]):
            depth = 0.0
            for j in range(u.shape[1]):
                depth += -mfp[i] * np.log(u[i, j])
                if depth > thick:
                    passed += 1
                    break
                if u[i, j] < 0.5:
                    break
        return passed

    walk(np.ones(1), np.full((1, 1), 0.5), 1.0)  # compile

    rng = np.random.default_rng(seed)
    energies = rng.exponential(2.0, n) + 0.02
    xs = np.interp(np.log(energies), logE, sigma)
    u = rng.uniform(1e-12, 1, (n, 10))
    return walk(1.0 / (density * 0.6022 * xs), u, thickness_cm) / n


# 18  database session
def basket_share(customer, min_qty):
    import sqlite3

    con = sqlite3.connect("shop.db")
    con.row_factory = sqlite3.Row
    cur = con.cursor()
    cur.execute("CREATE TEMP TABLE big(sku TEXT, total INTEGER)")

    cur.execute(
        "INSERT INTO big SELECT sku, SUM(qty) FROM orders WHERE customer = ? GROUP BY sku HAVING SUM(qty) >= ?",
        (customer, min_qty),
    )
    cur.execute(
        "SELECT p.family AS fam, SUM(b.total * p.price) AS value FROM big b JOIN products p USING (sku) GROUP BY p.family ORDER BY fam"
    )
    out = {row["fam"]: round(row["value"], 2) for row in cur}
    return out


# 19  database -> dictionaries
def quote(sku, qty, currency_rate=1.0):
    """Price one quote line. Prices and tiers come from the shop database."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect("file:shop.db?mode=ro", uri=True)) as con:
        products = {s: (p, fam) for s, p, fam in con.execute("SELECT sku, price, family FROM products")}
        tiers = {}
        for fam, min_qty, disc in con.execute("SELECT family, min_qty, discount FROM tiers ORDER BY min_qty DESC"):
            tiers.setdefault(fam, []).append((min_qty, disc))

    if sku not in products:
        return None
    price, fam = products[sku]
    discount = next((d for q, d in tiers.get(fam, ()) if qty >= q), 0.0)
    return round(qty * price * (1 - discount) * currency_rate, 2)


# 20  sequencing QC report
def qc_report(sample, metrics):
    import yaml
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(loader=FileSystemLoader("templates"), undefined=StrictUndefined, trim_blocks=False)
    tpl = env.get_template("qc.md.j2")
    with open("qc_limits.yaml") as f:
        limits = yaml.safe_load(f)
    failed = sorted(k for k, v in metrics.items() if v > limits.get(k, float("inf")))
    return tpl.render(sample=sample, metrics=metrics, limits=limits), failed


# 21  PDE
def steady_temperature(xs, ys, power):
    import scipy.sparse as sp
    import scipy.sparse.linalg as spla

    n = 40
    h = 1.0 / (n + 1)
    T = sp.diags([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1]) / h**2
    I = sp.identity(n)
    A = (sp.kron(I, T) + sp.kron(T, I)).tocsc()
    lu = spla.splu(A)

    grid = np.linspace(h, 1 - h, n)
    X, Y = np.meshgrid(grid, grid, indexing="ij")
    q = power * np.exp(-((X - xs) ** 2 + (Y - ys) ** 2) / 0.005)
    u = lu.solve(q.ravel()).reshape(n, n)
    i, j = np.unravel_index(u.argmax(), u.shape)
    return round(float(u.max()), 8), int(i), int(j)


# 22  structural: tocsr() of a csr matrix is the matrix itself
def damaged_stiffness(elements, loss):
    from scipy.sparse import load_npz
    from scipy.sparse.linalg import spsolve

    K0 = load_npz("stiffness.npz")

    K = K0.tocsr()
    for e in elements:
        lo, hi = K.indptr[e], K.indptr[e + 1]
        K.data[lo:hi] *= 1.0 - loss
    f = np.ones(K.shape[0])
    u = spsolve(K.tocsc(), f)
    return round(float(u[-1]), 10), round(float(abs(u).sum()), 10)


# 23  spelling correction
def correct_term(word, max_edits=2):
    from collections import defaultdict

    vocab = Path("words.txt").read_text().split()
    index = defaultdict(set)
    for w in vocab:
        padded = f"^{w}$"
        for i in range(len(padded) - 1):
            index[padded[i : i + 2]].add(w)
    index = dict(index)

    padded = f"^{word}$"
    votes = {}
    for i in range(len(padded) - 1):
        for cand in index.get(padded[i : i + 2], ()):
            votes[cand] = votes.get(cand, 0) + 1
    best = (max_edits + 1, word)
    for cand in sorted(votes, key=lambda c: (-votes[c], c))[:8]:
        prev = list(range(len(cand) + 1))
        for i, a in enumerate(word, 1):
            row = [i]
            for j, b in enumerate(cand, 1):
                row.append(min(prev[j] + 1, row[-1] + 1, prev[j - 1] + (a != b)))
            prev = row
        best = min(best, (prev[-1], cand))
    return best[1]


# 24  k-mers: looking up in a defaultdict adds the key, and V depends on it
def kmer_log_odds(seq):
    from collections import defaultdict

    bg = defaultdict(int)
    with open("background.fa") as fh:
        for line in fh:
            if not line.startswith(">"):
                s = line.strip()
                for i in range(len(s) - 5):
                    bg[s[i : i + 6]] += 1

    score = 0.0
    own = defaultdict(int)
    for i in range(len(seq) - 5):
        own[seq[i : i + 6]] += 1
    for kmer, c in own.items():
        expected = bg[kmer] + 0.5
        score += c * math.log((c + 0.5) / expected)
    return round(score - math.log(len(bg)), 8)


# 25  histopathology
def normalise_tile(i, alpha):
    from PIL import Image

    ref = np.asarray(Image.open("he_reference.png").convert("RGB"), dtype=np.float64)
    ref_od = -np.log((ref.reshape(-1, 3) + 1) / 256.0)
    mu_ref, sd_ref = ref_od.mean(axis=0), ref_od.std(axis=0)

    tile = np.asarray(Image.open(f"tile_{i}.png").convert("RGB"), dtype=np.float64)
    od = -np.log((tile + 1) / 256.0)
    od -= od.mean(axis=(0, 1))
    od /= od.std(axis=(0, 1))
    od *= sd_ref
    od += mu_ref
    rgb = np.clip(256 * np.exp(-od) - 1, 0, 255)
    mix = alpha * rgb + (1 - alpha) * tile
    return [round(v, 4) for v in mix.mean(axis=(0, 1)).tolist()]


# 26  map overlay is drawn on the base image
def draw_detections(boxes, colour):
    import hashlib
    from PIL import Image, ImageDraw

    base = Image.open("site_map.png").convert("RGB")
    pen = ImageDraw.Draw(base)

    for x0, y0, x1, y1 in boxes:
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=2)
        pen.line((x0, y0, x1, y1), fill=colour)
    return hashlib.md5(base.tobytes()).hexdigest()


# 27  mechanics
def pendulum_accel(th1, th2, w1, w2):
    import sympy as sp

    t1, t2, d1, d2 = sp.symbols("t1 t2 d1 d2")
    g, l1, l2, m1, m2 = sp.Rational(981, 100), 1, sp.Rational(4, 5), 1, sp.Rational(3, 2)
    kin = sp.Rational(1, 2) * m1 * (l1 * d1) ** 2 + sp.Rational(1, 2) * m2 * (
        (l1 * d1) ** 2 + (l2 * d2) ** 2 + 2 * l1 * l2 * d1 * d2 * sp.cos(t1 - t2)
    )
    pot = -(m1 + m2) * g * l1 * sp.cos(t1) - m2 * g * l2 * sp.cos(t2)
    lag = kin - pot
    qd = sp.Matrix([d1, d2])
    q = sp.Matrix([t1, t2])
    mass = sp.hessian(kin, (d1, d2))
    rhs = sp.Matrix([sp.diff(lag, v) for v in q]) - sp.Matrix([sp.diff(lag, v) for v in qd]).jacobian(q) * qd
    f_mass = sp.lambdify((t1, t2), mass, "numpy")
    f_rhs = sp.lambdify((t1, t2, d1, d2), rhs, "numpy")

    acc = np.linalg.solve(np.array(f_mass(th1, th2), float), np.array(f_rhs(th1, th2, w1, w2), float))
    return [round(float(a), 9) for a in acc.ravel()]


# 28  csv reader is consumed
def window_mean(skip, size):
    import csv
    from itertools import islice

    reader = csv.DictReader(open("readings.csv", newline=""))
    temps = (float(r["value"]) for r in reader)

    chunk = list(islice(temps, skip, skip + size))
    if not chunk:
        return None
    return round(sum(chunk) / len(chunk), 6), max(chunk)


# 29  design of experiments: engine advances
def sobol_points(n, power):
    from scipy.stats import qmc

    space = json.load(open("design.json"))
    names = sorted(space)
    low = [space[k][0] for k in names]
    high = [space[k][1] for k in names]
    engine = qmc.Sobol(d=len(names), scramble=False)

    u = engine.random_base2(n) ** power
    pts = qmc.scale(u, low, high)
    return dict(zip(names, pts.mean(axis=0).round(6).tolist()))


# 30  set-up depends on the argument
def orbital_value(element, r, contracted=True):
    basis = json.loads((Path("basis") / f"{element}.json").read_text())
    exps = np.array(basis["exps"])
    coef = np.array(basis["coef"]) if contracted else np.ones(len(exps))
    norm = (2 * exps / np.pi) ** 0.75

    r = np.asarray(r, dtype=float)
    phi = (coef * norm * np.exp(-exps * r[:, None] ** 2)).sum(axis=1)
    return [round(float(v), 9) for v in phi]


CALLS = {
    "structural_alerts": [("c1ccccc1[N+](=O)[O-]",), ("C=CC(=O)OC",), ("Nc1ccc(S)cc1",), ("",)],
    "nearest_stations": [(48.1, 11.6), (-33.9, 151.2, 5), (0.0, 0.0, 2)],
    "label_core": [((0, 1),), ((2,), "iso"), ((3, 4, 5),)],
    "classify_pixel": [(0, 1.0), (5, 0.8), (77, 1.3)],
    "annotate_variant": [
        ("chr1", 3500, "A", "T"),
        ("chr2", 20000, "AT", "A"),
        ("chr1", 90000, "G", "GTT"),
        ("chrX", 5, "A", "C"),
    ],
    "encode_note": [
        ("Patient denies chest pain and shortness of breath", 4),
        ("history of diabetes",),
        ("no acute distress noted", None, 12),
    ],
    "regrid_level": [(0, 1.0), (3, 2.0), (4, -1.0)],
    "refit_surrogate": [(1e-2, 15, 0), (5e-3, 25, 1), (1e-3, 10, 2)],
    "predict_tox": [("CCO",), ("c1ccccc1O",), ("CC(=O)Nc1ccc(O)cc1",)],
    "predict_adapted": [(0.0, 3), (1.5, 10), (0.7, 0)],
    "travel_time": [("0-0", "7-7", 8), ("3-1", "5-6", 12), ("7-0", "0-7", 17)],
    "assign_crews": [(("P", "Q", "R"), 30.0), (("P", "R"), 25.0), (("Q",), 40.0)],
    "bond_price": [(100, 0.05, 5), (1000, 0.03, 10, 120), (100, 0.0, 2, -10)],
    "portfolio_var": [((1, 1, 1, 1), 0.95), ((4, 1, 0, 0), 0.99, 10000), ((0, 0, 2, 3), 0.975, 2500)],
    "heart_rate": [(0, 0, 8), (1, 1, 6), (2, 2, 7.5)],
    "track": [([(1, 1), (2, 2.1), None, (4, 4)],), ([(0, 5), (0, 4)],), ([(3, 3), None, None],)],
    "transmission": [(1.0, 1.0, 500, 1), (0.2, 2.0, 800, 2), (3.0, 0.5, 400, 3)],
    "basket_share": [("c1", 2), ("c3", 5), ("c6", 1)],
    "quote": [("S01", 12), ("S04", 120, 1.1), ("S29", 60), ("nope", 1)],
    "qc_report": [
        ("s1", {"dup_rate": 0.4, "n_rate": 0.01}),
        ("s2", {"adapter": 0.02}),
        ("s3", {"gc": 0.5, "n_rate": 0.2}),
    ],
    "steady_temperature": [(0.5, 0.5, 10.0), (0.2, 0.7, 4.0), (0.9, 0.1, 25.0)],
    "damaged_stiffness": [((3, 4), 0.2), ((118, 119), 0.5), ((), 0.0)],
    "correct_term": [("temprature",), ("cyclne", 1), ("xyzzy",), ("glacer",)],
    "kmer_log_odds": [("ACGTACGTTTGACCA",), ("TTTTTTTTTTT",), ("GATTACAGATTACAGGG",)],
    "normalise_tile": [(0, 1.0), (1, 0.5), (2, 0.25)],
    "draw_detections": [([(5, 5, 40, 40)], "red"), ([(50, 10, 90, 60), (3, 3, 9, 9)], "yellow"), ([], "red")],
    "pendulum_accel": [(0.1, 0.2, 0.0, 0.0), (1.0, -0.5, 0.3, 0.1), (2.0, 2.0, -1.0, 1.0)],
    "window_mean": [(0, 10), (20, 15), (85, 30), (200, 5)],
    "sobol_points": [(3, 1), (4, 2), (5, 0.5)],
    "orbital_value": [("H", [0.1, 0.5]), ("C", [0.2]), ("O", [0.1, 1.0], False)],
}

EXPECTED = {
    "structural_alerts": {"alerts"},
    "nearest_stations": {"stations", "phi", "lam", "xyz", "tree"},
    "label_core": set(),
    "classify_pixel": {"clf", "wl", "cube", "water"},
    "annotate_variant": {"genes", "starts"},
    "encode_note": set(),
    "regrid_level": {"pts", "field", "target", "tri", "simplex", "T", "b", "w", "verts", "inside"},
    "refit_surrogate": set(),
    "predict_tox": {"net", "norm", "mean", "std"},
    "predict_adapted": set(),
    "travel_time": {"roads", "G", "coords", "fastest"},
    "assign_crews": {"sites", "depots", "km"},
    "bond_price": {"curve", "zero"},
    "portfolio_var": {"returns", "mu", "chol"},
    "heart_rate": {"fs", "ecg", "sos", "b", "a", "template"},
    "track": set(),
    "transmission": {"E", "sigma", "logE", "walk"},
    "basket_share": set(),
    "quote": {"products", "tiers"},
    "qc_report": {"env", "tpl", "limits"},
    "steady_temperature": {"n", "h", "T", "I", "A", "lu", "grid", "X", "Y"},
    "damaged_stiffness": set(),
    "correct_term": {"vocab", "index"},
    "kmer_log_odds": set(),
    "normalise_tile": {"ref", "ref_od", "mu_ref", "sd_ref"},
    "draw_detections": set(),
    "pendulum_accel": {
        "t1",
        "t2",
        "d1",
        "d2",
        "g",
        "l1",
        "l2",
        "m1",
        "m2",
        "kin",
        "pot",
        "lag",
        "qd",
        "q",
        "mass",
        "rhs",
        "f_mass",
        "f_rhs",
    },
    "window_mean": set(),
    "sobol_points": {"space", "names", "low", "high"},
    "orbital_value": set(),
}

# Names outside EXPECTED whose sharing would do no harm (neither wanted nor wrong).
OPTIONAL = {
    "refit_surrogate": {"data"},
    "regrid_level": {"src"},
}
