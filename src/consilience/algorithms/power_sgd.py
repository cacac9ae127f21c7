"""PowerSGD."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State, descend
from consilience.algorithms.optimisers import Optimiser, Plain
from consilience.algorithms.parameters_as_state import GradientMethod
from consilience.algorithms.validation import check_positive_int
from consilience.graphs import Graph, MixingMatrix, uniform

if TYPE_CHECKING:
    from consilience.models import Params


class PowerSGD(GradientMethod):
    """PowerSGD: agents average two thin factors of their gradients, found by one step of subspace iteration.

    Of an array with more than two axes the first counts rows, and the rest columns; vectors, and matrices that would
    not become smaller, travel as they are.

    Update rule:
        M_i = ∇(L_i + γ‖θ‖²) + e_i ;  P = orthonormal basis of Σ_i M_i Q / N ;  Q ← Σ_i M_iᵀ P / N ;
        e_i = M_i − P Qᵀ ;  θ ← θ − η optimiser(P Qᵀ), per matrix, with the Q of the round before
    Reduces to:
        parallel SGD on vectors and on matrices that would not become smaller; parallel SGD on matrices of no higher
        rank; SGD at N = 1 on these.
    Cost:
        r (rows + columns) numbers up, and as many down, per matrix, agent and round, in two exchanges; one gradient;
        one more model in an agent's memory.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters.
    Known limits:
        gradients of high rank are fed back late; two exchanges wait for each other. e_i takes away the mean P Qᵀ, not
        the agent's own P P ᵀM_i as Algorithm 2 does: the mean of e_i, which is all that matters to θ, is the same.
    Source:
        T. Vogels, S. P. Karimireddy and M. Jaggi, PowerSGD: practical low-rank gradient compression for distributed
        optimization, NeurIPS 2019, Algorithms 1 and 2 [vogels2019].

    Attributes:
        learning_rate: η > 0, per round.
        rank: r, how many directions.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        optimiser: everybody's, of the mean.

    Example:
        >>> PowerSGD(learning_rate=0.1, rank=2).num_exchanges
        2
    """

    num_exchanges = 2
    requires = ("complete", "reliable")
    has_implied_server = True
    starts_together = True

    rank: int = eqx.field(static=True, default=1)
    optimiser: Optimiser = Plain()

    def __check_init__(self) -> None:
        check_positive_int(self, rank=self.rank)

    def default_mixing(self, graph: Graph) -> MixingMatrix:
        """The plain mean."""
        return uniform(graph.num_agents)

    def factored(self, leaf: Any) -> bool:
        """Whether an array travels as two factors."""
        return leaf.ndim > 1 and self.rank * (leaf.shape[0] + math.prod(leaf.shape[1:])) < leaf.size

    def init(self, params: Params, context: Context) -> State:
        """Nothing fed back yet, and random directions to start from, the same for all agents."""
        matrices = [leaf for leaf in jax.tree.leaves(params) if self.factored(leaf)]
        keys = jax.random.split(context.shared_key, max(1, len(matrices)))
        # Drawn in single precision, so that a run in double precision starts from the same directions.
        right = [
            jax.random.normal(key, (math.prod(leaf.shape[1:]), self.rank), jnp.float32).astype(leaf.dtype)
            for key, leaf in zip(keys, matrices, strict=False)
        ]
        return {
            "params": params,
            "optimiser": self.optimiser.init(params),
            "matrices": [jnp.zeros_like(_matrix(leaf)) for leaf in matrices],
            "left": [jnp.zeros((leaf.shape[0], self.rank), leaf.dtype) for leaf in matrices],
            "right": right,
            "rest": [jnp.zeros_like(leaf) for leaf in jax.tree.leaves(params) if not self.factored(leaf)],
        }

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """First M Q, and what is not factored; then Mᵀ P."""
        if context.exchange == 1:
            return state, [m.T @ p for m, p in zip(state["matrices"], state["left"], strict=True)]
        params = state["params"]
        gradient = jax.tree.leaves(self.gradient(params, local))
        fresh = [_matrix(leaf) for leaf in gradient if self.factored(leaf)]
        matrices = jax.tree.map(jnp.add, fresh, state["matrices"])
        left = [m @ q for m, q in zip(matrices, state["right"], strict=True)]
        return {**state, "matrices": matrices}, (left, [leaf for leaf in gradient if not self.factored(leaf)])

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """First an orthonormal basis of the mean M Q; then the step, and what it left out."""
        if context.exchange == 0:
            left, rest = inbox.mixed
            return {**state, "left": [jnp.linalg.qr(p)[0] for p in left], "rest": rest}
        right = inbox.mixed
        found = [p @ q.T for p, q in zip(state["left"], right, strict=True)]
        leaves, structure = jax.tree.flatten(state["params"])
        factored, rest = iter(found), iter(state["rest"])
        mean = [next(factored).reshape(leaf.shape) if self.factored(leaf) else next(rest) for leaf in leaves]
        direction, optimiser = self.optimiser.direction(structure.unflatten(mean), state["optimiser"], state["params"])
        return {
            **state,
            "params": descend(state["params"], direction, self.learning_rate),
            "optimiser": optimiser,
            "matrices": jax.tree.map(jnp.subtract, state["matrices"], found),
            "right": right,
        }


def _matrix(leaf: jax.Array) -> jax.Array:
    return leaf.reshape(leaf.shape[0], -1)
