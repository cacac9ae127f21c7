"""What is done to a population while it learns: between two rounds, from outside.

An intervention turns the experiment that ran so far into the one that runs from then on; parameters and states stay
what they are, unless it is a `Restart`. A run with interventions is a chain of such experiments, so that it is data
like any other run: given again, it gives the same numbers.
"""

from __future__ import annotations

import abc
import dataclasses
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

from consilience.algorithms import Algorithm, check_pair
from consilience.errors import IncompatiblePair, InvalidSpec, StabilityWarning, UnknownName
from consilience.graphs import Absent, Graph
from consilience.simulation.experiment import Experiment, state_shapes, whole


@dataclass(frozen=True, eq=False)
class Stage:
    """What holds between two interventions.

    Attributes:
        experiment: what is simulated.
        algorithms: one per replica, with its hyper-parameters of now.
    """

    experiment: Experiment
    algorithms: tuple[Algorithm, ...]

    def with_algorithms(self, algorithms: Iterable[Algorithm]) -> Stage:
        """The stage with other hyper-parameters."""
        algorithms = tuple(algorithms)
        return Stage(dataclasses.replace(self.experiment, algorithm=algorithms[0]), algorithms)

    def with_experiment(self, **changes: Any) -> Stage:
        """The stage with other parts of the experiment, checked against the algorithm."""
        experiment = dataclasses.replace(self.experiment, **changes)
        check_pair(experiment.algorithm, experiment.graph, experiment.mixing, experiment.schedules)
        return Stage(experiment, self.algorithms)


@dataclass(frozen=True)
class Intervention(abc.ABC):
    """Something that is done once `round` rounds are over, before the next begins.

    Attributes:
        round: rounds before it; a record of that round shows the population before the intervention.
    """

    kind: ClassVar[str] = ""
    """How a spec calls it."""

    round: int

    def __post_init__(self) -> None:
        whole("round", self.round, least=0, advice="Write round=100 for what is done once 100 rounds are over.")

    @abc.abstractmethod
    def change(self, stage: Stage) -> Stage:
        """What holds from now on.

        Raises:
            InvalidSpec: if it names what the experiment does not have.
            IncompatiblePair: if the algorithm cannot go on with the change.
        """

    @abc.abstractmethod
    def __str__(self) -> str:
        """A few words, for the time axis of a figure."""


@dataclass(frozen=True)
class SetParameter(Intervention):
    """Give a numeric hyper-parameter of the algorithm another value, in all replicas.

    Attributes:
        name: "coupling" or "learning_rate", say.
        value: from now on.

    Example:
        >>> str(SetParameter(100, "coupling", 30.0))
        'coupling → 30'
    """

    kind: ClassVar[str] = "parameter"

    name: str
    value: float

    def change(self, stage: Stage) -> Stage:
        """The same experiment with other algorithms."""
        first = stage.algorithms[0]
        numeric = [f.name for f in dataclasses.fields(first) if _is_number(getattr(first, f.name), f.metadata)]
        if self.name not in numeric:
            raise UnknownName.among(f"numeric hyper-parameter of {type(first).__name__}", self.name, numeric)
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise InvalidSpec(f"{self.name}={self.value!r} from round {self.round} on: write a number.")
        changed = [dataclasses.replace(one, **{self.name: float(self.value)}) for one in stage.algorithms]
        return stage.with_algorithms(changed)

    def __str__(self) -> str:
        return f"{self.name.replace('_', ' ')} → {self.value:.4g}"


def _is_number(value: Any, metadata: Any) -> bool:
    """Whether a field holds a number, or a sweep's values of one."""
    is_static = metadata.get("static", False) or isinstance(value, (bool, str))
    return not is_static and isinstance(value, (int, float, np.generic, np.ndarray, jax.Array)) and np.ndim(value) <= 1


