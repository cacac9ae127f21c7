"""What is predicted: the scaling functions of the transition under narrow disorder, and growth before ordering.

For small M the stationary states of Eq. (4) at D = 1 are m_i = σ̂M/κ_i − (σ̂M)³/κ_i⁴ with κ_i = σ̂ + γ̂ − δ_i, as long as
κ_i > 0 for all agents. Closed by ⟨m⟩ = M, to first order in δ/σ̂,

    M² = (σ̂⟨1/κ⟩ − 1) / (σ̂³⟨1/κ⁴⟩) ≈ (⟨δ⟩ + var δ/σ̂ − γ̂)₊        ⟨·⟩, var over the N agents of a sample.

⟨δ⟩ fluctuates by s/√N from sample to sample. With z ~ N(0, 1), μ_c where M appears for N → ∞, and x = μ − μ_c,

    M² = s N^(−1/2) (y + z)₊,    y = x N^(1/2)/s,

which is finite-size scaling with β/ν̄ = 1/4, γ/ν̄ = 1/2, 1/ν̄ = 1/2: the exponents of mean field. Its scaling functions
are moments of (y + z)₊.
"""

from __future__ import annotations

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray

from consilience.errors import InvalidSpec

Floats = NDArray[np.float64]

UNIVERSAL_CUMULANT = 1 - np.pi / 3
"""U at the critical point: 1 − ⟨z₊²⟩/(3⟨z₊⟩²), with ⟨z₊⟩ = 1/√2π and ⟨z₊²⟩ = 1/2."""

_NUM_NODES = 32
"""Nodes of the Gauss–Hermite quadrature; they reach 10 standard deviations from the mean."""
REACH = 10.0
_TAIL = 9.0
"""Standard deviations beyond which a Gaussian is zero in double precision."""


def critical_mean(*, std: float, coupling: float, weight_decay: float) -> float:
    """μ_c: where m = 0 becomes unstable for N → ∞ and δ ~ N(μ, s²), by the secular equation 1 = σ̂⟨1/(σ̂ + γ̂ − δ)⟩.

    To first order it is γ̂ − s²/σ̂.

    Args:
        std: s, at most σ̂/10. A Gaussian has no bound; that low, agents beyond δ = σ̂ + γ̂ never occur.
        coupling: σ̂.
        weight_decay: γ̂.

    Raises:
        InvalidSpec: for wider disorder.

    Example:
        >>> round(critical_mean(std=0.25, coupling=5.0, weight_decay=1e-3), 6), 1e-3 - 0.25**2 / 5
        (-0.011532, -0.0115)

    Source:
        Paper 001, Eq. (4).
    """
    if not 0 < REACH * std <= coupling:
        raise InvalidSpec(
            f"std={std:g} with coupling={coupling:g}: disorder is narrow if no agent can order on its own, which takes "
            f"δ > σ̂ + γ̂. Write a positive std of at most coupling/{REACH:g}, {coupling / REACH:g}."
        )
    nodes, weights = scipy.special.roots_hermitenorm(_NUM_NODES)
    weights = weights / weights.sum()

    def excess(mean: float) -> float:
        return float((weights / (1 + (weight_decay - mean - std * nodes) / coupling)).sum()) - 1

    # Jensen's inequality makes the excess positive at γ̂, and the second order is small against the first.
    bracket = weight_decay - 2 * std**2 / coupling, weight_decay
    return float(scipy.optimize.root_scalar(excess, bracket=bracket, xtol=1e-14).root)


def is_unstable(delta: Floats, *, coupling: float, weight_decay: float) -> NDArray[np.bool_]:
    """Whether m = 0 is unstable in a sample at D = 1: an agent orders on its own, or they do together.

    Args:
        delta: δ_i, shape (…, agents).
        coupling: σ̂ > 0.
        weight_decay: γ̂.

    Example:
        >>> is_unstable(np.array([[0.1, 0.3], [-0.1, -0.3]]), coupling=2.0, weight_decay=0.1).tolist()
        [True, False]
    """
    gap = coupling + weight_decay - delta
    safe = np.where(gap > 0, gap, 1.0)
    return (gap <= 0).any(-1) | (coupling * (1 / safe).mean(-1) > 1)


def scaled_order(y: Floats) -> Floats:
    """⟨√(y + z)₊⟩ = ⟨|M|⟩ s^(−1/2) N^(1/4).

    Example:
        >>> scaled_order(np.array([0.0])).round(4).tolist()       # 2^(1/4) Γ(3/4) / (2 √π)
        [0.4111]
    """
    y = np.asarray(y, float)
    # With z = w² − y the integrand is smooth.
    w = np.linspace(0, np.sqrt(max(float(y.max()), 0.0) + _TAIL), 2001)
    density = np.exp(-((w**2 - y[..., None]) ** 2) / 2) / np.sqrt(2 * np.pi)
    return np.trapezoid(2 * w**2 * density, w, axis=-1)


def scaled_moments(y: Floats) -> tuple[Floats, Floats]:
    """⟨(y + z)₊⟩ = ⟨M²⟩ N^(1/2)/s and ⟨(y + z)₊²⟩ = ⟨M⁴⟩ N/s².

    Example:
        >>> [moment.round(4).tolist() for moment in scaled_moments(np.array([0.0]))]
        [[0.3989], [0.5]]
    """
    y = np.asarray(y, float)
    density, above = np.exp(-(y**2) / 2) / np.sqrt(2 * np.pi), scipy.special.ndtr(y)
    return y * above + density, (1 + y**2) * above + y * density


def scaled_cumulant(y: Floats) -> Floats:
    """U = 1 − ⟨M⁴⟩/(3⟨M²⟩²); below the transition it has no lower bound, for few samples order, the fewer the lower.

    Example:
        >>> scaled_cumulant(np.array([-2.0, 0.0, 10.0])).round(3).tolist()
        [-25.673, -0.047, 0.663]
    """
    second, fourth = scaled_moments(y)
    return 1 - fourth / (3 * second**2)


def scaled_susceptibility(y: Floats) -> Floats:
    """χ s^(−1) N^(−1/2), with χ = N(⟨M²⟩ − ⟨|M|⟩²).

    Example:
        >>> scaled_susceptibility(np.array([0.0, 10.0])).round(3).tolist()        # 1/4y for large y
        [0.23, 0.025]
    """
    return scaled_moments(y)[0] - scaled_order(y) ** 2
