"""A round as a plain loop over agents: the readable definition, and the oracle of the simulator.

Nothing here is vectorised or compiled on purpose. What the simulator does with matrix products, this module does with
sums over neighbours, as the equations are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consilience.algorithms.algorithm import Algorithm, Context, Inbox, Local, Message, State
from consilience.graphs import Graph, MixingMatrix
from consilience.messages import decode
from consilience.randomness import Purpose, key


@dataclass(frozen=True)
class Network:
    """Who talks to whom, with which weights, in one round.

    Attributes:
        graph: the weights q_ij.
        mixing: the weights w_ij.
        shard_weights: n_i / Σ n_j, shape (agents,); equal weights by default.
        roles: `LEARNER` or `SERVER` for each agent, shape (agents,); all learn by default.
        active: which agents take part, shape (agents,); all by default.
        edges: which links work, shape (agents, agents), entry (i, j) for the message from j to i; all by default.
        coupling_factor: σ(t)/σ of this round, by which Σ_j q_ij (m_j − m_i) is multiplied.
    """

    graph: Graph
    mixing: MixingMatrix
    shard_weights: np.ndarray | None = None
    roles: np.ndarray | None = None
    active: np.ndarray | None = None
    edges: np.ndarray | None = field(default=None, repr=False)
    coupling_factor: float = 1.0

    def hears(self, algorithm: Algorithm) -> np.ndarray:
        """Entry (i, j): whether a message from j reaches i in this round."""
        n = self.graph.num_agents
        heard = np.ones((n, n), bool) if self.edges is None else np.asarray(self.edges, bool).copy()
        if self.active is not None and not algorithm.manages_absence:
            heard &= np.outer(self.active, self.active)
        np.fill_diagonal(heard, True)
        return heard

    def effective_mixing(self, algorithm: Algorithm) -> np.ndarray:
        """W without the links that do not work; their weight returns to the diagonal.

        The receiver keeps it when the rows of W sum to one, the sender when only the columns do (push-sum), so that
        what was conserved stays conserved.
        """
        weights = np.where(self.hears(algorithm), self.mixing.weights, 0.0)
        axis = 1 if self.mixing.is_row_stochastic else 0
        missing = self.mixing.weights.sum(axis=axis) - weights.sum(axis=axis)
        return weights + np.diag(missing)


def contexts(algorithm: Algorithm, network: Network, *, round: int, exchange: int, seed: int) -> list[Context]:
    """The context of every agent in one exchange."""
    n = network.graph.num_agents
    neighbours = network.graph.neighbours
    shard_weights = np.full(n, 1 / n) if network.shard_weights is None else network.shard_weights
    roles = np.zeros(n, int) if network.roles is None else network.roles
    active = np.ones(n, bool) if network.active is None else network.active
    return [
        Context(
            round=jnp.asarray(round),
            agent=jnp.asarray(i),
            role=jnp.asarray(roles[i]),
            active=jnp.asarray(active[i]),
            shard_weight=jnp.asarray(shard_weights[i]),
            degree=jnp.asarray(network.graph.degrees[i]),
            neighbours=jnp.asarray(neighbours.ids[i]),
            neighbour_mask=jnp.asarray(neighbours.mask[i]),
            key=key(seed, Purpose.AGENT, round, i),
            shared_key=key(seed, Purpose.SHARED, round),
            num_agents=n,
            exchange=exchange,
        )
        for i in range(n)
    ]


def _weighted_sum(weights: Sequence[float], messages: Sequence[Message]) -> Message:
    def of_leaf(*leaves: Any) -> Any:
        return sum(
            weight * jnp.asarray(leaf, jnp.result_type(float)) for weight, leaf in zip(weights, leaves, strict=True)
        )

    return jax.tree.map(of_leaf, *messages)


def _difference(a: Message, b: Message) -> Message:
    return jax.tree.map(
        lambda x, y: jnp.asarray(x, jnp.result_type(float)) - jnp.asarray(y, jnp.result_type(float)), a, b
    )


def deliver(algorithm: Algorithm, network: Network, messages: Sequence[Message], agent: int) -> Inbox:
    """What `agent` receives when the agents emitted `messages`."""
    messages = [jax.vmap(decode)(message) if algorithm.per_edge else decode(message) for message in messages]
    graph, neighbours = network.graph, network.graph.neighbours
    heard = network.hears(algorithm)
    mixing = network.effective_mixing(algorithm)
    senders, used = neighbours.ids[agent], neighbours.mask[agent]
    if algorithm.per_edge:
        assert neighbours.reverse is not None, "methods that emit along edges require undirected graphs"
        slot_of_me = neighbours.reverse[agent]
        received = [
            jax.tree.map(lambda leaf, s=s: leaf[s], messages[j]) for j, s in zip(senders, slot_of_me, strict=True)
        ]
        mixed = coupled = None
        nothing = messages[agent]
    else:
        nothing = jax.tree.map(lambda leaf: jnp.zeros((0, *jnp.shape(leaf)), jnp.result_type(leaf)), messages[agent])
        everyone = range(graph.num_agents)
        received = [messages[j] for j in senders]
        mixed = _weighted_sum([mixing[agent, j] for j in everyone], messages)
        coupled = _weighted_sum(
            [network.coupling_factor * graph.adjacency[agent, j] * heard[agent, j] for j in everyone],
            [_difference(messages[j], messages[agent]) for j in everyone],
        )
    return Inbox(
        mixed=mixed,
        coupled=coupled,
        messages=jax.tree.map(lambda *leaves: jnp.stack(leaves), *received) if received else nothing,
        senders=jnp.asarray(senders),
        weights=jnp.asarray(np.where(used, mixing[agent, senders], 0.0)),
        mask=jnp.asarray(used & heard[agent, senders]),
    )


def run_round(
    algorithm: Algorithm,
    states: Sequence[State],
    locals_: Sequence[Local],
    network: Network,
    *,
    round: int = 0,
    seed: int = 0,
) -> list[State]:
    """One round of an algorithm, agent by agent.

    Args:
        algorithm: the method.
        states: one state per agent.
        locals_: one `Local` per agent, holding the mini-batches of this round.
        network: who talks to whom.
        round: index of the round, from 0.
        seed: seed of the run, for the keys of the context.

    Returns:
        The states after the round, one per agent.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from consilience import algorithms, graphs
        >>> local = algorithms.Local(
        ...     inputs=jnp.ones((1, 4, 1)), targets=jnp.zeros((1, 4, 1)), weights=None,
        ...     apply=lambda w, x: x * w, loss_function=lambda output, target: ((output - target)**2).sum(-1) / 2)
        >>> network = Network(graphs.complete(2), graphs.metropolis(graphs.complete(2)))
        >>> method = algorithms.DGD(learning_rate=0.5)
        >>> [float(w) for w in run_round(method, [jnp.asarray(1.0), jnp.asarray(3.0)], [local, local], network)]
        [1.5, 0.5]
    """
    everyone = range(network.graph.num_agents)
    active = None if algorithm.manages_absence else network.active
    states = list(states)
    for exchange in range(algorithm.num_exchanges):
        who = contexts(algorithm, network, round=round, exchange=exchange, seed=seed)
        emitted = [algorithm.emit(states[i], locals_[i], who[i]) for i in everyone]
        messages = [message for _, message in emitted]
        absorbed = [
            algorithm.absorb(emitted[i][0], deliver(algorithm, network, messages, i), locals_[i], who[i])
            for i in everyone
        ]
        states = [states[i] if active is not None and not active[i] else absorbed[i] for i in everyone]
    return states
