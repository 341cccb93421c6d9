"""How long environments take to start: fetched, unpacked, their interpreter running. What node and cluster share."""

from __future__ import annotations

from parsl_context.scheduling.placement import Estimate
from parsl_context.wire.messages import EnvironmentName

# Before it was measured: of 80 MB, from a server near by. [s]
PRIOR_S = 3.0


class StartTimes:
    """What starts took, by the name of the environment."""

    def __init__(self) -> None:
        self._known: dict[EnvironmentName, Estimate] = {}

    def add(self, environment: EnvironmentName, start_s: float) -> None:
        """Take a start into account."""
        self._known.setdefault(environment, Estimate()).add(start_s)

    def usual_s(self, environment: EnvironmentName) -> float:
        """Time that a start takes. [s]"""
        return self._known.get(environment, Estimate()).or_prior(PRIOR_S)

    def left_s(self, environment: EnvironmentName, since_s: float) -> float:
        """Time that a start takes yet which began so long ago; 0 if it has not begun. [s]

        One that takes longer than others is expected to take as long again.
        """
        usual_s = self.usual_s(environment)
        return usual_s - since_s if since_s < usual_s else since_s
