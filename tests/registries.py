"""Rows that several test modules share: the catalog, a small problem, and the simulator against its oracle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import consilience as cs
from consilience.algorithms import Algorithm, Entry, Local, Network, contexts, run_round
from consilience.graphs import Graph, MixingMatrix, Schedules, from_adjacency, from_matrix
from consilience.simulation import Experiment, Progress, precision, resolve_experiment
from consilience.simulation.batching import batch_indices, full_batches
from consilience.tasks import Task

CATALOG: tuple[Entry, ...] = tuple(cs.algorithms.catalog().values())

# Some hundred sums and products of numbers of order one: 1e-12 is some thousand roundings of double precision.
ROUNDING = 1e-12

SIZES = (3, 5, 2, 4, 6, 3)
"""Samples per agent of `small_problem`, from the first agent on."""


def weighted_star(num_agents: int = 4) -> Graph:
    """Undirected, every edge with a weight of its own."""
    q = np.zeros((num_agents, num_agents))
    q[0, 1:] = q[1:, 0] = 0.5 + np.arange(1, num_agents)
    return from_adjacency(q, name="weighted star")


def directed_cycle(num_agents: int = 4) -> Graph:
    """Agent i listens to one neighbour only, with a weight of its own."""
    q = cs.graphs.cycle(num_agents, directed=True).adjacency * (1 + np.arange(num_agents))[:, None]
    return from_adjacency(q, name="weighted directed cycle")


@dataclass(frozen=True, eq=False)
class SmallProblem:
    """A linear regression with several outputs: agents' losses are quadratics with different minima."""

    task: Task
    shards: Any
    model: Any
    initial_params: Any
    """Leaves (agents, ...)."""

    @property
    def num_agents(self) -> int:
        return len(self.shards)

    def batches(self, *, batch_size: int, num_rounds: int, num_local_steps: int = 1, seed: int = 0) -> np.ndarray:
        """The samples of every mini-batch of a run, shape (rounds, agents, steps, batch)."""
        return batch_indices(
            self.shards,
            seeds=[seed],
            first_round=0,
            num_rounds=num_rounds,
            num_local_steps=num_local_steps,
            batch_size=batch_size,
        )

    def initial(self, agent: int) -> dict[str, np.ndarray]:
        """The parameters from which one agent starts."""
        return {name: leaf[agent] for name, leaf in self.initial_params.items()}

    def gradient(
        self, params: dict[str, np.ndarray], samples: np.ndarray, *, weight_decay: float = 0.0
    ) -> dict[str, np.ndarray]:
        """∇ of the mean of ½‖x W + b − y‖² over some training samples, plus γ‖θ‖², by hand, in NumPy."""
        inputs, targets = self.task.train_inputs[samples], self.task.train_labels[samples]
        residuals = inputs @ params["weight"] + params["bias"] - targets
        loss_gradient = {"weight": inputs.T @ residuals / len(samples), "bias": residuals.mean(axis=0)}
        return {name: g + 2 * weight_decay * params[name] for name, g in loss_gradient.items()}

    def experiment(self, algorithm: Algorithm, *, graph: Graph, **options: Any) -> Experiment:
        return resolve_experiment(algorithm, graph=graph, **self._options(options))

    def simulate(self, algorithm: Algorithm, *, graph: Graph | None = None, **options: Any) -> xr.Dataset:
        """`cs.simulate` in double precision, with full batches and nothing observed unless `options` say otherwise."""
        return cs.simulate(algorithm, graph=graph or cs.graphs.complete(self.num_agents), **self._options(options))

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        defaults = {"num_rounds": 4, "batch_size": None, "observe": (), "dtype": "float64"}
        parts = {"model": self.model, "task": self.task, "shards": self.shards, "initial_params": self.initial_params}
        return {**parts, **defaults, **options}


def small_problem(
    num_agents: int = 4,
    *,
    num_outputs: int = 2,
    sizes: Sequence[int] = SIZES,
    servers: Sequence[int] = (),
    common_init: bool = False,
    seed: int = 0,
) -> SmallProblem:
    """Numbers of both signs, shards of unequal sizes, and parameters that differ from agent to agent."""
    random = np.random.default_rng(seed)
    sizes = [0 if agent in servers else sizes[agent] for agent in range(num_agents)]
    num_features, num_samples = 3, sum(sizes)
    data = [random.normal(size=(num, size)) for num in (num_samples, 5) for size in (num_features, num_outputs)]
    task = cs.tasks.from_arrays(*data, name="small problem")
    bounds = np.cumsum([0, *sizes])
    order = random.permutation(num_samples)
    parts = [order[start:stop] for start, stop in itertools.pairwise(bounds)]
    shapes = {"weight": (num_features, num_outputs), "bias": (num_outputs,)}
    starts = {name: random.normal(size=(num_agents, *shape)) for name, shape in shapes.items()}
    if common_init:
        starts = {name: np.repeat(leaf[:1], num_agents, axis=0) for name, leaf in starts.items()}

    def draw(key: jax.Array) -> dict[str, jax.Array]:
        drawn = jax.random.uniform(key, (num_features + 1, num_outputs), jnp.float32, -1, 1)
        return {"weight": drawn[1:], "bias": drawn[0]}

    return SmallProblem(
        task=task,
        shards=cs.tasks.from_indices(task, parts, allow_empty=servers),
        model=cs.models.from_functions(draw, lambda params, inputs: inputs @ params["weight"] + params["bias"]),
        initial_params=starts,
    )


