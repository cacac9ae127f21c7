"""What the effective theory predicts for a population at every coupling, and where a phase ends.

Curves are those of `experiments.predict_transition` under its first definition of the disorder, computed one coupling
at a time so that they can be watched and stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from consilience.dashboard.theory.conditions import Conditions, Floats
from consilience.dashboard.theory.jobs import Report
from consilience.theory import landau

NUM_REALIZATIONS = 50
"""Initial conditions of a curve."""
NUM_REALIZATIONS_OF_A_PHASE = 12
ROUNDS = 20_000
"""Paper 001: as long does a run last that its averages, over the second half, are compared with."""
SMALLEST = 0.03
"""σ > 0 from which on curves are drawn."""
WEIGHT_DECAYS = (0.0, *np.geomspace(1e-3, 3.0, 15).round(5).tolist())
RELATIVE_STDS = tuple(np.linspace(0.0, 3.0, 16).round(3).tolist())
VARIED = ("weight_decay", "disorder_std")
"""What a phase diagram has upward."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Averages over the second half of a run, against the coupling.

    Attributes:
        couplings: σ of Eq. (2), shape (couplings,).
        order: |⟨m⟩|, shape (couplings, realizations).
        loss: ⟨L̂⟩ on everybody's data relative to an agent that predicts nothing, in squared targets; likewise.
        gain: what agents know of the data of others, in squared targets; likewise.
    """

    couplings: Floats
    order: Floats
    loss: Floats
    gain: Floats


@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """|⟨m⟩| over two control parameters.

    Attributes:
        varied: one of `VARIED`.
        values: of it, increasing, shape (values,).
        couplings: σ of Eq. (2), shape (couplings,).
        order: mean over realizations, shape (values, couplings).
    """

    varied: str
    values: Floats
    couplings: Floats
    order: Floats


def grid(limit: float, count: int) -> Floats:
    """σ = 0, and from `SMALLEST` up to just below the stability limit.

    Example:
        >>> grid(400.0, 4).round(2).tolist()
        [0.0, 0.03, 3.45, 396.0]
    """
    end = 0.99 * limit if np.isfinite(limit) else 1e3
    return np.concatenate([[0.0], np.geomspace(SMALLEST, max(end, 2 * SMALLEST), count - 1)])


def curve(
    here: Conditions,
    couplings: Floats,
    *,
    num_rounds: int = ROUNDS,
    num_realizations: int = NUM_REALIZATIONS,
    seed: int = 0,
    report: Report = lambda share: None,
) -> Curve:
    """|⟨m⟩|, loss and gain of a population at every coupling, all agents taking part.

    Args:
        here: the population; its own coupling does not matter.
        couplings: σ of Eq. (2), increasing.
        num_rounds: how long the networks learn.
        num_realizations: initial conditions, uniform on [−2 + ε, 2 + ε].
        seed: of them.
        report: is told the progress.

    Source:
        Paper 001, Eqs. (4), (5), (A13).
    """
    initial = landau.uniform_start(num_realizations, here.num_agents, seed=seed)
    found = []
    for k, sigma in enumerate(couplings):
        report(k / len(couplings))
        swept = _sweep(here, initial, sigma, num_rounds)
        found.append((abs(swept.magnetization.values[0]), swept.loss.values[0], gain(swept.order_parameter[0], here)))
    order, loss, known = (np.stack(parts) for parts in zip(*found, strict=True))
    return Curve(np.asarray(couplings, float), order, loss, known)


def gain(m: Floats, here: Conditions) -> Floats:
    """Minus the mean of the cross-loss (A13) over pairs of different agents, shape (…) for m (…, agents).

    Example:
        >>> from consilience import graphs
        >>> from consilience.dashboard.theory.conditions import Disorder
        >>> two = Conditions(0, 0.0, 0.005, 0.0, graphs.complete(2), Disorder(np.array([2.0, 1.0]), np.ones(2)))
        >>> float(gain(np.array([1.0, 1.0]), two))              # −(1 − 2·1 + 1 − 2·2)/2
        2.0
    """
    loss = landau.cross_loss(m, here.disorder.delta, here.depth, second_moment=here.disorder.second_moment)
    size = loss.shape[-1]
    others = loss.sum(axis=(-1, -2)) - np.trace(loss, axis1=-2, axis2=-1)
    return -others / (size * max(1, size - 1))


def phase_diagram(
    here: Conditions,
    varied: str,
    values: Sequence[float],
    couplings: Floats,
    *,
    num_rounds: int = ROUNDS,
    num_realizations: int = NUM_REALIZATIONS_OF_A_PHASE,
    seed: int = 0,
    report: Report = lambda share: None,
) -> PhaseDiagram:
    """|⟨m⟩| over the coupling and another control parameter.

    Args:
        here: the population.
        varied: "weight_decay": γ, with the measured disorder. "disorder_std": the standard deviation of a Gaussian
            disorder that has the measured mean, and s = 1, as `landau.phase_diagram` draws it.
        values: of it, increasing.
        couplings: σ of Eq. (2), increasing.
        num_rounds: how long the networks learn.
        num_realizations: initial conditions, and disorders if they are drawn.
        seed: of them.
        report: is told the progress.
    """
    initial = landau.uniform_start(num_realizations, here.num_agents, seed=seed)
    order = np.empty((len(values), len(couplings)))
    for row, value in enumerate(values):
        there = _with(here, varied, value, num_realizations, seed)
        for column, sigma in enumerate(couplings):
            report((row + column / len(couplings)) / len(values))
            order[row, column] = abs(_sweep(there, initial, sigma, num_rounds).magnetization.values).mean()
    return PhaseDiagram(varied, np.asarray(values, float), np.asarray(couplings, float), order)


def current_value(here: Conditions, varied: str) -> float:
    """Where the population is on the other axis of a phase diagram."""
    return here.weight_decay if varied == "weight_decay" else float(here.disorder.delta.std())


def fingerprint(here: Conditions, *further: object) -> str:
    """The key of all that a curve depends on: everything but the coupling and who is frozen just now.

    Example:
        >>> from consilience import graphs
        >>> from consilience.dashboard.theory.conditions import Disorder
        >>> two = Conditions(0, 0.0, 0.005, 0.0, graphs.complete(2), Disorder(np.ones(2), np.ones(2)))
        >>> fingerprint(two) == fingerprint(dataclasses.replace(two, coupling=3.0))
        True
    """
    numbers = (here.depth, here.learning_rate, here.weight_decay, *further)
    digest = hashlib.sha256(repr(numbers).encode())
    for array in (here.graph.adjacency, here.disorder.delta, here.disorder.second_moment):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _with(here: Conditions, varied: str, value: float, num_realizations: int, seed: int) -> Conditions:
    if varied == "weight_decay":
        return dataclasses.replace(here, weight_decay=float(value))
    mean = float(here.disorder.delta.mean())
    drawn = landau.gaussian_disorder(num_realizations, here.num_agents, mean=mean, std=float(value), seed=seed)
    disorder = dataclasses.replace(here.disorder, delta=drawn, second_moment=np.ones_like(drawn))
    return dataclasses.replace(here, disorder=disorder)


def _sweep(here: Conditions, initial: Floats, coupling: float, num_rounds: int) -> xr.Dataset:
    """`landau.sweep` at one σ of Eq. (2), dimensions (1, seed, …)."""
    span = here.time(num_rounds)
    return landau.sweep(
        np.broadcast_to(here.disorder.delta, initial.shape),
        initial,
        depth=here.depth,
        couplings=[coupling / 2],
        weight_decay=here.weight_decay,
        second_moment=np.broadcast_to(here.disorder.second_moment, initial.shape),
        graph=here.graph,
        span=span,
        average_after=span / 2,
    )
