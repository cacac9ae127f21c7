"""Many modes in few lines: how much of the error goes within ten rounds, a hundred, a thousand."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

BOUNDS = (0.0, 10.0, 100.0, 1e3, 1e4, math.inf)
MUCH = 1.2
"""An agent stands out with that many times its share of one in N."""


@dataclass(frozen=True, eq=False)
class Band:
    """Modes of similar pace.

    Attributes:
        low: rounds in which they fall by e, at least.
        high: below that.
        num_modes: how many carry error.
        error_share: of the initial error that all modes carry.
        consensus_share: how much of that is common to all agents.
        agent_share: whose it is, shape (agents,); sums to one.
    """

    low: float
    high: float
    num_modes: int
    error_share: float
    consensus_share: float
    agent_share: np.ndarray

    @property
    def standing_out(self) -> list[int]:
        """The agents that have far more of it than others, most first."""
        limit = MUCH / len(self.agent_share)
        return [int(agent) for agent in np.argsort(-self.agent_share) if self.agent_share[agent] > limit]


def bands(modes: xr.Dataset) -> list[Band]:
    """The decaying modes that `peer_to_peer.modes` lists, by decades of −1/ln|λ|.

    Example:
        >>> table = xr.Dataset({"rounds": ("mode", [5000.0, 20.0, 12.0]), "error_share": ("mode", [0.2, 0.3, 0.1]),
        ...                     "consensus_share": ("mode", [1.0, 0.0, 1.0]),
        ...                     "agent_share": (("mode", "agent"), [[0.5, 0.5], [0.8, 0.2], [0.4, 0.6]])})
        >>> [(band.low, band.num_modes, round(band.error_share, 3), band.standing_out) for band in bands(table)]
        [(10.0, 2, 0.4, [0]), (1000.0, 1, 0.2, [])]
    """
    found = []
    for low, high in itertools.pairwise(BOUNDS):
        inside = (modes.rounds.values >= low) & (modes.rounds.values < high)
        weights = modes.error_share.values[inside]
        if not weights.sum() > 0:
            continue
        shares = weights / weights.sum()
        found.append(
            Band(
                low=low,
                high=high,
                num_modes=int(inside.sum()),
                error_share=float(weights.sum()),
                consensus_share=float(shares @ modes.consensus_share.values[inside]),
                agent_share=shares @ modes.agent_share.transpose("mode", "agent").values[inside],
            )
        )
    return found
