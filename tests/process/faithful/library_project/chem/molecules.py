"""The class that all others use."""

from dataclasses import dataclass

from rdkit import Chem

from .constants import WEIGHTS, Kind


@dataclass
class Molecule:
    name: str
    mol: Chem.Mol
    boiling: float = 0.0

    @property
    def weight(self):
        return sum(WEIGHTS[atom.GetSymbol()] for atom in self.mol.GetAtoms())

    def has(self, kind: Kind):
        return any(Kind(atom.GetSymbol()) is kind for atom in self.mol.GetAtoms())
