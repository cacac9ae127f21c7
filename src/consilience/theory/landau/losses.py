"""What order parameters mean for learning: the effective loss, Eq. (5), and who has learned what, (A13)."""

from __future__ import annotations

from typing import Any

import numpy as np

from consilience.theory.landau.arguments import check_depth


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

    Example:
        >>> float(effective_loss(np.array([1.0, 1.0]), np.array([2.0, 0.0]), 0))
        -1.0

    Source:
        Paper 001, Eq. (5) = (A14).
    """
    output = np.asarray(m) ** (check_depth(depth) + 1)
    s, d = (np.broadcast_to(value, output.shape).mean(-1) for value in (second_moment, delta))
    return s * (output**2).mean(-1) - 2 * d * output.mean(-1)


def cross_loss(m: Any, delta: Any, depth: int, *, second_moment: Any = 1.0) -> np.ndarray:
    """(L̂_x)_ij = m_i^(D+1) (s_j m_i^(D+1) − 2δ_j): the loss of agent i on the data of agent j.

    Args:
        m: order parameters, shape (…, agents).
        delta: δ_j, broadcastable against `m`.
        depth: D ≥ 0.
        second_moment: s_j, broadcastable against `m`.

    Returns:
        Shape (…, agents, agents evaluated); its mean is `effective_loss`.

    Example:
        >>> cross_loss(np.array([1.0, 2.0]), np.array([2.0, 1.0]), 0).tolist()
        [[-3.0, -1.0], [-4.0, 0.0]]

    Source:
        Paper 001, (A13).
    """
    output = np.asarray(m)[..., :, None] ** (check_depth(depth) + 1)
    s, d = (np.broadcast_to(value, np.shape(m))[..., None, :] for value in (second_moment, delta))
    return output * (s * output - 2 * d)
