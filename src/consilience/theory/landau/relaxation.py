"""The stationary state that Eq. (4) flows to, on any graph: pseudo-transient continuation.

A step Δ of length τ along the flow ṁ = f(m), with Jacobian J = diag(u) − (σ̂/N) L_Q and u_i = −V''_i, solves

    (I/τ − J) Δ = f(m).

For small τ it follows the flow; for large τ it is Newton's, which ends quadratically. τ grows as long as

- the error of the step, estimated by the trapezoidal rule, stays small, and
- 1/τ exceeds the rightmost eigenvalue of J, without which Newton's method is drawn to saddles that the flow leaves.
  I/τ − J has no positive entry off its diagonal; it is then an M-matrix, which holds if and only if some x > 0 has
  (I/τ − J) x > 0. The solution for a right-hand side of ones is such an x, or there is none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from consilience.theory.landau.arguments import Array, System
from consilience.theory.landau.dynamics import local_drift, local_slope

_ACCURACY = 1e-2
"""Error, relative to 1 + |m|, of one step."""
_MAX_STEPS = 1000
_LOST = 1e6
"""|m|, relative to where the flow starts and to all it could settle at, above which it has blown up."""

Solve = Callable[[Array], Array]


def relax(system: System, tolerance: float) -> Array:
    """m where the flow from `system.initial` comes to rest, shape (agents,); NaN if it blows up.

    It stops where max |ṁ_i| ≤ `tolerance` times the largest term of Eq. (4), or 1 if that is larger; or after some
    1000 steps, wherever it is then.
    """
    own = {"depth": system.depth, "weight_decay": system.weight_decay, "second_moment": system.second_moment}
    pull, factorise = _coupling(system)
    second = system.second_moment
    ratio = np.abs(system.delta) / np.where(second > 0, second, 1.0)
    m = np.array(system.initial)
    lost = _LOST * (1 + np.abs(m).max() + (ratio ** (1 / (system.depth + 1))).max())
    step_size = 1e-2

    def flow(m: Array) -> Array:
        return local_drift(m, system.delta, **own) + pull(m)

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        force = flow(m)
        for _ in range(_MAX_STEPS):
            slope = local_slope(m, system.delta, **own)
            size = max(1.0, float((np.abs(slope) * np.abs(m)).max()))
            if np.abs(force).max() <= tolerance * size:
                break
            solve = factorise(1 / step_size - slope)
            step, witness = solve(force), solve(np.ones_like(m))
            new_force = flow(m + step)
            # Less (f(m) + f(m + Δ))τ/2, damped as the step is.
            error = np.abs(solve(step / step_size - (force + new_force) / 2))
            ratio = (error / (_ACCURACY * (1 + np.abs(m)))).max()
            if (witness > 0).all() and ratio <= 1:
                m, force = m + step, new_force
            elif not (witness > 0).all(): ratio = 10.
            step_size *= np.clip(0.7 / np.sqrt(ratio + 1e-9), 0.2, 10.)
            if not np.abs(m).max() <= lost:
                return np.full_like(m, np.nan)
    return m


def _coupling(system: System) -> tuple[Solve, Callable[[Array], Solve]]:
    """The pull m → −(σ̂/N) L_Q m, and the solver of (diag(d) + (σ̂/N) L_Q) x = b for given d."""
    sigma, n = float(system.coupling), system.num_agents
    if system.uniform_weight is not None:
        strength = sigma * system.uniform_weight

        def factorise(diagonal: Array) -> Solve:
            inverse = 1 / (diagonal + strength)
            share = strength / (1 - strength * inverse.mean())  # Sherman and Morrison
            return lambda b: b * inverse + share * (b * inverse).mean() * inverse

        return lambda m: strength * (m.mean() - m), factorise
    weights = sigma / n * scipy.sparse.csr_array(system.adjacency)
    laplacian = (scipy.sparse.diags_array(weights.sum(axis=1)) - weights).tocsc()

    import os
    if os.environ.get('KRYLOV'):
        symmetric = not system.graph.directed
        A0 = laplacian.tocsr(); d0=A0.diagonal()
        def factorise_krylov(diagonal):
            matrix = A0 + scipy.sparse.diags_array(diagonal, format="csr")
            full = d0 + diagonal
            M = scipy.sparse.linalg.LinearOperator(matrix.shape, matvec=lambda b: b / full, dtype=float)
            def solve(b):
                if symmetric:
                    x, info = scipy.sparse.linalg.cg(matrix, b, x0=b/full, rtol=1e-10, maxiter=2000, M=M)
                else:
                    x, info = scipy.sparse.linalg.bicgstab(matrix, b, x0=b/full, rtol=1e-10, maxiter=2000, M=M)
                return x
            return solve
        return lambda m: -(laplacian @ m), factorise_krylov
    if n<=200:
        Ld=laplacian.toarray()
        def fd(diagonal):
            return np.linalg.inv(Ld+np.diag(diagonal)).__matmul__
        return lambda m: -(laplacian @ m), fd
    def factorise_sparse(diagonal: Array) -> Solve:
        matrix = laplacian + scipy.sparse.diags_array(diagonal, format="csc")
        lu = scipy.sparse.linalg.splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        return lu.solve

    return lambda m: -(laplacian @ m), factorise_sparse
