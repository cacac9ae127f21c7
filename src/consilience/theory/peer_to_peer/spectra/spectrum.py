"""Eigenvalues of the linear map of one round that decide: the outermost, and those next to 1.

In orthonormal coordinates (`coordinates`) the map acts on agents × rank numbers. With P = (1 − 2ηγ) W, or W − 2ηγ for
DGD, G = W, or 1 for DGD, and features Φ̂ = blockdiag(Φ_q/√n_q), rows × (agents · rank), it is

    A = P⊗I − η (G⊗I) Φ̂ᵀ Φ̂            DGD, ATC;   CTA has the spectrum of ATC: A' = S(W⊗I) ⇔ A = (W⊗I)S,

a perturbation of mixing whose rank is the number of rows. Hence equations of rows × rows decide on it (det(1 − XY) =
det(1 − YX)), and so does its resolvent, with R = (P − s)⁻¹:

    (A − s)⁻¹ = R⊗I + (RG⊗I) Φ̂ᵀ (1/η − Φ̂ (RG⊗I) Φ̂ᵀ)⁻¹ Φ̂ (R⊗I),      Φ̂ (RG⊗I) Φ̂ᵀ = blocks [RG]_qr K_qr/√(n_q n_r).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.coordinates import Coordinates
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.spectra.krylov import KrylovSpace, krylov_space

TOLERANCE = 1e-9
"""How far from 1 counts as 1: such modes take a billion rounds, and dense eigenvalues are not good to much more."""
LARGEST_SYMMETRIC = 1500
"""Agents × rank up to which a symmetric map is formed and solved: seconds."""
LARGEST_GENERAL = 300
"""The same for one that is not symmetric, whose eigenvalues take ten times as long."""

_MOST_STEPS = 200
_CONVERGED = 1e-8
_FAR = 0.1
"""Eigenvalues this far from 1 stand out; nearer there may be a crowd of slow modes."""
_SHIFT = 1e-4
"""Distance beyond 1 of the point around which the resolvent looks for slow modes."""


@dataclass(frozen=True, eq=False)
class RoundMap:
    """The linear part of one round, v ← A v, in orthonormal coordinates.

    Attributes:
        coordinates: features of the data.
        weights: W, shape (agents, agents).
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η.
        weight_decay: γ.
    """

    coordinates: Coordinates
    weights: Floats
    algorithm: str
    learning_rate: float
    weight_decay: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """(agents, rank)."""
        return len(self.weights), self.coordinates.rank

    @property
    def is_symmetric(self) -> bool:
        """Whether A is: DGD with a symmetric W."""
        return self.algorithm == "dgd" and np.abs(self.weights - self.weights.T).max() <= 1e-13

    @property
    def transposed(self) -> RoundMap:
        """Aᵀ, a round over the reversed graph."""
        reverse = {"dgd": "dgd", "atc": "cta", "cta": "atc"}[self.algorithm]
        return replace(self, weights=self.weights.T, algorithm=reverse)

    def apply(self, vector: Floats) -> Floats:
        """A v, shapes (agents · rank, …)."""
        v = vector.reshape(*self.shape, -1)
        if self.algorithm == "dgd":
            result = self._mixed(v) - self.learning_rate * self._curved(v)
        elif self.algorithm == "atc":
            result = self._mixed(self._stepped(v))
        else:
            result = self._stepped(self._mixed(v))
        return result.reshape(vector.shape)

    def observed(self, vector: NDArray) -> NDArray:
        """What the agents' data see of v when gradients are taken, ‖Φ_q v_q‖/√n_q, shape (agents,)."""
        v = vector.reshape(self.shape)
        v = self.weights @ v if self.algorithm == "cta" else v
        lin, features = self.coordinates.linearization, self.coordinates.features
        seen = [np.linalg.norm(features[rows] @ own) for rows, own in zip(lin.shards, v, strict=True)]
        return np.array(seen) / np.sqrt(lin.sizes)

    def _mixed(self, v: Floats) -> Floats:
        return (self.weights @ v.reshape(len(v), -1)).reshape(v.shape)

    def _stepped(self, v: Floats) -> Floats:
        return v - self.learning_rate * self._curved(v)

    def _curved(self, v: Floats) -> Floats:
        """(H + 2γ) v."""
        lin, features = self.coordinates.linearization, self.coordinates.features
        curved = 2 * self.weight_decay * v
        for agent, rows in enumerate(lin.shards):
            curved[agent] += features[rows].T @ (features[rows] @ v[agent]) / lin.sizes[agent]
        return curved


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Eigenvalues that decide, by decreasing modulus.

    Attributes:
        values: shape (pairs,).
        vectors: normalised, shape (pairs, agents · rank).
        method: how they were found.
    """

    values: NDArray[np.complex128]
    vectors: NDArray[np.complex128]
    method: str

    @property
    def radius(self) -> float:
        """The largest modulus."""
        return float(np.abs(self.values[0]))


def outermost(round_map: RoundMap, *, with_slow: bool = True) -> Eigenpairs:
    """The eigenvalues of A that stand out: all of them where A is small, else the outermost, and those next to 1."""
    size = int(np.prod(round_map.shape))
    if size <= (LARGEST_SYMMETRIC if round_map.is_symmetric else LARGEST_GENERAL):
        matrix = round_map.apply(np.eye(size))
        values, vectors = np.linalg.eigh(matrix) if round_map.is_symmetric else np.linalg.eig(matrix)
        return _sorted(values, vectors.T, f"all eigenvalues of a matrix of {size}")
    start = _start(size)
    space = krylov_space(round_map.apply, start, _MOST_STEPS, is_enough=lambda s: _is_decided(s, 0.0))
    values, inside, residuals = space.eigenpairs()
    kept = _is_trusted(values, residuals)
    method = f"Arnoldi, {len(space.basis)} steps on {size} numbers"
    if not with_slow:
        return _sorted(values[kept], inside[:, kept].T @ space.basis, method)
    slow, slow_vectors = _next_to_one(round_map, start)
    values = np.concatenate([values[kept], slow])
    vectors = np.concatenate([inside[:, kept].T @ space.basis, slow_vectors])
    return _sorted(values, vectors, f"{method}, and the resolvent next to 1")


def spectral_radius(round_map: RoundMap) -> float:
    """The largest modulus of an eigenvalue; where A is large, only accurate enough to tell on which side of 1 it is."""
    size = int(np.prod(round_map.shape))
    if size <= LARGEST_GENERAL:
        matrix = round_map.apply(np.eye(size))
        values = np.linalg.eigvalsh(matrix) if round_map.is_symmetric else np.linalg.eigvals(matrix)
        return float(np.abs(values).max())
    space = krylov_space(round_map.apply, _start(size), _MOST_STEPS, is_enough=lambda s: _is_decided(s, 0.3))
    values, _, residuals = space.eigenpairs()
    within = min(np.abs(values[np.argmax(values.real)]), 1.0)  # of the crowd next to 1: it cannot be beyond
    return float(np.abs(values[_is_trusted(values, residuals)]).max(initial=within))


def coupled_kernel(linearization: Linearization, between: Floats) -> Floats:
    """Φ̂ (B⊗I) Φ̂ᵀ for B = `between` agents: blocks B_qr K_qr/√(n_q n_r), shape (rows, rows)."""
    lin = linearization
    scaled = between / np.sqrt(np.outer(lin.sizes, lin.sizes))
    owner = np.repeat(np.arange(lin.num_agents), lin.sizes * lin.rows_per_sample)
    return scaled[np.ix_(owner, owner)] * lin.kernel


def _start(size: int) -> Floats:
    return np.random.default_rng(0).normal(size=size)


def _is_trusted(values: NDArray[np.complex128], residuals: Floats) -> NDArray[np.bool_]:
    """Which approximate eigenvalues can be relied on: in the crowd next to 1 few have converged."""
    return (residuals <= np.sqrt(_CONVERGED)) & (np.abs(values - 1) > _FAR) | (residuals <= _CONVERGED)


def _is_decided(space: KrylovSpace, share: float) -> bool:
    """Whether all that can be the outermost are known, to `share` of their distance from the unit circle."""
    values, _, residuals = space.eigenpairs()
    is_near, moduli = np.abs(values - 1) <= _FAR, np.abs(values)
    crowd = min(moduli[is_near].max(initial=0.0), 1.0)
    can_be_outermost = (moduli + residuals > crowd) & (~is_near | (moduli > 1 + TOLERANCE))
    allowed = np.maximum(_CONVERGED, share * np.abs(moduli - 1))
    return len(space.basis) >= 50 and bool((residuals <= allowed)[can_be_outermost].all())


def _next_to_one(round_map: RoundMap, start: Floats) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """The eigenvalues nearest to 1 + _SHIFT, by Arnoldi on the resolvent."""
    lin, eta = round_map.coordinates.linearization, round_map.learning_rate
    identity = np.eye(lin.num_agents)
    decay = 2 * eta * round_map.weight_decay
    is_dgd = round_map.algorithm == "dgd"
    plain = round_map.weights - decay * identity if is_dgd else (1 - decay) * round_map.weights
    inverse: Any = np.linalg.inv(plain - (1 + _SHIFT) * identity)
    carried = inverse if is_dgd else inverse @ round_map.weights
    factors = scipy.linalg.lu_factor(np.eye(lin.num_rows) / eta - coupled_kernel(lin, carried))
    features = round_map.coordinates.features
    scale = np.sqrt(np.repeat(lin.sizes, lin.sizes * lin.rows_per_sample))

    def resolvent(vector: Floats) -> Floats:
        plainly = inverse @ vector.reshape(round_map.shape)
        seen = np.concatenate([features[rows] @ own for rows, own in zip(lin.shards, plainly, strict=True)]) / scale
        push = scipy.linalg.lu_solve(factors, seen) / scale
        back = np.stack([push[rows] @ features[rows] for rows in lin.shards])
        return (plainly + carried @ back).ravel()

    space = krylov_space(resolvent, start, 60)
    inverted, inside, residuals = space.eigenpairs()
    sizes = np.abs(inverted)
    allowed = _CONVERGED * np.minimum(
        sizes**2, 100 * sizes.max()
    )  # λ = 1 + _SHIFT + 1/θ: its error is that of θ over θ²
    kept = (residuals <= allowed) | (sizes == sizes.max())
    vectors = inside[:, kept].T @ space.basis
    if round_map.algorithm == "cta":  # the resolvent is that of ATC, whose eigenvectors a step turns into those of CTA
        real, imaginary = (
            round_map._stepped(part.T.reshape(*round_map.shape, -1)) for part in (vectors.real, vectors.imag)
        )
        vectors = (real + 1j * imaginary).reshape(-1, len(vectors)).T
    return 1 + _SHIFT + 1 / inverted[kept], vectors


def _sorted(values: NDArray, vectors: NDArray, method: str) -> Eigenpairs:
    order = np.argsort(-np.abs(values), kind="stable")
    vectors = vectors[order] / np.linalg.norm(vectors[order], axis=1, keepdims=True)
    return Eigenpairs(values[order].astype(complex), vectors.astype(complex), method)
