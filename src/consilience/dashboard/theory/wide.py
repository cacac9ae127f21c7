"""Which live runs the theory of wide networks describes, and what it has to know of them: kernel and rounds.

The prediction (`forecast`) is exact for the linearised network: every agent's loss, and accuracy where there are
classes, round by round in kernel space, with the run's own interventions in σ, η, γ and links. It knows the network at
its start and the data, and nothing of the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from consilience import algorithms, graphs
from consilience.dashboard.theory.conditions import Floats, changing_schedules
from consilience.errors import IncompatiblePair
from consilience.models import MLP, NTKMLP
from consilience.randomness import Purpose, key
from consilience.simulation import Experiment, Stage
from consilience.tasks import SquaredLoss
from consilience.theory import peer_to_peer

LARGEST_KERNEL = 4e8
"""Bytes: a round reads it once, in a twentieth of a second."""
_NAMES = {"DiffusiveCoupling": "dgd", "DGD": "dgd", "AdaptThenCombine": "atc", "CombineThenAdapt": "cta"}


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
