"""A population that is about to be trained, as the theory of wide networks needs to know it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilience import graphs, models, tasks
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.experiments.spec import build_task_and_graph
from consilience.graphs import Graph, MixingMatrix
from consilience.randomness import Purpose, check_seed, generator, key
from consilience.tasks import Shards, Task
from consilience.tasks.task import stratified_indices
from consilience.theory.peer_to_peer import InfiniteWidthKernel, Linearization, infinite_width_kernel, linearize
from consilience.theory.peer_to_peer.arguments import check_algorithm, check_count, check_rate
from consilience.theory.peer_to_peer.coordinates import Coordinates, coordinates

TARGETS = {"odd-even": tasks.odd_even, "one-hot": tasks.one_hot}
"""What the network is asked for: whether the class is odd, or which class it is."""
NUM_SAMPLES, NUM_SAMPLES_OF_CLASSES = 500, 100
"""Training samples of all agents together, unless told otherwise: predictions then take seconds. Fewer where the kernel
of a network of finite width tells ten outputs apart."""
NUM_TEST, NUM_TEST_OF_CLASSES = 1000, 200
"""Test samples at most, unless told otherwise."""
LARGEST_KERNEL = 4e9
"""Bytes. A round reads it once: a second or so."""


@dataclass(frozen=True, eq=False)
class Deployment:
    """Who learns what from whom, and how.

    Attributes:
        task: with real-valued targets and squared loss.
        shards: indices into the training data of `task`.
        classes: samples of each class that an agent holds, shape (agents, classes).
        graph: over which agents average.
        model: an `ntk_mlp`, or the kernel of one of infinite width.
        linearization: the network at its common initialisation, on everybody's data.
        algorithm: "dgd", "atc" or "cta".
        coupling: σ of Eq. (2) of paper 001, by which agents mix; None for `graphs.default_mixing`.
        weight_decay: γ.
        seed: of the initial parameters, and of which samples agents hold.
    """

    task: Task
    shards: Shards
    classes: np.ndarray
    graph: Graph
    model: Any
    linearization: Linearization
    algorithm: str
    coupling: float | None
    weight_decay: float
    seed: int

    @functools.cached_property
    def coordinates(self) -> Coordinates:
        """Orthonormal coordinates of what the agents can learn."""
        return coordinates(self.linearization, weight_decay=self.weight_decay)

    def mixing(self, learning_rate: float, graph: Graph | None = None) -> MixingMatrix:
        """W on a graph, its own by default; Eq. (2)'s depends on the learning rate."""
        graph = graph or self.graph
        if self.coupling is None:
            return graphs.default_mixing(graph)
        return graphs.diffusive(graph, learning_rate=learning_rate, coupling=self.coupling)

    @property
    def num_parameters(self) -> int | None:
        """What a message holds; None for a network of infinite width."""
        if isinstance(self.model, InfiniteWidthKernel):
            return None
        return models.num_parameters(self.model, self.task.input_shape, self.task.num_outputs)

    @property
    def num_samples(self) -> int:
        """Of all agents together."""
        return int(self.linearization.sizes.sum())


