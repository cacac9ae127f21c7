"""Triadic coupling: Eq. (2) of paper 001 with a three-body term, the higher-order interaction of its outlook."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State
from consilience.algorithms.diffusive_coupling import DiffusiveCoupling
from consilience.algorithms.validation import check_non_negative
from consilience.graphs import Graph, MixingMatrix, diffusive, from_adjacency


class TriadicCoupling(DiffusiveCoupling):
    """Diffusive coupling in pairs and in triads: two neighbours that agree with each other pull together.

    Update rule:
        θ_i ← θ_i − η ∇(L_i + γ‖θ_i‖²) + (ησ/N) Σ_j q_ij (θ_j − θ_i)
        + (ητ/N²) Σ_{j≠k} q_ij q_ik κ_jk ((θ_j + θ_k)/2 − θ_i), with κ_jk = exp(−λ d²_jk), where d²_jk is the mean over
        parameters of (θ_j − θ_k)²; the sum is over ordered pairs of distinct neighbours, and all is taken at the
        parameters before the step. As pairs (j, k) and (k, j) weigh the same, the last sum is Σ_j T_ij (θ_j − θ_i) with
        T_ij = q_ij Σ_{k≠j} q_ik κ_jk.
    Reduces to:
        `DiffusiveCoupling` at τ = 0; `DiffusiveCoupling` with the coupling σ + τ(N − 2)/N at λ = 0 on the complete
        graph with unit weights; `DiffusiveCoupling` at N ≤ 2, where there are no triads; SGD at N = 1.
    Cost:
        one message of the size of the model per edge and round; one gradient; for K neighbours a K × K matrix of
        distances. All messages of a round are in memory at once: on the complete graph N² models per replica.
    Assumes:
        a mixing matrix whose weights between agents are q_ij/N, as those of the default are: from it triads have their
        weights.
    Known limits:
        for λ > 0 the coupling does not keep the mean, on the complete graph either: this is what three-body consensus
        is about. σ(t) of a schedule acts on pairs only; for weights q(t) triads need a schedule of the mixing matrix
        beside that of the adjacency. The stability limit is that of agents that nearly agree, where κ = 1.
    Source:
        L. Neuhäuser, A. Mellor and R. Lambiotte, Multibody interactions and nonlinear consensus dynamics on networked
        systems, Phys. Rev. E 101, 032310 (2020) [neuhauser2020], in the dynamics of paper 001, Eq. (2)
        [arolafernandez2023].

    Attributes:
        learning_rate: η > 0, per round.
        coupling: σ ≥ 0 of Eq. (2); it is divided by the number of agents N.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        triadic_coupling: τ ≥ 0; it is divided by N².
        selectivity: λ ≥ 0: how closely two neighbours must agree to pull together. At 0 all pairs do.

    Example:
        >>> TriadicCoupling(learning_rate=0.005, coupling=10.0, triadic_coupling=20.0, selectivity=1.0)
        TriadicCoupling(
          learning_rate=0.005, coupling=10.0, triadic_coupling=20.0, selectivity=1.0
        )
    """

    reads_mixing = True

    triadic_coupling: Any = 0.0
    selectivity: Any = 0.0

    def __check_init__(self) -> None:
        check_non_negative(self, triadic_coupling=self.triadic_coupling, selectivity=self.selectivity)

    def default_mixing(self, graph: Graph) -> MixingMatrix:
        """I − L_Q/N, whose weights between agents are q_ij/N; nothing is mixed with it."""
        return diffusive(graph, learning_rate=1.0, coupling=1.0)

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Eq. (2), and the pull of the triads, all at the parameters before the step."""
        moved = super().absorb(state, inbox, local, context)
        pull = self.learning_rate * self.triadic_coupling
        return jax.tree.map(lambda theta, triads: theta + pull * triads, moved, self._triads(state, inbox))

    def _triads(self, state: State, inbox: Inbox) -> Message:
        """Σ_j (T_ij/N²) (θ_j − θ_i), in the shape of the parameters."""
        # The mixing matrix of `default_mixing` makes `inbox.weights` q_ij/N: each triad brings its own 1/N².
        weights = jnp.where(inbox.mask, inbox.weights, 0)

        def offsets_of(own: jax.Array, received: jax.Array) -> jax.Array:
            # Where nothing arrived there may be anything, and NaN times a weight of 0 is NaN.
            heard = inbox.mask.reshape(-1, *[1] * own.ndim)
            return jnp.where(heard, received - own, 0).reshape(len(inbox.mask), own.size)

        offsets = jax.tree.map(offsets_of, state, inbox.messages)
        triads = weights * (self._agreement(jax.tree.leaves(offsets)) @ weights)
        return jax.tree.map(lambda own, offset: (triads @ offset).reshape(own.shape), state, offsets)

    def _agreement(self, offsets: list[jax.Array]) -> jax.Array:
        """κ_jk between neighbours, 0 on the diagonal, shape (slots, slots)."""
        # |a − b|² = |a|² + |b|² − 2ab is a matrix product, where all differences of neighbours would be an array of
        # slots × slots × parameters. Relative to the agent itself, it cancels to no less than the agents are apart.
        num_parameters = sum(offset.shape[1] for offset in offsets)
        gram = sum(offset @ offset.T for offset in offsets) / num_parameters
        sizes = jnp.diag(gram)
        distances = jnp.maximum(sizes[:, None] + sizes[None, :] - 2 * gram, 0)
        return jnp.where(jnp.eye(len(sizes), dtype=bool), 0, jnp.exp(-self.selectivity * distances))

    def warnings(self, graph: Graph, mixing: MixingMatrix) -> list[str]:
        """Says when agents that nearly agree overshoot on this graph: κ = 1, and the coupling is linear."""
        given = np.broadcast_arrays(self.learning_rate, self.coupling, self.triadic_coupling)
        triads = graph.adjacency * (graph.degrees[:, None] - graph.adjacency) / graph.num_agents
        distinct = np.unique(np.stack([np.ravel(one) for one in given], axis=-1), axis=0)
        for learning_rate, coupling, triadic_coupling in distinct[::-1]:
            pull = from_adjacency(coupling * graph.adjacency + triadic_coupling * triads)
            # By Gershgorin no spectrum is needed below this.
            if learning_rate * pull.degrees.max() <= graph.num_agents:
                continue
            limit = pull.coupling_limit(float(learning_rate))
            if limit < 1 - 1e-12:
                return [
                    f"coupling={coupling:g} and triadic_coupling={triadic_coupling:g} together are beyond the "
                    f"stability limit of {graph.name} at learning_rate={learning_rate:g}: agents that nearly agree "
                    "overshoot, and will not agree. Multiply both couplings, or the learning rate, by less than "
                    f"{limit:.4g}."
                ]
        return []
