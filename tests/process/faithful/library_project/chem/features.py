"""A transformer, and an accessor of tables."""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from .constants import Kind
from .molecules import Molecule


class Weigh(BaseEstimator, TransformerMixin):
    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, molecules, y=None):
        self.seen_ = len(molecules)
        return self

    def transform(self, molecules):
        if not all(isinstance(molecule, Molecule) for molecule in molecules):
            raise TypeError("other molecules")
        return np.array([[self.scale * molecule.weight, molecule.has(Kind.OXYGEN)] for molecule in molecules])


@pd.api.extensions.register_dataframe_accessor("chem")
class ChemAccessor:
    def __init__(self, frame):
        self.frame = frame

    def hottest(self):
        return self.frame.loc[self.frame.boiling.idxmax(), "name"]
