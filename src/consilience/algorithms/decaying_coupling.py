"""Distributed SGD whose learning rate and coupling decay as powers of the round."""

from __future__ import annotations

from typing import Any

import jax

from consilience.algorithms.algorithm import Context, Inbox, Local, State
from consilience.algorithms.diffusive_coupling import DiffusiveCoupling
from consilience.algorithms.validation import check_non_negative


class DecayingCoupling(DiffusiveCoupling):
    """D-SGD: Eq. (2) with a learning rate that decays, a coupling that decays more slowly, and noise in the gradients.

    Steps that decay faster than the pull let agents agree in the end, wherever their own losses draw them; noise lets
    them leave saddles of the mean loss.

    Update rule:
        θ_i ← θ_i − α_t (∇(L_i + γ‖θ_i‖²) + s ξ_i) + β_t Σ_j q_ij (θ_j − θ_i), with α_t = η (t + 1)^{−a},
        β_t = (ησ/N) (t + 1)^{−b} and ξ_i of independent standard normal entries
    Reduces to:
        `DiffusiveCoupling` at a = b = 0, and in its first round at any a and b, both without noise; `Isolated` at σ = 0
        and a = 0 without noise; SGD at N = 1 and a = 0 without noise.
    Cost:
        one message of the size of the model per edge and round; one gradient.
    Assumes:
        an undirected, connected graph if agents are to agree on a critical point of the mean loss; 1/2 < a ≤ 1 and
        b < a.
    Known limits:
        slow: after t rounds a time of the order t^{1 − a} has passed. The coupling alone is unstable in its first
        rounds beyond `graph.coupling_limit(learning_rate)`.
    Source:
        B. Swenson, R. Murray, H. V. Poor and S. Kar, Distributed stochastic gradient descent: nonconvexity,
        nonsmoothness, and convergence to local minima, JMLR 23 (2022) [swenson2022].

    Attributes:
        learning_rate: η > 0 of the first round.
        coupling: σ ≥ 0 of the first round; it is divided by the number of agents N, as in Eq. (2).
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        rate_exponent: a ≥ 0.
        coupling_exponent: b ≥ 0.
        noise_scale: s ≥ 0, standard deviation of the noise in every entry of the gradient.

    Example:
        >>> DecayingCoupling(learning_rate=0.1, coupling=5.0, noise_scale=0.01).rate_exponent
        1.0
    """

    rate_exponent: Any = 1.0
    coupling_exponent: Any = 0.25
    noise_scale: Any = 0.0

    def __check_init__(self) -> None:
        check_non_negative(
            self,
            rate_exponent=self.rate_exponent,
            coupling_exponent=self.coupling_exponent,
            noise_scale=self.noise_scale,
        )

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Eq. (2) with this round's η and σ, then the noise of the gradient."""
        time = context.round + 1
        rate = self.learning_rate * time**-self.rate_exponent
        coupling = self.coupling * time ** (self.rate_exponent - self.coupling_exponent)  # β N / α, relative to η
        moved = DiffusiveCoupling(rate, coupling, self.weight_decay).absorb(state, inbox, local, context)
        leaves, structure = jax.tree.flatten(moved)
        keys = jax.random.split(context.key, len(leaves))
        noisy = [
            leaf - rate * self.noise_scale * jax.random.normal(key, leaf.shape, leaf.dtype)
            for leaf, key in zip(leaves, keys, strict=True)
        ]
        return jax.tree.unflatten(structure, noisy)
