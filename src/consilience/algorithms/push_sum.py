"""Push-sum: averaging over directed graphs, on which no agent can know how much it is heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State, descend
from consilience.algorithms.parameters_as_state import GradientMethod
from consilience.graphs import Graph, MixingMatrix, column_stochastic

if TYPE_CHECKING:
    from consilience.models import Params


class PushSum(GradientMethod):
    """Stochastic gradient push: mass and a weight travel together, and the parameters are their quotient.

    Agents share what they have among those who listen, so that no mass is lost; those to whom more flows have more of
    it, and more weight in the same proportion, by which they divide.

    Update rule:
        x_i ← Σ_j w_ij (x_j − η ∇(L_j + γ‖θ_j‖²)(θ_j)) ;  v_i ← Σ_j w_ij v_j ;  θ_i = x_i / v_i, with v_i = 1 at first
    Reduces to:
        `AdaptThenCombine` when W is doubly stochastic; averaging of the initial parameters at η = 0; `Isolated` when
        W = I; SGD at N = 1.
    Cost:
        one message of the size of the model, and one number more, per edge and round; one gradient.
    Assumes:
        a column-stochastic W; a strongly connected graph if agents are to agree.
    Known limits:
        with a constant learning rate the agents settle O(η) away from the minimum of the mean loss, further where
        weights v_i are small: an agent's step is η/v_i.
    Source:
        M. Assran, N. Loizou, N. Ballas and M. Rabbat, Stochastic gradient push for distributed deep learning, ICML
        2019, Algorithm 1 [assran2019]; A. Nedić and A. Olshevsky, Stochastic gradient-push for strongly convex
        functions on time-varying directed graphs, IEEE TAC 61 (2016) [nedic2016]; D. Kempe, A. Dobra and J. Gehrke,
        Gossip-based computation of aggregate information, FOCS 2003 [kempe2003].

    Attributes:
        learning_rate: η > 0, per round.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.

    Example:
        >>> from consilience import graphs
        >>> PushSum(learning_rate=0.1).default_mixing(graphs.cycle(3, directed=True)).name
        'column_stochastic(cycle(3, directed=True))'
    """

    requires = ("column_stochastic",)

    def default_mixing(self, graph: Graph) -> MixingMatrix:
        """Equal shares for all who listen, on undirected graphs too."""
        return column_stochastic(graph)

    def init(self, params: Params, context: Context) -> State:
        """Mass that is the parameters, and the weight 1."""
        return {"mass": params, "weight": jnp.ones((), jnp.result_type(*jax.tree.leaves(params)))}

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn at the quotient; send the mass and the weight."""
        params = self.params(state)
        gradient = self.gradient(params, local)
        return state, {**state, "mass": descend(state["mass"], gradient, self.learning_rate)}

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Keep what arrived of both."""
        return inbox.mixed

    def params(self, state: State) -> Params:
        """Mass by weight."""
        return jax.tree.map(lambda mass: mass / state["weight"], state["mass"])
