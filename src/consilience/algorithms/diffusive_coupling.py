"""Diffusive coupling, Eq. (2) of paper 001."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State, regularised
from consilience.algorithms.parameters_as_state import ParametersAsState
from consilience.algorithms.validation import check_non_negative
from consilience.graphs import Graph, MixingMatrix


class DiffusiveCoupling(ParametersAsState):
    """Local gradient descent plus a diffusive pull towards the neighbours' parameters.

    Update rule:
        θ_i ← θ_i − η ∇(L_i + γ‖θ_i‖²) + (ησ/N) Σ_j q_ij (θ_j − θ_i), gradient and coupling both at the parameters
        before the step.
    Reduces to:
        `Isolated` at σ = 0; `DGD` with W = I − (ησ/N) L_Q (`graphs.diffusive`) at any σ; SGD at N = 1; in its first
        round from common parameters, the mean takes a step of SGD on the union of all mini-batches.
    Cost:
        one message of the size of the model per edge and round; one gradient.
    Assumes:
        nothing of the graph; undirected graphs keep the mean under the coupling.
    Known limits:
        the coupling alone is unstable beyond `graph.coupling_limit(learning_rate)`: σ = 2/η on the complete graph.
    Source:
        L. Arola-Fernández and L. Lacasa, An effective theory of collective deep learning, arXiv:2310.12802, Eq. (2)
        [arolafernandez2023].

    Attributes:
        learning_rate: η > 0, per round.
        coupling: σ ≥ 0 of Eq. (2); it is divided by the number of agents N, as written there.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.

    Example:
        >>> DiffusiveCoupling(learning_rate=0.005, coupling=30.0, weight_decay=1e-3)
        DiffusiveCoupling(learning_rate=0.005, coupling=30.0, weight_decay=0.001)
    """

    reads_mixing = False

    learning_rate: Any
    coupling: Any = 0.0
    weight_decay: Any = 0.0

    def __check_init__(self) -> None:
        check_non_negative(
            self, learning_rate=self.learning_rate, coupling=self.coupling, weight_decay=self.weight_decay
        )

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Send the parameters as they are."""
        return state, state

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Eq. (2)."""
        gradient = regularised(local.gradient(state), state, self.weight_decay)
        pull = self.learning_rate * self.coupling / context.num_agents
        return jax.tree.map(
            lambda theta, g, difference: theta - self.learning_rate * g + pull * difference,
            state,
            gradient,
            inbox.coupled,
        )

    def warnings(self, graph: Graph, mixing: MixingMatrix) -> list[str]:
        """Says when the coupling alone is unstable on this graph."""
        if eqx.tree_equal(self.learning_rate, 0.0):
            return []
        learning_rates, couplings = np.broadcast_arrays(self.learning_rate, self.coupling)
        for learning_rate, coupling in zip(learning_rates.ravel(), couplings.ravel(), strict=True):
            limit = graph.coupling_limit(float(learning_rate)) if learning_rate > 0 else np.inf
            if coupling > limit * (1 + 1e-12):
                return [
                    f"coupling={coupling:g} is beyond the stability limit {limit:g} of {graph.name} at "
                    f"learning_rate={learning_rate:g}: the coupling alone overshoots, and the parameters will "
                    f"diverge. Use coupling < {limit:g} or a smaller learning rate."
                ]
        return []
