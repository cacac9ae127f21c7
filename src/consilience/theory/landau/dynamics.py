"""The effective dynamics, Eq. (4) = (A11) of paper 001: one scalar order parameter m_i per agent.

    ṁ_i = δ_i m_i^D − s_i m_i^(2D+1) − γ̂ m_i + (σ̂/N) Σ_j q_ij (m_j − m_i)

δ_i = ⟨x̂ŷ⟩ and s_i = ⟨x̂²⟩ are averages over agent i's data (s = 1 in the paper, where inputs are white). The first three
terms are −V'_i of a Landau potential; without them the coupling lets agents agree. With a triadic coupling τ̂ two
neighbours that agree with each other pull together:

    + (τ̂/N²) Σ_{j≠k} q_ij q_ik κ_jk ((m_j + m_k)/2 − m_i),    κ_jk = exp(−λ (m_j − m_k)²)

Arrays have agents on the last axis and any batch shape in front. `drift` and `energy` check their arguments and are for
NumPy; the functions that they are made of take JAX arrays, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from consilience.graphs import Graph
from consilience.theory.landau.arguments import check_system


def local_drift(m: Any, delta: Any, *, depth: int, weight_decay: Any, second_moment: Any = 1.0) -> Any:
    """−V'_i(m_i): what an agent does on its own data, shape of `m`. Arguments as in `drift`.

    Example:
        >>> float(local_drift(2.0, 1.0, depth=1, weight_decay=0.5))
        -7.0
    """
    power = m**depth
    return delta * power - second_moment * power * power * m - weight_decay * m


def local_slope(m: Any, delta: Any, *, depth: int, weight_decay: Any, second_moment: Any = 1.0) -> Any:
    """−V''_i(m_i), the derivative of `local_drift` with respect to m_i.

    Example:
        >>> float(local_slope(2.0, 1.0, depth=1, weight_decay=0.5))
        -11.5
    """
    power = m**depth
    slope = -(2 * depth + 1) * second_moment * power * power - weight_decay
    return slope if depth == 0 else slope + depth * delta * m ** (depth - 1)


def potential(m: Any, delta: Any, *, depth: int, weight_decay: Any = 1e-3, second_moment: Any = 1.0) -> Any:
    """Landau's potential of one agent, V_i(m) = −δ_i m^(D+1)/(D+1) + s_i m^(2D+2)/(2D+2) + γ̂ m²/2.

    Args:
        m: order parameters, any shape that broadcasts against `delta`.
        delta: δ_i.
        depth: D, hidden layers.
        weight_decay: γ̂.
        second_moment: s_i.

    Returns:
        V, such that ṁ_i = −V'_i(m_i) + coupling.

    Example:
        >>> float(potential(1.0, 1.0, depth=1, weight_decay=0.0))      # a well of the double well −m²/2 + m⁴/4
        -0.25

    Source:
        Paper 001, Eq. (4) and the text below Eq. (7).
    """
    power = m ** (depth + 1)
    return -delta * power / (depth + 1) + second_moment * power * power / (2 * depth + 2) + weight_decay * m * m / 2


def mean_field_pull(m: Any, weight: Any = 1.0) -> Any:
    """(1/N) Σ_j q (m_j − m_i) on the complete graph with weight q: q(⟨m⟩ − m_i), in O(N)."""
    return weight * (m.mean(-1, keepdims=True) - m)


def graph_pull(m: Any, adjacency: Any) -> Any:
    """(1/N) Σ_j q_ij (m_j − m_i) for any weights q, shape (agents, agents)."""
    return (m @ adjacency.T - adjacency.sum(-1) * m) / m.shape[-1]


@dataclass(frozen=True)
class Triadic:
    """A coupling of three agents: two neighbours pull together, the more they agree.

    Attributes:
        coupling: τ̂ ≥ 0; divided by N².
        selectivity: λ ≥ 0 of κ_jk = exp(−λ (m_j − m_k)²): 0 listens to all pairs alike, and is then a pairwise coupling
            (on the complete graph with strength τ̂(N − 2)/N).

    Source:
        L. Neuhäuser, A. Mellor, R. Lambiotte, Multibody interactions and nonlinear consensus dynamics on networked
        systems, Phys. Rev. E 101, 032310 (2020), with a Gaussian interaction function.
    """

    coupling: float
    selectivity: float = 1.0


def triadic_pull(m: Any, adjacency: Any, selectivity: Any) -> Any:
    """(1/N²) Σ_{j≠k} q_ij q_ik κ_jk ((m_j + m_k)/2 − m_i), in O(N³).

    By the symmetry of j and k it is (1/N²) Σ_j T_ij (m_j − m_i) with T_ij = q_ij Σ_{k≠j} q_ik κ_jk: a pairwise coupling
    whose weights depend on how much j agrees with the others whom i hears.
    """
    xp = np if isinstance(m, np.ndarray) else _jax_numpy()
    num_agents = m.shape[-1]
    agreement = xp.exp(-selectivity * (m[..., :, None] - m[..., None, :]) ** 2) * (1 - xp.eye(num_agents))
    weights = adjacency * (adjacency @ agreement)
    pulled = xp.einsum("...ij,...j->...i", weights, m) - weights.sum(-1) * m
    return pulled / num_agents**2


def _jax_numpy() -> Any:
    import jax.numpy as jnp

    return jnp


def drift(
    m: Any,
    delta: Any,
    *,
    depth: int,
    coupling: Any,
    weight_decay: Any = 1e-3,
    graph: Graph | None = None,
    second_moment: Any = 1.0,
    triadic: Triadic | None = None,
) -> np.ndarray:
    """ṁ of Eq. (4), shape (…, agents).

    Args:
        m: order parameters, shape (…, agents).
        delta: δ_i, broadcastable against `m`.
        depth: D ≥ 0, hidden layers.
        coupling: σ̂ ≥ 0, broadcastable against the batch shape (…).
        weight_decay: γ̂ ≥ 0, broadcastable likewise.
        graph: who listens to whom; the complete graph with unit weights if None.
        second_moment: s_i ≥ 0, broadcastable against `m`.
        triadic: a coupling of three agents besides.

    Raises:
        InvalidSpec: for values that cannot be (negative depth, δ that is not finite, ...).
        IncompatiblePair: for shapes or a graph that do not fit.

    Example:
        >>> drift(np.array([1.0, -1.0]), np.array([2.0, 2.0]), depth=1, coupling=3.0, weight_decay=0.0).tolist()
        [-2.0, 2.0]

    Source:
        Paper 001, Eq. (4).
    """
    system = check_system(
        delta, m, depth=depth, coupling=coupling, weight_decay=weight_decay, graph=graph, second_moment=second_moment,
        triadic=triadic,
    )  # fmt: skip
    m = system.initial
    result = local_drift(
        m, system.delta, depth=depth, weight_decay=system.weight_decay[..., None], second_moment=system.second_moment
    )
    if system.uniform_weight is not None:
        result = result + system.coupling[..., None] * mean_field_pull(m, system.uniform_weight)
    else:
        result = result + system.coupling[..., None] * graph_pull(m, system.adjacency)
    if triadic is not None:
        result = result + triadic.coupling * triadic_pull(m, system.adjacency, triadic.selectivity)
    return result


def energy(
    m: Any,
    delta: Any,
    *,
    depth: int,
    coupling: Any,
    weight_decay: Any = 1e-3,
    graph: Graph | None = None,
    second_moment: Any = 1.0,
) -> np.ndarray:
    """E = Σ_i V_i(m_i) + (σ̂/4N) Σ_ij q_ij (m_j − m_i)², of which Eq. (4) is the steepest descent; shape (…).

    It exists on undirected graphs only, and decreases along every trajectory. Arguments as in `drift`.

    Raises:
        IncompatiblePair: on a directed graph.

    Example:
        >>> float(energy(np.array([1.0, -1.0]), np.array([0.0, 0.0]), depth=1, coupling=1.0, weight_decay=0.0))
        1.5
    """
    system = check_system(
        delta, m, depth=depth, coupling=coupling, weight_decay=weight_decay, graph=graph, second_moment=second_moment,
        undirected="an energy",
    )  # fmt: skip
    m = system.initial
    own = potential(
        m, system.delta, depth=depth, weight_decay=system.weight_decay[..., None], second_moment=system.second_moment
    ).sum(-1)
    # Σ_ij q_ij (m_j − m_i)²/4N = −½ Σ_i m_i (1/N) Σ_j q_ij (m_j − m_i) for symmetric q.
    stretched = -0.5 * (m * graph_pull(m, system.adjacency)).sum(-1)
    return own + system.coupling * stretched
