"""Who learns from whose data in the long run, read off the mixing matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import Floats


@dataclass(frozen=True, eq=False)
class Influence:
    """Groups of agents that listen to each other and to nobody else, and how much each agent counts in its group.

    Attributes:
        groups: the agents of each group.
        followers: agents in no group: they listen to groups, whose members do not listen to them.
        weights: p_q, sums to one over each group, 0 for followers, shape (agents,).
    """

    groups: tuple[tuple[int, ...], ...]
    followers: tuple[int, ...]
    weights: Floats

    @property
    def is_connected(self) -> bool:
        """Whether everybody's data, or at least those of one group, reach all agents."""
        return len(self.groups) == 1


def influence(mixing: MixingMatrix) -> Influence:
    """Whose data count, and how much.

    The weighted mean Σ p_q θ_q of a group, with p the left eigenvector pᵀW = pᵀ, is not moved by mixing, and a round of
    DGD, ATC or CTA moves it by −η Σ p_q ∇L_q. So where learning is slow compared with mixing, the group finds the
    minimum of Σ p_q L_q instead of the mean loss; p_q = 1/Q if and only if W is doubly stochastic (and connected).

    Args:
        mixing: W, with rows that sum to one. Of one with columns that do so only, the groups are those who send to
            nobody else; mean and sum are then kept, and p_q is the same for all of a group.

    Example:
        >>> from consilience import graphs
        >>> influence(graphs.row_stochastic(graphs.star(4))).weights.round(3).tolist()
        [0.4, 0.2, 0.2, 0.2]
    """
    weights = mixing.weights
    closed = closed_groups(weights if mixing.is_row_stochastic else weights.T)
    counts = np.zeros(mixing.num_agents)
    for group in closed:
        counts[group] = left_vector(weights[np.ix_(group, group)]) if mixing.is_row_stochastic else 1 / len(group)
    grouped = np.concatenate(closed)
    followers = np.setdiff1d(np.arange(mixing.num_agents), grouped)
    return Influence(tuple(tuple(m.tolist()) for m in closed), tuple(followers.tolist()), counts)


def closed_groups(weights: Floats) -> list[NDArray[np.int64]]:
    """Agents that hear each other, directly or not, and nobody else; sorted by their first agent."""
    hears = weights != 0
    count, labels = connected_components(hears, directed=True, connection="strong")
    groups = (np.flatnonzero(labels == label) for label in range(count))
    return sorted((group for group in groups if not np.delete(hears[group], group, axis=1).any()), key=lambda g: g[0])


def left_vector(weights: Floats) -> Floats:
    """p with pᵀW = pᵀ and sum one, for the weights within a group."""
    vector = np.linalg.svd(weights.T - np.eye(len(weights)))[2][-1]
    return vector / vector.sum()
