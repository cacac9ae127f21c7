"""Exact diffusion: adapt, correct, then combine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State, descend
from consilience.algorithms.parameters_as_state import GradientMethod
from consilience.graphs import Graph, MixingMatrix, default_mixing, lazy

if TYPE_CHECKING:
    from consilience.models import Params


class ExactDiffusion(GradientMethod):
    """Exact diffusion (D²): adapt-then-combine that takes back what the last mixing did to the agent.

    The correction adds up over rounds, until it cancels what drives an agent away from the others: its own gradient at
    the minimum of the mean loss.

    Update rule:
        ψ_i = θ_i − η ∇(L_i + γ‖θ_i‖²)(θ_i) ;  φ_i = ψ_i + θ_i − ψ_i of the round before ;  θ_i ← Σ_j w_ij φ_j, where
        φ_i = ψ_i in round 0
    Reduces to:
        `AdaptThenCombine` with W = 11ᵀ/N, and in its first round with any W; `Isolated` when W = I; SGD at N = 1.
    Cost:
        one message of the size of the model per edge and round; one gradient; one more model in an agent's memory.
    Assumes:
        a doubly stochastic, symmetric W with eigenvalues above −1/3; by default (I + W)/2 of the graph's default.
    Known limits:
        it diverges, however small the learning rate, if W has an eigenvalue below −1/3. While W changes it is not
        exact. The minimum that it finds is that of the mean of the agents' losses, each counted once.
    Source:
        K. Yuan, B. Ying, X. Zhao and A. H. Sayed, Exact diffusion for distributed optimization and learning, part I:
        algorithm development, IEEE Trans. Signal Process. 67 (2019), Algorithm 1 [yuan2019]; with W for (I + W)/2
        H. Tang et al., D²: decentralized training over decentralized data, ICML 2018, Algorithm 1 [tang2018].

    Attributes:
        learning_rate: η > 0, per round.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.

    Example:
        >>> from consilience import graphs
        >>> ExactDiffusion(learning_rate=0.1).default_mixing(graphs.cycle(4)).name
        'lazy(metropolis(cycle(4)))'
    """

    requires = ("doubly_stochastic",)

    def default_mixing(self, graph: Graph) -> MixingMatrix:
        """(I + W)/2, whose eigenvalues are not negative."""
        return lazy(default_mixing(graph))

    def init(self, params: Params, context: Context) -> State:
        """Parameters; taken for the last ψ they leave nothing to correct in round 0."""
        return {"params": params, "adapted": params}

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Adapt; send the corrected result."""
        params = state["params"]
        gradient = self.gradient(params, local)
        adapted = descend(params, gradient, self.learning_rate)
        corrected = jax.tree.map(lambda new, theta, old: new + theta - old, adapted, params, state["adapted"])
        return {**state, "adapted": adapted}, corrected

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Keep the mix."""
        return {**state, "params": inbox.mixed}

    def warnings(self, graph: Graph, mixing: MixingMatrix) -> list[str]:
        """Says when the correction itself is unstable, or not known to be stable."""
        if not mixing.is_symmetric:
            return [
                f"the mixing matrix {mixing.name!r} is not symmetric, and exact diffusion is known to converge for "
                "symmetric ones only. Use an undirected graph with its default weights, or GradientTracking."
            ]
        lowest = float(mixing.eigenvalues[0])
        # The corrections obey μ² − 2λμ + λ = 0 at η → 0, whose roots leave the unit circle at λ = −1/3.
        if lowest > -1 / 3:
            return []
        return [
            f"the mixing matrix {mixing.name!r} has the eigenvalue {lowest:g}, and at or below -1/3 the corrections "
            "overshoot: the parameters will diverge. Use mixing=cs.graphs.lazy(mixing)."
        ]
