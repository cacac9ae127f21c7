"""States after given numbers of rounds, or at given moments of the flow, by the cheapest of the exact ways.

Four ways, each exact to rounding: joint modes of W and the kernel, and modes of a symmetric round (`decoupled`);
powers, or exponentials, of the round's matrix; and repeated rounds. Repeated rounds give the flow, too:
exp(−(I − F)τ) = Σ_k e^{−τ} τ^k/k! F^k, so that the flow at time ητ is the average of the states after k rounds with k
drawn from a Poisson distribution of mean τ. No weight is negative and nothing cancels, whatever is stiff.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.special import gammaln

from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.coordinates import LARGEST_DENSE, Coordinates, coordinates
from consilience.theory.peer_to_peer.decoupled import Decoupled, joint_modes, symmetric_modes
from consilience.theory.peer_to_peer.dynamics import Dynamics
from consilience.theory.peer_to_peer.operators import round_map
from consilience.theory.peer_to_peer.rounds import State, initial_state

# Costs are counted in floating-point operations of a matrix product. What else is done is dearer (as measured with a
# processor that does 80 billion of them a second):
READ = 30
"""A number read in a product with a vector: memory is what limits it."""
EIGEN = 20
"""An eigendecomposition, times size³."""
ROUND = 2e6
"""What any round takes, however small."""

AVERAGED_TOGETHER = 16
"""Moments of the flow averaged from one sequence of rounds."""


@dataclass(frozen=True, eq=False)
class Way:
    """One way to get states.

    Attributes:
        name: for `attrs["method"]`.
        cost: operations, estimated.
        states: gives them; None where it turns out not to be possible.
    """

    name: str
    cost: float
    states: Callable[[], Iterator[State] | None]


def states(dynamics: Dynamics, elapsed: Floats, time: str) -> tuple[str, Iterator[State]]:
    """The states after `elapsed` rounds, or at the times η · elapsed of the flow, and how they are computed.

    Args:
        dynamics: what happens in a round.
        elapsed: ascending, from 0 up; whole numbers for time="rounds".
        time: "rounds" or "flow".
    """
    for way in sorted(ways(dynamics, elapsed, time), key=lambda way: way.cost):
        found = way.states()
        if found is not None:
            return way.name, found
    raise AssertionError("repeated rounds are always possible")


def ways(dynamics: Dynamics, elapsed: Floats, time: str) -> list[Way]:
    """The ways that may be possible, with what they cost.

    With m rows and directions, N agents and N·m = n: a repeated round reads the kernel once and mixes; modes and powers
    need the orthonormal coordinates, an eigendecomposition of size m, and then one of size n, or some products.
    """
    lin = dynamics.linearization
    num_agents, columns, (rows, width) = lin.num_agents, lin.num_columns, lin.gram.shape
    size, records = num_agents * rows, len(elapsed)
    watch = 2 * num_agents * (rows + width) * columns
    per_round = ROUND + READ * (rows * width * columns + watch) + num_agents * watch

    def modes(find: Callable[[Dynamics], Decoupled | None]) -> Callable[[], Iterator[State] | None]:
        return lambda: _decoupled(find(dynamics), elapsed, time)

    cost = per_round * _num_rounds(dynamics, elapsed, time)
    found = [Way(_REPEATED[time], cost, lambda: repeated(dynamics, elapsed, time))]
    if dynamics.has_one_kernel:
        shard = lin.num_rows // num_agents + lin.num_directions
        cost = EIGEN * (shard**3 + num_agents**3) + records * shard * (2 * num_agents**2 * columns + watch)
        found.append(Way("joint modes of W and the kernel", cost, modes(joint_modes)))
    if size <= LARGEST_DENSE:
        cost = EIGEN * rows**3 + records * (READ * size**2 * columns + rows * watch)
        products = 2 * size**3 * _num_products(elapsed, time)
        found.append(Way(_DENSE[time], cost + products, lambda: _dense(dynamics, elapsed, time)))
        if dynamics.algorithm == "dgd" and dynamics.mixing.is_symmetric:
            found.append(Way("modes of a round", cost + EIGEN * size**3, modes(symmetric_modes)))
    return found


_REPEATED = {"rounds": "kernel, repeated rounds", "flow": "kernel, Poisson averages of rounds"}
_DENSE = {"rounds": "powers of the matrix of a round", "flow": "exponentials of the matrix of the flow"}


def _num_rounds(dynamics: Dynamics, elapsed: Floats, time: str) -> float:
    if time == "rounds":
        return elapsed[-1]
    ends = _steps(dynamics) * np.append(elapsed[AVERAGED_TOGETHER - 1 :: AVERAGED_TOGETHER], elapsed[-1])
    return sum(_last_count(mean) for mean in np.diff(ends, prepend=0.0))


def _num_products(elapsed: Floats, time: str) -> float:
    """Products of matrices for all powers, or exponentials (about ten, and one per doubling)."""
    spans = _spans(elapsed)
    return sum(2 * math.log2(gap + 2) if time == "rounds" else 10 + math.log2(4 * gap + 1) for gap in spans)


def _spans(elapsed: Floats) -> list[float]:
    """The different gaps between moments, to thirteen digits: more, and rounding would make them all different."""
    return sorted({_rounded(gap) for gap in np.diff(elapsed, prepend=0.0)} - {0.0})


def _rounded(gap: float) -> float:
    return float(f"{gap:.13g}")


def _decoupled(modes: Decoupled | None, elapsed: Floats, time: str) -> Iterator[State] | None:
    if modes is None:
        return None
    return (modes.coordinates.state(modes.after(rounds, time)) for rounds in elapsed)


def _dense(dynamics: Dynamics, elapsed: Floats, time: str) -> Iterator[State]:
    coords = coordinates(dynamics.linearization, weight_decay=dynamics.weight_decay)
    matrix, scale = augmented(dynamics, coords)
    num_columns = dynamics.linearization.num_columns
    start = np.repeat(coords.start.reshape(-1, 1), num_columns, axis=1)
    extended = np.concatenate([start, scale * np.eye(num_columns)])
    maps: dict[float, Floats] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for gap in map(_rounded, np.diff(elapsed, prepend=0.0)):
            if gap > 0 and gap not in maps:
                maps[gap] = _power(matrix, gap) if time == "rounds" else _exponential(matrix, gap)
            extended = maps[gap] @ extended if gap > 0 else extended
            yield coords.state(extended[: coords.size].reshape(len(coords.start), coords.rank, num_columns))


def augmented(dynamics: Dynamics, coords: Coordinates) -> tuple[Floats, float]:
    """[[A, b/s], [0, 1]] of the round v ← Av + b, which acts on (v, s), and s, chosen to make b/s as large as A."""
    step = round_map(
        coords,
        dynamics.mixing,
        algorithm=dynamics.algorithm,
        learning_rate=dynamics.learning_rate,
        weight_decay=dynamics.weight_decay,
    )
    scale = float(np.abs(step.offset).sum(axis=1).max()) or 1.0
    below = np.zeros((step.offset.shape[1], coords.size))
    return np.block([[step.matrix, step.offset / scale], [below, np.eye(len(below))]]), scale


def _power(matrix: Floats, exponent: float) -> Floats:
    return np.linalg.matrix_power(matrix, int(exponent))


def _exponential(matrix: Floats, exponent: float) -> Floats:
    return np.asarray(scipy.linalg.expm(exponent * (matrix - np.eye(len(matrix)))), np.float64)


def repeated(dynamics: Dynamics, elapsed: Floats, time: str) -> Iterator[State]:
    """Round after round, from the kernel alone."""
    if time == "flow":
        yield from _poisson_averages(dynamics, elapsed)
        return
    state, round = initial_state(dynamics.linearization), 0
    for wanted in elapsed:
        while round < wanted:
            state, round = dynamics.step(state), round + 1
        yield state


def _poisson_averages(dynamics: Dynamics, elapsed: Floats) -> Iterator[State]:
    """The flow, some moments at a time. A round is shared out so that no step overshoots: powers then stay bounded."""
    steps = _steps(dynamics)
    state, reached = initial_state(dynamics.linearization), 0.0
    for first in range(0, len(elapsed), AVERAGED_TOGETHER):
        moments = elapsed[first : first + AVERAGED_TOGETHER]
        averages = _average(dynamics, state, steps, steps * (moments - reached))
        for index in range(len(moments)):
            state = State(averages.coefficients[index, None], averages.products[index, None])
            yield state
        reached = float(moments[-1])


def _steps(dynamics: Dynamics) -> int:
    return max(1, math.ceil(dynamics.fastest_decay / 2))


def _average(dynamics: Dynamics, state: State, steps: int, means: Floats) -> State:
    """One replica for each mean of a Poisson distribution."""
    total = State(
        np.zeros((len(means), *state.coefficients.shape[1:])), np.zeros((len(means), *state.products.shape[1:]))
    )
    counts = np.arange(_last_count(means[-1]) + 1)
    weights = np.exp(counts * np.log(np.maximum(means, 1e-300))[:, None] - means[:, None] - gammaln(counts + 1))
    weights /= weights.sum(axis=1, keepdims=True)  # large logarithms lose digits, the same in all
    for count in counts:
        if count > 0:
            state = dynamics.step(state, 1 / steps)
        for mean in np.flatnonzero(weights[:, count] > 1e-20):
            total.coefficients[mean] += weights[mean, count] * state.coefficients[0]
            total.products[mean] += weights[mean, count] * state.products[0]
    return total


def _last_count(mean: float) -> int:
    """A number that a Poisson distribution exceeds with a probability below 1e-17."""
    return math.ceil(mean + 9 * math.sqrt(mean) + 20)
