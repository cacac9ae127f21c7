"""The largest stable learning rate of a population.

An eigenvalue of the round map (`spectrum`) leaves the unit disc at the limit. For a symmetric W with |eigenvalues| ≤ 1
and DGD all eigenvalues of A = W⊗I − η(H + 2γ) are real, fall as η grows, and start at 1 or below, so that they leave at
−1: stable is I + W − 2ηγ ⪰ η Φ̂ᵀΦ̂. Of a positive semi-definite W, ATC and CTA have the spectrum of the symmetric
W^½ (1 − η(H + 2γ)) W^½, to which the same applies: I + (1 − 2ηγ) W ⪰ η W^½ Φ̂ᵀΦ̂ W^½. Both say

    η λ_max([B]_qr K_qr/√(n_q n_r)) ≤ 1,    B = (I + W − 2ηγ)⁻¹  (DGD),   B = W (I + (1 − 2ηγ) W)⁻¹  (ATC, CTA),

rows × rows, and explicit without weight decay, where B does not depend on η. The same B decides where an eigenvalue of
any W crosses −1. But without these symmetries eigenvalues may leave at +1 or in pairs elsewhere; they are then searched
for, from small rates up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse.linalg

from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.coordinates import Coordinates
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.spectra.spectrum import TOLERANCE, RoundMap, coupled_kernel, spectral_radius

MixingOf = Callable[[float], MixingMatrix]

_ROUNDING = 1e-12
_DENSE_ROWS = 400
"""Rows below which LAPACK finds the top eigenvalue of the kernel faster than ARPACK."""
_TRIED = (0.25, 0.5, 0.75, 0.9, 0.99)
"""Fractions of a rate at which an eigenvalue crosses −1 that must be stable, if none is to have crossed before."""
_RATIO = 1.3
_SMALLEST, _LARGEST = 1e-4, 1e4
"""Rates searched, in units of 2/λ_max(H)."""
_PRECISION = 1e-6
_MARGIN = 1e-3
"""How near a crossing is confirmed on either side: Arnoldi tells these radii from 1 with ease."""


@dataclass(frozen=True)
class RateLimit:
    """Up to where learning rates are stable.

    Attributes:
        value: η_max: all smaller rates are stable; 0 if small rates are not, infinite if all are.
        method: how it was found.
    """

    value: float
    method: str


def largest_learning_rate(
    coordinates: Coordinates, mixing: MixingMatrix | MixingOf, *, algorithm: str, weight_decay: float = 0.0
) -> RateLimit:
    """The rate up to which all smaller ones are stable.

    Args:
        coordinates: features of the data.
        mixing: W, or η → W(η).
        algorithm: "dgd", "atc" or "cta".
        weight_decay: γ.
    """
    lin = coordinates.linearization
    if not isinstance(mixing, MixingMatrix):
        return _limit_of_family(coordinates, mixing, algorithm, weight_decay)
    if mixing.spectral_radius > 1 + TOLERANCE:
        return RateLimit(0.0, "mixing alone diverges")
    is_dgd = algorithm == "dgd"
    if mixing.is_symmetric and (is_dgd or mixing.eigenvalues[0] >= -_ROUNDING):
        return RateLimit(_crossing_of_symmetric(lin, mixing, is_dgd, weight_decay), "closed form, rows × rows")
    guess = None if weight_decay else _crossing_at_minus_one(lin, mixing, is_dgd)
    return _searched(coordinates, lambda rate: mixing, algorithm, weight_decay, guess)


def own_curvatures(linearization: Linearization) -> Floats:
    """λ_max(H_q) of every agent, the top eigenvalue of K_qq/n_q, shape (agents,)."""
    lin = linearization
    return np.array([_top(lin.kernel[rows, rows]) / n for rows, n in zip(lin.shards, lin.sizes, strict=True)])


def _crossing_of_symmetric(lin: Linearization, mixing: MixingMatrix, is_dgd: bool, decay: float) -> float:
    """The rate at which η λ_max of the coupled kernel reaches 1; it grows with η."""
    values, vectors = np.linalg.eigh(mixing.weights)
    values = values if is_dgd else np.maximum(values, 0.0)
    if is_dgd and values[0] <= _ROUNDING - 1:
        return 0.0  # mixing flips a mode for ever, and any step makes it grow

    def strength(rate: float) -> float:
        below = 1 + values - 2 * rate * decay if is_dgd else 1 + (1 - 2 * rate * decay) * values
        return _top_of_coupled(lin, (vectors * (1 / below if is_dgd else values / below)) @ vectors.T)

    without_decay = 1 / strength(0.0)
    if decay == 0:
        return without_decay
    pole = (1 + values[0]) / (2 * decay) if is_dgd else (1 + 1 / values[-1]) / (2 * decay)
    high = min(without_decay, pole * (1 - 1e-9))
    if high * strength(high) <= 1:
        return high  # weight decay alone sets the limit
    return _root(lambda rate: rate * strength(rate) - 1, 0.0, high, 1e-12)


def _crossing_at_minus_one(lin: Linearization, mixing: MixingMatrix, is_dgd: bool) -> float | None:
    """The smallest rate at which an eigenvalue is −1, for any W and without weight decay; None if none was found."""
    identity = np.eye(mixing.num_agents)
    if np.linalg.cond(identity + mixing.weights) > 1 / _ROUNDING:
        return None
    inverse: Any = np.linalg.inv(identity + mixing.weights)
    matrix = coupled_kernel(lin, inverse if is_dgd else inverse @ mixing.weights)
    if len(matrix) <= _DENSE_ROWS:
        values: Any = np.linalg.eigvals(matrix)
    else:
        try:
            values = scipy.sparse.linalg.eigs(
                matrix, k=6, which="LR", return_eigenvectors=False, v0=_start(len(matrix))
            )
        except scipy.sparse.linalg.ArpackNoConvergence as stopped:
            values = stopped.eigenvalues
    is_real = np.abs(values.imag) <= 1e-9 * np.abs(values).max(initial=0.0)
    largest = values.real[is_real].max(initial=0.0)
    return 1 / float(largest) if largest > 0 else None


def _limit_of_family(coordinates: Coordinates, mixing_of: MixingOf, algorithm: str, decay: float) -> RateLimit:
    unit = 1 / (own_curvatures(coordinates.linearization).max() + 2 * decay)
    pulls = [(np.eye(len(w)) - w) / rate for rate in (unit, unit / 2) for w in [mixing_of(rate).weights]]
    is_linear = np.abs(pulls[0] - pulls[1]).max() <= 1e-9 * np.abs(pulls[0]).max(initial=1.0)
    is_symmetric = np.abs(pulls[0] - pulls[0].T).max() <= 1e-12 * np.abs(pulls[0]).max(initial=1.0)
    if not (is_linear and is_symmetric and algorithm == "dgd"):
        return _searched(coordinates, mixing_of, algorithm, decay, None)
    if np.linalg.eigvalsh(pulls[0])[0] < -TOLERANCE * np.abs(pulls[0]).max():
        return RateLimit(0.0, "mixing alone diverges")
    unit_round = RoundMap(coordinates, np.eye(len(pulls[0])) - pulls[0], algorithm, 1.0, decay)
    pull = _operator(lambda v: v - unit_round.apply(v), coordinates.size)
    return RateLimit(2 / _top(pull), "closed form for W = I − ηM, 2/λ_max(M⊗I + H + 2γ)")


def _searched(
    coordinates: Coordinates, mixing_of: MixingOf, algorithm: str, decay: float, guess: float | None
) -> RateLimit:
    """Walk from small rates to the first unstable one; between it and its predecessor, bisect."""

    def excess(rate: float) -> float:
        weights = mixing_of(rate).weights
        return spectral_radius(RoundMap(coordinates, weights, algorithm, rate, decay)) - 1 - TOLERANCE

    unit = 2 / (own_curvatures(coordinates.linearization).max() + 2 * decay)
    trials = [unit * _SMALLEST * 2.0**k for k in range(10)]
    trials += list(np.geomspace(0.1 * unit, _LARGEST * unit, round(math.log(10 * _LARGEST) / math.log(_RATIO))))
    if guess is not None:
        near = [guess * fraction for fraction in _TRIED]
        trials = [*near, *(rate for rate in trials if rate > guess * 1.01)]
        exact = guess * (1 - _MARGIN), guess * (1 + _MARGIN)
        if all(excess(rate) <= 0 for rate in (*near, exact[0])) and excess(exact[1]) > 0:
            return RateLimit(guess, "crossing of −1, rows × rows, confirmed by the spectral radius")
    stable = 0.0
    for rate in trials:
        if excess(rate) > 0:
            break
        stable = rate
    else:
        return RateLimit(math.inf, f"searched up to {trials[-1]:.3g}")
    if stable == 0.0:
        while rate > unit * _SMALLEST and excess(rate) > 0:
            rate, unstable = rate / 2, rate
        if rate <= unit * _SMALLEST:
            return RateLimit(0.0, f"unstable at all rates searched, down to {rate:.3g}")
        stable, rate = rate, unstable
    return RateLimit(_root(excess, stable, rate, _PRECISION), "searched, by the spectral radius")


def _top_of_coupled(lin: Linearization, between: Floats) -> float:
    """λ_max of blocks B_qr K_qr/√(n_q n_r), for a symmetric B; large ones are not formed."""
    if lin.num_rows <= _DENSE_ROWS:
        return _top(coupled_kernel(lin, between))
    owner = np.repeat(np.arange(lin.num_agents), lin.sizes * lin.rows_per_sample)
    scale = 1 / np.sqrt(lin.sizes)[owner]

    def apply(x: Floats) -> Floats:
        x = scale * x.ravel()
        return scale * np.concatenate([lin.kernel[rows] @ (between[q, owner] * x) for q, rows in enumerate(lin.shards)])

    return _top(_operator(apply, lin.num_rows))


def _top(symmetric: Any) -> float:
    """λ_max of a symmetric matrix or operator."""
    size = symmetric.shape[0]
    if size <= _DENSE_ROWS:
        matrix = symmetric if isinstance(symmetric, np.ndarray) else symmetric @ np.eye(size)
        return float(scipy.linalg.eigvalsh(matrix, subset_by_index=[size - 1, size - 1])[0])
    found = scipy.sparse.linalg.eigsh(symmetric, k=1, which="LA", return_eigenvectors=False, v0=_start(size))
    return float(found[0])


def _operator(apply: Callable[[Floats], Floats], size: int) -> Any:
    operator: Any = scipy.sparse.linalg.LinearOperator  # annotated without its arguments
    return operator((size, size), matvec=apply, dtype=float)


def _root(function: Callable[[float], float], low: float, high: float, precision: float) -> float:
    solve: Any = scipy.optimize.brentq  # annotated with what full_output would return
    return float(solve(function, low, high, xtol=high * precision, rtol=max(precision, 1e-15)))


def _start(size: int) -> Floats:
    return np.random.default_rng(0).normal(size=size)
