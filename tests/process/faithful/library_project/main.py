"""A script that uses libraries which look closely at the code they are given."""

# %% imports
import enum
import pickle
import tempfile
import typing
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pydantic
import torch
from harness import main, made, probe
from rdkit import Chem
from rdkit.Chem import Descriptors
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

import chem
from chem import Molecule, constants, features, networks, reading
from chem.settings import Limits, Settings


# %% scikit-learn
def squared(values):
    return np.square(values)


class Clip(BaseEstimator, TransformerMixin):
    """A transformer of the script."""

    def __init__(self, high=5.0):
        self.high = high

    def fit(self, values, labels=None):
        self.low_ = float(values.min())
        return self

    def transform(self, values):
        return np.clip(values, self.low_, self.high)


class Majority(BaseEstimator, ClassifierMixin):
    def fit(self, values, labels):
        self.label_ = int(np.bincount(labels).argmax())
        return self

    def predict(self, values):
        return np.full(len(values), self.label_)


def fitted(high):
    steps = [("clip", Clip(high)), ("square", FunctionTransformer(squared)), ("svm", SVC())]
    return Pipeline(steps).fit(*load_iris(return_X_y=True))


@probe(fitted, context=lambda: (4.0,), args=lambda: (load_iris().data[::30], Clip))
def pipeline_of_the_script(held, values, clip):
    copied = clone(held)
    return [held.predict(values).tolist(), type(held["clip"]) is Clip is clip, type(copied["clip"]) is Clip] + [
        held["square"].func is squared,
        repr(copied["clip"]),
    ]


@probe(args=lambda: (fitted(3.0), load_iris().data[::30]), after=lambda it: [type(it["clip"]) is Clip, it["clip"].high])
def pipeline_given_and_returned(held, pipeline, values):
    assert isinstance(pipeline["clip"], Clip)
    return pipeline.set_params(clip__high=float(pipeline.predict(values).sum()))


def dumped():
    path = Path(tempfile.mkdtemp()) / "pipeline.joblib"
    joblib.dump(fitted(5.0), path)
    return str(path)


@probe(joblib.load, context=lambda: (dumped(),))
def pipeline_loaded_from_a_file(held):
    return [type(held["clip"]) is Clip, held.predict(load_iris().data[::30]).tolist()]


@probe(args=lambda: (2,))
def grid_search_in_processes(held, jobs):
    search = GridSearchCV(Pipeline([("clip", Clip()), ("svm", SVC())]), {"clip__high": [1.0, 6.0]}, n_jobs=jobs, cv=2)
    search.fit(*load_iris(return_X_y=True))
    return [search.best_params_, type(search.best_estimator_["clip"]) is Clip]


@probe(lambda: Majority().fit(np.zeros((3, 1)), np.array([1, 1, 0])), args=lambda: (Majority(),))
def classifier_of_the_script(held, given):
    return [held.predict([[0], [1]]).tolist(), isinstance(given, type(held)), given.get_params()]


@probe(lambda: Pipeline([("weigh", features.Weigh(2.0)), ("line", LinearRegression())]))
def transformer_of_a_package(held):
    molecules = chem.read()
    held.fit(molecules, [molecule.boiling for molecule in molecules])
    return [
        held["weigh"].seen_,
        held.predict(molecules).round(1).tolist(),
        type(clone(held)["weigh"]) is features.Weigh,
    ]


