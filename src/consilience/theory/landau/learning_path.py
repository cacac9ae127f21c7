"""The order in which agents learn from each other, in closed form: D = 0, Eqs. (6) and (8) of paper 001.

The paper extends Eq. (8) to all depths as an ansatz; here it is exact for D = 0 and means no more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import AGENT, AGENT_EVALUATED
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.theory.landau.arguments import numbers


def linear_state(delta: Any, *, coupling: Any, weight_decay: float = 1e-3) -> np.ndarray:
    """m_i* = [δ_i + σ̂⟨δ⟩/(1 + γ̂)] / (1 + γ̂ + σ̂): the stationary state of D = 0 on the complete graph.

    Args:
        delta: δ_i, shape (…, agents).
        coupling: σ̂ ≥ 0, broadcastable against the batch shape (…).
        weight_decay: γ̂ ≥ 0.

    Returns:
        Shape (…, agents). The mean ⟨δ⟩/(1 + γ̂) does not depend on the coupling.

    Example:
        >>> linear_state([2.0, 0.0], coupling=[0.0, 1e9], weight_decay=0.0).round(6).tolist()
        [[2.0, 0.0], [1.0, 1.0]]

    Source:
        Paper 001, Eq. (6).
    """
    delta, sigma, gamma = _checked(delta, coupling, weight_decay)
    sigma = sigma[..., None]
    return (delta + sigma * delta.mean(-1, keepdims=True) / (1 + gamma)) / (1 + gamma + sigma)


def cross_accuracy(delta: Any, coupling: Any, weight_decay: float = 1e-3) -> xr.DataArray:
    """(Â_x)_ij = m_i*(2δ_j − m_i*) with the stationary m* of D = 0: −(L̂_x)_ij, how well i knows the data of j.

    Args:
        delta: δ_i, shape (agents,).
        coupling: σ̂ ≥ 0, one or several.
        weight_decay: γ̂ ≥ 0.

    Returns:
        Dimensions (coupling, agent, agent_evaluated), without the first for a single coupling. In units of the loss:
        0 is what an agent reaches that predicts nothing.

    Example:
        >>> cross_accuracy([1.0, 3.0], 0.0, weight_decay=0.0).values.tolist()      # 2δ_iδ_j − δ_i²
        [[1.0, 5.0], [-3.0, 9.0]]

    Source:
        Paper 001, Eq. (8).
    """
    delta, sigma, gamma = _checked(delta, coupling, weight_decay, one_realization=True)
    m = linear_state(delta, coupling=sigma, weight_decay=gamma)[..., :, None]
    return _labelled(m * (2 * delta - m), sigma, "cross_accuracy", r"cross-accuracy $\hat{A}_x$")


def learning_path(delta: Any, couplings: Any, weight_decay: float = 1e-3) -> xr.DataArray:
    """Ŝ_x(σ') = ∫₀^σ' Â_x dσ̂ in closed form: approximately of rank one, along δ.

    With a = 1 + γ̂, c = ⟨δ⟩/a, e_i = δ_i − ⟨δ⟩ and ℓ = log((a + σ')/a):

        Ŝ_ij = 2δ_j (cσ' + e_iℓ) − c²σ' − 2c e_iℓ − e_i²σ'/(a(a + σ'))

    of which the paper keeps log σ'·δδᵀ + σ'⟨δ⟩·1δᵀ (rows are agents, columns the data that they are tested on); for
    large σ' it is σ' c (2δ_j − c), the same for all agents.

    Args:
        delta: δ_i, shape (agents,).
        couplings: σ' ≥ 0, one or several.
        weight_decay: γ̂ ≥ 0.

    Returns:
        Dimensions (coupling, agent, agent_evaluated), without the first for a single coupling.

    Example:
        >>> learning_path([1.0, 1.0], 2.0, weight_decay=0.0).values.tolist()        # Â_x = 1 at every coupling
        [[2.0, 2.0], [2.0, 2.0]]

    Source:
        Paper 001, the integral of Eq. (8), exactly.
    """
    delta, sigma, gamma = _checked(delta, couplings, weight_decay, name="couplings", one_realization=True)
    a = 1 + gamma
    c, e = delta.mean() / a, (delta - delta.mean())[:, None]
    to = sigma[..., None, None]
    log = np.log1p(to / a)
    path = 2 * delta * (c * to + e * log) - c**2 * to - 2 * c * e * log - e**2 * to / (a * (a + to))
    return _labelled(path, sigma, "learning_path", r"cumulative cross-accuracy $\hat{S}_x$")


def _checked(
    delta: Any, coupling: Any, weight_decay: Any, *, name: str = "coupling", one_realization: bool = False
) -> tuple[np.ndarray, np.ndarray, float]:
    delta = numbers("delta", delta, meaning="δ_i = ⟨x̂ŷ⟩ is an average over agent i's data.")
    sigma = numbers(name, coupling, least=0, meaning="agents attract each other with strength σ̂.")
    gamma = numbers("weight_decay", weight_decay, least=0, meaning="γ̂ draws parameters to zero.")
    if gamma.ndim:
        raise InvalidSpec(
            f"weight_decay has shape {gamma.shape}, and is one number here. Write weight_decay=1e-3, say."
        )
    if delta.ndim == 0 or delta.shape[-1] == 0:
        raise InvalidSpec(
            f"delta has shape {delta.shape}, and its last axis counts agents. Write delta=[1.0] for a single agent."
        )
    if one_realization and (delta.ndim != 1 or sigma.ndim > 1):
        raise InvalidSpec(
            f"delta has shape {delta.shape} and {name} {sigma.shape}; this is for the δ of one population, shape "
            "(agents,), and one coupling or a list of them. Call it for one realization at a time."
        )
    try:
        np.broadcast_shapes(delta.shape[:-1], sigma.shape)
    except ValueError:
        raise IncompatiblePair(
            f"delta {delta.shape} and {name} {sigma.shape} do not broadcast: delta has agents on its last axis, and "
            f"{name} has no axis of agents. Write {name}=couplings[:, None] with delta of shape (realizations, agents)."
        ) from None
    return delta, sigma, float(gamma)


def _labelled(values: np.ndarray, sigma: np.ndarray, name: str, long_name: str) -> xr.DataArray:
    agents = np.arange(values.shape[-1])
    array = xr.DataArray(
        values,
        dims=("coupling", AGENT, AGENT_EVALUATED)[3 - values.ndim :],
        coords={AGENT: agents, AGENT_EVALUATED: agents},
        name=name,
        attrs={"long_name": long_name},
    )
    dims = ("coupling",) if sigma.ndim else ()
    return array.assign_coords(coupling=(dims, sigma, {"long_name": r"coupling $\hat{\sigma}$"}))
