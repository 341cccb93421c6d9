"""Networks."""

import torch

from . import constants


class Block(torch.nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.line = torch.nn.Linear(width, width)
        torch.nn.init.ones_(self.line.weight)
        torch.nn.init.zeros_(self.line.bias)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.line(values).relu()


def carbon():
    return torch.tensor(constants.WEIGHTS["C"])
