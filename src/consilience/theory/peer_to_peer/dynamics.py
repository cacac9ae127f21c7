"""What a closed form is of: a linearised network, one mixing matrix for all times, an algorithm and its rates.

Rounds and gradient flow are one map F, the round: the flow is dv/dt = (F(v) − v)/η, whose explicit Euler steps of
length η are the rounds. They share their modes and their fixed points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import (
    Floats,
    check_algorithm,
    check_mixing,
    check_rate,
    check_row_stochastic,
)
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.rounds import State, advance


@dataclass(frozen=True, eq=False)
class Dynamics:
    """How a population learns. Built by `dynamics`.

    Attributes:
        linearization: network and data.
        mixing: W, the same at all times.
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η > 0.
        weight_decay: γ ≥ 0.
    """

    linearization: Linearization
    mixing: MixingMatrix
    algorithm: str
    learning_rate: float
    weight_decay: float

    def step(self, state: State, share: float = 1.0) -> State:
        """The state after a round, or after a share of its change."""
        after = advance(
            self.linearization,
            state,
            self.mixing.weights[None],
            algorithm=self.algorithm,
            learning_rate=np.array([self.learning_rate]),
            weight_decay=self.weight_decay,
        )
        if share == 1:
            return after
        return State(
            state.coefficients + share * (after.coefficients - state.coefficients),
            state.products + share * (after.products - state.products),
        )

    @property
    def attrs(self) -> dict[str, Any]:
        """What a data set says of it."""
        return {
            "algorithm": self.algorithm,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "mixing": self.mixing.name,
        }

    @cached_property
    def has_one_kernel(self) -> bool:
        """Whether the kernel does not tell the agents' shards apart: all hold the same inputs, to rounding."""
        lin = self.linearization
        if (lin.sizes != lin.sizes[0]).any():
            return False
        first = lin.gram[lin.shards[0]]
        tolerance = 1e-13 * np.abs(first).max()  # blocks of a kernel are summed in different orders
        return all(np.abs(lin.gram[rows] - first).max() <= tolerance for rows in lin.shards[1:])

    @cached_property
    def fastest_decay(self) -> float:
        """A bound on the modulus of the eigenvalues of v − F(v) (linear part): ‖I − W‖ + ‖W‖ η max_q ‖H_q + 2γI‖."""
        lin, weights = self.linearization, self.mixing.weights
        shards = zip(lin.shards, lin.sizes, strict=True)
        top = max(np.linalg.eigvalsh(lin.kernel[rows, rows])[-1] / size for rows, size in shards)
        bend = self.learning_rate * (top + 2 * self.weight_decay)
        mixed = 1.0 if self.algorithm == "dgd" else np.linalg.norm(weights, 2)
        return float(np.linalg.norm(np.eye(len(weights)) - weights, 2) + mixed * bend)


def dynamics(
    linearization: Linearization, mixing: Any, *, algorithm: str, learning_rate: float, weight_decay: float = 0.0
) -> Dynamics:
    """The dynamics, its parts checked.

    Raises:
        InvalidSpec: for values that cannot be.
        IncompatiblePair: for schedules, for matrices of another size or whose rows do not sum to one.
    """
    return Dynamics(
        linearization=linearization,
        mixing=check_row_stochastic(check_mixing(mixing, linearization.num_agents)),
        algorithm=check_algorithm(algorithm),
        learning_rate=check_rate("learning_rate", learning_rate, positive=True),
        weight_decay=check_rate("weight_decay", weight_decay),
    )


def decays_and_gains(decays: Any, elapsed: float, time: str) -> tuple[Any, Floats]:
    """What is left of a mode after `elapsed` rounds, or the flow's time η · elapsed, and of a constant push to it.

    Args:
        decays: ε, real or complex: a round multiplies the mode by 1 − ε, and the flow decays as exp(−ε t/η).
        elapsed: rounds; a whole number for time="rounds".
        time: "rounds" or "flow".

    Returns:
        (1 − ε)^k and (1 − (1 − ε)^k)/ε; or exp(−εk) and (1 − exp(−εk))/ε.

    Example:
        >>> [part.tolist() for part in decays_and_gains([0.0, 0.5, 1.5], 2, "rounds")]
        [[1.0, 0.25, 0.25], [2.0, 1.5, 0.5]]
    """
    epsilon = np.asarray(decays)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if time == "flow":
            left, gone = np.exp(-epsilon * elapsed), -np.expm1(-epsilon * elapsed)
        else:  # near 1, logarithms keep the digits of ε that 1 − ε loses
            is_small = np.abs(epsilon) < 0.5
            exponent = elapsed * np.log1p(-np.where(is_small, epsilon, 0))
            power = np.where(is_small, 1.0, 1 - epsilon) ** int(elapsed)
            left = np.where(is_small, np.exp(exponent), power)
            gone = np.where(is_small, -np.expm1(exponent), 1 - power)
        gains = np.where(epsilon == 0, elapsed, gone / np.where(epsilon == 0, 1, epsilon))
    return left, gains
