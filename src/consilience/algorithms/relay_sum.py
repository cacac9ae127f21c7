"""RelaySum: on a tree, sums that count every agent exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State, descend
from consilience.algorithms.parameters_as_state import GradientMethod

if TYPE_CHECKING:
    from consilience.models import Params


class RelaySum(GradientMethod):
    """RelaySGD: agents relay sums of models over a tree, so that all count the same in everybody's mean, only late.

    What travels from i to j is the sum of the models on i's side of their edge, as far as they have come: agent i's new
    one, and what all neighbours but j last sent to i. A count travels along, by which means are taken while the first
    models are still on their way, or when messages are lost.

    Update rule:
        x_i = θ_i − η ∇(L_i + γ‖θ_i‖²)(θ_i) ;  m_ij = x_i + Σ_{k ≠ j} m_ki and c_ij = 1 + Σ_{k ≠ j} c_ki, with the m_ki
        and c_ki of the round before, 0 at first ;  θ_i ← (x_i + Σ_j m_ji) / (1 + Σ_j c_ji)
    Reduces to:
        `AdaptThenCombine` with W = 11ᵀ/N on two agents; the mean over j of the x_j of d_ij − 1 rounds ago, d_ij being
        the distance of i and j, as soon as all have come; SGD at N = 1.
    Cost:
        one message of the size of the model, and one number more, per edge, direction and round; one gradient; a model
        per neighbour in an agent's memory.
    Assumes:
        a tree (a graph can be replaced by one of its spanning trees).
    Known limits:
        delays grow with the tree's diameter, and the learning rate must shrink with them. A lost message takes all
        agents behind it out of the mean. The authors' code divides by N unless told otherwise, with initial models in
        the place of those that are missing; dividing by the count, as here, is its other mode. They are the same once
        all models have come.
    Source:
        T. Vogels et al., RelaySum for decentralized deep learning on heterogeneous data, NeurIPS 2021 [vogels2021].

    Attributes:
        learning_rate: η > 0, per round.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.

    Example:
        >>> RelaySum(learning_rate=0.1)
        RelaySum(learning_rate=0.1)
    """

    per_edge = True
    reads_mixing = False
    requires = ("undirected", "tree")

    def init(self, params: Params, context: Context) -> State:
        """Parameters; no neighbour has sent anything."""
        slots = context.neighbours.shape[0]
        sums = jax.tree.map(lambda leaf: jnp.zeros((slots, *leaf.shape), leaf.dtype), params)
        counts = jnp.zeros(slots, jnp.result_type(*jax.tree.leaves(params)))
        return {"params": params, "received": (sums, counts)}

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn; send to each neighbour the sum of all that did not come from it."""
        params = state["params"]
        gradient = self.gradient(params, local)
        params = descend(params, gradient, self.learning_rate)
        total = self._total(params, state["received"])
        message = jax.tree.map(lambda everything, one: everything - one, total, state["received"])
        return {**state, "params": params}, message

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Take the mean of all models that have come; what did not arrive counts for nothing."""

        def arrived(leaf: jax.Array) -> jax.Array:
            return jnp.where(inbox.mask.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, 0)

        received = jax.tree.map(arrived, inbox.messages)
        total, count = self._total(state["params"], received)
        return {"params": jax.tree.map(lambda sum_: sum_ / count, total), "received": received}

    def _total(self, params: Params, received: Message) -> Message:
        """The sum of all models that an agent knows of, its own included, and their number."""
        sums, counts = received
        total = jax.tree.map(lambda own, others: own + others.sum(axis=0), params, sums)
        return total, 1 + counts.sum()
