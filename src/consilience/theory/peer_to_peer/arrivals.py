"""Candidates that race for a target: who has arrived, who has come to rest short of it, who has diverged."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.quantities import losses
from consilience.theory.peer_to_peer.rounds import State, advance, initial_state

OUTCOMES = ("reached", "settled", "diverged", "overtaken", "out of rounds")

SETTLED = 1e-3
"""Share of itself by which a loss at rest changes, at most, while the number of rounds doubles."""
DIVERGED = 1e6
"""A loss that many times as large as it began will not come back: the linearised network has left its equilibrium."""

_CHECK_EVERY = 32
_LEAST_ROUNDS = 1024
"""Test losses may rise before they fall, and stand still in between: nothing is called settled before."""


@dataclass(frozen=True)
class Goal:
    """What is to be reached, and when to give up."""

    target: float
    quantity: str
    max_rounds: int
    patience: float


@dataclass(eq=False)
class Arrivals:
    """What is known of a group of candidates, which `record` and `ended` bring up to date.

    Attributes:
        goal: of all of them.
        first: the round in which an agent arrived, NaN until then, shape (candidates, agents).
        last: its latest loss.
        lowest: its lowest loss.
        initial: its loss in round 0.
        halfway: its loss in the last round that was a power of two.
        outcome: of each candidate, one of `OUTCOMES`.
        computed: rounds of each candidate, shape (candidates,).
    """

    goal: Goal
    first: Floats
    last: Floats
    lowest: Floats
    initial: Floats
    halfway: Floats
    outcome: list[str]
    computed: np.ndarray

    @classmethod
    def begin(cls, linearization: Linearization, goal: Goal, num_candidates: int) -> Arrivals:
        """Round 0."""
        loss = _losses(linearization, initial_state(linearization, num_candidates), goal.quantity)
        first = np.where(loss <= goal.target, 0.0, np.nan)
        last, lowest, initial, halfway = (loss.copy() for _ in range(4))
        outcome, computed = ["out of rounds"] * num_candidates, np.zeros(num_candidates, int)
        return cls(goal, first, last, lowest, initial, halfway, outcome, computed)

    def record(self, running: np.ndarray, round: int, loss: Floats) -> None:
        """The losses of the running candidates after a round."""
        first = self.first[running]
        first[np.isnan(first) & (loss <= self.goal.target)] = round
        self.first[running] = first
        self.last[running] = loss
        self.lowest[running] = np.fmin(self.lowest[running], loss)
        self.computed[running] = round

    @property
    def last_round(self) -> float:
        """After which nobody is waited for."""
        arrivals = self.first.max(axis=1)  # NaN as long as an agent is missing
        arrived = arrivals[~np.isnan(arrivals)]
        return min(self.goal.max_rounds, self.goal.patience * arrived.min()) if arrived.size else self.goal.max_rounds

    def ended(self, running: np.ndarray, round: int) -> np.ndarray:
        """Which of the running candidates have ended, and how."""
        loss, missing = self.last[running], np.isnan(self.first[running])
        bound = DIVERGED * np.maximum(self.initial[running], self.goal.target)
        outcomes = {}
        if round >= self.last_round:
            outcomes["overtaken" if round < self.goal.max_rounds else "out of rounds"] = np.ones(len(running), bool)
        if _is_power_of_two(round):
            settled = self._settled(loss, self.halfway[running], round) | ~missing
            outcomes["settled"] = settled.all(axis=1) & (round >= _LEAST_ROUNDS)
            self.halfway[running] = loss
        outcomes["diverged"] = ~(loss <= bound).all(axis=1)
        outcomes["reached"] = ~missing.any(axis=1)
        for name, has_ended in outcomes.items():  # the last one counts
            for index in running[has_ended]:
                self.outcome[index] = name
        return np.any(list(outcomes.values()), axis=0)

    def _settled(self, loss: Floats, halfway: Floats, round: int) -> np.ndarray:
        """Whether a loss hardly moved in the last half of the rounds, and would not arrive at twice that pace."""
        moved = np.abs(loss - halfway)
        to_come = 2 * moved * (self.goal.max_rounds - round) / (round / 2)
        return (moved <= SETTLED * loss) & (loss - to_come > self.goal.target)


def run(
    lin: Linearization, arrivals: Arrivals, weights: Floats, rates: Floats, algorithm: str, weight_decay: float
) -> None:
    """Round by round; candidates that have ended drop out."""
    state, running = initial_state(lin, len(rates)), np.arange(len(rates))
    for round in range(arrivals.goal.max_rounds + 1):
        if round:
            state = advance(
                lin,
                state,
                weights[running],
                algorithm=algorithm,
                learning_rate=rates[running],
                weight_decay=weight_decay,
            )
            arrivals.record(running, round, _losses(lin, state, arrivals.goal.quantity))
        if round % _CHECK_EVERY == 0 or round == arrivals.goal.max_rounds:
            ended = arrivals.ended(running, round)
            if ended.all():
                return
            if ended.any():
                state = State(state.coefficients[~ended], state.products[~ended])
                running = running[~ended]


def without_test(lin: Linearization) -> Linearization:
    """The same network without its test data, whose outputs cost as much as any other."""
    none = np.zeros((0, lin.num_columns))
    return replace(lin, gram=lin.inner, test_outputs=none, test_targets=none)


def _losses(lin: Linearization, state: State, quantity: str) -> Floats:
    """(candidates, agents). The test loss, which is the usual one, is spared the products with all training data."""
    if quantity != "test_loss":
        return losses(lin, state)[quantity]
    errors = state.products[..., len(lin.gram) :] + (lin.test_outputs - lin.test_targets).T
    return np.einsum("kqcr,kqcr->kq", errors, errors) / (2 * errors.shape[-1] / lin.rows_per_sample)


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
