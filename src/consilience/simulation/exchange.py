"""How messages travel in the vectorised simulator: Σ_j w_ij m_j in the graph's cheapest exact form.

Arrays carry agents on axis 0; everything behind it (replicas, parameters) is one long axis here, so that mixing is a
product of a small matrix with a wide one. The forms agree to rounding (`tests/unit/simulation/test_exchange.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consilience.algorithms import Algorithm, Inbox
from consilience.graphs import Graph, MixingMatrix, Schedules

# A gather of K rows costs as much memory traffic as a dense product costs arithmetic at about N = 24 K, on CPUs.
_SPARSE_FACTOR = 24


def dense_sum(weights: Any, leaf: jax.Array) -> jax.Array:
    """Σ_j a_ij m_j for a full matrix; messages of any shape (agents, ...)."""
    return (jnp.asarray(weights, leaf.dtype) @ leaf.reshape(leaf.shape[0], -1)).reshape(-1, *leaf.shape[1:])


def uniform_sum(off_diagonal: float, diagonal: float, leaf: jax.Array) -> jax.Array:
    """Σ_j a_ij m_j when all off-diagonal entries are equal, and all diagonal ones: O(agents).

    The sum over agents is a matrix product with a row of ones, because XLA compiles a reduction over the first axis to
    code that is ten times slower on CPUs. The rest keeps the shape of the messages: seen through a reshape, XLA would
    not write the update that follows in the place of the old state, and copy all parameters once more per round.

    Returns:
        Shape (agents, ...), or (1, ...) if it is the same for all of them.
    """
    total = dense_sum(jnp.full((1, leaf.shape[0]), off_diagonal), leaf)
    return total if diagonal == off_diagonal else total + (diagonal - off_diagonal) * leaf


def slot_sum(diagonal: Any, slot_weights: Any, ids: np.ndarray, leaf: jax.Array) -> jax.Array:
    """Σ_j a_ij m_j over neighbour lists: O(edges).

    Args:
        diagonal: a_ii, shape (agents,).
        slot_weights: a_ij of each neighbour slot, 0 on unused ones, shape (agents, slots).
        ids: the neighbour of each slot, shape (agents, slots).
        leaf: m, shape (agents, ...).
    """

    def weighted(weights: Any, rows: jax.Array) -> jax.Array:
        return jnp.asarray(weights, leaf.dtype).reshape(-1, *[1] * (leaf.ndim - 1)) * rows

    result = weighted(diagonal, leaf)
    for slot in range(ids.shape[1]):
        result = result + weighted(slot_weights[:, slot], leaf[ids[:, slot]])
    return result


def best_sum(weights: np.ndarray, graph: Graph) -> Callable[[jax.Array], jax.Array]:
    """The function m ↦ Σ_j a_ij m_j in its cheapest form, for constant weights a supported by the graph."""
    n = graph.num_agents
    off = ~np.eye(n, dtype=bool)
    diagonals, others = np.diag(weights), weights[off]
    if n > 1 and (diagonals == diagonals[0]).all() and (others == others[0]).all():
        return lambda leaf: uniform_sum(float(others[0]), float(diagonals[0]), leaf)
    neighbours = graph.neighbours
    if n >= _SPARSE_FACTOR * neighbours.num_slots:
        slots = np.where(neighbours.mask, neighbours.gather(weights), 0.0)
        return lambda leaf: slot_sum(diagonals, slots, neighbours.ids, leaf)
    return lambda leaf: dense_sum(weights, leaf)


def _apply(linear: Callable[[jax.Array], jax.Array], tree: Any) -> Any:
    """A linear map over agents, leaf by leaf; a result with one row serves all agents."""

    def of_leaf(leaf: jax.Array) -> jax.Array:
        real = leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.astype(jnp.result_type(float))
        return jnp.broadcast_to(linear(real), leaf.shape)

    return jax.tree.map(of_leaf, tree)


@dataclass(frozen=True)
class Exchange:
    """The network of an experiment, ready to deliver messages."""

    algorithm: Algorithm
    graph: Graph
    mixing: MixingMatrix
    schedules: Schedules

    @property
    def is_constant(self) -> bool:
        """Whether the same links work with the same weights in every round, up to one factor for all of them."""
        s = self.schedules
        drops = s.active is not None and not self.algorithm.manages_absence
        return not drops and s.edges is None and s.mixing is None and s.adjacency is None

    def deliver(self, messages: Any, *, round: jax.Array, active: jax.Array) -> Inbox:
        """Deliver one exchange's messages.

        Args:
            messages: what all agents emitted, leaves (agents, replicas, ...).
            round: index of the round.
            active: which agents take part, shape (agents,).

        Returns:
            All agents' inboxes, leaves with agents on axis 0.
        """
        neighbours = self.graph.neighbours
        ids, used = neighbours.ids, neighbours.mask
        if self.is_constant:
            mix, q = self.mixing.weights, self.graph.adjacency
            weights, mask = neighbours.gather(mix), used
            mixed_sum, laplacian = best_sum(mix, self.graph), best_sum(q - np.diag(self.graph.degrees), self.graph)
        else:
            heard = self._heard(round, active)
            mix, q = self._mixing_now(round, heard), self._adjacency_now(round, heard)
            agents = np.arange(self.graph.num_agents)[:, None]
            weights, mask = jnp.where(used, mix[agents, ids], 0), used & heard[agents, ids]
            mixed_sum, laplacian = partial(dense_sum, mix), partial(dense_sum, q - jnp.diag(q.sum(axis=1)))
        everything = (jnp.asarray(ids), jnp.asarray(weights, jnp.result_type(float)), jnp.asarray(mask))
        if self.algorithm.per_edge:
            return Inbox(None, None, jax.tree.map(self._route, messages), *everything)
        received = jax.tree.map(lambda leaf: leaf[ids], messages)
        coupled = self._scaled(_apply(laplacian, messages), round)
        return Inbox(_apply(mixed_sum, messages), coupled, received, *everything)

    def _heard(self, round: jax.Array, active: jax.Array) -> jax.Array:
        n = self.graph.num_agents
        heard = jnp.ones((n, n), bool)
        if self.schedules.edges is not None:
            heard = self.schedules.edges(round)
        if not self.algorithm.manages_absence:
            heard = heard & active[:, None] & active[None, :]
        return heard | jnp.eye(n, dtype=bool)

    def _mixing_now(self, round: jax.Array, heard: jax.Array) -> jax.Array:
        """W(t) without the links that do not work; their weight returns to the diagonal, where it is conserved."""
        given = jnp.asarray(self.mixing.weights if self.schedules.mixing is None else self.schedules.mixing(round))
        kept = jnp.where(heard, given, 0)
        axis = 1 if self.mixing.is_row_stochastic else 0
        return kept + jnp.diag((given - kept).sum(axis=axis))

    def _adjacency_now(self, round: jax.Array, heard: jax.Array) -> jax.Array:
        given = self.graph.adjacency if self.schedules.adjacency is None else self.schedules.adjacency(round)
        return jnp.where(heard & (self.graph.adjacency != 0), jnp.asarray(given), 0)

    def _scaled(self, coupled: Any, round: jax.Array) -> Any:
        """Σ_j q_ij (m_j − m_i) times σ(t)/σ; the sums themselves stay in their cheapest form."""
        if self.schedules.coupling is None:
            return coupled
        factor = self.schedules.coupling(round)
        return jax.tree.map(lambda leaf: jnp.asarray(factor, leaf.dtype) * leaf, coupled)

    def _route(self, leaf: jax.Array) -> jax.Array:
        """Bring each per-edge message, (agents, replicas, slots, ...), to the slot that its sender has at the receiver.

        Returns:
            Shape (agents, slots, replicas, ...).
        """
        neighbours = self.graph.neighbours
        return jnp.moveaxis(leaf, 2, 1)[neighbours.ids, neighbours.reverse]
