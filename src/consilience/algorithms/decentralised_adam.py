"""Decentralised Adam, which averages while it computes, with or without accumulated gradients in its moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State
from consilience.algorithms.parameters_as_state import GradientMethod
from consilience.algorithms.validation import check_fraction, check_non_negative, check_positive_int

if TYPE_CHECKING:
    from consilience.models import Params


class DecentralisedAdam(GradientMethod):
    """Decentralised Adam: mix, and step along Adam's direction of the gradient at the parameters before mixing.

    What leaves an agent are its parameters before the step, so that messages travel while the gradient is computed.
    Adam's moments need gradients with little noise, and an agent's own mini-batch is small. With `accumulation` s > 1
    (AccumAdam) the moments that are kept take in the mean G of s gradients once in s rounds; each step in between adds
    its own gradient to them for the moment.

    Update rule:
        m̃ = m + (1 − β₁) g ;  ṽ = v + (1 − β₂) g² ;
        θ_i ← Σ_j w_ij θ_j − η (m̃/(1 − β₁^k)) / (√(ṽ/(1 − β₂^k)) + ε), k = ⌈(t + 1)/s⌉, g = ∇(L_i + γ‖θ_i‖²)(θ_i) ;
        every s rounds m ← β₁ (m + (1 − β₁) G), v ← β₂ (v + (1 − β₂) G²)
    Reduces to:
        `Isolated` with the optimiser `Adam` when W = I and s = 1; descent along the gradient's sign at ε = 0 while
        t < s, or at β₁ = β₂ = 0; gossip at η = 0.
    Cost:
        one message of the size of the model per edge and round; one gradient.
    Assumes:
        rows of W that sum to one; columns too if the mean is to follow the mean direction.
    Known limits:
        agents adapt to their own gradients, so their mean does not follow Adam on the mean gradient: heterogeneous
        shards move it away from the minimum of the mean loss. With a constant learning rate the agents stay O(η)
        apart. Moments are not exchanged.
    Source:
        Z. Wang, J. Zhang, X. Wu and M. Johansson, From promise to practice: realizing high-performance decentralized
        training, ICLR 2025 [wang2025]; AccumAdam is in Appendix C, and the update is that of the authors' published
        code.

    Attributes:
        learning_rate: η > 0, per round.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        b1: β₁ in [0, 1), decay of the mean of gradients.
        b2: β₂ in [0, 1), decay of the mean of squares.
        eps: ε ≥ 0, added to the root.
        accumulation: s, gradients of which the moments take in the mean; 1 is decentralised Adam.

    Example:
        >>> DecentralisedAdam(learning_rate=1e-3, accumulation=4).accumulation
        4
    """

    b1: Any = 0.9
    b2: Any = 0.999
    eps: Any = 1e-8
    accumulation: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        check_non_negative(self, eps=self.eps)
        check_fraction(self, b1=self.b1, b2=self.b2)
        check_positive_int(self, accumulation=self.accumulation)

    def init(self, params: Params, context: Context) -> State:
        """Parameters, moments that have seen no gradient, and the number of steps."""
        zeros = jax.tree.map(jnp.zeros_like, params)
        return {"params": params, "mean": zeros, "square": zeros, "sum": zeros, "steps": jnp.asarray(0, jnp.int32)}

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Send the parameters as they are."""
        return state, state["params"]

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Mixed parameters minus Adam's direction at the own, unmixed ones."""
        gradient = self.gradient(state["params"], local)
        mean, square = self._moments(state, gradient)
        steps = state["steps"] + 1
        refreshes = -(-steps // self.accumulation)

        def stepped(mixed: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            unbiased = m / jnp.asarray(1 - self.b1**refreshes, m.dtype)
            size = jnp.sqrt(v / jnp.asarray(1 - self.b2**refreshes, v.dtype))
            return mixed - self.learning_rate * unbiased / (size + self.eps)

        total = jax.tree.map(jnp.add, state["sum"], gradient)
        kept_mean, kept_square = self._moments(state, jax.tree.map(lambda g: g / self.accumulation, total))
        is_full = steps % self.accumulation == 0

        def if_full(new: Params, old: Params, decay: Any = 1.0) -> Params:
            return jax.tree.map(lambda a, b: jnp.where(is_full, decay * a, b), new, old)

        return {
            "params": jax.tree.map(stepped, inbox.mixed, mean, square),
            "mean": if_full(kept_mean, state["mean"], self.b1),
            "square": if_full(kept_square, state["square"], self.b2),
            "sum": if_full(jax.tree.map(jnp.zeros_like, total), total),
            "steps": steps,
        }

    def _moments(self, state: State, gradient: Params) -> tuple[Params, Params]:
        """m + (1 − β₁) g and v + (1 − β₂) g²; what is kept was multiplied by β when it was kept."""
        mean = jax.tree.map(lambda m, g: m + (1 - self.b1) * g, state["mean"], gradient)
        square = jax.tree.map(lambda v, g: v + (1 - self.b2) * g**2, state["square"], gradient)
        return mean, square