@dataclass(frozen=True)
class SetEdge(Intervention):
    """Add an edge, give it another weight, or cut it with weight 0.

    The mixing matrix follows by the algorithm's default rule. Methods that keep copies of what their neighbours sent
    cannot change links under way, and refuse.

    Attributes:
        source: who is listened to.
        target: who listens; on an undirected graph they listen to each other.
        weight: q of the edge from now on, ≥ 0.

    Example:
        >>> str(SetEdge(100, source=0, target=3, weight=0.0))
        'edge 0 – 3 cut'
    """

    kind: ClassVar[str] = "edge"

    source: int
    target: int
    weight: float = 1.0

    def change(self, stage: Stage) -> Stage:
        """The experiment on another graph, with the mixing matrix that belongs to it."""
        experiment = stage.experiment
        graph, algorithm = experiment.graph, experiment.algorithm
        for agent in (self.source, self.target):
            _check_agent(agent, experiment)
        if self.source == self.target:
            raise InvalidSpec(f"An edge from agent {self.source} to itself: an edge has two ends. Name two agents.")
        if not np.isfinite(self.weight) or self.weight < 0:
            raise InvalidSpec(f"weight={self.weight!r}: an edge has a finite weight > 0. Write weight=0 to cut it.")
        if "reliable" in algorithm.requires:
            raise IncompatiblePair(
                f"{type(algorithm).__name__} keeps copies of what was sent along each link, so that links cannot "
                "change under way. Start a run on the other graph, or use a method whose messages stand alone, "
                "adapt_then_combine say."
            )
        if experiment.schedules.mixing is not None or experiment.schedules.adjacency is not None:
            raise IncompatiblePair(
                f"The weights of this run follow a schedule, which would not know of the edge {self.source} – "
                f"{self.target}. Put the change into the schedule."
            )
        weights = np.array(graph.adjacency)
        weights[self.target, self.source] = self.weight
        if not graph.directed:
            weights[self.source, self.target] = self.weight
        changed = _named(Graph(weights, graph.name), graph)
        if not np.array_equal(experiment.mixing.weights, algorithm.default_mixing(graph).weights):
            raise IncompatiblePair(
                f"This run mixes by {experiment.mixing.name!r}, which was given and does not follow from the graph, so "
                "there is no telling what it is on another one. Leave mixing= out to use the method's default rule."
            )
        return stage.with_experiment(graph=changed, mixing=algorithm.default_mixing(changed))

    def __str__(self) -> str:
        edge = f"edge {self.source} – {self.target}"
        return f"{edge} cut" if self.weight == 0 else f"{edge}: weight {self.weight:.4g}"


def _named(changed: Graph, before: Graph) -> Graph:
    """A graph under a name that says that it is not the family's member any more."""
    name = before.name.removesuffix(", changed")
    return Graph(changed.adjacency, f"{name}, changed")


@dataclass(frozen=True)
class Freeze(Intervention):
    """Let an agent take no part from now on: it keeps its parameters, sends nothing and hears nothing.

    Attributes:
        agent: who.

    Example:
        >>> str(Freeze(100, agent=3))
        'agent 3 frozen'
    """

    kind: ClassVar[str] = "freeze"

    agent: int

    def change(self, stage: Stage) -> Stage:
        """The experiment without the agent's taking part."""
        _check_agent(self.agent, stage.experiment)
        return _with_absent(stage, _absent(stage.experiment) | {self.agent})

    def __str__(self) -> str:
        return f"agent {self.agent} frozen"


@dataclass(frozen=True)
class Thaw(Intervention):
    """Let a frozen agent take part again.

    Attributes:
        agent: who.

    Example:
        >>> str(Thaw(200, agent=3))
        'agent 3 thawed'
    """

    kind: ClassVar[str] = "thaw"

    agent: int

    def change(self, stage: Stage) -> Stage:
        """The experiment with the agent's taking part."""
        _check_agent(self.agent, stage.experiment)
        absent = _absent(stage.experiment)
        if self.agent not in absent:
            raise InvalidSpec(f"Agent {self.agent} is not frozen in round {self.round}; frozen are {sorted(absent)}.")
        return _with_absent(stage, absent - {self.agent})

    def __str__(self) -> str:
        return f"agent {self.agent} thawed"


def _absent(experiment: Experiment) -> frozenset[int]:
    active = experiment.schedules.active
    return frozenset(active.agents) if isinstance(active, Absent) else frozenset()


def _with_absent(stage: Stage, agents: frozenset[int]) -> Stage:
    schedules = stage.experiment.schedules
    given = schedules.active.among if isinstance(schedules.active, Absent) else schedules.active
    if agents:
        given = Absent(tuple(sorted(agents)), num_agents=stage.experiment.num_agents, among=given)
    return stage.with_experiment(schedules=dataclasses.replace(schedules, active=given))


@dataclass(frozen=True)
class SwapData(Intervention):
    """Exchange the shards of two agents.

    Attributes:
        first: one of them.
        second: the other.

    Example:
        >>> str(SwapData(100, first=0, second=3))
        'data of 0 and 3 swapped'
    """

    kind: ClassVar[str] = "swap_data"

    first: int
    second: int

    def change(self, stage: Stage) -> Stage:
        """The experiment with other shards."""
        shards, learners = list(stage.experiment.shards), stage.experiment.learners
        for agent in (self.first, self.second):
            _check_agent(agent, stage.experiment)
            if agent not in learners:
                raise InvalidSpec(f"Agent {agent} is a server and has no data to swap. Name two learners.")
        shards[self.first], shards[self.second] = shards[self.second], shards[self.first]
        return stage.with_experiment(shards=tuple(shards))

    def __str__(self) -> str:
        return f"data of {self.first} and {self.second} swapped"


