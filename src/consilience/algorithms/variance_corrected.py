"""Averaging that keeps the variance of the weights of every layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State
from consilience.algorithms.parameters_as_state import LocalSGD
from consilience.algorithms.validation import check_fraction


class VarianceCorrected(LocalSGD):
    """Adapt-then-combine that stretches the mix, layer by layer, to the variance that the mixed models had.

    The mean of k independent models has weights of 1/k of their variance, which is too little for signals to pass
    through layers: networks that start apart first have to grow back. A layer is a leaf of the parameters, and its
    variance is that of its entries about their mean.

    Update rule:
        θ_j' = θ_j after `local_steps` steps θ_j ← θ_j − η ∇(L_j + γ‖θ_j‖²)(θ_j) ;  w = Σ_j w_ij θ_j' ;
        θ_i ← ⟨w⟩ + (w − ⟨w⟩) √(v/Var w) for every layer, with v = (1 − κ) Var w + κ Σ_j w_ij Var θ_j'
    Reduces to:
        `AdaptThenCombine` at κ = 0; the same at any κ if every layer is a single number; `Isolated` when W = I; SGD at
        N = 1.
    Cost:
        one message of the size of the model, and one number per layer, per edge and round; `local_steps` gradients.
    Assumes:
        rows of W that sum to one, weights that are not negative.
    Known limits:
        it stretches noise as much as signal: agents that drift apart late in training pay for it. The mean over agents
        is not kept. A layer of equal weights stays as it is.
    Source:
        Y. Tian, Z. Al-Ars, M. Kitsak and P. Hofstee, Vanishing variance problem in fully decentralized neural-network
        systems, arXiv:2404.04616, 2024 [tian2024].

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: steps between two exchanges.
        optimiser: turns gradients into directions; plain SGD by default.
        correction: κ in [0, 1], how much of the lost variance is given back.

    Example:
        >>> VarianceCorrected(learning_rate=0.1, local_steps=5).correction
        1.0
    """

    correction: Any = 1.0

    def __check_init__(self) -> None:
        check_fraction(self, correction=self.correction)

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn; send the result, and the variance of each of its layers."""
        state = self.learned(state, local)
        return state, {"params": state["params"], "variance": jax.tree.map(jnp.var, state["params"])}

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Keep the mix, stretched."""

        def stretched(mixed: jax.Array, wanted: jax.Array) -> jax.Array:
            mean, variance = mixed.mean(), mixed.var()
            # Entries that are equal but for rounding have no shape that could be stretched.
            is_flat = variance <= (jnp.finfo(mixed.dtype).eps * jnp.abs(mixed).max()) ** 2
            target = (1 - self.correction) * variance + self.correction * wanted
            factor = jnp.where(is_flat, 1, jnp.sqrt(target / jnp.where(is_flat, 1, variance)))
            return mean + factor * (mixed - mean)

        return {**state, "params": jax.tree.map(stretched, inbox.mixed["params"], inbox.mixed["variance"])}
