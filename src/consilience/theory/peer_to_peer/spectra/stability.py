"""`stability`: whether a population converges, up to which learning rate, and why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import Floats, check_algorithm, check_mixing, check_rate
from consilience.theory.peer_to_peer.coordinates import Coordinates, coordinates
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.spectra.influence import Influence, influence
from consilience.theory.peer_to_peer.spectra.learning_rates import RateLimit, largest_learning_rate, own_curvatures
from consilience.theory.peer_to_peer.spectra.minimality import Minimality, minimality, minimality_within
from consilience.theory.peer_to_peer.spectra.reasons import (
    of_connection,
    of_hidden_modes,
    of_marginal_modes,
    of_mixing,
    of_rate,
    of_staying_modes,
    what_limits,
)
from consilience.theory.peer_to_peer.spectra.spectrum import TOLERANCE, Eigenpairs, RoundMap, outermost

_VISIBLE = 1e-3
"""What data see of a mode, relative to the largest they could: much less of those that stay, 1 of those that learn."""
_BEYOND = 1.001
"""At this multiple of the limit the mode that sets it stands out."""


@dataclass(frozen=True, eq=False, repr=False)
class Stability:
    """Whether rounds and gradient flow are stable, and the reasons if not. Printed, it explains itself.

    Attributes:
        algorithm: "dgd", "atc" or "cta".
        mixing: W.
        learning_rate: η.
        weight_decay: γ.
        spectral_radius: largest modulus of an eigenvalue of the linear round map; 1 if modes stay.
        is_stable: whether rounds converge: all eigenvalues are inside the unit circle, or 1.
        num_staying: modes with eigenvalue 1, which neither learn nor decay, because data do not reach them.
        largest_learning_rate: η_max: all smaller rates are stable; 0 if small rates are not. With `mixing_of`, W
            changes with η.
        limited_by: what happens beyond it, a sentence.
        doubly_stochastic: whether rows and columns of W sum to one.
        bibo_stable: whether bounded inputs (targets) to the gradient flow give bounded outputs (what is learned).
        minimality: whether inputs reach, and outputs show, all modes; Proposition 1 asks for it.
        influence: whose data count, and how much.
        reasons: all that is out of the ordinary, in sentences.
        method: how the largest rate and the spectral radius were found.
    """

    algorithm: str
    mixing: MixingMatrix
    learning_rate: float
    weight_decay: float
    spectral_radius: float
    is_stable: bool
    num_staying: int
    largest_learning_rate: float
    limited_by: str
    doubly_stochastic: bool
    bibo_stable: bool
    minimality: Minimality
    influence: Influence
    reasons: tuple[str, ...]
    method: str

    @property
    def is_minimal(self) -> bool:
        """Whether the system is minimal: reachable and observable."""
        return self.minimality.is_minimal

    def __repr__(self) -> str:
        verdict = "stable" if self.is_stable else "unstable"
        return (
            f"Stability({verdict}, spectral_radius={self.spectral_radius:.6g}, learning_rate={self.learning_rate:.4g} "
            f"of at most {self.largest_learning_rate:.4g}, {len(self.reasons)} reasons)"
        )

    def __str__(self) -> str:
        verdict = "rounds converge" if self.is_stable else "rounds do not converge"
        minimal = "minimal" if self.is_minimal else "not minimal"
        bibo = "BIBO stable" if self.bibo_stable else "not BIBO stable"
        is_said = any(self.limited_by in reason for reason in self.reasons)
        lines = [
            f"{self.algorithm.upper()} with {self.mixing.name}, learning rate {self.learning_rate:.4g}: {verdict}",
            f"  spectral radius        {self.spectral_radius:.8g}",
            f"  largest learning rate  {self.largest_learning_rate:.4g}{'' if is_said else '. ' + self.limited_by}",
            f"  gradient flow          {bibo}, {minimal}",
            f"  mixing matrix          {'' if self.doubly_stochastic else 'not '}doubly stochastic",
            *(f"  - {reason}" for reason in self.reasons),
        ]
        return "\n".join(lines)


def stability(
    linearization: Linearization,
    mixing: Any = None,
    *,
    algorithm: str = "dgd",
    learning_rate: float,
    weight_decay: float = 0.0,
    mixing_of: Callable[[float], MixingMatrix] | None = None,
) -> Stability:
    """Whether the linearised population converges, the largest stable learning rate, and what is in the way.

    Over a round deviations from the fixed point are multiplied by the round map, A = W⊗I − η(H + 2γ) for DGD and
    (W⊗I)(1 − η(H + 2γ)) for ATC, whose spectrum CTA shares; the gradient flow is its linear interpolation, dv/dt =
    −(I − A)v/η − b. Rounds need eigenvalues λ of A inside the unit circle, the flow Re λ < 1. For symmetric W the
    largest rate has a closed form, see `learning_rates`. A network of finite width may bear more: above the limit of
    the linear theory its loss first grows, and then settles where the network bends less (the catapult). *Measured*
    with one hidden layer of 1024, 5 agents with 20 digits each, DGD on a cycle, 300 rounds, one seed: it learns up to
    2.5 times the limit with linear units, 4 times with erf, 6 times with ReLU, and diverges at 3, 5 and 12 times.

    Proposition 1 of paper 003: if W is doubly stochastic, the flow of DGD is BIBO stable if it is minimal
    (`minimality`). For weights ≥ 0 it holds without the second condition: W is then a contraction, so that Re v*Av ≥
    v*Hv ≥ 0 of the flow matrix, and an eigenvector on the imaginary axis has Hv = 0: no output shows it. The same
    holds of row-stochastic W ≥ 0, in the norm weighted by `influence`, and of column-stochastic ones. Negative weights
    need the eigenvalues.

    Args:
        linearization: network and data, from `linearize`.
        mixing: W; may be left out if `mixing_of` is given.
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η > 0.
        weight_decay: γ ≥ 0 of γ‖θ‖².
        mixing_of: η → W(η), if mixing changes with the rate as in Eq. (2) of paper 001,
            `lambda rate: graphs.diffusive(graph, learning_rate=rate, coupling=σ)`. It sets the largest learning rate.

    Returns:
        The answer, with reasons. Nothing is refused for being unstable, disconnected or not doubly stochastic.

    Raises:
        UnknownName: for another algorithm.
        InvalidSpec: for values that cannot be; if neither `mixing` nor `mixing_of` is given.
        IncompatiblePair: for a mixing matrix of another size, or one that is not `mixing_of(learning_rate)`.

    Example:
        >>> import numpy as np
        >>> from consilience import graphs
        >>> from consilience.theory import peer_to_peer
        >>> x = np.random.default_rng(0).normal(size=(4, 2, 30))                        # 4 agents, 2 samples each
        >>> kernel = peer_to_peer.infinite_width_kernel(1, "relu", 2.0, 0.1)
        >>> network = peer_to_peer.linearize(kernel, None, x, x[..., :1])
        >>> stability(network, graphs.metropolis(graphs.path(4)), learning_rate=0.2)
        Stability(stable, spectral_radius=0.977421, learning_rate=0.2 of at most 0.3686, 0 reasons)
        >>> answer = stability(network, graphs.row_stochastic(graphs.star(4)), learning_rate=0.2)
        >>> answer.doubly_stochastic, answer.influence.weights.round(3).tolist()
        (False, [0.4, 0.2, 0.2, 0.2])

    Source:
        Paper 003, linearised DGD, ATC and CTA, and Proposition 1.
    """
    check_algorithm(algorithm)
    rate = check_rate("learning_rate", learning_rate, positive=True)
    decay = check_rate("weight_decay", weight_decay)
    matrix = _mixing_at(rate, mixing, mixing_of, linearization.num_agents)
    space = coordinates(linearization, weight_decay=decay)
    round_map = RoundMap(space, matrix.weights, algorithm, rate, decay)
    pairs = outermost(round_map)
    limit = largest_learning_rate(space, mixing_of or matrix, algorithm=algorithm, weight_decay=decay)
    whose = influence(matrix)
    staying = _num_staying(space, whose, decay)
    hidden = _minimality(space, matrix, algorithm)
    is_bibo = _is_bibo_stable(round_map, matrix, pairs)
    limited_by = _what_limits(space, mixing_of or (lambda _: matrix), algorithm, decay, limit)
    return Stability(
        algorithm=algorithm,
        mixing=matrix,
        learning_rate=rate,
        weight_decay=decay,
        spectral_radius=pairs.radius,
        is_stable=bool((_is_inside(pairs.values) | _is_one(pairs.values)).all()),
        num_staying=staying,
        largest_learning_rate=limit.value,
        limited_by=limited_by,
        doubly_stochastic=matrix.is_doubly_stochastic,
        bibo_stable=is_bibo,
        minimality=hidden,
        influence=whose,
        reasons=(
            *of_mixing(matrix, whose),
            *of_connection(matrix, whose),
            *of_staying_modes(staying, decay),
            *of_rate(rate, limit.value, limited_by, pairs.values[0], matrix),
            *of_marginal_modes(pairs.values),
            *of_hidden_modes(hidden, is_bibo, matrix, algorithm),
        ),
        method=f"largest rate: {limit.method}; spectral radius: {pairs.method}",
    )


def _mixing_at(rate: float, mixing: Any, mixing_of: Any, num_agents: int) -> MixingMatrix:
    if mixing_of is None and mixing is None:
        raise InvalidSpec("mixing is None, but agents need weights to average with. Give mixing, or mixing_of.")
    if mixing_of is None:
        return check_mixing(mixing, num_agents)
    matrix = check_mixing(mixing_of(rate), num_agents)
    if mixing is not None:
        given = check_mixing(mixing, num_agents)
        if np.abs(given.weights - matrix.weights).max() > 1e-9:
            raise IncompatiblePair(
                f"mixing is {given.name!r}, but mixing_of({rate:g}) is {matrix.name!r}, another matrix, so that the "
                "largest rate would be that of another population. Leave mixing out, or write it with the same "
                "learning rate."
            )
    return matrix


def _is_one(values: Any) -> Any:
    return np.abs(values - 1) <= TOLERANCE


def _is_inside(values: Any) -> Any:
    return np.abs(values) < 1 - TOLERANCE


def _num_staying(space: Coordinates, whose: Influence, decay: float) -> int:
    """Directions along which a group has no data, over all groups: there, agents that agree stay where they are."""
    if decay > 0:
        return 0
    lin, total = space.linearization, 0
    threshold = len(lin.gram) * np.finfo(float).eps * np.square(space.features).sum(axis=0).max()
    for group in whose.groups:
        rows = np.concatenate([space.features[lin.shards[agent]] for agent in group])
        small = rows.T @ rows if space.rank < len(rows) else rows @ rows.T
        is_all = len(whose.groups) == 1 and not whose.followers and not lin.start.any()
        total += 0 if is_all else space.rank - int((np.linalg.eigvalsh(small) > threshold).sum())
    return total


def _minimality(space: Coordinates, mixing: MixingMatrix, algorithm: str) -> Minimality:
    """In the coordinates at hand if they are those of the rows: their features are then orthogonal columns."""
    lin = space.linearization
    if lin.num_directions and (space.origin.any() or lin.start.any()):
        return minimality(lin, mixing, algorithm=algorithm)
    row_space = space.features / np.linalg.norm(space.features, axis=0)
    return minimality_within(row_space, lin, mixing, algorithm)


def _is_bibo_stable(round_map: RoundMap, mixing: MixingMatrix, pairs: Eigenpairs) -> bool:
    """Whether all modes of the flow that do not decay, Re λ ≥ 1, are hidden from inputs or outputs."""
    if round_map.algorithm == "dgd" and mixing.is_non_negative:
        return True
    shown = _visible(round_map, pairs)
    if not shown.size:
        return True
    reached = _visible(round_map.transposed, outermost(round_map.transposed))
    return not any((np.abs(reached - value) <= 1e-6 * abs(value)).any() for value in shown)


def _visible(round_map: RoundMap, pairs: Eigenpairs) -> np.ndarray:
    lin = round_map.coordinates.linearization
    largest = np.sqrt(own_curvatures(lin).max())
    lasting = np.flatnonzero(pairs.values.real > 1 - TOLERANCE)
    shown = [i for i in lasting if round_map.observed(pairs.vectors[i]).max() > _VISIBLE * largest]
    return pairs.values[shown]


def _what_limits(
    space: Coordinates, mixing_of: Callable[[float], MixingMatrix], algorithm: str, decay: float, limit: RateLimit
) -> str:
    if not 0 < limit.value < np.inf:
        return what_limits(limit.value, 0j, np.ones(1), np.ones(1))
    beyond = limit.value * _BEYOND
    pairs = outermost(RoundMap(space, mixing_of(beyond).weights, algorithm, beyond, decay), with_slow=False)
    shares: Floats = np.square(np.abs(pairs.vectors[0].reshape(space.linearization.num_agents, -1))).sum(axis=1)
    return what_limits(limit.value, pairs.values[0], shares, own_curvatures(space.linearization))
