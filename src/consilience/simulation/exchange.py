"""How messages travel in the vectorised simulator: Σ_j w_ij m_j in the graph's cheapest exact form, and inboxes.

Arrays carry agents on axis 0; everything behind it (replicas, parameters) is one long axis here, so that mixing is a
product of a small matrix with a wide one. The forms agree to rounding (`tests/unit/simulation/test_exchange.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consilience.algorithms import Algorithm, Inbox
from consilience.graphs import Graph, MixingMatrix, Neighbours, Schedules
from consilience.messages import decode
from consilience.simulation.placement import Reach

# A row of a dense product costs as much as gathering the messages of one neighbour in so many agents, on CPUs: break
# even was at 9 with 100 agents and at 11 with 300, of 16 thousand parameters.
_AGENTS_PER_SLOT = 10


def dense_sum(weights: Any, leaf: jax.Array) -> jax.Array:
    """Σ_j a_ij m_j for a full matrix; messages of any shape (agents, ...)."""
    return (jnp.asarray(weights, leaf.dtype) @ leaf.reshape(leaf.shape[0], -1)).reshape(-1, *leaf.shape[1:])


def uniform_sum(off_diagonal: float, diagonal: float, messages: Any, reach: Reach) -> Any:
    """Σ_j a_ij m_j when all off-diagonal entries are equal, and all diagonal ones: O(agents); for a pytree of messages.

    A reduction keeps the shape of the messages, and XLA computes what is summed, the half step of a method that learns
    before it sends, on the way. Through a matrix product with a row of ones it would be written out first.

    Returns:
        Leaves (agents, ...), or (1, ...) if it is the same for all of them.
    """
    here = jax.tree.map(lambda leaf: off_diagonal * leaf.sum(axis=0, keepdims=True), messages)
    totals = reach.totals(here)
    if diagonal == off_diagonal:
        return totals
    return jax.tree.map(lambda total, leaf: total + (diagonal - off_diagonal) * leaf, totals, messages)


def slot_sum(diagonal: Any, slot_weights: Any, slots: Any, leaf: jax.Array, heard: jax.Array) -> jax.Array:
    """Σ_j a_ij m_j over neighbour lists: O(edges).

    Args:
        diagonal: a_ii, shape (agents,).
        slot_weights: a_ij of each neighbour slot, 0 on unused ones, shape (agents, slots).
        slots: where the neighbour of each slot stands among the messages heard, shape (agents, slots).
        leaf: m, shape (agents, ...).
        heard: the messages that these agents may listen to, shape (messages, ...).
    """

    def weighted(weights: Any, rows: jax.Array) -> jax.Array:
        return jnp.asarray(weights, leaf.dtype).reshape(-1, *[1] * (leaf.ndim - 1)) * rows

    result = weighted(diagonal, leaf)
    for slot in range(slots.shape[1]):
        result = result + weighted(slot_weights[:, slot], heard[slots[:, slot]])
    return result


def grouped_sum(weights: np.ndarray, neighbours: Neighbours, leaf: jax.Array) -> jax.Array:
    """Σ_j a_ij m_j, agents with about equally many neighbours at a time: O(edges) whatever their numbers.

    Hubs, for which a product with everybody's messages costs less than their lists, get their rows of that product.

    Args:
        weights: a, shape (agents, agents).
        neighbours: whom the agents listen to.
        leaf: m, shape (agents, ...).
    """
    diagonal, slot_weights = np.diag(weights), neighbours.gather(weights)
    are_hubs = ~_is_sparse(neighbours.counts, len(leaf))
    hubs = np.flatnonzero(are_hubs)
    order, sums = [hubs], [dense_sum(weights[hubs], leaf)]
    for group in neighbours.groups:
        agents = group[~are_hubs[group]]
        if agents.size:
            tables = slot_weights[agents], neighbours.ids[agents]
            weights_here, ids = (table[:, : neighbours.counts[agents].max()] for table in tables)
            sums.append(slot_sum(diagonal[agents], weights_here, ids, leaf[agents], leaf))
            order.append(agents)
    return jnp.concatenate(sums)[np.argsort(np.concatenate(order))]


def _is_sparse(num_neighbours: Any, num_agents: int) -> Any:
    """Whether gathering so many neighbours' messages costs less than a row of a product with everybody's."""
    return num_agents >= _AGENTS_PER_SLOT * num_neighbours


def best_sum(weights: np.ndarray, graph: Graph, reach: Reach | None = None) -> Callable[[Any], Any]:
    """The function m ↦ Σ_j a_ij m_j of pytrees in its cheapest form, for constant weights a supported by the graph.

    Where agents are shared out among devices, the function takes the messages of the agents of one device, and returns
    their sums.
    """
    n, neighbours = graph.num_agents, graph.neighbours
    reach = reach or Reach(neighbours)
    uniform = _uniform(weights)
    if uniform is not None:
        return lambda messages: uniform_sum(*uniform, messages, reach)
    is_shared_out = reach.num_parts > 1
    # Between devices, fewer messages that travel decide.
    travels_less = is_shared_out and 2 * reach.num_heard <= n - n // reach.num_parts
    has_groups = not is_shared_out and len(neighbours.groups) > 1
    if travels_less or (_is_sparse(neighbours.num_slots, n) and not has_groups):
        slots = neighbours.gather(weights)
        tables = reach.rows(np.diag(weights)), reach.rows(slots), reach.rows(reach.slots)
        return lambda messages: jax.tree.map(lambda leaf: slot_sum(*tables, leaf, reach.heard(leaf)), messages)
    # All devices run the same program, so that each would have to have the same groups. And to put the rows of two
    # forms in order costs more than it saves if few of them are sparse.
    if has_groups and 2 * _is_sparse(neighbours.counts, n).sum() > n:
        return lambda messages: jax.tree.map(lambda leaf: grouped_sum(weights, neighbours, leaf), messages)
    return full_sum(weights, reach)


def _uniform(weights: np.ndarray) -> tuple[float, float] | None:
    """The off-diagonal entry and the diagonal one if all of each are equal, but for the rounding of a row's sum.

    What n − 1 entries of 1/n leave of 1 is not quite 1/n, nor the same in all rows; a mean is cheaper if it is told.
    """
    n = len(weights)
    rounding = n * np.finfo(float).eps * np.abs(weights).sum(axis=1).max()
    diagonals, others = np.diag(weights), weights[~np.eye(n, dtype=bool)]
    if n == 1 or np.ptp(diagonals) > rounding or np.ptp(others) > rounding:
        return None
    other, diagonal = float(others[0]), float(diagonals[0])
    return other, other if abs(diagonal - other) <= rounding else diagonal


def full_sum(weights: Any, reach: Reach) -> Callable[[Any], Any]:
    """The function m ↦ Σ_j a_ij m_j of pytrees for any weights, a full matrix."""
    return lambda messages: jax.tree.map(lambda leaf: dense_sum(reach.rows(weights), reach.everyone(leaf)), messages)


def _apply(linear: Callable[[Any], Any], messages: Any) -> Any:
    """A linear map over agents; a result with one row serves all agents."""

    def real(leaf: jax.Array) -> jax.Array:
        return leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.astype(jnp.result_type(float))

    sums = linear(jax.tree.map(real, messages))
    return jax.tree.map(lambda result, leaf: jnp.broadcast_to(result, leaf.shape), sums, messages)


@dataclass(frozen=True, eq=False)
class Group:
    """Agents who are served together, and how many slots their inboxes have; by default everybody, and all slots."""

    agents: np.ndarray | None = None
    num_slots: int | None = None

    def rows(self, tree: Any) -> Any:
        """These agents' rows of leaves (agents, ...)."""
        return tree if self.agents is None else jax.tree.map(lambda leaf: leaf[self.agents], tree)

    def slots(self, tree: Any) -> Any:
        """What their slots hold in leaves (agents, slots, ...)."""
        return jax.tree.map(lambda leaf: leaf[:, : self.num_slots], self.rows(tree))


