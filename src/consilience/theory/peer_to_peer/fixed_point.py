"""Where learning ends: t → ∞ in closed form.

Rounds and their flow end in the same place, where (I − W) v = −ηW^p (Hv + g), with p = 0 for DGD, and 1 for ATC and
for ψ = Wv of CTA; weight decay is part of H and g. Solved for v by the group inverse of I − W, this leaves unknown the
residuals e_q = (Φ_q v_q + r_q)/n_q of agents on their own data, and what groups of connected agents agree on: a system
of at most twice the rows, whatever the number of agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.theory.peer_to_peer.arguments import Floats, check_keep, check_time
from consilience.theory.peer_to_peer.coordinates import LARGEST_DENSE, Coordinates, coordinates
from consilience.theory.peer_to_peer.decoupled import Decoupled, joint_modes
from consilience.theory.peer_to_peer.dynamics import Dynamics, dynamics
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.quantities import KEEP, as_dataset, measure
from consilience.theory.peer_to_peer.spectra.mixing_limit import mixing_limit
from consilience.theory.peer_to_peer.spectra.spectrum import RoundMap, outermost

SLOWEST = 1e-13
"""Modes that change by less than this share per round, relative to the fastest, count as standing still."""
RESTLESS = 1e-9
"""How near to modulus 1 an eigenvalue may come that is none of those that are 1; dense eigenvalues tell no more."""
UNSEEN = 1e-10
"""Singular values of features below this, relative to the largest, are rounding: data do not see that direction."""


def fixed_point(
    linearization: Linearization,
    mixing: Any,
    *,
    algorithm: str = "dgd",
    learning_rate: float,
    weight_decay: float = 0.0,
    time: str = "rounds",
    keep: Sequence[str] = (),
) -> xr.Dataset:
    """The quantities of `predict` after infinitely many rounds, or at the end of the gradient flow, which is the same.

    A network with enough parameters for all data, without weight decay, on a connected graph, ends with every agent
    fitting everybody's data. Else DGD and CTA end apart from each other, by O(η).

    Args:
        linearization: network and data.
        mixing: W: a mixing matrix, or an array (agents, agents) whose rows sum to one.
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η > 0.
        weight_decay: γ ≥ 0 of γ‖θ‖².
        time: "rounds" or "flow": the flow ends also where rounds of this length overshoot and diverge.
        keep: what is told beside losses and consensus distance: "outputs", "errors", "coefficients".

    Returns:
        A data set with dimension "agent".

    Raises:
        InvalidSpec: if there is no end, with the reason; if there are too many rows.
        IncompatiblePair: for a schedule of mixing matrices; for matrices of another size, or whose rows do not sum to
            one.

    Example:
        >>> import numpy as np
        >>> from consilience import graphs
        >>> from consilience.theory import peer_to_peer
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 3))
        >>> kernel = peer_to_peer.infinite_width_kernel(1, "relu", 2.0, 0.1)
        >>> network = peer_to_peer.linearize(kernel, None, x, np.sin(9 * x[..., :1]))
        >>> end = fixed_point(network, graphs.metropolis(graphs.cycle(4)), learning_rate=0.2)
        >>> bool((end.objective < 1e-12).all())                          # all 20 samples, known to all agents
        True
    """
    of = dynamics(linearization, mixing, algorithm=algorithm, learning_rate=learning_rate, weight_decay=weight_decay)
    kept = check_keep(keep, KEEP)
    coords, v, method = _end(of, check_time(time))
    recorded = {name: values[None] for name, values in measure(linearization, coords.state(v), kept).items()}
    leading = {"limit": np.array([0])}
    return as_dataset(linearization, recorded, leading, **of.attrs, time=time, method=method).isel(limit=0, drop=True)


def _end(dynamics: Dynamics, time: str) -> tuple[Coordinates, Floats, str]:
    """v∞, shape (agents, rank, columns), in which coordinates, and how it was found."""
    modes = joint_modes(dynamics)
    if modes is not None:
        return modes.coordinates, _end_of_modes(dynamics, modes, time), "joint modes of W and the kernel"
    lin = dynamics.linearization
    if len(lin.gram) > LARGEST_DENSE:
        raise InvalidSpec(
            f"The end of learning needs the factors of a matrix of twice the rows of the kernel, {lin.num_rows}, and "
            f"above {LARGEST_DENSE} that takes hours. Use fewer samples or outputs, or predict(...) with many rounds."
        )
    coords = coordinates(lin, weight_decay=dynamics.weight_decay)
    round_map = RoundMap(
        coords, dynamics.mixing.weights, dynamics.algorithm, dynamics.learning_rate, dynamics.weight_decay
    )
    _check_ends(dynamics, outermost(round_map).values, time)
    return coords, _end_of_rows(dynamics, coords), "own residuals and agreement of connected agents"


def _end_of_modes(dynamics: Dynamics, modes: Decoupled, time: str) -> Floats:
    decays = modes.decays
    rests = np.abs(decays) <= SLOWEST * np.abs(decays).max()
    _check_ends(dynamics, 1 - decays[~rests], time)
    moved = modes.push / np.where(rests, 1, decays)[..., None]
    return modes.outward(np.where(rests[..., None], modes.start, moved))


@dataclass(frozen=True, eq=False)
class _Unknown:
    """How v∞ depends on residuals e and on what groups agree on: v_q = f_q − Σ_s T_qs Φ_sᵀ e_s + Σ_k ρ_qk Q_k y_k.

    Attributes:
        free: f, shape (agents, rank).
        carried: T, shape (agents, agents).
        reached, heard: of `MixingLimit`; without groups if weight decay holds everybody.
        seen: Q_k, orthonormal bases of what the data of each group see, shape (rank, dimension of Q_k).
    """

    free: Floats
    carried: Floats
    reached: Floats
    heard: Floats
    seen: list[Floats]


def _unknown(dynamics: Dynamics, coords: Coordinates) -> _Unknown:
    mixing, rate, decay = dynamics.mixing, dynamics.learning_rate, dynamics.weight_decay
    identity = np.eye(mixing.num_agents)
    weights = identity if dynamics.algorithm == "dgd" else mixing.weights
    if decay:
        held = identity - mixing.weights + 2 * rate * decay * weights
        carried = np.asarray(np.linalg.solve(held, rate * weights), np.float64)
        free = -2 * decay * carried.sum(axis=1, keepdims=True) * coords.origin
        return _Unknown(free, carried, identity[:, :0], identity[:0], [])
    limit = mixing_limit(mixing)
    free = limit.reached @ (limit.heard @ coords.start)
    seen = [_seen(coords, np.flatnonzero(weights)) for weights in limit.heard]
    carried = rate * limit.inverse @ weights
    return _Unknown(free, carried, limit.reached, limit.heard, seen)


def _seen(coords: Coordinates, agents: Any) -> Floats:
    lin = coords.linearization
    if len(agents) == lin.num_agents and not coords.start.any():
        return np.eye(coords.rank)  # the coordinates are those of all data
    rows = np.concatenate([coords.features[lin.shards[agent]] for agent in agents])
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    return vectors[values > UNSEEN * values[0]].T


def _end_of_rows(dynamics: Dynamics, coords: Coordinates) -> Floats:
    """Residuals and agreements from n_q e_q = Φ_q v_q + r_q and Q_kᵀ Σ_q π_kq Φ_qᵀ e_q = 0, then v∞."""
    lin, features, unknown = dynamics.linearization, coords.features, _unknown(dynamics, coords)
    owner = np.repeat(np.arange(lin.num_agents), lin.sizes * lin.rows_per_sample)
    coupled = np.diag(lin.sizes[owner]) + unknown.carried[np.ix_(owner, owner)] * lin.kernel
    agreed = [features @ basis for basis in unknown.seen]
    right = np.hstack([-unknown.reached[owner, k, None] * part for k, part in enumerate(agreed)] + [coupled[:, :0]])
    below = np.vstack([(unknown.heard[k, owner, None] * part).T for k, part in enumerate(agreed)] + [coupled[:0]])
    matrix = np.block([[coupled, right], [below, np.zeros((len(below), len(below)))]])
    known = np.einsum("ij,ij->i", features, unknown.free[owner])[:, None] + lin.residuals
    solution = np.linalg.solve(matrix, np.vstack([known, np.zeros((len(below), lin.num_columns))]))
    residuals, agreements = solution[: lin.num_rows], np.split(solution[lin.num_rows :], _ends(unknown.seen))
    pulls = np.stack([features[rows].T @ residuals[rows] for rows in lin.shards])
    v = unknown.free[:, :, None] - np.tensordot(unknown.carried, pulls, axes=1)
    for reached, basis, y in zip(unknown.reached.T, unknown.seen, agreements, strict=False):
        v += reached[:, None, None] * (basis @ y)
    if dynamics.algorithm == "cta":  # that was ψ, before the step
        pulls += 2 * dynamics.weight_decay * (v + coords.origin[:, None])
        v = v - dynamics.learning_rate * pulls
    return v


def _ends(bases: list[Floats]) -> Any:
    return np.cumsum([basis.shape[1] for basis in bases], dtype=int)[:-1]


def _check_ends(dynamics: Dynamics, factors: Any, time: str) -> None:
    """Refuses modes that a round multiplies by such factors, if they do not come to rest."""
    whose = f"With learning_rate={dynamics.learning_rate:g} and mixing matrix {dynamics.mixing.name!r}"
    factors = np.asarray(factors, complex).ravel()
    moves = factors[np.abs(factors - 1) > RESTLESS]
    if time == "rounds" and np.abs(moves).max(initial=0) >= 1 - RESTLESS:
        worst = moves[np.argmax(np.abs(moves))]
        raise InvalidSpec(
            f"{whose} every round of {dynamics.algorithm} multiplies a mode of the agents' errors by "
            f"{worst.real if worst.imag == 0 else worst:.6g}, in modulus not below 1: they never come to rest. Use a "
            "smaller learning rate (peer_to_peer.stability tells the largest), a mixing matrix whose other eigenvalues "
            "are below 1 in modulus (graphs.lazy), or time='flow', the end of infinitely small steps."
        )
    growth = np.real(moves).max(initial=0) - 1
    if time == "flow" and growth > RESTLESS:
        raise InvalidSpec(
            f"{whose} a mode of the gradient flow grows, at the rate {growth / dynamics.learning_rate:.3g}: it never "
            "comes to rest. Use a mixing matrix of spectral radius 1, graphs.metropolis(graph) say."
        )
