"""The round and the gradient flow as matrices: v ← A v + b, and dv/dt = −A v − b.

In orthonormal coordinates (`coordinates`), stacked over agents, with H = blockdiag(H_q), g = (g_q) and S = I − ηH the
gradient step:

    rounds   DGD  A = W⊗I − ηH       ATC  A = (W⊗I) S             CTA  A = S (W⊗I)
    flow     DGD  A = (I−W)⊗I/η + H  ATC  A = (I−W)⊗I/η + (W⊗I)H  CTA  A = (I−W)⊗I/η + H(W⊗I)

and b = −ηg, −η(W⊗I)g, −ηg for the rounds, g, (W⊗I)g, g for the flow. Weight decay adds 2γI to H and 2γθ⁰ to g.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.coordinates import Coordinates, check_dense


@dataclass(frozen=True, eq=False)
class AffineMap:
    """A, shape (agents · rank, agents · rank), and b, shape (agents · rank, columns)."""

    matrix: Floats
    offset: Floats


def curvature(coordinates: Coordinates, weight_decay: float = 0.0) -> Floats:
    """H = blockdiag(H_q + 2γI)."""
    blocks = [coordinates.curvature(agent) for agent in range(coordinates.linearization.num_agents)]
    return np.asarray(scipy.linalg.block_diag(*blocks)) + 2 * weight_decay * np.eye(coordinates.size)


def force(coordinates: Coordinates, weight_decay: float = 0.0) -> Floats:
    """g = (g_q + 2γθ⁰), stacked, shape (agents · rank, columns)."""
    pull = 2 * weight_decay * coordinates.origin[:, None]
    return np.concatenate([coordinates.force(agent) + pull for agent in range(coordinates.linearization.num_agents)])


def round_map(
    coordinates: Coordinates, mixing: MixingMatrix, *, algorithm: str, learning_rate: float, weight_decay: float = 0.0
) -> AffineMap:
    """One round.

    Raises:
        InvalidSpec: if the matrix would be too large.
    """
    check_dense(coordinates.size, "The round operator")
    mix = np.kron(mixing.weights, np.eye(coordinates.rank))
    step = np.eye(coordinates.size) - learning_rate * curvature(coordinates, weight_decay)
    push = -learning_rate * force(coordinates, weight_decay)
    if algorithm == "dgd":
        return AffineMap(mix + step - np.eye(coordinates.size), push)
    return AffineMap(mix @ step, mix @ push) if algorithm == "atc" else AffineMap(step @ mix, push)


def flow_map(
    coordinates: Coordinates, mixing: MixingMatrix, *, algorithm: str, learning_rate: float, weight_decay: float = 0.0
) -> AffineMap:
    """The gradient flow, in time t = ηk.

    Raises:
        InvalidSpec: if the matrix would be too large.
    """
    check_dense(coordinates.size, "The gradient flow")
    mix = np.kron(mixing.weights, np.eye(coordinates.rank))
    disagreement = (np.eye(coordinates.size) - mix) / learning_rate
    bend, push = curvature(coordinates, weight_decay), force(coordinates, weight_decay)
    if algorithm == "dgd":
        return AffineMap(disagreement + bend, push)
    if algorithm == "atc":
        return AffineMap(disagreement + mix @ bend, mix @ push)
    return AffineMap(disagreement + bend @ mix, push)
