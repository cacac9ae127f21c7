"""Stability of stationary states of Eq. (4), and where order ends without coupling.

The Jacobian is J = diag(−V''_i) − (σ̂/N) L_Q. A state is stable if all eigenvalues have negative real parts. Because no
weight q_ij is negative, J has no negative entry off its diagonal, so that its rightmost eigenvalue is real, on directed
graphs too (Perron and Frobenius). On the complete graph with weight q, for σ = σ̂q, J is diagonal plus rank one,

    J = diag(a) + (σ/N) 11ᵀ,   a_i = −V''_i − σ,

and its top eigenvalue is the largest root λ of the secular equation 1 = (σ/N) Σ_i 1/(λ − a_i).
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from consilience.errors import InvalidSpec
from consilience.graphs import Graph
from consilience.theory.landau.arguments import Array, System, check_depth, check_system, numbers
from consilience.theory.landau.dynamics import local_slope

_EPS = float(np.finfo(float).eps)
_DENSE_BELOW = 200
"""Agents below which LAPACK's dense eigenvalues are faster than ARPACK's iteration."""

_TOLERANCE = 1e-13
"""Error of ARPACK's eigenvalues relative to the size of the Jacobian: rounding is some units of 1e-16."""
_MAX_STEPS = 100
"""Far above the ten or so of Newton's steps on the secular equation that are taken."""


def top_eigenvalue(
    m: Any,
    delta: Any,
    *,
    depth: int,
    coupling: Any,
    weight_decay: Any = 1e-3,
    second_moment: Any = 1.0,
    graph: Graph | None = None,
) -> np.ndarray:
    """The largest real part of the eigenvalues of the Jacobian of Eq. (4) at m: negative where m is stable.

    Near a stationary state deviations grow, or shrink, as exp(λt) in the long run. On the complete graph this costs
    O(N) per state; on other graphs a sparse or dense eigenvalue problem, one state after the other.

    Args:
        m: order parameters, shape (…, agents); stationary or not.
        delta: δ_i, broadcastable against `m`.
        depth: D ≥ 0, hidden layers.
        coupling: σ̂ ≥ 0, broadcastable against the batch shape (…).
        weight_decay: γ̂ ≥ 0, broadcastable likewise.
        second_moment: s_i ≥ 0, broadcastable against `m`.
        graph: who listens to whom; the complete graph with unit weights if None.

    Returns:
        λ, shape (…).

    Raises:
        InvalidSpec: for values that cannot be.
        IncompatiblePair: for shapes or a graph that do not fit.

    Example:
        >>> float(top_eigenvalue([0.0, 0.0], [1.0, 1.0], depth=1, coupling=5.0, weight_decay=0.25))
        0.75
        >>> float(top_eigenvalue([1.0, 1.0], [1.0, 1.0], depth=1, coupling=5.0, weight_decay=0.0))
        -2.0

    Source:
        Paper 001, Eq. (4); G. H. Golub, Some modified matrix eigenvalue problems, SIAM Rev. 15 (1973), for the secular
        equation.
    """
    system = check_system(
        delta, m, depth=depth, coupling=coupling, weight_decay=weight_decay, graph=graph, second_moment=second_moment
    )
    slope = local_slope(
        system.initial,
        system.delta,
        depth=system.depth,
        weight_decay=system.weight_decay[..., None],
        second_moment=system.second_moment,
    )
    if system.uniform_weight is not None:
        return _top_of_rank_one(slope, system.coupling * system.uniform_weight)
    rows = zip(slope.reshape(-1, system.num_agents), system.coupling.ravel(), strict=True)
    return np.array([_top_on_graph(system, row, sigma) for row, sigma in rows]).reshape(system.batch_shape)


def _top_of_rank_one(slope: Array, coupling: Array) -> np.ndarray:
    """λ_max of diag(u − σ) + (σ/N) 11ᵀ for u = `slope`, shape (…).

    With λ = max u − e and the depths d_i = max u − u_i the secular equation says that the harmonic mean of σ − e + d_i
    is σ. As a function of −e this mean is concave and increasing, so that Newton's method descends monotonically from
    any e above the root; and written in e it keeps its precision where σ is large and λ is not.
    """
    top = slope.max(-1)
    depths = top[..., None] - slope
    # Where σ = 0 the answer is max u; any σ will do meanwhile.
    sigma = np.where(coupling > 0, coupling, 1.0)
    # λ is at least the Rayleigh quotient of 1, and at least max a + σ/N.
    below = np.minimum(depths.mean(-1), sigma * (1 - 1 / slope.shape[-1]))
    for _ in range(_MAX_STEPS):
        weights = 1 / ((sigma - below)[..., None] + depths)
        excess = ((below[..., None] - depths) * weights).mean(-1)
        step = excess * weights.mean(-1) / (weights**2).mean(-1)
        below = below - step
        if (abs(step) <= 4 * _EPS * abs(below)).all():
            break
    return top - np.where(coupling > 0, below, 0.0)


