"""Orthonormal coordinates of the span of the training Jacobians: the paper's matrices, without its dimension.

The Gram matrix of the rows of J and of the directions in use, G = U Λ Uᵀ, gives features Φ = U Λ^½ of r = rank G
columns. In the coordinates v = Φᵀ z the network is the linear model f = f(x, θ⁰) + φ(x)·v, distances are those of
parameter space, and the formulas of paper 003 hold with r in place of the number of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from consilience.errors import InvalidSpec
from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.linearization import Linearization

LARGEST_DENSE = 4000
"""Agents × rank up to which round operators are formed: a matrix of that size takes 128 MB, its spectrum minutes."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Features of the training and test data, and where agents start.

    Attributes:
        linearization: what they were made from.
        features: Φ, shape (rows, rank).
        test_features: shape (test rows, rank).
        dual: coefficients z of the coordinate axes, shape (rows + directions, rank): z = dual · v.
        start: v_q(0), shape (agents, rank).
        origin: θ⁰ in these coordinates, shape (rank,); zero without weight decay.
    """

    linearization: Linearization
    features: Floats
    test_features: Floats
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


def coordinates(linearization: Linearization, *, weight_decay: float = 0.0) -> Coordinates:
    """Orthonormal coordinates; θ⁰ is one of their directions only if weight decay pulls along it.

    Eigenvalues of the Gram matrix below its rounding error, size · 2⁻⁵² · the largest, count as zero.

    Example:
        >>> import numpy as np
        >>> from consilience.theory import peer_to_peer
        >>> x = np.eye(3).reshape(3, 1, 3)                               # 3 agents with one sample each
        >>> kernel = peer_to_peer.infinite_width_kernel(0, "linear", 3.0, 0.0)
        >>> coordinates(peer_to_peer.linearize(kernel, None, x, x[..., :1])).rank
        3
    """
    lin = linearization
    used = np.ones(len(lin.gram), bool)
    if lin.num_directions:
        used[lin.num_rows] = weight_decay > 0
        used[lin.num_rows + 1 :] = lin.start[:, 1:].any(axis=0)
    inner = lin.inner[np.ix_(used, used)]
    values, vectors = scipy.linalg.eigh(inner)
    kept = values > len(inner) * np.finfo(float).eps * values[-1]
    if not kept.any():
        raise InvalidSpec(
            "The kernel of the training data is zero: the outputs do not depend on the parameters, and nothing can be "
            "learned. Were the inputs all zero?"
        )
    values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
    features = np.zeros((len(lin.gram), len(values)))
    features[used] = vectors * np.sqrt(values)
    dual = np.zeros_like(features)
    dual[used] = vectors / np.sqrt(values)
    direction = features[lin.num_rows :]
    return Coordinates(
        linearization=lin,
        features=features[: lin.num_rows],
        test_features=lin.test_kernel @ dual,
        dual=dual,
        start=lin.start @ direction,
        origin=lin.origin_norm * direction[0] if lin.num_directions else np.zeros(len(values)),
    )


def check_dense(size: int, what: str) -> None:
    """`InvalidSpec` if a matrix of this many rows and columns should not be formed."""
    if size > LARGEST_DENSE:
        raise InvalidSpec(
            f"{what} needs the matrix of a whole round, {size} × {size} (agents × rank of the kernel), and above "
            f"{LARGEST_DENSE} that takes hours and gigabytes. Use fewer samples per agent, fewer outputs or fewer agents; "
            "predict(..., time='rounds') has no such limit."
        )