# %% torch
class Net(torch.nn.Module):
    """A network of the script."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.block = networks.Block(width)
        self.head = torch.nn.Linear(width, 1)
        torch.nn.init.ones_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return doubled(self.head(self.block(values)))


def doubled(values: torch.Tensor) -> torch.Tensor:
    if values.sum() > 1e6:
        return values
    return values * 2


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.tensor(float(index))


@probe(Net, context=lambda: (3,), args=lambda: (torch.ones(2, 3), Net(2)))
def network_of_the_script(held, values, given):
    return [held(values).tolist(), type(given) is Net is type(held), type(held.block) is networks.Block]


@probe(Net, context=lambda: (3,), args=lambda: (torch.ones(2, 3),))
def network_scripted(held, values):
    scripted = torch.jit.script(held)
    return [scripted(values).tolist(), torch.jit.script(doubled)(values).tolist(), scripted.width]


@probe(lambda: torch.jit.script(Net(2)), args=lambda: (torch.ones(1, 2),))
def network_scripted_by_the_context(held, values):
    return [held(values).tolist(), float(networks.carbon())]


def saved():
    path = Path(tempfile.mkdtemp()) / "net.pt"
    torch.save(Net(2), path)
    return str(path)


def loaded(path):
    return torch.load(path, weights_only=False)


@probe(loaded, context=lambda: (saved(),), after=lambda it: [type(it[0]) is Net, it[1]])
def network_loaded_from_a_file(held):
    return [held, type(held) is Net]


@probe(lambda: torch.utils.data.DataLoader(Numbers(), batch_size=2, num_workers=1))
def data_loader_with_a_process(held):
    return [batch.tolist() for batch in held]


# %% pydantic
class Place(enum.Enum):
    HERE = "here"
    THERE = "there"


class Part(pydantic.BaseModel):
    place: Place = Place.HERE
    size: int = pydantic.Field(gt=0)


class Setup(pydantic.BaseModel):
    parts: "list[Part]"
    settings: typing.Optional[Settings] = None
    model_config = pydantic.ConfigDict(extra="forbid")

    @pydantic.field_validator("parts")
    @classmethod
    def not_empty(cls, parts):
        if not parts:
            raise ValueError("no parts")
        return parts


def setup():
    return Setup(parts=[Part(size=1)], settings=Settings(kind="C", next=Settings(kind="O")))


@probe(setup, args=lambda: (setup(), Part))
def configuration_of_the_script(held, given, part):
    again = Setup.model_validate(held.model_dump())
    return [held == given == again, type(again.parts[0]) is Part is part, again.parts[0].place is Place.HERE] + [
        held.settings.next.kind is constants.Kind.OXYGEN,
        sorted(Setup.model_json_schema()["$defs"]),
        type(pickle.loads(pickle.dumps(held))) is Setup,
    ]


def refusal(error):
    """No pickle takes pydantic's own exception; what stands for it must say what it was."""
    return [type(error).__name__ in ("ValidationError", "RemoteError"), "no parts" in str(error)]


@probe(after=refusal)
def configuration_refused(held):
    Setup(parts=[])


@probe(after=lambda it: [type(it[0]) is Setup, it[0] == setup(), type(it[1]) is Settings, type(it[1].limits) is Limits])
def configurations_returned(held):
    return [setup(), Settings(kind="C")]


class Pipe:
    def __init__(self, part):
        self.part = part


@probe(lambda given: given, context=lambda: (Pipe({"net": [made(Net, 2)]}),), args=lambda: (Part(size=2),))
def context_deep_in_an_argument(held, part):
    net = held.part["net"][0]
    return [type(held) is Pipe, type(net) is Net, net(torch.ones(1, part.size)).tolist()]


# %% RDKit and pandas
@dataclass
class Sample:
    mol: Chem.Mol
    table: pd.DataFrame


def weight(smiles):
    return round(Descriptors.MolWt(Chem.MolFromSmiles(smiles)), 1)


def samples():
    return Sample(Chem.MolFromSmiles("CCO"), reading.table())


@probe(samples, args=lambda: (samples(), Chem.MolFromSmiles("CO")), after=lambda it: [type(it[0]) is Sample, *it[1:]])
def molecules_and_tables(held, sample, mol):
    table = sample.table.assign(weight=sample.table.smiles.map(weight))
    return [sample, type(sample) is Sample is type(held), table.weight.tolist(), mol.GetNumAtoms()] + [
        Chem.MolToSmiles(held.mol),
        features.ChemAccessor is type(table.chem),
        table.chem.hottest(),
    ]


@probe(chem.read, args=lambda: (chem.read(),), after=lambda it: [type(it[0]) is Molecule, it[0].name, it[1:]])
def project_of_six_modules(held, molecules):
    return [max(held, key=lambda molecule: molecule.weight), sum(molecule.weight for molecule in molecules)] + [
        all(type(molecule) is Molecule for molecule in [*held, *molecules]),
        [molecule.has(constants.Kind.OXYGEN) for molecule in molecules],
        reading.table().groupby("boiling").size().tolist(),
    ]


@probe(args=lambda: (pd.DataFrame({"place": [Place.HERE, Place.THERE], "net": [Part(size=1), Part(size=2)]}),))
def objects_in_a_table(held, table):
    return [(table.place == Place.HERE).tolist(), table.net.map(type).unique()[0] is Part, table.net.map(vars).tolist()]


# %% run
if __name__ == "__main__":
    main()
