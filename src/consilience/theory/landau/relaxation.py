"""The stationary state that Eq. (4) flows to, on any graph: pseudo-transient continuation.

A step Δ of length τ along the flow ṁ = f(m), whose Jacobian is J = diag(u) − (σ̂/N) L_Q with u_i = −V''_i, solves

    (I/τ − J) Δ = f(m).

For small τ it follows the flow; for large τ it is Newton's, which ends quadratically. τ grows as long as

- the error of the step, estimated by the trapezoidal rule, is small, so that the state is that of the basin; and
- 1/τ exceeds the rightmost eigenvalue of J, without which Newton's method is drawn to saddles that the flow leaves. As
  I/τ − J has no positive entry off its diagonal, this holds if and only if (I/τ − J) x = 1 has a solution x > 0: it is
  an M-matrix.

Linear systems are solved directly where that is cheap: on the complete graph (diagonal plus rank one) and for few
agents. Otherwise they are solved iteratively (by conjugate gradients, or GMRES on directed graphs), and directly, by a
sparse factorisation, where that fails. On random graphs the factors fill in (0.1 s each for 3000 agents of degree 4,
1 s at degree 20, and a hundred steps are usual), but iterations converge quickly; on cycles and grids at strong
coupling it is the other way round.

Sources:
    C. T. Kelley, D. E. Keyes, Convergence analysis of pseudo-transient continuation, SIAM J. Numer. Anal. 35 (1998).
    A. Berman, R. J. Plemmons, Nonnegative Matrices in the Mathematical Sciences (1994), chapter 6: M-matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from consilience.theory.landau.arguments import Array, System
from consilience.theory.landau.dynamics import local_drift, local_slope

_ACCURACY = 1e-2
"""Error of one step, relative to 1 + |m|. Errors do not add up: the flow contracts, except where it leaves a saddle."""
_FIRST_STEP = 1e-2
_MAX_STEPS = 10_000
"""A hundred are usual; thousands where signals travel around a large directed graph."""
_LOST = 1e6
"""|m|, relative to where the flow starts and to where it could settle, above which it has blown up."""
_DENSE_UP_TO = 100
"""Agents up to which the inverse matrix is faster than an iteration."""
_LINEAR_TOLERANCE = 1e-10
"""Residual of a linear system, relative to its right-hand side: each step gains that many digits at most."""
_MAX_ITERATIONS, _RESTART = 400, 40
_MAX_FAILURES = 5
"""Of the iterative solver, after which it is not tried again. One or the other may be due to a system that is no
M-matrix."""

Solve = Callable[[Array], Array]


@dataclass(frozen=True)
class _Coupling:
    """The linear part of Eq. (4), K m = (σ̂/N) L_Q m.

    Attributes:
        times: m → K m.
        strength: the diagonal of K, or on the complete graph σ̂.
        factorise: d → the solver x(b) of (diag(d) + K) x = b, NaN if it has none.
    """

    times: Solve
    strength: Array
    factorise: Callable[[Array], Solve]


def relax(system: System, tolerance: float) -> Array:
    """m where the flow from `system.initial` comes to rest, shape (agents,).

    Args:
        system: one population, no batch.
        tolerance: it is at rest if max |ṁ_i| is at most this times the largest term of Eq. (4), or 1 if that is larger.

    Returns:
        m; NaN if it blows up; where it is after 10 000 steps if it has not come to rest.
    """
    own = {"depth": system.depth, "weight_decay": system.weight_decay, "second_moment": system.second_moment}
    coupling, m, length = _coupling_of(system), np.array(system.initial), _FIRST_STEP
    ratio = np.abs(system.delta) / np.where(system.second_moment > 0, system.second_moment, 1.0)
    lost = _LOST * (1 + np.abs(m).max() + (ratio ** (1 / (system.depth + 1))).max())

    def flow(m: Array) -> Array:
        return local_drift(m, system.delta, **own) - coupling.times(m)

    with np.errstate(all="ignore"):
        force = flow(m)
        for _ in range(_MAX_STEPS):
            slope = local_slope(m, system.delta, **own)
            if np.abs(force).max() <= tolerance * max(1.0, ((np.abs(slope) + coupling.strength) * np.abs(m)).max()):
                break
            solve = coupling.factorise(1 / length - slope)
            step, witness = solve(force), solve(np.ones_like(m))
            next_force = flow(m + step)
            # Δ − (τ/2)(f(m) + f(m + Δ)), damped as the step itself is.
            error = np.abs(solve(step / length - (force + next_force) / 2))
            excess = (error / (_ACCURACY * (1 + np.abs(m)))).max() if (witness > 0).all() else np.inf
            if excess <= 1:
                m, force = m + step, next_force
                if np.abs(m).max() > lost:
                    return np.full_like(m, np.nan)
            # The error is of second order in τ. (NaN, from an overflow, shortens the step like any large error.)
            length *= float(np.clip(0.7 / np.sqrt(excess), 0.2, 10.0)) if excess < np.inf else 0.2
    return m


def _coupling_of(system: System) -> _Coupling:
    sigma, num_agents = float(system.coupling), system.num_agents
    if system.uniform_weight is not None:
        return _rank_one(sigma * system.uniform_weight)
    if num_agents <= _DENSE_UP_TO:
        weights = sigma / num_agents * system.adjacency
        return _dense(np.diag(weights.sum(1)) - weights)
    weights = sigma / num_agents * scipy.sparse.csr_array(system.adjacency)
    matrix = scipy.sparse.csr_array(scipy.sparse.diags_array(weights.sum(axis=1)) - weights)
    return _sparse(matrix, is_symmetric=system.graph is None or not system.graph.directed)


def _rank_one(strength: float) -> _Coupling:
    def factorise(diagonal: Array) -> Solve:
        inverse = 1 / (diagonal + strength)
        share = strength / (1 - strength * inverse.mean())  # Sherman and Morrison
        return lambda b: b * inverse + share * (b * inverse).mean() * inverse

    return _Coupling(lambda m: strength * (m - m.mean()), np.asarray(strength), factorise)


def _dense(matrix: Array) -> _Coupling:
    def factorise(diagonal: Array) -> Solve:
        try:
            return np.linalg.inv(matrix + np.diag(diagonal)).__matmul__
        except np.linalg.LinAlgError:
            return lambda b: np.full_like(b, np.nan)

    return _Coupling(matrix.__matmul__, matrix.diagonal(), factorise)


def _sparse(matrix: scipy.sparse.csr_array, *, is_symmetric: bool) -> _Coupling:
    strength = np.asarray(matrix.diagonal(), dtype=np.float64)
    method: Any = scipy.sparse.linalg.cg if is_symmetric else scipy.sparse.linalg.gmres
    limit = {"maxiter": _MAX_ITERATIONS}
    if not is_symmetric:
        limit = {"restart": _RESTART, "maxiter": _MAX_ITERATIONS // _RESTART}
    failures = 0

    def factorise(diagonal: Array) -> Solve:
        shifted = scipy.sparse.csc_array(matrix + scipy.sparse.diags_array(diagonal))
        inverse = 1 / (diagonal + strength)
        scaled = scipy.sparse.diags_array(inverse)
        direct: list[Solve] = []

        def solve(b: Array) -> Array:
            nonlocal failures
            if not direct and failures < _MAX_FAILURES:
                x, failed = method(shifted, b, x0=inverse * b, rtol=_LINEAR_TOLERANCE, M=scaled, **limit)
                if not failed:
                    return x
                failures += 1
            if not direct:
                direct.append(_factors(shifted))
            return direct[0](b)

        return solve

    return _Coupling(matrix.__matmul__, strength, factorise)


def _factors(matrix: scipy.sparse.csc_array) -> Solve:
    # M-matrices need no pivoting for stability, and others are of no use.
    options = {"SymmetricMode": True}
    try:
        factors = scipy.sparse.linalg.splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        return factors.solve
    except RuntimeError:  # exactly singular
        return lambda b: np.full_like(b, np.nan)