def final_params(run: xr.Dataset) -> dict[str, np.ndarray]:
    """The final parameters of all learners, name → (agents, ...)."""
    return {str(name): leaf.values for name, leaf in run.data_vars.items() if str(name).startswith("params/")}


def assert_same_params(actual: xr.Dataset, expected: xr.Dataset, *, tolerance: float = ROUNDING) -> None:
    """The same final parameters: to the bit at tolerance 0, else relative to numbers of order one."""
    assert_close(final_params(actual), final_params(expected), tolerance=tolerance)


def assert_close(actual: Any, expected: Any, *, tolerance: float = ROUNDING) -> None:
    """Two pytrees with the same leaves."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# ---- the oracle: `run_round` in a loop ---------------------------------------------------------------------------


def locals_of_round(experiment: Experiment, *, round: int, seed: int) -> list[Local]:
    """Every agent's mini-batches of one round; full batches without padding and without weights."""
    steps = experiment.algorithm.num_local_steps
    if experiment.batch_size is None:
        padded, _ = full_batches(experiment.shards)
        whole = [shard if len(shard) else padded[agent] for agent, shard in enumerate(experiment.shards)]
        indices = [np.repeat(one[None], steps, axis=0) for one in whole]
    else:
        indices = batch_indices(
            experiment.shards,
            seeds=[seed],
            first_round=round,
            num_rounds=1,
            num_local_steps=steps,
            batch_size=experiment.batch_size,
        )[0]
    return [
        Local(
            inputs=jnp.asarray(experiment.task.train_inputs[one]),
            targets=jnp.asarray(experiment.task.train_labels[one]),
            weights=None,
            apply=experiment.model.apply,
            loss_function=experiment.task.loss,
        )
        for one in indices
    ]


def network_of_round(experiment: Experiment, round: int) -> Network:
    """Who talks to whom in one round, with the experiment's schedules evaluated in NumPy."""
    schedules = experiment.schedules
    now = {
        name: None if (schedule := getattr(schedules, name)) is None else np.asarray(schedule(round))
        for name in ("active", "edges", "mixing", "adjacency", "roles", "coupling")
    }
    return Network(
        graph=experiment.graph if now["adjacency"] is None else from_adjacency(now["adjacency"]),
        mixing=experiment.mixing if now["mixing"] is None else from_matrix(now["mixing"]),
        shard_weights=experiment.shard_weights,
        roles=np.asarray(experiment.roles) if now["roles"] is None else now["roles"],
        active=now["active"],
        edges=now["edges"],
        coupling_factor=1.0 if now["coupling"] is None else float(now["coupling"]),
    )


def run_oracle(experiment: Experiment, *, seed: int = 0) -> list[Any]:
    """The states of all agents after the experiment's rounds, one agent after the other."""
    algorithm = experiment.algorithm
    with precision(experiment.dtype):
        start = experiment.initial_params
        params = [
            jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i], experiment.dtype), start)
            for i in range(experiment.num_agents)
        ]
        who = contexts(algorithm, network_of_round(experiment, 0), round=0, exchange=0, seed=seed)
        states = [algorithm.init(one, context) for one, context in zip(params, who, strict=True)]
        for round in range(experiment.num_rounds):
            batches = locals_of_round(experiment, round=round, seed=seed)
            network = network_of_round(experiment, round)
            states = run_round(algorithm, states, batches, network, round=round, seed=seed)
    return states


def assert_simulator_equals_oracle(
    algorithm: Algorithm,
    *,
    problem: SmallProblem | None = None,
    graph: Graph,
    mixing: MixingMatrix | None = None,
    schedules: Schedules | None = None,
    roles: dict[int, str] | None = None,
    batch_size: int | None = None,
    num_rounds: int = 3,
    seed: int = 0,
    tolerance: float = ROUNDING,
) -> tuple[xr.Dataset, list[Any]]:
    """`cs.simulate` and `run_round` on identical mini-batches end in the same states of all agents, servers included.

    Returns what was simulated, and those states.
    """
    problem = problem or small_problem(graph.num_agents)
    options = {
        "graph": graph,
        "mixing": mixing,
        "schedules": schedules,
        "roles": roles,
        "batch_size": batch_size,
        "num_rounds": num_rounds,
    }
    saved: dict[str, np.ndarray] = {}

    def keep_state(progress: Progress) -> None:
        saved.update(progress.take_checkpoint().arrays)

    run = problem.simulate(algorithm, seed=seed, on_chunk=keep_state, observe_every=num_rounds, **options)
    experiment = problem.experiment(algorithm, **options)
    states = run_oracle(experiment, seed=seed)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    for k, leaf in enumerate(jax.tree.leaves(stacked)):
        # The simulator's leaf has one more axis, that of the single replica, of length one.
        np.testing.assert_allclose(saved[f"state/{k}"].reshape(leaf.shape), leaf, rtol=tolerance, atol=tolerance)
    with precision(experiment.dtype):
        for agent in experiment.learners:
            assert_close(run.params(agent), algorithm.params(states[agent]), tolerance=tolerance)
    return run, states
