"""Minimality in the sense of Proposition 1 of paper 003: does every mode of the population meet data?

The flow dv/dt = −Av + Bu, y = Cv has the agents' errors at θ⁰ as inputs and their outputs as outputs:
B = blockdiag(Φ_qᵀ/n_q) and C = blockdiag(Φ_q) in orthonormal coordinates, for in parameter space an over-parameterised
network is never minimal. As A = (I−W)⊗I/η + BC differs from mixing by a feedback of outputs to inputs, and feedback
changes neither what inputs reach nor what outputs show, (A, B, C) is minimal if and only if (W⊗I, B, C) is, whatever
the learning rate (Popov, Belevitch and Hautus): no left eigenvector of W⊗I is orthogonal to B, no right one to C. These
eigenvectors are Σ_i x_i⊗u_i, for the eigenvectors x_i of one eigenvalue w of W, and any u_i; data do not meet them if

    Σ_i x_iq Φ_q u_i = 0    for all agents q.

For a simple w this needs a u along which no agent in the support of x has data; for an eigenvalue of multiplicity m
there are m · rank unknowns and at most as many equations as rows. So on graphs with symmetries, where eigenvalues
repeat, populations of wide networks are hardly ever minimal. Data leave such modes alone: λ = w, whatever is learned.

ATC has B = blockdiag(W⊗I)(Φ_qᵀ/n_q), which does not reach modes with w = 0; CTA takes gradients at what agents have
combined, C = blockdiag(Φ_q)(W⊗I), which does not show them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import Floats, check_algorithm, check_mixing
from consilience.theory.peer_to_peer.linearization import Linearization

_CLUSTER = 1e-8
"""Eigenvalues of a symmetric W this near count as one."""
_GENERAL_CLUSTER = 1e-6
"""The same for any W: rounding splits an eigenvalue without a full set of eigenvectors by the root of 2⁻⁵²."""
_ZERO = 1e-9
"""Singular values and components below count as zero; all are of order one or vanish."""


@dataclass(frozen=True)
class HiddenModes:
    """Modes of one eigenvalue of W that data do not reach, or that outputs do not show.

    Attributes:
        eigenvalue: w; so is the eigenvalue of these modes over a round (of the flow it is (1 − w)/η).
        multiplicity: of w.
        num_unreachable: modes that no input reaches.
        num_unobservable: modes that no output shows.
        agents: those that take part in modes of this eigenvalue.
    """

    eigenvalue: complex
    multiplicity: int
    num_unreachable: int
    num_unobservable: int
    agents: tuple[int, ...]


@dataclass(frozen=True)
class Minimality:
    """Whether a population is minimal, and what is hidden if it is not.

    Attributes:
        num_modes: agents times the rank of the kernel.
        hidden: by eigenvalue of W; empty if the system is minimal.
    """

    num_modes: int
    hidden: tuple[HiddenModes, ...]

    @property
    def is_minimal(self) -> bool:
        """Reachable and observable."""
        return not self.hidden

    @property
    def num_unreachable(self) -> int:
        """Modes that no input reaches."""
        return sum(modes.num_unreachable for modes in self.hidden)

    @property
    def num_unobservable(self) -> int:
        """Modes that no output shows."""
        return sum(modes.num_unobservable for modes in self.hidden)


def minimality(linearization: Linearization, mixing: MixingMatrix, *, algorithm: str = "dgd") -> Minimality:
    """Whether inputs reach, and outputs show, all modes of the population.

    Args:
        linearization: network and data.
        mixing: W.
        algorithm: "dgd", "atc" or "cta".

    Returns:
        The answer, and the hidden modes. Ranks are those of orthonormal bases, in which numbers that should vanish do
        so to 1e-13.

    Raises:
        UnknownName: for another algorithm.
        IncompatiblePair: for a mixing matrix of another size.

    Example:
        >>> import numpy as np
        >>> from consilience import graphs
        >>> from consilience.theory import peer_to_peer
        >>> x = np.random.default_rng(0).normal(size=(4, 2, 30))                        # 4 agents, 2 samples each
        >>> kernel = peer_to_peer.infinite_width_kernel(1, "relu", 2.0, 0.1)
        >>> network = peer_to_peer.linearize(kernel, None, x, x[..., :1])
        >>> minimality(network, graphs.metropolis(graphs.path(4))).is_minimal           # simple eigenvalues only
        True
        >>> minimality(network, graphs.uniform(4)).hidden                               # 24 modes share w = 0
        (HiddenModes(eigenvalue=0j, multiplicity=3, num_unreachable=16, num_unobservable=16, agents=(0, 1, 2, 3)),)

    Source:
        Paper 003, Proposition 1.
    """
    check_algorithm(algorithm)
    matrix = check_mixing(mixing, linearization.num_agents)
    return minimality_within(_row_space(linearization), linearization, matrix, algorithm)


def minimality_within(
    row_space: Floats, linearization: Linearization, mixing: MixingMatrix, algorithm: str
) -> Minimality:
    """`minimality`, given orthonormal columns that span the features of the rows, shape (rows, rank)."""
    weights = mixing.weights
    shows = _eigenspaces(weights)
    reaches = shows if mixing.is_symmetric else _eigenspaces(weights.T)
    hidden = []
    for right in shows:
        left = min(reaches, key=lambda space: abs(space.value - right.value))
        num_unreachable = _num_unseen(linearization, row_space, left, is_mixed=algorithm == "atc")
        num_unobservable = _num_unseen(linearization, row_space, right, is_mixed=algorithm == "cta")
        if num_unreachable or num_unobservable:
            agents = tuple(np.flatnonzero((left.spread > _ZERO) | (right.spread > _ZERO)).tolist())
            value = complex(round(right.value.real, 12) + 0.0, round(right.value.imag, 12) + 0.0)
            hidden.append(HiddenModes(value, right.multiplicity, num_unreachable, num_unobservable, agents))
    return Minimality(linearization.num_agents * row_space.shape[1], tuple(hidden))


@dataclass(frozen=True, eq=False)
class _Eigenspace:
    """An invariant subspace of a matrix M: M basis = basis · inner, for one eigenvalue."""

    value: complex
    basis: NDArray
    inner: NDArray

    @property
    def multiplicity(self) -> int:
        return self.basis.shape[1]

    @property
    def spread(self) -> Floats:
        """By how much each agent takes part, shape (agents,)."""
        return np.linalg.norm(self.basis, axis=1)

    @property
    def is_diagonal(self) -> bool:
        """Whether it consists of eigenvectors."""
        scale = max(1.0, abs(self.value))
        return bool(np.abs(self.inner - self.value * np.eye(self.multiplicity)).max() <= _GENERAL_CLUSTER * scale)


def _eigenspaces(matrix: Floats) -> list[_Eigenspace]:
    """All of them, by decreasing real part of the eigenvalue."""
    if np.abs(matrix - matrix.T).max() <= 1e-13:
        values, vectors = np.linalg.eigh(matrix)
        groups = np.split(np.arange(len(values)), np.flatnonzero(np.diff(values) > _CLUSTER) + 1)
        spaces = [(values[g].mean(), vectors[:, g], values[g].mean() * np.eye(len(g))) for g in groups]
        return [_Eigenspace(complex(value), basis, inner) for value, basis, inner in reversed(spaces)]
    return [_invariant(matrix, value) for value in _distinct(np.linalg.eigvals(matrix))]


def _distinct(values: NDArray) -> list[complex]:
    found: list[complex] = []
    for value in sorted(values.tolist(), key=lambda v: (-v.real, v.imag)):
        if all(abs(value - other) > _GENERAL_CLUSTER * max(1.0, abs(value)) for other in found):
            found.append(value)
    return found


def _invariant(matrix: Floats, value: complex) -> _Eigenspace:
    allowed = _GENERAL_CLUSTER * max(1.0, abs(value))
    sorted_form: Any = scipy.linalg.schur(matrix, output="complex", sort=lambda other: abs(other - value) <= allowed)
    inner, basis, size = sorted_form
    return _Eigenspace(value, basis[:, :size], inner[:size, :size])


def _row_space(linearization: Linearization) -> Floats:
    """Orthonormal columns that span the features of the rows, shape (rows, rank); ranks are the same in it."""
    values, vectors = scipy.linalg.eigh(linearization.kernel)
    return vectors[:, values > len(values) * np.finfo(float).eps * values[-1]]


def _num_unseen(linearization: Linearization, row_space: Floats, space: _Eigenspace, *, is_mixed: bool) -> int:
    """Dimension of what in `space`⊗R^rank data never see."""
    num_rows, rank = row_space.shape
    if is_mixed and np.abs(space.inner).max() <= _ZERO:
        return space.multiplicity * rank
    owner = np.repeat(np.arange(linearization.num_agents), linearization.sizes * linearization.rows_per_sample)
    taking_part = space.spread > _ZERO
    rows = np.flatnonzero(taking_part[owner])
    if space.is_diagonal and rank == num_rows:
        return space.multiplicity * rank - len(rows)  # all equations are independent
    # A row may be multiplied by a number without changing the rank: agents that hardly take part then count like
    # others.
    mixture = np.divide(space.basis, space.spread[:, None], where=taking_part[:, None], out=np.zeros_like(space.basis))
    if not space.is_diagonal:
        return _largest_invariant(space, mixture[owner[rows]], row_space[rows], is_mixed=is_mixed)
    if space.multiplicity * rank < len(rows):
        equations = _equations(mixture[owner[rows]], row_space[rows])
        part = equations.conj().T @ equations
    else:
        part = (mixture @ mixture.conj().T)[np.ix_(owner[rows], owner[rows])] * (row_space[rows] @ row_space[rows].T)
    return space.multiplicity * rank - int((scipy.linalg.eigvalsh(part) > _ZERO).sum())


def _largest_invariant(space: _Eigenspace, mixture: NDArray, row_space: Floats, *, is_mixed: bool) -> int:
    """Dimension of the largest subspace of unseen modes that mixing maps into itself, for chains of eigenvectors."""
    shift = np.kron(space.inner, np.eye(row_space.shape[1]))
    equations = _equations(mixture, row_space)
    unseen = scipy.linalg.null_space(equations @ shift if is_mixed else equations, rcond=_ZERO)
    while unseen.shape[1]:
        image = shift @ unseen
        leaving = image - unseen @ (unseen.conj().T @ image)
        if np.abs(leaving).max() <= _ZERO:
            break
        unseen = unseen @ scipy.linalg.null_space(leaving, rcond=_ZERO)
    return unseen.shape[1]


def _equations(mixture: NDArray, row_space: Floats) -> NDArray:
    """What each row sees of the modes, shape (rows, multiplicity · rank)."""
    return (mixture[:, :, None] * row_space[:, None, :]).reshape(len(mixture), -1)