@dataclass(frozen=True)
class Restart(Intervention):
    """Let all agents forget: they start again from their initial parameters, while rounds are counted on.

    Example:
        >>> str(Restart(500))
        'restart'
    """

    kind: ClassVar[str] = "restart"

    def change(self, stage: Stage) -> Stage:
        """The same stage: what changes is the state."""
        return stage

    def __str__(self) -> str:
        return "restart"


KINDS: dict[str, type[Intervention]] = {
    cls.kind: cls for cls in (SetParameter, SetEdge, Freeze, Thaw, SwapData, Restart)
}
"""How a spec calls it → the class."""


def _check_agent(agent: Any, experiment: Experiment) -> None:
    is_whole = isinstance(agent, (int, np.integer)) and not isinstance(agent, bool)
    if not is_whole or not 0 <= agent < experiment.num_agents:
        raise InvalidSpec(
            f"There is no agent {agent!r}: {experiment.num_agents} agents are numbered 0 … {experiment.num_agents - 1}."
        )


def check_states(before: Stage, after: Stage) -> None:
    """Refuse a change of the graph after which agents would have states of other shapes.

    Raises:
        IncompatiblePair: for methods that keep an array per neighbour, if the largest number of neighbours changes.
    """
    if before.experiment.graph is after.experiment.graph:
        return
    shapes = [state_shapes(each.experiment, each.experiment.graph.neighbours.num_slots) for each in (before, after)]
    if shapes[0] != shapes[1]:
        raise IncompatiblePair(
            f"{type(before.experiment.algorithm).__name__} keeps something of every neighbour, and the change of "
            f"{before.experiment.graph.name} leaves no room, or too much, for it. Start a run on the other graph."
        )


def check_interventions(experiment: Experiment, interventions: Sequence[Intervention]) -> tuple[Intervention, ...]:
    """The interventions in the order of their rounds, each of them tried.

    Raises:
        InvalidSpec: for what is no intervention, comes after the end, or names what is not there.
        IncompatiblePair: for one that the algorithm cannot go on with.

    Warns:
        StabilityWarning: if linear theory says that the parameters will diverge after one.
    """
    for one in interventions:
        if not isinstance(one, Intervention):
            raise InvalidSpec(
                f"interventions holds {one!r}, which is none. Write cs.simulation.SetParameter(100, 'coupling', 30.0), "
                "say."
            )
        if one.round > experiment.num_rounds:
            raise InvalidSpec(
                f"The intervention {str(one)!r} comes after round {one.round}, but the run ends with round "
                f"{experiment.num_rounds}. Make the run longer, or leave it out."
            )
    ordered = tuple(sorted(interventions, key=lambda one: one.round))
    stage = Stage(experiment, (experiment.algorithm,))
    for one in ordered:
        after = one.change(stage)
        check_states(stage, after)
        for message in after.experiment.algorithm.warnings(after.experiment.graph, after.experiment.mixing):
            warnings.warn(f"From round {one.round} on ({one}): {message}", StabilityWarning, stacklevel=4)
        stage = after
    return ordered


def stages(experiment: Experiment) -> list[tuple[range, Stage]]:
    """The rounds of an experiment, cut where its interventions are, and what holds in each part.

    Example:
        >>> import consilience as cs
        >>> task = cs.tasks.load("digits")
        >>> run = cs.simulation.resolve_experiment(
        ...     cs.algorithms.DGD(learning_rate=0.1), model=cs.models.mlp(depth=0), task=task,
        ...     shards=cs.tasks.by_class(task, num_agents=10), graph=cs.graphs.cycle(10), num_rounds=30,
        ...     interventions=[SetEdge(10, 0, 1, 0.0), Freeze(10, 3), Thaw(20, 3)])
        >>> [(part, stage.experiment.graph.num_edges) for part, stage in stages(run)]
        [(range(0, 10), 10), (range(10, 20), 9), (range(20, 30), 9)]
    """
    stage = Stage(experiment, (experiment.algorithm,))
    found, start = [], 0
    for intervention in experiment.interventions:
        if intervention.round > start:
            found.append((range(start, intervention.round), stage))
            start = intervention.round
        stage = intervention.change(stage)
    return [*found, (range(start, experiment.num_rounds), stage)]
