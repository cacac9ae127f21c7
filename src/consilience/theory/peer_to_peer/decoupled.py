"""Where W and the kernel allow: the population as modes that do not feel each other.

Two cases. If all agents hold the same inputs, H_q = H, the modes of W and of H are joint modes of all three algorithms:
a round multiplies the product of a mode of W (eigenvalue w) and one of H (eigenvalue h) by w − ηh (DGD) or w(1 − ηh)
(ATC, CTA). If W is symmetric, so is the round of DGD, W⊗I − ηH, whatever the shards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.coordinates import Coordinates, check_dense, coordinates
from consilience.theory.peer_to_peer.dynamics import Dynamics, decays_and_gains
from consilience.theory.peer_to_peer.operators import curvature, force

LARGEST_CONDITION = 1e4
"""Of the eigenvectors of W: beyond, they would cost more than four of sixteen digits."""


@dataclass(frozen=True, eq=False)
class Decoupled:
    """Modes of the round.

    Attributes:
        coordinates: those in which the modes were computed.
        decays: ε: a round multiplies a mode by 1 − ε, and the flow by exp(−ε t/η); shape (modes, …), maybe complex.
        start: amplitudes at round 0, shape (modes, …, columns).
        push: what a round adds to them, same shape.
        outward: amplitudes → v, shape (agents, rank, columns).
    """

    coordinates: Coordinates
    decays: Any
    start: Any
    push: Any
    outward: Callable[[Any], Floats]

    def after(self, elapsed: float, time: str) -> Floats:
        """v after `elapsed` rounds, or after the flow's time η · elapsed, shape (agents, rank, columns)."""
        left, gained = decays_and_gains(self.decays, elapsed, time)
        with np.errstate(over="ignore", invalid="ignore"):
            return self.outward(left[..., None] * self.start + gained[..., None] * self.push)


def mixing_modes(dynamics: Dynamics) -> tuple[Any, Any, Any] | None:
    """Eigenvalues of I − W, right eigenvectors, and their inverse; None if they are too ill-conditioned to be used."""
    mixing = dynamics.mixing
    disagreement = np.eye(mixing.num_agents) - mixing.weights
    if mixing.is_symmetric:
        values, vectors = scipy.linalg.eigh((disagreement + disagreement.T) / 2)
        return values, vectors, vectors.T
    values, vectors = np.linalg.eig(disagreement)
    if np.linalg.cond(vectors) > LARGEST_CONDITION:
        return None
    return values, vectors, np.linalg.inv(vectors)


def joint_modes(dynamics: Dynamics) -> Decoupled | None:
    """The modes if all agents hold the same inputs; None if they do not, or if W has no well-conditioned modes."""
    found = mixing_modes(dynamics) if dynamics.has_one_kernel else None
    if found is None:
        return None
    lin, rate = dynamics.linearization, dynamics.learning_rate
    disagreement, right, left = found
    coords = coordinates(lin, weight_decay=dynamics.weight_decay, shard=lin.shards[0])
    bend, kernel_modes = scipy.linalg.eigh(coords.curvature(0))
    bend = rate * (bend + 2 * dynamics.weight_decay)
    share = 1.0 if dynamics.algorithm == "dgd" else 1 - disagreement[:, None]

    def inward(v: Floats) -> Any:
        return np.einsum("iq,qrc,rj->ijc", left, v, kernel_modes, optimize=True)

    def outward(amplitudes: Any) -> Floats:
        return np.einsum("qi,ijc,rj->qrc", right, amplitudes, kernel_modes, optimize=True).real

    push = -rate * force(coords, dynamics.weight_decay).reshape(lin.num_agents, coords.rank, lin.num_columns)
    if dynamics.algorithm == "atc":
        push = np.tensordot(dynamics.mixing.weights, push, axes=1)
    return Decoupled(
        coordinates=coords,
        decays=disagreement[:, None] + share * bend,
        start=inward(np.repeat(coords.start[:, :, None], lin.num_columns, axis=2)),
        push=inward(push),
        outward=outward,
    )


def symmetric_modes(dynamics: Dynamics) -> Decoupled | None:
    """The modes of DGD with a symmetric W; None for anything else.

    Raises:
        InvalidSpec: if the matrix would be too large.
    """
    if dynamics.algorithm != "dgd" or not dynamics.mixing.is_symmetric:
        return None
    lin, rate = dynamics.linearization, dynamics.learning_rate
    coords = coordinates(lin, weight_decay=dynamics.weight_decay)
    check_dense(coords.size, "The spectrum of a round")
    disagreement = np.kron(np.eye(lin.num_agents) - dynamics.mixing.weights, np.eye(coords.rank))
    matrix = disagreement + rate * curvature(coords, dynamics.weight_decay)
    decays, vectors = scipy.linalg.eigh(matrix, overwrite_a=True)
    start = np.repeat(coords.start.reshape(-1, 1), lin.num_columns, axis=1)
    return Decoupled(
        coordinates=coords,
        decays=decays,
        start=vectors.T @ start,
        push=-rate * (vectors.T @ force(coords, dynamics.weight_decay)),
        outward=lambda amplitudes: (vectors @ amplitudes).reshape(lin.num_agents, coords.rank, -1),
    )
