"""The Landau potential of every agent, and the population as particles in it.

    V_i(m)                              what agent i's data want, drawn alone
    V_i(m) + (σ̂/2N) Σ_j q_ij (m − m_j)²   what it feels among the others, as they are now

The slope of the second at m_i is −ṁ_i of Eq. (4): particles run downhill, each in a landscape that the others move.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consilience.dashboard.theory.conditions import Conditions, Disorder, Floats, conditions
from consilience.dashboard.theory.jobs import Report
from consilience.dashboard.theory.timeline import Timeline, pieces
from consilience.graphs import Graph
from consilience.simulation import Stage
from consilience.theory import landau

RTOL, ATOL = 1e-6, 1e-9
"""Of the particles: far below the width of a line."""
MOST_RECORDS = 2000
"""Of a path; then every second one is dropped."""
REACH = 2.1
"""|m| that is drawn: that of the particles at their start."""


def start(num_agents: int, seed: int) -> Floats:
    """m_i(0) of the particles, that of paper 001, uniform on [−2 + ε, 2 + ε], shape (agents,).

    Example:
        >>> bool(abs(start(4, seed=0)).max() < 2.05)
        True
    """
    return landau.uniform_start(1, num_agents, seed=seed)[0]


def own(m: Floats, here: Conditions) -> Floats:
    """V_i(m) of every agent.

    Args:
        m: where, shape (points,).
        here: of which population.

    Returns:
        Shape (agents, points).

    Source:
        Paper 001, Eq. (4).
    """
    return landau.potential(
        m[None], here.disorder.delta[:, None], depth=here.depth, weight_decay=here.weight_decay,
        second_moment=here.disorder.second_moment[:, None],
    )  # fmt: skip


def among_others(m: Floats, particles: Floats, here: Conditions) -> Floats:
    """V_i(m) + (σ̂/2N) Σ_j q_ij (m − m_j)²: the potential in which agent i moves while the others stand still.

    Args:
        m: where, shape (points,).
        particles: m_j, shape (agents,).
        here: of which population; frozen agents neither pull nor are pulled.

    Returns:
        Shape (agents, points).

    Source:
        Paper 001, Eq. (4), of whose energy (`landau.energy`) this is the part that depends on m_i.
    """
    weights = here.adjacency
    degrees, pulls = weights.sum(axis=1), weights @ particles
    squares = degrees[:, None] * m * m - 2 * pulls[:, None] * m + (weights @ (particles * particles))[:, None]
    return own(m, here) + here.reduced_coupling / (2 * here.num_agents) * squares


def advance(particles: Floats, here: Conditions, num_rounds: int) -> Floats:
    """The particles after `num_rounds` more rounds of the networks, by `landau.integrate`.

    Args:
        particles: m_i, shape (agents,).
        here: what holds meanwhile; frozen agents stay where they are.
        num_rounds: that the networks learn.

    Returns:
        m_i, shape (agents,); NaN for what diverges.
    """
    present = here.present
    if num_rounds == 0 or present.size == 0:
        return particles.copy()
    some = len(present) < here.num_agents
    weights = here.graph.adjacency[np.ix_(present, present)]
    moved = particles.copy()
    moved[present] = landau.integrate(
        here.disorder.delta[present],
        particles[present],
        depth=here.depth,
        # Eq. (4) divides by the number of all agents, `integrate` by those it is given.
        coupling=here.reduced_coupling * len(present) / here.num_agents,
        weight_decay=here.weight_decay,
        second_moment=here.disorder.second_moment[present],
        graph=Graph(weights, "those who take part") if some else here.graph,
        times=[0.0, here.time(num_rounds)],
        rtol=RTOL,
        atol=ATOL,
    )[-1]
    return moved


@dataclass(frozen=True, eq=False)
class Path:
    """The particles so far.

    Attributes:
        rounds: shape (records,).
        m: shape (records, agents).
        here: what holds at its end.
        num_segments: of the timeline that it has followed.
    """

    rounds: NDArray[np.int64]
    m: Floats
    here: Conditions
    num_segments: int


def follow(
    path: Path,
    segments: Timeline,
    rounds: Sequence[int],
    disorder: Callable[[Stage], Disorder],
    report: Report = lambda share: None,
) -> Path:
    """The path up to later rounds: constant conditions between two interventions, those of the run.

    Args:
        path: so far.
        segments: of the run; those that the path has followed come first.
        rounds: of the next records, increasing, all after the path's last.
        disorder: of a stage.
        report: is told the progress.

    Raises:
        IncompatiblePair: if an intervention has led out of what the theory describes.
    """
    at, particles, here = int(path.rounds[-1]), path.m[-1], path.here
    new_rounds, new = [], []
    entered = path.num_segments
    for wanted in rounds:
        report(len(new_rounds) / len(rounds))
        for segment, first, last in pieces(segments, at, int(wanted)):
            is_new = segments.index(segment) >= entered
            if is_new:
                entered, here = entered + 1, conditions(segment.stage, disorder(segment.stage))
            if is_new and segment.restarts:
                particles = path.m[0]
                new_rounds, new = [*new_rounds, first], [*new, particles]
            particles = advance(particles, here, last - first)
        at = int(wanted)
        new_rounds, new = [*new_rounds, at], [*new, particles]
    records = np.concatenate([path.rounds, np.array(new_rounds, int)]), np.concatenate([path.m, np.stack(new)])
    while len(records[0]) > MOST_RECORDS:
        records = records[0][::-2][::-1], records[1][::-2][::-1]
    return Path(*records, here, entered)


def window(here: Conditions) -> tuple[float, float]:
    """The lowest and the highest V that are worth drawing: all wells, and slopes up to twice their depth."""
    alone = dataclasses.replace(here, coupling=0.0)
    deepest = float(min(own(np.linspace(-REACH, REACH, 421), alone).min(), -1e-3))
    return 1.3 * deepest, -2 * deepest
