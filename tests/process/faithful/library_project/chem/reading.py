"""Reads the table of the package."""

from pathlib import Path

import pandas as pd
from rdkit import Chem

from .molecules import Molecule


def table():
    return pd.read_csv(Path(__file__).parent / "data" / "molecules.csv")


def read():
    return [Molecule(row.name_, Chem.MolFromSmiles(row.smiles), row.boiling) for row in _rows()]


def _rows():
    return table().rename(columns={"name": "name_"}).itertuples()
