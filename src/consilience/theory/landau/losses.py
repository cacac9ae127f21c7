"""What order parameters mean for learning: the effective loss, Eq. (5), and who has learned what, (A13)."""

from __future__ import annotations

from typing import Any

import numpy as np

from consilience.errors import IncompatiblePair
from consilience.theory.landau.arguments import check_depth, numbers


def effective_loss(m: Any, delta: Any, depth: int, *, second_moment: Any = 1.0) -> np.ndarray:
    """⟨L̂⟩ = ⟨s⟩⟨m^(2(D+1))⟩ − 2⟨δ⟩⟨m^(D+1)⟩: the loss on everybody's data, averaged over agents.

    The constant ⟨ŷ²⟩ is left out, so that an agent that predicts nothing (m = 0) has loss 0, and a negative loss says
    that agents know something of the data of all.

    Args:
        m: order parameters, shape (…, agents).
        delta: δ_i, broadcastable against `m`.
        depth: D ≥ 0.
        second_moment: s_i, broadcastable against `m`; 1 in the paper.

    Returns:
        Shape (…).

    Raises:
        InvalidSpec: for values that cannot be.
        IncompatiblePair: if `delta` or `second_moment` does not fit `m`.

    Example:
        >>> float(effective_loss(np.array([1.0, 1.0]), np.array([2.0, 0.0]), 0))
        -1.0

    Source:
        Paper 001, Eq. (5) = (A14).
    """
    output = _output(m, depth)
    d, s = (value.mean(-1) for value in _per_agent(delta, second_moment, output.shape))
    return s * (output * output).mean(-1) - 2 * d * output.mean(-1)


def cross_loss(m: Any, delta: Any, depth: int, *, second_moment: Any = 1.0) -> np.ndarray:
    """(L̂_x)_ij = m_i^(D+1) (s_j m_i^(D+1) − 2δ_j): the loss of agent i on the data of agent j.

    Args:
        m: order parameters, shape (…, agents).
        delta: δ_j, broadcastable against `m`.
        depth: D ≥ 0.
        second_moment: s_j, broadcastable against `m`.

    Returns:
        Shape (…, agents, agents evaluated); its mean is `effective_loss`.

    Raises:
        InvalidSpec: for values that cannot be.
        IncompatiblePair: if `delta` or `second_moment` does not fit `m`.

    Example:
        >>> cross_loss(np.array([1.0, 2.0]), np.array([2.0, 1.0]), 0).tolist()
        [[-3.0, -1.0], [-4.0, 0.0]]

    Source:
        Paper 001, (A13).
    """
    output = _output(m, depth)[..., :, None]
    d, s = (value[..., None, :] for value in _per_agent(delta, second_moment, np.shape(m)))
    return output * (s * output - 2 * d)


def _per_agent(delta: Any, second_moment: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Both with the shape of the order parameters."""
    delta = numbers("delta", delta, meaning="δ_i = ⟨x̂ŷ⟩ is an average over agent i's data.")
    second_moment = numbers("second_moment", second_moment, least=0, meaning="s_i = ⟨x̂²⟩ is a mean square.")
    try:
        return np.broadcast_to(delta, shape), np.broadcast_to(second_moment, shape)
    except ValueError:
        raise IncompatiblePair(
            f"delta {delta.shape} and second_moment {second_moment.shape} do not broadcast to m {shape}, whose last "
            "axis counts agents. Give one δ per agent, for one population or for each that m holds."
        ) from None


def _output(m: Any, depth: int) -> np.ndarray:
    """m^(D+1), what a network makes of a unit input; by products, for NumPy's power takes twenty times as long."""
    m = np.asarray(m)
    output = m
    for _ in range(check_depth(depth)):
        output = output * m
    return output
