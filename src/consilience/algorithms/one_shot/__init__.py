"""Learning in one shot: every shard learns alone, and one message of each is combined in the end.

These methods have no rounds, and their learners are no networks; they are functions of data and shards.
"""

from __future__ import annotations

from consilience.algorithms.one_shot.mixture_of_experts import MixtureOfExperts, fit_mixture_of_experts
from consilience.algorithms.one_shot.nearest_neighbours import distributed_nearest_neighbour
from consilience.algorithms.one_shot.reduced_mixture_of_experts import (
    Reduction,
    reduce_mixtures,
    reduced_mixture_of_experts,
)

__all__ = [
    "MixtureOfExperts",
    "Reduction",
    "distributed_nearest_neighbour",
    "fit_mixture_of_experts",
    "reduce_mixtures",
    "reduced_mixture_of_experts",
]