def _top_on_graph(system: System, slope: Array, coupling: float) -> float:
    """λ_max of diag(u) − (σ̂/N) L_Q for u = `slope`, shape (agents,)."""
    num_agents, is_directed = system.num_agents, system.graph is not None and system.graph.directed
    # As the rows of J sum to u_i, λ_max ≤ max u; it is that if all u_i are equal, or without coupling.
    largest = np.abs(slope).max() + coupling / num_agents * system.adjacency.sum(-1).max()
    if np.ptp(slope) <= _TOLERANCE * largest or coupling == 0 or not system.adjacency.any():
        return float(slope.max())
    if num_agents >= _DENSE_BELOW:
        with contextlib.suppress(scipy.sparse.linalg.ArpackNoConvergence):
            return _top_of_sparse(system, slope, coupling, is_directed=is_directed)
    matrix = coupling / num_agents * system.adjacency
    np.fill_diagonal(matrix, slope - matrix.sum(-1))
    return float((np.linalg.eigvals(matrix).real if is_directed else np.linalg.eigvalsh(matrix)).max())


def _top_of_sparse(system: System, slope: Array, coupling: float, *, is_directed: bool) -> float:
    """The same by ARPACK, which raises ArpackNoConvergence where eigenvalues cluster, as on large directed cycles."""
    num_agents = system.num_agents
    weights = coupling / num_agents * scipy.sparse.csr_array(system.adjacency)
    diagonal = slope - weights.sum(axis=1)
    # ARPACK measures errors relative to the eigenvalue, which may be close to zero. It is not once the whole spectrum
    # (within Gershgorin's circles) has been shifted above zero.
    shift = float((weights.sum(axis=1) - diagonal).max())
    matrix = weights + scipy.sparse.diags_array(diagonal + shift)
    # The wanted eigenvector is positive, so that a positive start is never orthogonal to it. That of equal agents is
    # constant: the ripple keeps the start from being an eigenvector, where Krylov spaces end at once.
    start = 1 + 0.1 * np.sin(np.arange(num_agents))
    options: dict[str, Any] = {"v0": start, "ncv": 40, "maxiter": 200, "tol": _TOLERANCE}
    if is_directed:
        values = scipy.sparse.linalg.eigs(matrix, k=1, which="LR", return_eigenvectors=False, **options)
    else:
        values = scipy.sparse.linalg.eigsh(matrix, k=1, which="LA", return_eigenvectors=False, **options)
    return float(np.real(values[0])) - shift


def regularisation_threshold(delta: Any, depth: int) -> np.ndarray:
    """γ̂ below which an uncoupled agent has an ordered state m ≠ 0 (σ̂ = 0, s = 1).

    A state m ≠ 0 solves γ̂ = δ m^(D−1) − m^(2D), whose maximum over m, at m^(D+1) = (D−1)δ/2D, is

        γ̂_c = (D+1)/(2D) · δ ((D−1)δ/2D)^((D−1)/(D+1)).

    At D = 1 this is δ, where the ordered state grows continuously from zero; at D ≥ 2 it appears with a jump: the
    first-order, regularisation-induced transition. Even D orders on the side of the sign of δ, so that |δ| counts; odd
    D orders on both sides or, for δ ≤ 0, not at all.

    Args:
        delta: δ_i, any shape.
        depth: D ≥ 1, hidden layers.

    Returns:
        γ̂_c ≥ 0, shape of `delta`; 0 where no γ̂ lets the agent order.

    Raises:
        InvalidSpec: at D = 0, where m* = δ/(1 + γ̂) for every γ̂ and nothing sets in.

    Example:
        >>> float(regularisation_threshold(4.0, depth=2)), float(regularisation_threshold(4.0, depth=1))
        (3.0, 4.0)

    Source:
        Paper 001, reference [16]: L. Ziyin, M. Ueda, Exact phase transitions in deep learning, 2022.
    """
    depth = check_depth(depth)
    delta = numbers("delta", delta, meaning="δ_i = ⟨x̂ŷ⟩ is an average over agent i's data.")
    if depth == 0:
        raise InvalidSpec(
            "depth=0 has no regularisation threshold: linear regression has m* = δ/(1 + γ̂) at every γ̂, which shrinks "
            "but never vanishes. Write depth=1 or more."
        )
    size = np.abs(delta) if depth % 2 == 0 else np.maximum(delta, 0.0)
    share = (depth - 1) * size / (2 * depth)
    return (depth + 1) / (2 * depth) * size * share ** ((depth - 1) / (depth + 1))
