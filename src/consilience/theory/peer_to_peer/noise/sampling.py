"""Mini-batches: what their noise does to mean and covariance of the agents' parameters in a round.

In orthonormal coordinates (`coordinates`) sample i of agent q has outputs φ_i v, φ_i of shape (outputs, rank), error
e_i(v) = φ_i v + r_i and gradient s_i = φ_iᵀ e_i. A mini-batch gradient is the mean of s_i over B samples of the shard.
It is unbiased, and its covariance at given v is, with ḡ_q = (1/n_q) Σ_i s_i,

    C_q(v) = κ_q [ (1/n_q) Σ_i s_i s_iᵀ − ḡ_q ḡ_qᵀ ],    κ_q = (n_q − B) / ((n_q − 1) B)    without replacement,
                                                         κ_q = 1 / B                        with replacement.

Weight decay is no part of it: its gradient is the same in every batch. A round is v⁺ = A v + b − η M ξ with A and b of
the full batch (`operators`), M = W⊗I for ATC and I otherwise, and noise ξ of mean zero at given v. So the mean obeys
the full-batch recursion, and by the law of total covariance P, of agents · rank rows and columns, obeys

    P⁺ = A P Aᵀ + η² M blockdiag(E C_q) Mᵀ.

C_q is quadratic in v, so that its expectation needs the first two moments only: with ē_i = e_i at the mean,

    E s_i s_iᵀ = φ_iᵀ (φ_i P_qq φ_iᵀ + ē_i ē_iᵀ) φ_i,    E ḡ_q ḡ_qᵀ = H_q P_qq H_q + g_q g_qᵀ,  g_q = Φ_qᵀ ē / n_q.

This closes, without approximation. For CTA gradients are taken at ψ = (W⊗I) v, where the covariance is
(W⊗I) P (W⊗I)ᵀ. Outputs that share a kernel (columns) see the same batches and are correlated, but squared errors add up
over columns: only the sum of the columns' covariances is needed, and it obeys the same equations with Σ ē_i ē_iᵀ over
columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from consilience.errors import InvalidSpec
from consilience.theory.peer_to_peer.arguments import Floats, check_algorithm, check_count, check_rate
from consilience.theory.peer_to_peer.coordinates import Coordinates


@dataclass(frozen=True, eq=False)
class Sampling:
    """What mini-batches do to the second moments of the agents' parameters, round by round.

    Attributes:
        features: φ of each agent's samples, shapes (samples, outputs, rank).
        curvature: H_q, shape (agents, rank, rank).
        factors: κ_q, shape (agents,); 0 where every batch is the whole shard.
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η.
        weight_decay: γ.
    """

    features: tuple[Floats, ...]
    curvature: Floats
    factors: Floats
    algorithm: str
    learning_rate: float
    weight_decay: float

    @property
    def shape(self) -> tuple[int, int]:
        """Agents and rank."""
        return self.curvature.shape[:2]

    def covariances(self, blocks: Floats, errors: Sequence[Floats] | None = None) -> Floats:
        """E C_q, the covariance of every agent's mini-batch gradient, shape (agents, rank, rank).

        Args:
            blocks: P_qq where gradients are taken, shape (agents, rank, rank).
            errors: ē of each agent's samples at the mean, shapes (samples, outputs, columns); zero by default.
        """
        found = np.zeros_like(self.curvature)
        for agent, (phi, block, curvature) in enumerate(zip(self.features, blocks, self.curvature, strict=True)):
            if self.factors[agent] == 0:
                continue
            squares = phi @ block @ phi.swapaxes(1, 2)
            total = -curvature @ block @ curvature
            if errors is not None:
                error = errors[agent]
                squares += error @ error.swapaxes(1, 2)
                push = np.einsum("icr,ick->rk", phi, error) / len(phi)
                total -= push @ push.T
            total += np.einsum("icr,ics->rs", phi, squares @ phi, optimize=True) / len(phi)
            found[agent] = self.factors[agent] * (total + total.T) / 2
        return found

    def propagate(self, covariance: Floats, weights: Floats, errors: Sequence[Floats] | None = None) -> Floats:
        """P after one more round, from P (agents · rank, agents · rank), W and ē where gradients are taken."""
        at = self._mix(covariance, weights) if self.algorithm == "cta" else covariance
        after = _congruence(lambda x: self._step(x, weights), at)
        after += self.learning_rate**2 * block_diagonal(self.covariances(self.blocks(at), errors))
        return self._mix(after, weights) if self.algorithm == "atc" else after

    def injected(self, blocks: Floats, weights: Floats, errors: Sequence[Floats] | None = None) -> Floats:
        """η² M blockdiag(E C_q) Mᵀ: what the noise of one round adds to P; arguments as of `covariances`."""
        added = self.learning_rate**2 * block_diagonal(self.covariances(blocks, errors))
        return self._mix(added, weights) if self.algorithm == "atc" else added

    def seen(self, covariance: Floats, weights: Floats) -> Floats:
        """P_qq where gradients are taken, shape (agents, rank, rank)."""
        return self.blocks(self._mix(covariance, weights) if self.algorithm == "cta" else covariance)

    def blocks(self, covariance: Floats) -> Floats:
        """P_qq of all agents, shape (agents, rank, rank)."""
        num_agents, rank = self.shape
        return np.einsum("qiqj->qij", covariance.reshape(num_agents, rank, num_agents, rank))

    def _mix(self, covariance: Floats, weights: Floats) -> Floats:
        return _congruence(lambda x: _mixed(weights, x), covariance)

    def _step(self, rows: Floats, weights: Floats) -> Floats:
        """W⊗I − ηH (DGD) or I − ηH (ATC, CTA) times `rows`, of shape (agents · rank, any)."""
        stacked = rows.reshape(*self.shape, -1)
        pull = (self.curvature @ stacked).reshape(rows.shape) + 2 * self.weight_decay * rows
        kept = _mixed(weights, rows) if self.algorithm == "dgd" else rows
        return kept - self.learning_rate * pull


def block_diagonal(blocks: Sequence[Floats] | Floats) -> Floats:
    """One matrix of square blocks."""
    return np.asarray(scipy.linalg.block_diag(*blocks), np.float64)


def _mixed(weights: Floats, rows: Floats) -> Floats:
    return (weights @ rows.reshape(len(weights), -1)).reshape(rows.shape)


def _congruence(apply: Callable[[Floats], Floats], covariance: Floats) -> Floats:
    """A P Aᵀ for symmetric P, as A (A P)ᵀ."""
    return apply(np.ascontiguousarray(apply(covariance).T))


def sampling(
    coords: Coordinates,
    *,
    algorithm: str,
    learning_rate: float,
    batch_size: int,
    weight_decay: float = 0.0,
    replacement: bool = False,
) -> Sampling:
    """Mini-batches of `batch_size` samples of each shard, drawn anew in every round.

    Raises:
        InvalidSpec: for values that cannot be, a batch larger than a shard among them.
    """
    lin = coords.linearization
    size = check_count("batch_size", batch_size, least=1)
    if not replacement and size > lin.sizes.min():
        agent = int(np.argmin(lin.sizes))
        raise InvalidSpec(
            f"batch_size={size}, but agent {agent} has {lin.sizes[agent]} samples, of which no {size} can be drawn "
            f"without replacement. Write batch_size={lin.sizes[agent]} or less, or replacement=True."
        )
    without = (lin.sizes - size) / (np.maximum(lin.sizes - 1, 1) * size)  # a shard of one sample has no other batch
    shape = (-1, lin.rows_per_sample, coords.rank)
    return Sampling(
        features=tuple(coords.features[rows].reshape(shape) for rows in lin.shards),
        curvature=np.stack([coords.curvature(agent) for agent in range(lin.num_agents)]),
        factors=np.where(lin.sizes == 1, 0.0, 1 / size if replacement else without),
        algorithm=check_algorithm(algorithm),
        learning_rate=check_rate("learning_rate", learning_rate, positive=True),
        weight_decay=check_rate("weight_decay", weight_decay),
    )
