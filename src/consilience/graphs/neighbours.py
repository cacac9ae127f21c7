"""Who each agent listens to, as arrays of slots that a vectorised simulator can index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from consilience.graphs.arguments import read_only


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Neighbour lists padded to the longest: agent i's k-th neighbour stands in slot (i, k).

    With N agents of which none listens to more than K others, `ids`, `mask` and `reverse` have shape (N, K).

    Attributes:
        ids: the agents that i listens to, in ascending order; an unused slot holds i itself, so indexing with it is
            always safe.
        mask: whether the slot is used.
        reverse: the slot that i has in the list of agent `ids[i, k]`, by which an agent finds what a neighbour
            addressed to it; in an unused slot k itself, so that (i, k) → (ids, reverse)[i, k] is an involution.
            None on directed graphs, where the neighbour need not listen back.
    """

    ids: NDArray[np.int32]
    mask: NDArray[np.bool_]
    reverse: NDArray[np.int32] | None

    @property
    def num_slots(self) -> int:
        """K, the largest number of agents that one agent listens to."""
        return self.ids.shape[1]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How many others each agent listens to, shape (N,)."""
        return self.mask.sum(axis=1)

    @cached_property
    def groups(self) -> tuple[NDArray[np.int64], ...]:
        """The agents whose counts are the same when rounded up to a power of two; one group on a regular graph.

        Lists padded to the longest of each group have less than twice as many slots as all agents have neighbours,
        those aside who listen to nobody.

        Example:
            >>> from consilience import graphs
            >>> [group.tolist() for group in graphs.star(4).neighbours.groups]
            [[1, 2, 3], [0]]
        """
        _, powers = np.frexp(np.maximum(self.counts - 1, 0))
        return tuple(np.flatnonzero(powers == power) for power in np.unique(powers))

    def gather(self, matrix: NDArray) -> NDArray:
        """Entries (i, ids[i, k]) of an N × N `matrix` of edge or mixing weights, shape (N, K); 0 in unused slots.

        Example:
            >>> from consilience import graphs
            >>> star = graphs.star(3, weight=2.0)
            >>> star.neighbours.gather(star.adjacency)
            array([[2., 2.],
                   [2., 0.],
                   [2., 0.]])
        """
        rows = np.arange(len(self.ids))[:, None]
        return np.where(self.mask, matrix[rows, self.ids], 0)


def neighbour_slots(adjacency: NDArray[np.float64], *, directed: bool) -> Neighbours:
    """The neighbour lists of an N × N adjacency matrix; on a directed graph without `reverse`."""
    num_agents = len(adjacency)
    counts = np.count_nonzero(adjacency, axis=1)
    num_slots = int(counts.max())
    listeners, sources = np.nonzero(adjacency)
    first_of_row = np.cumsum(counts) - counts
    slots = np.arange(len(listeners)) - first_of_row[listeners]

    ids = np.repeat(np.arange(num_agents, dtype=np.int32)[:, None], num_slots, axis=1)
    ids[listeners, slots] = sources
    mask = np.arange(num_slots) < counts[:, None]
    if directed:
        return Neighbours(read_only(ids), read_only(mask), None)

    slot_of = np.empty(adjacency.shape, dtype=np.int32)
    slot_of[listeners, sources] = slots
    reverse = np.repeat(np.arange(num_slots, dtype=np.int32)[None, :], num_agents, axis=0)
    reverse[listeners, slots] = slot_of[sources, listeners]
    return Neighbours(read_only(ids), read_only(mask), read_only(reverse))
