"""`modes`: the slow modes of a population, how much of the error each carries, and whose it is.

Let A be the linear map of a round and v* the state it leads to. The initial error v_0 − v* is a sum of parts, one per
eigenvalue λ of A, and a round multiplies each by its λ. The first step is all that is needed to find them,

    v_1 − v_0 = (A − 1)(v_0 − v*),        so that a part of the step, divided by λ − 1, is the part of the error,

and modes with λ = 1, which never move, drop out. If the agents' shards have the same kernel among each other (identical
inputs), A has joint eigenvectors x_i ⊗ u_j of W and of H = H_q,

    DGD   λ = w_i − η (h_j + 2γ)         ATC, CTA   λ = w_i (1 − η (h_j + 2γ)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
import xarray as xr
from numpy.typing import NDArray

from consilience.axes import AGENT
from consilience.errors import InvalidSpec
from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import (
    Floats,
    check_algorithm,
    check_count,
    check_mixing,
    check_rate,
    check_row_stochastic,
)
from consilience.theory.peer_to_peer.coordinates import LARGEST_DENSE, Coordinates, coordinates
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.operators import force
from consilience.theory.peer_to_peer.rounds import State, advance, initial_state
from consilience.theory.peer_to_peer.spectra.krylov import krylov_space
from consilience.theory.peer_to_peer.spectra.spectrum import RoundMap

NEGLIGIBLE = 1e-4
"""Share of the initial error below which a mode is left out."""
LARGEST_SYMMETRIC = 1500
"""Agents × rank up to which a symmetric round map is diagonalised: seconds."""
LARGEST_GENERAL = 400
"""The same for one that is not symmetric."""
NUM_STEPS = 150
"""Dimension of the Krylov space that stands for larger ones."""

_SAME = 1e-10
"""Eigenvalues this near are one mode: within an eigenspace only the part of the error in it has a meaning."""
_SAME_GENERAL = 1e-8
"""The same for maps that are not symmetric, whose eigenvalues are less precise."""
_ZERO = 1e-5
"""Modes that fall by this in a round are gone at once, and told apart at the price of large parts that cancel."""
_KRYLOV_MEMORY = 1e9
_KRYLOV = "Krylov space of the first step: approximate"
_ALIKE = 0.9
"""Share from which a mode is called one of consensus, or of disagreement."""


@dataclass(frozen=True, eq=False)
class Mode:
    """The part of the initial error that belongs to one eigenvalue.

    Attributes:
        eigenvalue: λ, the one with Im λ ≥ 0 of a pair.
        error: what the part does to the outputs on all training data, divided by √n of the shard that a row belongs to,
            shape (agents, columns, rows). Of a pair, a complex array whose real part is both parts together; after k
            rounds it is the real part of λ^k times this.
        labels: further coordinates.
    """

    eigenvalue: complex
    error: NDArray[Any]
    labels: dict[str, float]


def modes(
    linearization: Linearization,
    mixing: Any,
    *,
    algorithm: str = "dgd",
    learning_rate: float,
    weight_decay: float = 0.0,
    num_modes: int = 10,
) -> xr.Dataset:
    """The slowest modes that carry error: what the last rounds of training are spent on.

    Errors are those of outputs: deviations of every agent's outputs on all agents' training data from where they will
    end, squared, each shard's mean counting the same, as in the objective (1/Q) Σ_r L_r(θ_q).

    Args:
        linearization: network and data, from `linearize`.
        mixing: W.
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η > 0.
        weight_decay: γ ≥ 0.
        num_modes: modes at most.

    Returns:
        A data set over "mode", slowest first (growing ones before all): `eigenvalue` λ (complex if any is; of a pair,
        the one with Im λ > 0 stands for both); `rounds`, −1/ln|λ|, in which the mode falls by e, negative if it grows;
        `error_share`, its squared error at the start relative to the sum of all modes'; `agent_share` (mode, agent), of
        its squared error; `consensus_share`, how much of that is common to all agents, 1 if they move as one and 0 if
        they differ around a mean that stays; and `kind`, "consensus", "disagreement" or "mixed". Modes below a share of
        1e-4 are left out. For identical inputs (and symmetric W) the coordinates `mixing_eigenvalue` and
        `kernel_eigenvalue` name the factors. `attrs`: `method`; `share_covered`, of the modes listed; `share_slower`,
        of slower modes left out; `overlap`, the whole squared error relative to the sum of the modes' (1 if they are
        orthogonal).

    Raises:
        UnknownName: for another algorithm.
        InvalidSpec: for values that cannot be.
        IncompatiblePair: for a mixing matrix of another size, or whose rows do not sum to one.

    Example:
        >>> import numpy as np
        >>> from consilience import graphs
        >>> from consilience.theory import peer_to_peer
        >>> x = np.repeat(np.random.default_rng(0).normal(size=(1, 3, 30)), 4, axis=0)  # 4 agents, the same 3 inputs
        >>> kernel = peer_to_peer.infinite_width_kernel(1, "relu", 2.0, 0.1)
        >>> network = peer_to_peer.linearize(kernel, None, x, x[..., :1])
        >>> table = modes(network, graphs.metropolis(graphs.cycle(4)), learning_rate=0.5)
        >>> table.mixing_eigenvalue.values.round(6).tolist(), table.kind.values.tolist()
        ([1.0, 1.0, 1.0], ['consensus', 'consensus', 'consensus'])

    Source:
        Paper 003, linearised DGD, ATC and CTA; eigenmodes of their round maps.
    """
    check_algorithm(algorithm)
    matrix = check_row_stochastic(check_mixing(mixing, linearization.num_agents))
    rate = check_rate("learning_rate", learning_rate, positive=True)
    decay = check_rate("weight_decay", weight_decay)
    count = check_count("num_modes", num_modes, least=1)
    method, parts = decompose(linearization, matrix, algorithm=algorithm, learning_rate=rate, weight_decay=decay)
    attrs = {"algorithm": algorithm, "learning_rate": rate, "weight_decay": decay, "mixing": matrix.name}
    return _table(parts, count, {**attrs, "method": method})


def decompose(
    linearization: Linearization,
    mixing: MixingMatrix,
    *,
    algorithm: str,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> tuple[str, Iterator[Mode]]:
    """All modes of the initial error, unsorted, and how they were found. Their errors add up to the initial one."""
    if linearization.num_rows > LARGEST_DENSE:
        return _KRYLOV, _krylov(linearization, mixing, algorithm, learning_rate, weight_decay)
    space = coordinates(linearization, weight_decay=weight_decay)
    linear = RoundMap(space, mixing.weights, algorithm, learning_rate, weight_decay)
    if mixing.is_symmetric and _is_identical(linearization):
        return "joint eigenvectors of W and the kernel", _joint(linear)
    if space.size <= (LARGEST_SYMMETRIC if linear.is_symmetric else LARGEST_GENERAL):
        return f"all eigenvectors of a matrix of {space.size}", _dense(linear)
    return _KRYLOV, _krylov(linearization, mixing, algorithm, learning_rate, weight_decay)


def _is_identical(lin: Linearization) -> bool:
    """Whether all shards hold the same inputs, as far as the kernel sees."""
    if len(set(lin.sizes.tolist())) > 1:
        return False
    first = lin.kernel[lin.shards[0], lin.shards[0]]
    allowed = 1e-12 * np.abs(first).max()
    return all(np.abs(lin.kernel[q, r] - first).max() <= allowed for q in lin.shards for r in lin.shards)


def _joint(linear: RoundMap) -> Iterator[Mode]:
    """For identical inputs and a symmetric W."""
    space, eta, decay = linear.coordinates, linear.learning_rate, linear.weight_decay
    mixing_values, agents = scipy.linalg.eigh(linear.weights)
    kernel_values, directions = scipy.linalg.eigh(space.curvature(0))
    step = np.einsum("qrc,rj->jqc", _first_step(linear), directions)
    outputs = _scaled_features(space) @ directions
    for group in _groups(mixing_values):
        w = mixing_values[group].mean()
        projected = (agents[:, group] @ agents[:, group].T) @ step
        for j, h in enumerate(kernel_values):
            slope = 1 - eta * (h + 2 * decay)
            value = w + slope - 1 if linear.algorithm == "dgd" else w * slope
            if abs(value - 1) > _SAME:
                error = projected[j][..., None] * outputs[:, j] / (value - 1)
                yield Mode(complex(value), error, {"mixing_eigenvalue": w, "kernel_eigenvalue": h})


def _dense(linear: RoundMap) -> Iterator[Mode]:
    step = _first_step(linear)
    flat = step.reshape(linear.coordinates.size, -1)
    features = _scaled_features(linear.coordinates)
    for value, part in _parts(linear.apply(np.eye(len(flat))), flat, is_symmetric=linear.is_symmetric):
        yield _mode(value, np.einsum("nr,qrc->qcn", features, part.reshape(step.shape)))


def _krylov(
    lin: Linearization, mixing: MixingMatrix, algorithm: str, learning_rate: float, weight_decay: float
) -> Iterator[Mode]:
    """The same within a Krylov space of outputs, by rounds of the linear part. Outputs determine their successors."""
    none = np.zeros((0, lin.num_columns))
    trained = replace(lin, gram=lin.inner, test_outputs=none, test_targets=none)
    linear_part = replace(trained, targets=lin.outputs, origin_norm=0.0)
    start = initial_state(trained)
    unused, rate, weights = start.coefficients, np.array([learning_rate]), mixing.weights[None]

    def after(network: Linearization, products: Floats) -> Floats:
        state = State(unused, products.reshape(start.products.shape))
        state = advance(network, state, weights, algorithm=algorithm, learning_rate=rate, weight_decay=weight_decay)
        return state.products.ravel()

    step = after(trained, start.products) - start.products.ravel()
    num_steps = max(20, min(NUM_STEPS, int(_KRYLOV_MEMORY / step.nbytes)))
    space = krylov_space(lambda flat: after(linear_part, flat), step, num_steps)
    outputs = space.basis.reshape(-1, *start.products.shape[1:])[..., : lin.num_rows] / np.sqrt(_row_sizes(lin))
    first = np.linalg.norm(step) * np.eye(len(space.basis))[:, :1]
    for value, part in _parts(space.projection, first, is_symmetric=False):
        yield _mode(value, np.tensordot(part[:, 0], outputs, axes=1))


def _parts(matrix: Floats, step: Floats, *, is_symmetric: bool) -> Iterator[tuple[complex, Any]]:
    """λ and the part of the initial error, for each eigenvalue but 1; `step`, its image under A − 1, has columns.

    Eigenvalues next to 0, of which matrices with mixing in front have many, and chains of eigenvectors, are one mode:
    what is left. A pair is given once, by the part of the eigenvalue with Im λ > 0.
    """
    if is_symmetric:
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        left = vectors
    else:
        both_sides: Any = scipy.linalg.eig(matrix, left=True)
        values, left, vectors = both_sides
    rest: Any = step.astype(complex)
    for group in _groups(values):
        value = complex(values[group].mean())
        if abs(value) <= _ZERO:
            continue
        dual = left[:, group].conj().T
        part = vectors[:, group] @ np.linalg.solve(dual @ vectors[:, group], dual @ step)
        rest -= part
        if abs(value - 1) > _SAME and value.imag > -_SAME:
            yield value, part / (value - 1)
    if (np.abs(values) <= _ZERO).any():
        yield 0j, -rest.real


def _first_step(linear: RoundMap) -> Floats:
    """v_1 − v_0, shape (agents, rank, columns)."""
    space = linear.coordinates
    pull = force(space, linear.weight_decay).reshape(*linear.shape, -1)
    if linear.algorithm == "atc":
        pull = np.tensordot(linear.weights, pull, axes=1)
    start = np.broadcast_to(space.start[..., None], pull.shape)
    return linear.apply(np.ascontiguousarray(start)) - start - linear.learning_rate * pull


def _row_sizes(lin: Linearization) -> NDArray[np.int64]:
    """Samples of the shard that a row belongs to, shape (rows,)."""
    return np.repeat(lin.sizes, lin.sizes * lin.rows_per_sample)


def _scaled_features(space: Coordinates) -> Floats:
    return space.features / np.sqrt(_row_sizes(space.linearization))[:, None]


def _mode(value: complex, error: Any) -> Mode:
    """A mode from its part of the error; one of a pair stands for both."""
    is_real = abs(value.imag) <= _SAME
    return Mode(complex(value.real) if is_real else value, error.real if is_real else 2 * error, {})


def _groups(values: NDArray) -> list[NDArray[np.int64]]:
    """Indices of equal values. Real ones come sorted."""
    if np.isrealobj(values):
        return np.split(np.arange(len(values)), np.flatnonzero(np.diff(values) > _SAME) + 1)
    left, groups = np.arange(len(values)), []
    while len(left):
        is_same = np.abs(values[left] - values[left[0]]) <= _SAME_GENERAL
        groups.append(left[is_same])
        left = left[~is_same]
    return groups


def _table(parts: Iterator[Mode], num_modes: int, attrs: dict[str, Any]) -> xr.Dataset:
    values, by_agent, common, labels, whole = [], [], [], [], 0.0
    for mode in parts:
        error = np.real(mode.error)
        whole = whole + error
        values.append(mode.eigenvalue)
        by_agent.append(np.square(error).sum(axis=(1, 2)))
        common.append(len(error) * np.square(error.mean(axis=0)).sum())
        labels.append(mode.labels)
    squares = np.array(by_agent)
    total = squares.sum()
    if not total > 0:
        raise InvalidSpec(
            "The agents start where they will end: the initial outputs are the targets, or data see nothing of the "
            "error. There are no modes to list."
        )
    shares, moduli = squares.sum(axis=1) / total, np.abs(values)
    listed = np.flatnonzero(shares >= NEGLIGIBLE)
    listed = listed[np.argsort(-moduli[listed], kind="stable")][:num_modes]
    is_slower = np.isin(np.arange(len(shares)), listed, invert=True) & (moduli > moduli[listed].min())
    consensus = np.array(common)[listed] / squares.sum(axis=1)[listed]
    with np.errstate(divide="ignore"):
        rounds = -1 / np.log(moduli[listed])
    eigenvalues: Any = np.array(values)[listed]
    variables = {
        "eigenvalue": (eigenvalues if (eigenvalues.imag != 0).any() else eigenvalues.real, "eigenvalue of a round"),
        "rounds": (rounds, "rounds in which the mode falls by e; negative if it grows"),
        "error_share": (shares[listed], "share of the initial squared error of outputs"),
        "agent_share": (squares[listed] / squares[listed].sum(axis=1, keepdims=True), "share of an agent in the mode"),
        "consensus_share": (consensus, "share of the mode that is common to all agents"),
        "kind": (np.array([_kind(share) for share in consensus]), "whether agents move together or differ"),
    }
    return xr.Dataset(
        {name: (("mode", AGENT)[: data.ndim], data, {"long_name": text}) for name, (data, text) in variables.items()},
        coords={
            "mode": np.arange(len(listed)),
            AGENT: np.arange(squares.shape[1]),
            **{name: ("mode", [labels[i][name] for i in listed]) for name in labels[listed[0]]},
        },
        attrs={
            **attrs,
            "share_covered": float(shares[listed].sum()),
            "share_slower": float(shares[is_slower].sum()),
            "overlap": float(np.square(whole).sum() / total),
        },
    )


def _kind(consensus_share: float) -> str:
    if consensus_share >= _ALIKE:
        return "consensus"
    return "disagreement" if consensus_share <= 1 - _ALIKE else "mixed"
