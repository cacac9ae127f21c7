"""Gradient tracking: every agent follows an estimate of the mean gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State, descend
from consilience.algorithms.parameters_as_state import GradientMethod

if TYPE_CHECKING:
    from consilience.models import Params


class GradientTracking(GradientMethod):
    """Gradient tracking (DIGing in adapt-then-combine form): mix parameters and trackers of the mean gradient together.

    A tracker is mixed like the parameters, and takes in how much the agent's own gradient has changed. The mean of all
    trackers is the mean of all gradients, whatever W, and so agents agree on a point where that mean vanishes.

    Update rule:
        y_i = z_i + g_i(θ_i) − g_i(θ_i of the round before), g_i = ∇(L_i + γ‖θ_i‖²) ;
        θ_i ← Σ_j w_ij (θ_j − η y_j) ;  z_i ← Σ_j w_ij y_j, where z_i = 0 and y_i = g_i in round 0
    Reduces to:
        `AdaptThenCombine` with W = 11ᵀ/N, and in its first round with any W; `Isolated` when W = I; SGD at N = 1.
    Cost:
        two messages of the size of the model per edge and round; one gradient; two more models in an agent's memory.
    Assumes:
        a doubly stochastic W.
    Known limits:
        the learning rate must shrink with the spectral gap; the change of noisy gradients is noisier than they are.
        The minimum that it finds is that of the mean of the agents' losses, each counted once.
    Source:
        A. Nedić, A. Olshevsky and W. Shi, Achieving geometric convergence for distributed optimization over
        time-varying graphs, SIAM J. Optim. 27 (2017), Algorithm 1 [nedic2017]; in this form A. Koloskova, T. Lin and
        S. U. Stich, An improved analysis of gradient tracking for decentralized machine learning, NeurIPS 2021,
        Algorithm 1 [koloskova2021].

    Attributes:
        learning_rate: η > 0, per round.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.

    Example:
        >>> GradientTracking(learning_rate=0.1)
        GradientTracking(learning_rate=0.1)
    """

    requires = ("doubly_stochastic",)

    def init(self, params: Params, context: Context) -> State:
        """Parameters, and a tracker that has seen no gradient: the first change is the first gradient."""
        zeros = jax.tree.map(jnp.zeros_like, params)
        return {"params": params, "tracker": zeros, "gradient": zeros}

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Take in how the own gradient has changed; send where the tracker leads, and the tracker."""
        params = state["params"]
        gradient = self.gradient(params, local)
        tracker = jax.tree.map(lambda z, new, old: z + new - old, state["tracker"], gradient, state["gradient"])
        message = {"params": descend(params, tracker, self.learning_rate), "tracker": tracker}
        return {**state, "gradient": gradient}, message

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Keep the mix of both."""
        return {**state, **inbox.mixed}
