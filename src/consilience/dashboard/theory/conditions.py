"""A stage of a live run in the terms of the effective theory, and which runs have such terms at all.

The rules by which the two meet are those of `experiments.prediction`: σ̂ = σ/2, γ̂ = γ, t = 2η · rounds, and δ_i, s_i as
measured on the agents' shards.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consilience.algorithms import DiffusiveCoupling
from consilience.errors import IncompatiblePair
from consilience.graphs import Absent, Graph, Schedules
from consilience.models import MLP
from consilience.simulation import Stage
from consilience.tasks import Task, from_indices
from consilience.theory import landau

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Disorder:
    """What the theory knows of the agents' data, each of shape (agents,).

    Attributes:
        delta: δ_i, the correlation of inputs and targets on agent i's shard.
        second_moment: s_i, the mean square of its inputs.
    """

    delta: Floats
    second_moment: Floats


@dataclass(frozen=True, eq=False)
class Conditions:
    """What Eq. (4) of paper 001 needs to know of a population in one stage.

    Attributes:
        depth: D, hidden layers.
        coupling: σ of Eq. (2); the theory's is `reduced_coupling`.
        learning_rate: η.
        weight_decay: γ, which is the theory's γ̂.
        graph: q_ij, of all agents.
        disorder: δ_i and s_i.
        absent: agents that are frozen, and take no part.

    Example:
        >>> from consilience import graphs
        >>> here = Conditions(1, 3.0, 0.005, 1e-3, graphs.complete(2), Disorder(np.ones(2), np.ones(2)))
        >>> here.reduced_coupling, here.time(1000)
        (1.5, 10.0)
    """

    depth: int
    coupling: float
    learning_rate: float
    weight_decay: float
    graph: Graph
    disorder: Disorder
    absent: frozenset[int] = frozenset()

    @property
    def num_agents(self) -> int:
        """N, of frozen agents too."""
        return self.graph.num_agents

    @property
    def reduced_coupling(self) -> float:
        """σ̂ = σ/2."""
        return self.coupling / 2

    def time(self, num_rounds: float) -> float:
        """t = 2η · rounds, in units of the theory."""
        return 2 * self.learning_rate * num_rounds

    @property
    def present(self) -> NDArray[np.int64]:
        """The agents that take part."""
        return np.setdiff1d(np.arange(self.num_agents), sorted(self.absent))

    @property
    def adjacency(self) -> Floats:
        """q_ij between agents that take part, shape (agents, agents)."""
        takes_part = np.isin(np.arange(self.num_agents), self.present)
        return self.graph.adjacency * takes_part[:, None] * takes_part

    @property
    def stability_limit(self) -> float:
        """σ beyond which the coupling alone makes the networks' parameters diverge."""
        return self.graph.coupling_limit(self.learning_rate)


def conditions(stage: Stage, disorder: Disorder) -> Conditions:
    """The stage in the terms of the theory.

    Raises:
        IncompatiblePair: if the theory is not about such a run; see `check_described`.
    """
    method, model = check_described(stage)
    active = stage.experiment.schedules.active
    return Conditions(
        depth=model.depth,
        coupling=float(method.coupling),
        learning_rate=float(method.learning_rate),
        weight_decay=float(method.weight_decay),
        graph=stage.experiment.graph,
        disorder=disorder,
        absent=frozenset(active.agents) if isinstance(active, Absent) else frozenset(),
    )


def check_described(stage: Stage) -> tuple[DiffusiveCoupling, MLP]:
    """The method and the network of a stage that the effective theory describes.

    Raises:
        IncompatiblePair: for other methods, other networks, and weights or agents that change by a schedule.

    Example:
        >>> import consilience as cs
        >>> task = cs.tasks.load("digits", num_train=20, num_test=10)
        >>> experiment = cs.simulation.resolve_experiment(
        ...     cs.algorithms.DGD(learning_rate=0.1), model=cs.models.mlp(depth=0), task=task,
        ...     shards=cs.tasks.by_class(task, num_agents=2), graph=cs.graphs.complete(2), num_rounds=1)
        >>> check_described(cs.simulation.Stage(experiment, (experiment.algorithm,)))
        Traceback (most recent call last):
            ...
        consilience.errors.IncompatiblePair: This run learns by DGD, and the effective theory is that of Eq. (2), ...
    """
    method, experiment = stage.algorithms[0], stage.experiment
    if type(method) is not DiffusiveCoupling:
        raise IncompatiblePair(
            f"This run learns by {type(method).__name__}, and the effective theory is that of Eq. (2), in which agents "
            "step and couple at once with a strength σ. Choose the method diffusive_coupling to see it."
        )
    if not isinstance(experiment.model, MLP):
        raise IncompatiblePair(
            f"This run trains {experiment.model.name}, and the effective theory is derived for fully connected layers "
            "in their usual parametrisation, whose scale sets its time. Choose the model mlp to see it."
        )
    if len(experiment.learners) < experiment.num_agents:
        raise IncompatiblePair(
            "This run has a server, and every agent of the effective theory learns. Choose a run without roles."
        )
    changing = changing_schedules(experiment.schedules)
    if changing:
        raise IncompatiblePair(
            f"In this run a schedule changes {' and '.join(changing)} from round to round, and these potentials stand "
            "still between two interventions. Choose a run without schedules, or change the coupling by hand."
        )
    return method, experiment.model


def changing_schedules(schedules: Schedules) -> list[str]:
    """What a schedule decides. Agents that people have frozen are none of it."""
    absent = schedules.active
    active = absent.among if isinstance(absent, Absent) else absent
    others = [one.name for one in dataclasses.fields(schedules) if one.name != "active"]
    return ["active"] * (active is not None) + [name for name in others if getattr(schedules, name) is not None]


def measure(task: Task, shards: tuple[np.ndarray, ...]) -> Disorder:
    """δ_i and s_i of the shards, by the first definition of `experiments.predict_transition`.

    Raises:
        DataError: if the data have no such correlation.

    Example:
        >>> from consilience import tasks
        >>> task = tasks.load("digits")
        >>> measure(task, tuple(tasks.by_class(task, num_agents=10))).delta[:3].round(2).tolist()
        [0.91, 0.64, 0.85]
    """
    definition = landau.DisorderDefinition()
    dealt = from_indices(task, list(shards), "shards of a live run")
    found = landau.disorder_variants(task, dealt, {definition.name: definition}).isel(definition=0)
    return Disorder(found.delta.values.copy(), found.second_moment.values.copy())
