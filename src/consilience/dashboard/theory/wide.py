"""Wide networks beside their prediction: `theory.peer_to_peer` over the rounds of a live run, and some way ahead.

The prediction is exact for the linearised network: every agent's loss, and accuracy where there are classes, round by
round in kernel space, with the run's own interventions in σ, η, γ and links. It knows the network at its start and the
data, and nothing of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from threadpoolctl import threadpool_limits

from consilience import algorithms, graphs
from consilience.dashboard.theory.conditions import Floats, changing_schedules
from consilience.dashboard.theory.jobs import Report
from consilience.dashboard.theory.timeline import Timeline, pieces
from consilience.errors import IncompatiblePair
from consilience.models import MLP, NTKMLP
from consilience.randomness import Purpose, key
from consilience.simulation import Experiment, Stage
from consilience.tasks import SquaredLoss
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.arrivals import without_test
from consilience.theory.peer_to_peer.rounds import State, advance, initial_state

LARGEST_KERNEL = 4e8
"""Bytes: a round reads it once, in a twentieth of a second."""
CHECKPOINTS = 24
"""States that are kept to go on from."""
_NAMES = {"DiffusiveCoupling": "dgd", "DGD": "dgd", "AdaptThenCombine": "atc", "CombineThenAdapt": "cta"}


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


def check_described(stage: Stage) -> str:
    """The name that `theory.peer_to_peer` has for the method of a stage that it describes.

    Raises:
        IncompatiblePair: for what it does not describe: the reason, and what to choose instead.

    Example:
        >>> import consilience as cs
        >>> task = cs.tasks.load("digits", num_train=20, num_test=10)
        >>> experiment = cs.simulation.resolve_experiment(
        ...     cs.algorithms.DGD(learning_rate=0.1), model=cs.models.mlp(depth=1), task=task,
        ...     shards=cs.tasks.by_class(task, num_agents=2), graph=cs.graphs.complete(2), num_rounds=1)
        >>> check_described(cs.simulation.Stage(experiment, (experiment.algorithm,)))
        Traceback (most recent call last):
            ...
        consilience.errors.IncompatiblePair: This run trains mlp(depth=1, width=20), which is not linear ...
    """
    for reason in _obstacles(stage):
        raise IncompatiblePair(reason)
    return _NAMES[type(stage.algorithms[0]).__name__]


def _obstacles(stage: Stage) -> Iterator[str]:
    """Reasons why the theory says nothing of the stage, the most telling first."""
    experiment, method = stage.experiment, stage.algorithms[0]
    model = experiment.model
    if not isinstance(model, NTKMLP) and not (isinstance(model, MLP) and model.depth == 0):
        yield (
            f"This run trains {model.name}, which is not linear in its parameters near its start. Choose the model "
            "ntk_mlp with a width of 256 or more, or a network without hidden layers."
        )
    if experiment.task.loss.name != SquaredLoss.name:
        yield (
            f"This run minimises {experiment.task.loss.name.replace('_', '-')}, and the linearised dynamics are those "
            "of the squared loss. Choose the loss squared, with targets odd-even or one-hot."
        )
    if not experiment.common_init and not _is_one_set(experiment):
        yield (
            "In this run every agent starts from its own parameters, and the network is linearised at one start that "
            "all share; the prediction would be off by 60–90 %. Choose a common start, common_init = true."
        )
    if experiment.batch_size is not None:
        yield (
            f"In this run agents learn from mini-batches of {experiment.batch_size}, and the prediction is for whole "
            "shards. Choose whole shards, no batch size."
        )
    name = type(method).__name__
    if name not in _NAMES or (name != "DGD" and _has_own_steps(method)):
        yield (
            f"This run learns by {name}, which has no closed form here. Choose diffusive_coupling, dgd, "
            "adapt_then_combine or combine_then_adapt, the latter two with one plain local step."
        )
    absent = getattr(experiment.schedules.active, "agents", ())
    if absent or changing_schedules(experiment.schedules) or len(experiment.learners) < experiment.num_agents:
        yield (
            "In this run not everybody takes part in every round, or weights follow a schedule, and the prediction is "
            "for agents that all learn over one graph. Choose a run without frozen agents, servers and schedules."
        )
    needed = kernel_bytes(experiment)
    if needed > LARGEST_KERNEL:
        yield (
            f"The kernel of this run's data takes {needed / 1e9:.3g} GB, which every round would have to read; "
            f"{LARGEST_KERNEL / 1e9:g} GB is the most. Choose fewer samples, num_train = "
            f"{_affordable(experiment)} say, or one output, targets odd-even."
        )


def _has_own_steps(method: algorithms.Algorithm) -> bool:
    if isinstance(method, (algorithms.AdaptThenCombine, algorithms.CombineThenAdapt)):
        return method.num_local_steps != 1 or type(method.optimiser).__name__ != "Plain"
    return False


def _is_one_set(experiment: Experiment) -> bool:
    """Whether initial parameters are given, one set for all agents."""
    import jax

    given = experiment.initial_params
    if given is None:
        return False
    pairs = zip(jax.tree.leaves(given), jax.tree.leaves(experiment.params_shapes), strict=True)
    return all(np.shape(leaf) == wanted.shape for leaf, wanted in pairs)


def kernel_bytes(experiment: Experiment) -> float:
    """What the kernel of all training data, beside the test data, takes."""
    num_train = sum(len(shard) for shard in experiment.shards)
    return 8.0 * experiment.task.num_outputs**2 * num_train * (num_train + experiment.task.num_test)


def _affordable(experiment: Experiment) -> int:
    """Training samples, in hundreds, whose kernel is small enough."""
    entries, num_test = LARGEST_KERNEL / (8 * experiment.task.num_outputs**2), experiment.task.num_test
    return max(1, int((np.sqrt(num_test**2 + 4 * entries) - num_test) / 200)) * 100


def linearize(stage: Stage, seed: int) -> peer_to_peer.Linearization:
    """The network of the run at its start, on everybody's data and on the test set.

    Args:
        stage: of the run, one that `check_described` accepts.
        seed: of the run, from which its initial parameters are drawn.
    """
    experiment, task = stage.experiment, stage.experiment.task
    params = experiment.initial_params
    if params is None:
        first = key(seed, Purpose.INITIAL_PARAMETERS, 0)
        params = experiment.model.init(first, task.input_shape, task.num_outputs)
    return peer_to_peer.linearize(
        experiment.model, params, [task.train_inputs[shard] for shard in experiment.shards],
        [_targets(task, task.train_labels[shard]) for shard in experiment.shards],
        test_inputs=task.test_inputs, test_targets=_targets(task, task.test_labels), max_memory=2 * LARGEST_KERNEL,
    )  # fmt: skip


def _targets(task: Any, labels: np.ndarray) -> np.ndarray:
    """Real-valued targets: classes as one-hot vectors, as `SquaredLoss` reads them."""
    return np.eye(task.num_classes)[labels] if task.is_classification else labels


@dataclass(frozen=True, eq=False)
class Rule:
    """What happens in a round of a stage.

    Attributes:
        algorithm: "dgd", "atc" or "cta".
        weights: W, shape (agents, agents).
        learning_rate: η.
        weight_decay: γ.
    """

    algorithm: str
    weights: Floats
    learning_rate: float
    weight_decay: float


def rule(stage: Stage) -> Rule:
    """The rule of a stage.

    Raises:
        IncompatiblePair: as `check_described`.
    """
    name, method = check_described(stage), cast(Any, stage.algorithms[0])
    rate, mixing = float(method.learning_rate), stage.experiment.mixing
    if isinstance(method, algorithms.DiffusiveCoupling):
        mixing = graphs.diffusive(stage.experiment.graph, learning_rate=rate, coupling=float(method.coupling))
    return Rule(name, mixing.weights, rate, float(method.weight_decay))


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
        todo = [int(one) for one in rounds if one not in self._known]
        at = max(one for one in self._states if one <= min(todo, default=0))
        state, begin, last = self._states[at], at, max(todo, default=0)
        # The simulation beside it has the processors: threads of BLAS that wait for each other take 40 times as long.
        with threadpool_limits(1, "blas"):
            for wanted in todo:
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
                "Two agents have swapped their data, and the prediction is for agents that keep theirs. Swap them back "
                "and restart, or start a new run."
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
