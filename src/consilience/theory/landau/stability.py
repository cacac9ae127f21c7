"""Stability of stationary states of Eq. (4): of all agents together, and of each at a fixed pull of the others.

The Jacobian is J = diag(−V''_i) − (σ̂/N) L_Q. A state is stable if all eigenvalues have negative real parts. Because no
weight q_ij is negative, J has no negative entry off its diagonal, so that its rightmost eigenvalue is real, on directed
graphs too (Perron and Frobenius). On the complete graph with weight q, for σ = σ̂q, J is diagonal plus rank one,

    J = diag(a) + (σ/N) 11ᵀ,   a_i = −V''_i − σ,

and its top eigenvalue is the largest root λ of the secular equation 1 = (σ/N) Σ_i 1/(λ − a_i). The a_i alone say
whether an agent is stable while the mean is held fixed; they change sign at its `turning_points`.
"""

from __future__ import annotations

from collections.abc import Callable
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

_MAX_STEPS = 200
"""Far above the 10 of Newton's steps on the secular equation, or the hundred halvings of a bracket, that are taken."""


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
    if coupling == 0 or not system.adjacency.any():
        return float(slope.max())
    if num_agents < _DENSE_BELOW:
        matrix = coupling / num_agents * system.adjacency
        np.fill_diagonal(matrix, slope - matrix.sum(-1))
        return float((np.linalg.eigvals(matrix).real if is_directed else np.linalg.eigvalsh(matrix)).max())
    weights = coupling / num_agents * scipy.sparse.csr_array(system.adjacency)
    matrix = weights + scipy.sparse.diags_array(slope - weights.sum(axis=1))
    # The wanted eigenvector is positive, so that a positive start is never orthogonal to it. That of equal agents is
    # constant: the ripple keeps the start from being an eigenvector, where Krylov spaces end at once.
    start = 1 + 0.1 * np.sin(np.arange(num_agents))
    if is_directed:
        values = scipy.sparse.linalg.eigs(matrix, k=1, which="LR", v0=start, return_eigenvectors=False)
    else:
        values = scipy.sparse.linalg.eigsh(matrix, k=1, which="LA", v0=start, return_eigenvectors=False)
    return float(values[0].real)


def regularisation_threshold(delta: Any, depth: int) -> np.ndarray:
    """γ̂ below which an uncoupled agent has an ordered state m ≠ 0 (σ̂ = 0, s = 1).

    A state m ≠ 0 solves γ̂ = δ m^(D−1) − m^(2D), whose maximum over m, at m^(D+1) = (D−1)δ/2D, is

        γ̂_c = (D+1)/(2D) · δ ((D−1)δ/2D)^((D−1)/(D+1)).

    At D = 1 this is δ, where the ordered state grows continuously from zero; at D ≥ 2 the state appears with a jump, the
    more the deeper: the first-order, regularisation-induced transition. Even D orders on the side of the sign of δ, so
    that |δ| counts; odd D orders on both sides or, for δ ≤ 0, not at all.

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


def turning_points(delta: Array, second_moment: Array, linear: Array, depth: int) -> Array:
    """Where s m^(2D+1) − δ m^D + κ m turns: where an agent at a fixed pull gains or loses its stability.

    Its slope on the side where it can vanish, as a function of x = |m|, is κ ≥ 0 at zero (for D ≥ 2), falls until
    x^(D+1) = (D−1)|δ|/(2(2D+1)s), and has risen to κ again where x^(D+1) = D|δ|/((2D+1)s).

    Args:
        delta: δ, any shape (…).
        second_moment: s, broadcastable against it; 0 only where δ = 0.
        linear: κ ≥ 0, weight decay and coupling together, broadcastable likewise.
        depth: D.

    Returns:
        Increasing, +∞ where there are fewer: shape (…, 0) at D = 0, (…, 4) at odd D ≥ 3, else (…, 2).

    Example:
        >>> turning_points(np.array([3.0, -3.0]), np.array(1.0), np.array(0.0), 1).tolist()
        [[-1.0, 1.0], [inf, inf]]
    """
    delta, second_moment, linear = np.broadcast_arrays(delta, second_moment, linear)
    if depth == 0:
        return np.empty((*delta.shape, 0))
    size = np.abs(delta) if depth % 2 == 0 else np.maximum(delta, 0.0)
    ratio = size / np.where(second_moment > 0, second_moment, 1.0)
    lowest, end = ((k * ratio / (2 * depth + 1)) ** (1 / (depth + 1)) for k in ((depth - 1) / 2, depth))

    def slope(x: Array) -> tuple[Array, Array]:
        value = linear - local_slope(x, size, depth=depth, weight_decay=0.0, second_moment=second_moment)
        second = 2 * (2 * depth + 1) * second_moment * x ** (2 * depth - 1)
        return value, depth * (second - (depth - 1) * size * x ** max(depth - 2, 0))

    exists = slope(lowest)[0] < 0
    points = [np.where(exists, monotone_zero(slope, lowest, end, rising=True), np.inf)]
    if depth > 1:
        inner = monotone_zero(slope, np.zeros_like(lowest), lowest, rising=False, least=1e-20)
        inner = np.where(linear > 0, inner, 0.0 if depth % 2 == 0 else np.inf)  # with κ = 0 odd D only flattens there
        points.append(np.where(exists, inner, np.inf))
    signs = [np.where(delta < 0, -1.0, 1.0)] if depth % 2 == 0 else [-1.0, 1.0]
    signed = [np.where(np.isfinite(x), sign * x, np.inf) for x in points for sign in signs]
    return np.sort(np.stack(signed, -1), -1)


def monotone_zero(
    function: Callable[[Array], tuple[Array, Array]], low: Array, high: Array, *, rising: Any, least: float = 0.0
) -> Array:
    """The zero of a monotone function, elementwise and to rounding, by Newton's steps or by halving a bracket.

    Args:
        function: x → its value and its slope.
        low: lower end of the bracket, broadcastable against `high`.
        high: its upper end.
        rising: whether the function rises, broadcastable likewise.
        least: absolute error that does not matter, where the zero is much smaller than this.

    Example:
        >>> float(monotone_zero(lambda x: (x * x - 2, 2 * x), np.array(0.0), np.array(2.0), rising=True))
        1.4142135623730951
    """
    x, last = (low + high) / 2, high - low
    for _ in range(_MAX_STEPS):
        value, slope = function(x)
        above = (value > 0) == rising
        low, high = np.where(above, low, x), np.where(above, x, high)
        with np.errstate(all="ignore"):
            # An infinite slope, at a fold, says nothing.
            step = np.where(value == 0, 0.0, np.where(np.isfinite(slope), value / slope, np.inf))
        new = np.clip(x - step, low, high)
        # Rounding of the value leaves some units in the last place, which further steps would only shuffle.
        is_close = abs(step) <= 16 * _EPS * abs(x) + least
        # A step that does not halve the one before it goes astray.
        new = np.where(is_close | (abs(new - x) <= last / 2), new, (low + high) / 2)
        x, last = new, abs(new - x)
        if (is_close | (high - low <= 2 * _EPS * abs(x) + least)).all():
            break
    return x