def deploy(
    spec: Mapping[str, Any],
    *,
    targets: str = "odd-even",
    num_samples: int | None = None,
    depth: int = 1,
    width: int | None = 1024,
    algorithm: str = "dgd",
    coupling: float | None = None,
    weight_decay: float = 0.0,
    seed: int = 0,
    data_dir: str | None = None,
) -> Deployment:
    """Load the data, deal them out, draw the network and linearise it.

    Args:
        spec: the tables task, partition and graph of a spec, and model: further arguments of `models.ntk_mlp`.
        targets: one of `TARGETS`.
        num_samples: of each agent at most, drawn at random with the classes in proportion; by default, together they
            have `NUM_SAMPLES`, or `NUM_SAMPLES_OF_CLASSES`.
        depth: D, hidden layers.
        width: neurons of each; None for the limit of infinite width.
        algorithm: "dgd", "atc" or "cta".
        coupling: σ of Eq. (2), with "dgd"; None for Metropolis weights (equal ones on directed graphs).
        weight_decay: γ.
        seed: of initial parameters, those of `simulate(..., common_init=True, seed=seed)`, and of the samples.
        data_dir: where data sets are looked for first.

    Raises:
        UnknownName: for names that do not exist.
        InvalidSpec: for values that cannot be; for a kernel that is too large.
        IncompatiblePair: if the graph has other agents than the partition; for a coupling with "atc" or "cta".

    Example:
        >>> deploy({"partition": {"name": "by_class", "num_agents": 5}}, num_samples=20, width=None).linearization
        Linearization(5 agents, 100 samples, 1 outputs, 0 further directions, 360 test rows)
    """
    _check(targets, algorithm, coupling)
    tables = dict(spec)
    network = dict(tables.pop("model", {}))
    task, shards, graph = build_task_and_graph(
        {"partition": {"name": "by_class", "num_agents": 10}, **tables}, data_dir=data_dir
    )
    if graph.num_agents != shards.num_agents:
        raise IncompatiblePair(
            f"Graph {graph.name} has {graph.num_agents} agents, but the data are dealt out to {shards.num_agents}: "
            f"every agent needs a shard. Ask for {graph.num_agents} agents, or give the graph {shards.num_agents}."
        )
    few = width is not None and targets == "one-hot"
    most = NUM_TEST_OF_CLASSES if few else NUM_TEST
    if task.num_test > most and "num_test" not in tables.get("task", {}):
        task = task.subset(num_test=most, seed=seed)
    in_all = NUM_SAMPLES_OF_CLASSES if few else NUM_SAMPLES
    num_each = max(1, in_all // shards.num_agents) if num_samples is None else num_samples
    shards = _fewer(task, shards, check_count("num_samples", num_each, least=1), check_seed(seed))
    classes = shards.class_counts
    regression = TARGETS[targets](task)
    _check_size(regression, shards, width is None)
    model = _network(depth, width, network)
    return Deployment(
        task=regression,
        shards=shards,
        classes=np.zeros((len(shards), 0), int) if classes is None else classes,
        graph=graph,
        model=model,
        linearization=_linearized(model, regression, shards, seed),
        algorithm=algorithm,
        coupling=coupling,
        weight_decay=check_rate("weight_decay", weight_decay),
        seed=seed,
    )


def _check(targets: Any, algorithm: Any, coupling: Any) -> None:
    if targets not in TARGETS:
        raise UnknownName.among("kind of target", targets, TARGETS)
    check_algorithm(algorithm)
    if coupling is None:
        return
    check_rate("coupling", coupling)
    if algorithm != "dgd":
        raise IncompatiblePair(
            f"coupling={coupling:g} is the σ of Eq. (2), in which agents step and mix at once, and {algorithm} does "
            f"one after the other. Leave the coupling out, or write dgd in place of {algorithm}."
        )


def _fewer(task: Task, shards: Shards, num_each: int, seed: int) -> Shards:
    """At most `num_each` samples of each shard."""
    kept = []
    for agent, shard in enumerate(shards):
        if len(shard) > num_each:
            rng = generator(seed, Purpose.SUBSET, 2, agent)  # Task.subset takes the streams 0 and 1
            shard = shard[stratified_indices(task.train_labels[shard], num_each, rng)]
        kept.append(shard)
    return tasks.from_indices(task, kept, shards.name)


def _check_size(task: Task, shards: Shards, is_infinite: bool) -> None:
    """Refuse kernels that would take minutes to read in every round."""
    num_train = int(shards.sizes.sum())
    rows_per_sample = 1 if is_infinite else task.num_outputs
    needed = 8 * rows_per_sample**2 * num_train * (num_train + task.num_test)
    if needed <= LARGEST_KERNEL:
        return
    entries = LARGEST_KERNEL / (8 * rows_per_sample**2)
    fits = int((math.sqrt(task.num_test**2 + 4 * entries) - task.num_test) / 2) // len(shards)
    other = "" if rows_per_sample == 1 else ", or infinite width, where all outputs share one kernel"
    raise InvalidSpec(
        f"The kernel of {num_train} training and {task.num_test} test samples with {rows_per_sample} output"
        f"{'s' * (rows_per_sample > 1)} takes {needed / 1e9:.3g} GB, and every round reads it; "
        f"{LARGEST_KERNEL / 1e9:g} GB is the most. "
        + (f"Use at most {fits} samples per agent" if fits else "Use fewer agents")
        + f", fewer test samples (task.num_test=200, say){other}."
    )


def _network(depth: int, width: int | None, arguments: dict[str, Any]) -> Any:
    import inspect

    constructor = models.ntk_mlp if width is not None else infinite_width_kernel
    known = [name for name in inspect.signature(constructor).parameters if name not in ("depth", "width")]
    for name in arguments:
        if name not in known:
            raise UnknownName.among("argument of the network", name, known)
    if width is None:
        return infinite_width_kernel(depth, **arguments)
    return models.ntk_mlp(depth, width, **arguments)


def _linearized(model: Any, task: Task, shards: Shards, seed: int) -> Linearization:
    inputs, targets = tasks.shard_arrays(task, shards)
    params = None
    if not isinstance(model, InfiniteWidthKernel):
        params = model.init(key(seed, Purpose.INITIAL_PARAMETERS, 0), task.input_shape, task.num_outputs)
    return linearize(
        model, params, inputs, targets, test_inputs=task.test_inputs, test_targets=task.test_labels,
        max_memory=2 * LARGEST_KERNEL,
    )  # fmt: skip
