"""What repeated mixing comes to, and what it sums up to on the way: projector and group inverse of I − W."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consilience.errors import InvalidSpec
from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.spectra.influence import closed_groups, left_vector

NULL = 1e-10
"""Eigenvalues of I − W below this are zero: mixing that slow would take ten billion rounds."""


@dataclass(frozen=True, eq=False)
class MixingLimit:
    """lim W^k = Σ_k ρ_k π_kᵀ, one term for each group of agents that hear each other and nobody else.

    Attributes:
        reached: ρ, shape (agents, groups): how much of group k's agreement an agent ends with; rows sum to one.
        heard: π, shape (groups, agents): how much agents count in it; rows sum to one, zero outside the group.
        inverse: the group inverse of I − W, Σ_k (W^k − lim W^k), shape (agents, agents).
    """

    reached: Floats
    heard: Floats
    inverse: Floats


def mixing_limit(mixing: MixingMatrix) -> MixingLimit:
    """The limit for a matrix whose rows sum to one.

    Raises:
        InvalidSpec: if mixing keeps more than one number per group of connected agents.

    Example:
        >>> from consilience import graphs
        >>> limit = mixing_limit(graphs.from_matrix([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]]))
        >>> limit.reached.tolist(), limit.heard.tolist()                 # the third agent only listens
        ([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    """
    disagreement = np.eye(mixing.num_agents) - mixing.weights
    groups = closed_groups(mixing.weights)
    kept = int((np.linalg.svd(disagreement, compute_uv=False) <= NULL * max(1.0, np.abs(disagreement).max())).sum())
    if kept != len(groups):
        raise InvalidSpec(
            f"Mixing matrix {mixing.name!r} leaves {kept} combinations of agents alone, but its graph has "
            f"{len(groups)} groups of agents that hear each other and nobody else: weights cancel, or are too small to "
            "tell. Use non-negative weights, graphs.metropolis(graph) say."
        )
    heard = np.zeros((len(groups), mixing.num_agents))
    for row, group in zip(heard, groups, strict=True):
        row[group] = left_vector(mixing.weights[np.ix_(group, group)])
    listening = np.setdiff1d(np.arange(mixing.num_agents), np.concatenate(groups))
    reached = np.zeros((mixing.num_agents, len(groups)))
    for column, group in zip(reached.T, groups, strict=True):
        column[group] = 1
        absorbed = mixing.weights[np.ix_(listening, group)].sum(axis=1)
        column[listening] = np.linalg.solve(disagreement[np.ix_(listening, listening)], absorbed)
    projector = reached @ heard
    return MixingLimit(reached, heard, np.linalg.inv(disagreement + projector) - projector)
