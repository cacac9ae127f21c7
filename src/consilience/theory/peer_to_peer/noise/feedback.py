"""What noise adds up to, and the noise that it causes: second moments of training with mini-batches in the long run.

A round takes the covariance to 𝓐P + 𝓝P + S (`sampling`): 𝓐P = A P Aᵀ with A of the full batch, 𝓝P the noise that the
spread of the parameters causes, S that of the errors at their mean. With 𝓖F = Σ_k A^k F (A^k)ᵀ, what noise adds up to
while the full batch forgets it, a stationary covariance solves P = 𝓖(𝓝P + S). All these maps send covariances to
covariances, so that I − 𝓐 − 𝓝 is a regular splitting: second moments converge if and only if full batches do, ρ(A) < 1,
and the noise gain ρ(𝓖𝓝) is below 1. 𝓝 and S depend on the P_qq where gradients are taken only: these are the unknowns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

from consilience.errors import InvalidSpec
from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.coordinates import Coordinates
from consilience.theory.peer_to_peer.dynamics import Dynamics
from consilience.theory.peer_to_peer.noise.sampling import Sampling, block_diagonal
from consilience.theory.peer_to_peer.operators import round_map
from consilience.theory.peer_to_peer.spectra.krylov import KrylovSpace, krylov_space

LARGEST = 2000
"""Agents × rank up to which 𝓖 is applied: its matrices take a GB, a noise gain minutes (at 500, seconds)."""

_MOST_DOUBLINGS = 34
"""2³⁴ rounds count as infinitely many: kernel eigenvalues of modes that are slower consist of rounding errors."""

_GAIN_TOLERANCE = 1e-6
"""Relative residual of the noise gain as an eigenvalue."""
_MOST_STEPS = 60


class _Sum(Protocol):
    """𝓖 of a round A: F → Σ_k A^k F (A^k)ᵀ, None if it diverges."""

    def __call__(self, added: Floats) -> Floats | None: ...


class _ByModes:
    """𝓖 for symmetric A: F_ij/(1 − λ_i λ_j) between modes."""

    def __init__(self, matrix: Floats) -> None:
        self._factors, self._modes = scipy.linalg.eigh((matrix + matrix.T) / 2)

    def __call__(self, added: Floats) -> Floats | None:
        slowest = 2.0**-_MOST_DOUBLINGS
        if np.abs(self._factors).max() > 1 + slowest:
            return None
        decays = np.maximum(1 - np.outer(self._factors, self._factors), slowest)
        return self._modes @ ((self._modes.T @ added @ self._modes) / decays) @ self._modes.T


class _ByDoubling:
    """𝓖 for any A: the sum over k < 2m from that over k < m and from A^m, which is kept."""

    def __init__(self, matrix: Floats) -> None:
        self._powers = [matrix]

    def __call__(self, added: Floats) -> Floats | None:
        total, share = added, 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for doubling in range(_MOST_DOUBLINGS):
                power = self._power(doubling)
                later = power @ total @ power.T
                before, after = np.linalg.norm(total), np.linalg.norm(later)
                if not (math.isfinite(before) and math.isfinite(after)):
                    return None
                total = total + later
                if after <= 1e-15 * before:
                    return total
                share = after / before
        return total if share < 2 else None  # a mode that stands still but for rounding does not diverge

    def _power(self, doubling: int) -> Floats:
        if doubling == len(self._powers):
            self._powers.append(self._powers[-1] @ self._powers[-1])
        return self._powers[doubling]


@dataclass(frozen=True, eq=False)
class Feedback:
    """𝓖𝓝, from noise to the noise that it causes, between the P_qq where gradients are taken."""

    batches: Sampling
    weights: Floats
    total: _Sum

    def __call__(self, blocks: Floats) -> Floats:
        """𝓖𝓝 of blocks, all flat."""
        total = self.total(self.batches.injected(blocks.reshape(self.batches.curvature.shape), self.weights))
        assert total is not None  # full batches were found to converge
        return self.batches.seen(total, self.weights).ravel()


def feedback(of: Dynamics, coords: Coordinates, batches: Sampling) -> Feedback:
    """𝓖𝓝 of a learning population.

    Raises:
        InvalidSpec: if its matrices would be too large.
    """
    if coords.size > LARGEST:
        raise InvalidSpec(
            f"{len(batches.features)} agents at rank {coords.rank} of the kernel have a covariance of {coords.size} "
            f"rows and columns, and above {LARGEST} what becomes of it in the long run takes gigabytes. Use "
            "fewer samples per agent, fewer outputs or fewer agents; minibatch_moments goes further."
        )
    step = round_map(
        coords,
        of.mixing,
        algorithm=of.algorithm,
        learning_rate=of.learning_rate,
        weight_decay=of.weight_decay,
    )
    matrix = step.matrix @ block_diagonal(_reached(coords, of.mixing.weights))
    by = _ByModes if of.algorithm == "dgd" and of.mixing.is_symmetric else _ByDoubling
    return Feedback(batches, of.mixing.weights, by(matrix))


def _reached(coords: Coordinates, weights: Floats) -> list[Floats]:
    """Projectors on what the data of those from whom an agent hears, directly or not, can teach it.

    Noise stays in there, and what is outside, directions in which agents start apart say, need not be forgotten.
    """
    num_agents, lin = len(weights), coords.linearization
    hears = np.linalg.matrix_power((weights != 0) + np.eye(num_agents), num_agents) > 0
    found: dict[bytes, Floats] = {}
    for sources in hears:
        if sources.tobytes() not in found:
            rows = np.concatenate([coords.features[lin.shards[agent]] for agent in np.flatnonzero(sources)])
            basis = scipy.linalg.orth(rows.T)
            found[sources.tobytes()] = basis @ basis.T
    return [found[sources.tobytes()] for sources in hears]


def gain(noise: Feedback) -> float:
    """ρ(𝓖𝓝): the largest eigenvalue, which is real and shows from the identity on, since covariances stay such."""
    batches = noise.batches
    if noise.total(np.eye(math.prod(batches.shape))) is None:
        return math.inf

    def is_enough(space: KrylovSpace) -> bool:
        values, _, residuals = space.eigenpairs()
        largest = np.argmax(values.real)
        return bool(residuals[largest] <= _GAIN_TOLERANCE * values[largest].real)

    identity = np.broadcast_to(np.eye(batches.shape[1]), batches.curvature.shape).ravel()
    space = krylov_space(noise, identity, _MOST_STEPS, is_enough=is_enough, check_every=4)
    return max(float(space.eigenpairs()[0].real.max()), 0.0)


def stationary_covariance(noise: Feedback, errors: Sequence[Floats]) -> Floats:
    """P = 𝓖(𝓝P + S), solved between the P_qq where gradients are taken."""
    batches, weights = noise.batches, noise.weights
    shape = batches.curvature.shape
    source = noise.total(batches.injected(np.zeros(shape), weights, errors))
    assert source is not None  # or the gain would be infinite
    seen = batches.seen(source, weights).ravel()
    operator: Any = scipy.sparse.linalg.LinearOperator  # annotated without its arguments
    equation = operator((seen.size, seen.size), matvec=lambda x: x - noise(x), dtype=np.float64)
    blocks, failed = scipy.sparse.linalg.gmres(equation, seen, rtol=1e-12, restart=_MOST_STEPS, maxiter=5)
    if failed:
        raise InvalidSpec(
            f"learning_rate={batches.learning_rate:g}: mini-batches are so near the limit of stability that their "
            "stationary variance could not be computed to 12 digits. Use a slightly smaller rate."
        )
    total = noise.total(batches.injected(blocks.reshape(shape), weights, errors))
    assert total is not None
    return total
