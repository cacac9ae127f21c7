"""Orthonormal coordinates of the span of the training Jacobians: the paper's matrices, without its dimension.

The Gram matrix of the rows of J and of the directions in use, G = U Λ Uᵀ, gives features Φ = U Λ^½ of r = rank G
columns. In the coordinates v = Φᵀ z the network is the linear model f = f(x, θ⁰) + φ(x)·v, distances are those of
parameter space, and the formulas of paper 003 hold with r in place of the number of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from consilience.errors import InvalidSpec
from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.rounds import State

LARGEST_DENSE = 4000
"""Agents × rank up to which round operators are formed: a matrix of that size takes 128 MB, its spectrum minutes."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Features of the training and test data, and where agents start.

    Attributes:
        linearization: what they were made from.
        features: Φ, shape (rows, rank).
        test_features: shape (test rows, rank).
        directions: the unit vectors u_k, shape (directions, rank).
        dual: coefficients z of the coordinate axes, shape (rows + directions, rank): z = dual · v.
        start: v_q(0), shape (agents, rank).
        origin: θ⁰ in these coordinates, shape (rank,); zero without weight decay.
    """

    linearization: Linearization
    features: Floats
    test_features: Floats
    directions: Floats
    dual: Floats
    start: Floats
    origin: Floats

    @property
    def rank(self) -> int:
        """r, the dimension of what the agents can learn."""
        return self.features.shape[1]

    @property
    def size(self) -> int:
        """Agents times rank: the dimension of the population's state."""
        return self.linearization.num_agents * self.rank

    def curvature(self, agent: int) -> Floats:
        """H_q = Φ_qᵀ Φ_q / n_q, shape (rank, rank)."""
        lin = self.linearization
        rows = self.features[lin.shards[agent]]
        return rows.T @ rows / lin.sizes[agent]

    def force(self, agent: int) -> Floats:
        """g_q = Φ_qᵀ (f(X_q, θ⁰) − y_q) / n_q, shape (rank, columns)."""
        lin = self.linearization
        rows = lin.shards[agent]
        return self.features[rows].T @ lin.residuals[rows] / lin.sizes[agent]

    def state(self, v: Floats) -> State:
        """The state of one replica whose agents are at `v`, shape (agents, rank, columns)."""
        by_column = v.transpose(0, 2, 1)[None]
        watched = np.concatenate([self.features, self.directions, self.test_features])
        return State(by_column @ self.dual.T, by_column @ watched.T)


def coordinates(linearization: Linearization, *, weight_decay: float = 0.0, shard: slice | None = None) -> Coordinates:
    """Orthonormal coordinates; θ⁰ is one of their directions only if weight decay pulls along it.

    Eigenvalues of the Gram matrix below its rounding error, size · 2⁻⁵² · the largest, count as zero.

    Args:
        linearization: network and data.
        weight_decay: γ ≥ 0.
        shard: the rows of an agent, if the kernel does not tell those of the agents apart.

    Example:
        >>> import numpy as np
        >>> from consilience.theory import peer_to_peer
        >>> x = np.eye(3).reshape(3, 1, 3)                               # 3 agents with one sample each
        >>> kernel = peer_to_peer.infinite_width_kernel(0, "linear", 3.0, 0.0)
        >>> coordinates(peer_to_peer.linearize(kernel, None, x, x[..., :1])).rank
        3
    """
    lin = linearization
    used = _used(lin, weight_decay, shard)
    inner = lin.inner if used.all() else lin.inner[np.ix_(used, used)]
    values, vectors = scipy.linalg.eigh(inner)
    kept = values > len(inner) * np.finfo(float).eps * values[-1]
    if not kept.any():
        raise InvalidSpec(
            "The kernel of the training data is zero: the outputs do not depend on the parameters, and nothing can be "
            "learned. Were the inputs all zero?"
        )
    values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
    dual, features = np.zeros((2, len(lin.gram), len(values)))
    dual[used] = vectors / np.sqrt(values)
    if not used.all():
        features[:] = lin.inner[:, used] @ dual[used]
    features[used] = vectors * np.sqrt(values)
    if shard is not None:  # by its own, not by the product with the dual: small eigenvalues would amplify its rounding
        features[: lin.num_rows] = np.tile(features[shard], (lin.num_agents, 1))
    direction = features[lin.num_rows :]
    return Coordinates(
        linearization=lin,
        features=features[: lin.num_rows],
        test_features=lin.test_kernel @ dual,
        directions=direction,
        dual=dual,
        start=lin.start @ direction,
        origin=lin.origin_norm * direction[0] if weight_decay and lin.num_directions else np.zeros(len(values)),
    )


def _used(lin: Linearization, weight_decay: float, shard: slice | None) -> NDArray[np.bool_]:
    """Which rows of J and which directions span what is learned."""
    used = np.zeros(len(lin.gram), bool)
    used[shard or slice(lin.num_rows)] = True
    if lin.num_directions:
        used[lin.num_rows] = weight_decay > 0
        used[lin.num_rows + 1 :] = lin.start[:, 1:].any(axis=0)
    return used


def check_dense(size: int, what: str) -> None:
    """`InvalidSpec` if a matrix of this many rows and columns should not be formed."""
    if size > LARGEST_DENSE:
        raise InvalidSpec(
            f"{what} needs the matrix of a whole round, {size} × {size} (agents × rank of the kernel), and above "
            f"{LARGEST_DENSE} that takes hours and gigabytes. Use fewer samples per agent, fewer outputs or fewer "
            "agents; predict(...) has no such limit."
        )