EVERYBODY = Group()


@dataclass(frozen=True, eq=False)
class Delivery:
    """What arrived in one exchange.

    Attributes:
        sums: everybody's inboxes, but for single messages.
        look_up: the messages that stand at some places among those heard, shape of the places (agents, slots).
        places: where each agent's messages stand, shape (agents, slots).
    """

    sums: Inbox
    look_up: Callable[[Any], Any]
    places: Any

    def inboxes(self, group: Group) -> Inbox:
        """The inboxes of a group, leaves with agents on axis 0, messages with slots on axis 1."""
        sums = self.sums
        return Inbox(
            group.rows(sums.mixed),
            group.rows(sums.coupled),
            self.look_up(group.slots(self.places)),
            *(group.slots(table) for table in (sums.senders, sums.weights, sums.mask)),
        )


@dataclass(frozen=True)
class Exchange:
    """The network of an experiment, ready to deliver messages; `reach` says how agents of other devices are heard."""

    algorithm: Algorithm
    graph: Graph
    mixing: MixingMatrix
    schedules: Schedules
    reach: Reach

    @property
    def is_constant(self) -> bool:
        """Whether the same links work with the same weights in every round, up to one factor for all of them."""
        s = self.schedules
        drops = s.active is not None and not self.algorithm.manages_absence
        return not drops and s.edges is None and s.mixing is None and s.adjacency is None

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Everybody in groups of about equally many neighbours, where that leaves less than half of the slots.

        What methods do with single messages then costs O(edges). Agents who are shared out among devices stay
        together, since all devices run one program; so do those whose messages differ between neighbours.
        """
        neighbours = self.graph.neighbours
        largest = [max(1, int(neighbours.counts[agents].max())) for agents in neighbours.groups]
        num_slots = sum(len(agents) * size for agents, size in zip(neighbours.groups, largest, strict=True))
        if self.algorithm.per_edge or self.reach.num_parts > 1 or 2 * num_slots > neighbours.ids.size:
            return (EVERYBODY,)
        return tuple(map(Group, neighbours.groups, largest))

    def deliver(self, messages: Any, *, round: jax.Array, active: jax.Array) -> Delivery:
        """Deliver one exchange's messages.

        Args:
            messages: what the agents here emitted, leaves (agents here, replicas, ...).
            round: index of the round.
            active: which agents take part, shape (agents,), everybody.

        Returns:
            What the agents here find in their inboxes.
        """
        messages = self._decoded(messages)
        neighbours, reach = self.graph.neighbours, self.reach
        ids, used = neighbours.ids, neighbours.mask
        if self.is_constant:
            mix, q = self.mixing.weights, self.graph.adjacency
            weights, mask = neighbours.gather(mix), used
            mixed_sum = best_sum(mix, self.graph, reach)
            laplacian = best_sum(q - np.diag(self.graph.degrees), self.graph, reach)
        else:
            works = self._works(round, active)
            mix, q = self._mixing_now(round, works), self._adjacency_now(round, works)
            agents = np.arange(self.graph.num_agents)[:, None]
            weights, mask = jnp.where(used, mix[agents, ids], 0), used & works[agents, ids]
            mixed_sum, laplacian = full_sum(mix, reach), full_sum(q - jnp.diag(q.sum(axis=1)), reach)
        everything = [reach.rows(jnp.asarray(table)) for table in (ids, weights, mask)]
        everything[1] = everything[1].astype(jnp.result_type(float))
        places = reach.rows(reach.slots)
        if self.algorithm.per_edge:
            routed = jax.tree.map(self._route, messages)
            return Delivery(Inbox(None, None, None, *everything), lambda _: routed, places)
        coupled = self._scaled(_apply(laplacian, messages), round)
        sums = Inbox(_apply(mixed_sum, messages), coupled, None, *everything)
        return Delivery(sums, lambda at: jax.tree.map(lambda leaf: reach.heard(leaf)[at], messages), places)

    def _decoded(self, messages: Any) -> Any:
        """The messages with arrays in the place of coded ones."""
        if not jax.tree.leaves(messages):
            return messages
        # Axes of agents, replicas and, along edges, slots.
        return jax.vmap(jax.vmap(jax.vmap(decode) if self.algorithm.per_edge else decode))(messages)

    def _works(self, round: jax.Array, active: jax.Array) -> jax.Array:
        """Which links work in this round, shape (agents, agents)."""
        n = self.graph.num_agents
        works = jnp.ones((n, n), bool)
        if self.schedules.edges is not None:
            works = self.schedules.edges(round)
        if not self.algorithm.manages_absence:
            works = works & active[:, None] & active[None, :]
        return works | jnp.eye(n, dtype=bool)

    def _mixing_now(self, round: jax.Array, works: jax.Array) -> jax.Array:
        """W(t) without the links that do not work; their weight returns to the diagonal, where it is conserved."""
        given = jnp.asarray(self.mixing.weights if self.schedules.mixing is None else self.schedules.mixing(round))
        kept = jnp.where(works, given, 0)
        axis = 1 if self.mixing.is_row_stochastic else 0
        return kept + jnp.diag((given - kept).sum(axis=axis))

    def _adjacency_now(self, round: jax.Array, works: jax.Array) -> jax.Array:
        given = self.graph.adjacency if self.schedules.adjacency is None else self.schedules.adjacency(round)
        return jnp.where(works & (self.graph.adjacency != 0), jnp.asarray(given), 0)

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
        addressed = self.reach.heard(jnp.moveaxis(leaf, 2, 1))
        return addressed[self.reach.rows(self.reach.slots), self.reach.rows(self.graph.neighbours.reverse)]
