"""`simulate`: one population, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import xarray as xr

from consilience.algorithms import Algorithm
from consilience.graphs import Graph, MixingMatrix, Schedules
from consilience.models import Params
from consilience.observables import Observable
from consilience.randomness import check_seed
from consilience.simulation.interventions import Intervention
from consilience.simulation.placement import place
from consilience.simulation.recording import REPLICA, describe_result, to_dataset
from consilience.simulation.resolve import resolve_experiment
from consilience.simulation.trajectory import Progress, run_ensemble
from consilience.tasks import Task


def simulate(
    algorithm: Algorithm,
    *,
    model: Any,
    task: Task,
    shards: Sequence[Any],
    graph: Graph,
    num_rounds: int,
    batch_size: int | None = 32,
    seed: int = 0,
    observe: Iterable[str | Observable] = ("accuracy", "loss"),
    observe_every: int | None = None,
    average_after: int | None = None,
    mixing: MixingMatrix | Callable[[Graph], MixingMatrix] | None = None,
    schedules: Schedules | None = None,
    roles: dict[int, str] | None = None,
    initial_params: Params | None = None,
    common_init: bool = False,
    dtype: str = "float32",
    interventions: Iterable[Intervention] = (),
    devices: Sequence[Any] | None = None,
    on_chunk: Callable[[Progress], bool | None] | None = None,
) -> xr.Dataset:
    """Simulate a population of agents that learn and exchange messages over a graph.

    Args:
        algorithm: who learns how, an instance from `cs.algorithms` or one's own.
        model: the network of every agent: a model of `cs.models`, or an equinox module.
        task: data, loss and evaluation, from `cs.tasks`.
        shards: one array of indices into `task.train_inputs` per agent, from a partition such as `cs.tasks.by_class`.
        graph: who listens to whom, from `cs.graphs`; as many agents as shards.
        num_rounds: rounds to simulate.
        batch_size: samples per mini-batch, drawn without replacement epoch by epoch; `None` takes the whole shard in
            every step, which makes the dynamics deterministic.
        seed: of initial parameters, mini-batches and the algorithm's own randomness.
        observe: what is recorded, names from `cs.observables.OBSERVABLES` or `Observable`s.
        observe_every: rounds between two records; a twentieth of the run by default. Round 0, the initial state, and
            the last round are always recorded.
        average_after: if given, records of later rounds are averaged, and the dimension "round" disappears.
        mixing: W, a mixing matrix or a function that makes one from the graph; the algorithm's default otherwise
            (Metropolis–Hastings weights on undirected graphs).
        schedules: what changes from round to round: active agents, links, weights, the coupling, roles.
        roles: agent → "server" for agents without data that the observables leave out.
        initial_params: one set for all agents, or one per agent (leaves with a leading axis of agents).
        common_init: whether all agents start from the same draw.
        dtype: "float32" or "float64", whatever JAX's global flag says.
        interventions: what is done to the population between rounds: `SetParameter`, `SetEdge`, `Freeze`, `Thaw`,
            `SwapData` and `Restart` of `cs.simulation`.
        devices: share the agents out among these devices (`jax.devices()`), in equal numbers. By default all are on
            one device; after `cs.simulation.join`, on those of all processes. Results agree up to rounding.
        on_chunk: called every few hundred rounds with the `Progress`; returning True stops the run.

    Returns:
        A data set with a variable per observable, with dimensions from (round, agent, agent_evaluated, class); final
        parameters as "params/<path>", for which `run.params(agent)` gives a pytree; "outcome" and "final_round".

    Raises:
        InvalidSpec: for a part that is wrong by itself.
        IncompatiblePair: for parts that do not fit each other, and for agents that cannot be shared out evenly.

    Warns:
        StabilityWarning: if linear theory says that the parameters will diverge. The run goes on, and its outcome says
            whether and in which round they did.
        WastefulWarning: if a compressor's messages are not smaller than what they stand for.
        MismatchWarning: for a mixing matrix that the method does not use, and for different starts of agents that move
            by the same steps.

    Example:
        >>> import consilience as cs
        >>> task = cs.tasks.load("digits")
        >>> run = cs.simulate(
        ...     cs.algorithms.DiffusiveCoupling(learning_rate=0.01, coupling=30.0),
        ...     model=cs.models.mlp(depth=0), task=task, shards=cs.tasks.by_class(task, num_agents=10),
        ...     graph=cs.graphs.complete(10), num_rounds=20, seed=0)
        >>> run.accuracy.dims, str(run.outcome.values)
        (('round', 'agent'), 'completed')
        >>> sorted(run.params(3))
        ['layer_0']
    """
    check_seed(seed)
    experiment = resolve_experiment(
        algorithm,
        model=model,
        task=task,
        shards=shards,
        graph=graph,
        num_rounds=num_rounds,
        batch_size=batch_size,
        observe=observe,
        observe_every=observe_every,
        average_after=average_after,
        mixing=mixing,
        schedules=schedules,
        roles=roles,
        initial_params=initial_params,
        common_init=common_init,
        dtype=dtype,
        interventions=interventions,
    )
    placement = place(experiment.num_agents, devices)
    trajectory = run_ensemble(experiment, [algorithm], [seed], on_chunk=on_chunk, placement=placement)
    dataset = to_dataset(trajectory).isel({REPLICA: 0}, drop=True)
    return describe_result(dataset, experiment, trajectory.seconds)
