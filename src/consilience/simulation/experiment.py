"""A fully resolved experiment: everything but the hyper-parameters and seeds in which its replicas differ."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from consilience.algorithms import LEARNER, Algorithm, Context
from consilience.errors import InvalidSpec
from consilience.graphs import Graph, MixingMatrix, Schedules
from consilience.models import Model, Params, parameter_shapes
from consilience.observables import Observable
from consilience.tasks import Task

if TYPE_CHECKING:
    from consilience.simulation.interventions import Intervention

DTYPES = ("float32", "float64")


@dataclass(frozen=True, eq=False)
class Experiment:
    """What is simulated. Built and checked by `resolve_experiment`; see `simulate` for the meaning of the fields."""

    algorithm: Algorithm
    model: Model
    task: Task
    shards: tuple[np.ndarray, ...]
    graph: Graph
    mixing: MixingMatrix
    num_rounds: int
    batch_size: int | None
    observables: tuple[Observable, ...]
    observe_every: int
    average_after: int | None
    dtype: str
    initial_params: Params | None
    common_init: bool
    schedules: Schedules
    roles: tuple[int, ...]
    # Came after runs had been stored, whose identity must stay what it was.
    interventions: tuple[Intervention, ...] = field(default=(), metadata={"omit_default_from_identity": True})

    @property
    def num_agents(self) -> int:
        """N, servers included."""
        return self.graph.num_agents

    @property
    def learners(self) -> np.ndarray:
        """Indices of the agents that are not servers."""
        return np.flatnonzero(np.asarray(self.roles) == LEARNER)

    @property
    def params_shapes(self) -> Params:
        """Shapes of one agent's parameters."""
        return parameter_shapes(self.model, self.task.input_shape, self.task.num_outputs)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers of one agent."""
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.params_shapes))

    @property
    def shard_weights(self) -> np.ndarray:
        """n_i / Σ_j n_j, shape (agents,)."""
        sizes = np.array([len(shard) for shard in self.shards], dtype=float)
        return sizes / sizes.sum()

    @property
    def data_shares(self) -> np.ndarray | None:
        """Share of each class in each learner's shard, shape (learners, classes); `None` for regression."""
        if self.task.num_classes is None:
            return None
        labels = [self.task.train_labels[self.shards[i]] for i in self.learners]
        counts = np.array([np.bincount(label, minlength=self.task.num_classes) for label in labels], dtype=float)
        return counts / counts.sum(axis=1, keepdims=True)

    def observed_rounds(self) -> np.ndarray:
        """The rounds after which observables are recorded: 0, every `observe_every`, and the last."""
        rounds = np.arange(0, self.num_rounds + 1, self.observe_every)
        return rounds if rounds[-1] == self.num_rounds else np.append(rounds, self.num_rounds)


def whole(name: str, value: Any, *, least: int, advice: str) -> int:
    """`value` as an int; `InvalidSpec` unless it is a whole number from `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidSpec(f"{name}={value!r}: this is counted in whole numbers from {least}. {advice}")
    return int(value)


def state_shapes(experiment: Experiment, num_slots: int) -> list[tuple[int, ...]]:
    """The shapes of one agent's state, leaf by leaf, if no agent had more than so many neighbours."""
    scalar, flag = jnp.zeros(()), jnp.asarray(True)

    def start(params: Any, random_key: jax.Array) -> Any:
        context = Context(
            round=jnp.asarray(0),
            agent=jnp.asarray(0),
            role=jnp.asarray(0),
            active=flag,
            shard_weight=scalar,
            degree=scalar,
            neighbours=jnp.zeros(num_slots, jnp.int32),
            neighbour_mask=jnp.ones(num_slots, bool),
            key=random_key,
            shared_key=random_key,
            num_agents=experiment.num_agents,
        )
        return experiment.algorithm.init(params, context)

    state = jax.eval_shape(start, experiment.params_shapes, jax.random.key(0))
    return [leaf.shape for leaf in jax.tree.leaves(state)]
