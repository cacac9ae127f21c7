"""A prediction of a wide network that grows with the live run: exact rounds of the linearised network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from consilience.dashboard.theory.conditions import Floats
from consilience.dashboard.theory.jobs import Report
from consilience.dashboard.theory.timeline import Timeline, pieces
from consilience.dashboard.theory.wide import Rule, rule
from consilience.errors import IncompatiblePair
from consilience.simulation import Stage
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.arrivals import without_test
from consilience.theory.peer_to_peer.rounds import State, advance, initial_state

CHECKPOINTS = 24
"""States that are kept to go on from."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the theory says of every agent.

    Attributes:
        rounds: shape (rounds,).
        loss: on the test set, shape (rounds, agents).
        accuracy: likewise; `None` for regression.
    """

    rounds: np.ndarray
    loss: Floats
    accuracy: Floats | None


class Forecast:
    """A prediction that grows with the run: what is known is not computed again.

    Args:
        network: from `linearize`.
        labels: classes of the test samples, shape (test samples,); `None` for regression.
        shards: of the run, which the network was linearised on.
    """

    def __init__(self, network: peer_to_peer.Linearization, labels: np.ndarray | None, shards: Sequence[Any]) -> None:
        self._full, self._small, self._labels, self._shards = network, without_test(network), labels, shards
        self._states: dict[int, State] = {0: initial_state(self._small)}
        self._known: dict[int, tuple[Floats, Floats]] = {}
        self._num_segments = 1

    def predict(self, segments: Timeline, rounds: Sequence[int], report: Report = lambda share: None) -> Prediction:
        """Every agent's test loss and accuracy.

        Args:
            segments: of the run, from round 0; those of an earlier call come first.
            rounds: increasing.
            report: is told the progress.

        Raises:
            IncompatiblePair: if an intervention has led out of what the theory describes.
        """
        self._forget(segments)
        missing = [int(one) for one in rounds if one not in self._known]
        at = max(one for one in self._states if one <= min(missing, default=0))
        state, begin, last = self._states[at], at, max(missing, default=0)
        # The simulation beside it has the processors: threads of BLAS that wait for each other take 40 times as long.
        with threadpool_limits(1, "blas"):
            for wanted in missing:
                for segment, start, stop in pieces(segments, at, wanted):
                    if segment.restarts and segment.start >= at:
                        state = initial_state(self._small)
                    holds = self._rule(segment.stage)
                    for round in range(start, stop):
                        if round % 16 == 0:
                            report((round - begin) / max(1, last - begin))
                        state = self._advanced(state, holds)
                at = wanted
                self._keep(at, state)
        loss, accuracy = (np.stack(values) for values in zip(*(self._known[int(one)] for one in rounds), strict=True))
        return Prediction(np.asarray(rounds), loss, None if self._labels is None else accuracy)

    def _rule(self, stage: Stage) -> Rule:
        if any(now is not then for now, then in zip(stage.experiment.shards, self._shards, strict=True)):
            raise IncompatiblePair(
                "Two agents have swapped their data, and the prediction, which begins in round 0, is for agents that "
                "keep theirs throughout. Begin a new population to see it again."
            )
        return rule(stage)

    def _advanced(self, state: State, holds: Rule) -> State:
        rates = np.array([holds.learning_rate])
        return advance(
            self._small, state, holds.weights[None], algorithm=holds.algorithm, learning_rate=rates,
            weight_decay=holds.weight_decay,
        )  # fmt: skip

    def _forget(self, segments: Timeline) -> None:
        """What was predicted for rounds after an intervention that has come since."""
        if len(segments) > self._num_segments:
            since = segments[self._num_segments].start
            self._states = {round: state for round, state in self._states.items() if round <= since}
            self._known = {round: values for round, values in self._known.items() if round <= since}
            self._num_segments = len(segments)

    def _keep(self, round: int, state: State) -> None:
        self._known[round] = self._measured(state)
        self._states[round] = state
        if len(self._states) > CHECKPOINTS:
            kept = [*sorted(self._states)[::2], round]
            self._states = {one: self._states[one] for one in kept}

    def _measured(self, state: State) -> tuple[Floats, Floats]:
        """Test loss and accuracy, each of shape (agents,)."""
        lin = self._full
        change = state.coefficients[0, :, 0] @ lin.test_kernel.T
        outputs = (change + lin.test_outputs[:, 0]).reshape(lin.num_agents, -1, lin.num_outputs)
        errors = outputs - lin.test_targets.reshape(-1, lin.num_outputs)
        loss = 0.5 * np.square(errors).sum(axis=-1).mean(axis=-1)
        hits = np.full(loss.shape, np.nan)
        if self._labels is not None:
            hits = (outputs.argmax(axis=-1) == self._labels).mean(axis=-1)
        return loss, hits


def horizon(round: int, known: int = 0) -> np.ndarray:
    """The rounds to predict next while a run is in `round`: 250, and twice as many until they lie ahead of the run.

    Args:
        round: of the run.
        known: the last round that has been predicted.

    Example:
        >>> horizon(100)[[0, -1]].tolist(), horizon(700, known=250)[[0, -1]].tolist()
        ([0, 250], [0, 500])
        >>> int(horizon(700, known=1000)[-1])
        1000
    """
    last = 250
    while last <= 1.1 * round and last <= known:
        last *= 2
    return np.unique(np.linspace(0, last, 101).round().astype(int))
