"""From the parts that a user gives to an experiment: checked one by one and against each other, nothing left out."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consilience.algorithms import LEARNER, SERVER, Algorithm, check_pair
from consilience.errors import IncompatiblePair, InvalidSpec, MismatchWarning, StabilityWarning, WastefulWarning
from consilience.graphs import Graph, MixingMatrix, Schedules, check_support
from consilience.messages import Compressor, Identity, num_bits
from consilience.models import Model, Params, as_model, parameter_shapes
from consilience.observables import Observable, check_observables, resolve
from consilience.randomness import Purpose, key
from consilience.simulation.experiment import DTYPES, Experiment, whole
from consilience.simulation.interventions import Intervention, check_interventions
from consilience.tasks import Task

_ROUNDS_LOOKED_AT = 64
"""Of a schedule, evenly spread from the first to the last."""


def _checked_shards(shards: Sequence[Any], task: Task, graph: Graph, roles: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    if len(shards) != graph.num_agents:
        raise IncompatiblePair(
            f"There are {len(shards)} shards, but {graph.name} has {graph.num_agents} agents; every agent needs one "
            f"shard. Use a graph of {len(shards)} agents, cs.graphs.complete({len(shards)}), or make "
            f"{graph.num_agents} shards, cs.tasks.by_class(task, num_agents={graph.num_agents})."
        )
    checked = []
    for agent, shard in enumerate(shards):
        indices = np.asarray(shard)
        if indices.size == 0 and roles[agent] == LEARNER:
            raise InvalidSpec(
                f"Agent {agent} has no data: its shard is empty, so it has nothing to learn from. Use fewer agents, a "
                "partition with a larger alpha, or give it the role of a server, roles={agent: 'server'}."
            )
        if indices.ndim != 1 or (indices.size and not np.issubdtype(indices.dtype, np.integer)):
            raise InvalidSpec(
                f"The shard of agent {agent} is an array of shape {indices.shape} and type {indices.dtype}; a shard is "
                "a one-dimensional array of indices into task.train_inputs. Write np.flatnonzero(mask) for a mask."
            )
        if indices.size and (indices.min() < 0 or indices.max() >= task.num_train):
            raise InvalidSpec(
                f"The shard of agent {agent} holds index {indices.min() if indices.min() < 0 else indices.max()}, but "
                f"task {task.name!r} has {task.num_train} training samples, 0 to {task.num_train - 1}. Were the shards "
                "made for another task?"
            )
        checked.append(indices.astype(np.int64))
    return tuple(checked)


def _checked_roles(roles: dict[int, str] | None, num_agents: int) -> tuple[int, ...]:
    codes = {"learner": LEARNER, "server": SERVER}
    resolved = [LEARNER] * num_agents
    for agent, role in (roles or {}).items():
        if role not in codes or not 0 <= agent < num_agents:
            raise InvalidSpec(
                f"roles={roles!r}: roles maps agents 0 to {num_agents - 1} to 'learner' or 'server'. Write "
                "roles={0: 'server'}."
            )
        resolved[agent] = codes[role]
    if all(role == SERVER for role in resolved):
        raise InvalidSpec("All agents are servers, and nobody learns. Leave at least one agent a learner.")
    return tuple(resolved)


def _checked_params(given: Params | None, shapes: Params, num_agents: int) -> Params | None:
    if given is None:
        return None
    structures = jax.tree.structure(given), jax.tree.structure(shapes)
    seen = [jnp.shape(leaf) for leaf in jax.tree.leaves(given)]
    one = [leaf.shape for leaf in jax.tree.leaves(shapes)]
    if structures[0] != structures[1] or seen not in (one, [(num_agents, *shape) for shape in one]):
        raise InvalidSpec(
            f"initial_params has leaves of shapes {seen} in {structures[0]}; the model's parameters are {one} in "
            f"{structures[1]}. Give one set for all agents, or one per agent with a leading axis of {num_agents}."
        )
    if not all(bool(np.isfinite(np.asarray(leaf)).all()) for leaf in jax.tree.leaves(given)):
        raise InvalidSpec("initial_params holds NaN or infinity. Did the run that they come from diverge?")
    return given


def _check_outputs(model: Model, shapes: Params, task: Task) -> None:
    """Refuse a model whose outputs are not those of the task."""
    samples = 2
    inputs = jax.ShapeDtypeStruct((samples, *task.input_shape), jnp.float32)
    try:
        outputs = jax.eval_shape(model.apply, shapes, inputs).shape
    except Exception as error:
        error.add_note(f"Raised by the model {model.name!r} on inputs of shape {inputs.shape} (task {task.name!r}).")
        raise
    if outputs != (samples, task.num_outputs):
        raise IncompatiblePair(
            f"The model {model.name!r} turns a batch of {samples} samples of task {task.name!r} into outputs of shape "
            f"{outputs}, but the task has {task.num_outputs} {'classes' if task.is_classification else 'targets'}, so "
            f"({samples}, {task.num_outputs}) is needed. Make the last layer {task.num_outputs} wide, or, if the model "
            "is for single samples, apply it with jax.vmap."
        )


def _wasteful_compressors(algorithm: Algorithm, shapes: Params, dtype: str) -> Iterator[str]:
    """Says, one paragraph each, which compressors make messages of the size of the parameters no smaller."""
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)
    for field in dataclasses.fields(algorithm):
        compressor = getattr(algorithm, field.name)
        if not isinstance(compressor, Compressor) or isinstance(compressor, Identity):
            continue
        with jax.enable_x64(dtype == "float64"):
            compress = functools.partial(compressor.compress, key=key(0, Purpose.AGENT, 0, 0))
            bits = num_bits(jax.eval_shape(compress, params))
        if bits >= num_bits(params):
            yield (
                f"{field.name}={compressor} makes messages of {bits:,} bits of parameters of {num_bits(params):,}: it "
                "loses something and saves nothing. Let less travel (a smaller fraction, rank or number of levels), or "
                "write compressor=cs.messages.Identity()."
            )


def _mismatches(algorithm: Algorithm, *, has_mixing: bool, starts_apart: bool) -> Iterator[str]:
    """Says, one paragraph each, which parts the method was not made for, although it runs."""
    method = type(algorithm).__name__
    if has_mixing and not algorithm.reads_mixing:
        yield (
            f"{method} does not use a mixing matrix: the one that is given changes nothing. Leave it out; the graph's "
            "own weights act where a method couples agents by them. To average with a matrix, write "
            "cs.algorithms.DGD(...) or cs.algorithms.AdaptThenCombine(...)."
        )
    if starts_apart and algorithm.starts_together:
        yield (
            f"{method} moves all agents by the same steps, and they start from different parameters: they will stay "
            "as far apart as they are, and learn little. Write common_init=True."
        )


def _check_schedules(schedules: Schedules, num_agents: int) -> None:
    """Refuse schedules whose values are not for this many agents, or for all of them if they are one number."""
    needed = {"active": 1, "roles": 1, "edges": 2, "mixing": 2, "adjacency": 2, "coupling": 0}
    for name, ndim in needed.items():
        schedule = getattr(schedules, name)
        if schedule is None:
            continue
        # While JAX holds a trace of a function it takes the NumPy arrays in it in that trace's precision, in later runs
        # of double precision too. The lambda dies at once, and its trace with it.
        seen = jax.eval_shape(lambda round, schedule=schedule: schedule(round), jnp.asarray(0)).shape
        shape = (num_agents,) * ndim
        if seen != shape and not shape:
            raise InvalidSpec(
                f"The schedule of {name} gives arrays of shape {seen}, but it is one factor on the coupling of all "
                "agents, so each round needs shape (). Write cs.graphs.Interpolated(rounds=(0, 100), values=(0.0, "
                "1.0)), say, or Schedules(adjacency=...) for couplings that differ from link to link."
            )
        if seen != shape:
            raise IncompatiblePair(
                f"The schedule of {name} gives arrays of shape {seen}, but there are {num_agents} agents, so each "
                f"round needs shape {shape}. Was it made for another graph?"
            )


def _check_changing_weights(schedules: Schedules, graph: Graph, num_rounds: int) -> None:
    """Refuse W(t) that mixes along links which the graph does not have, where nothing would be counted."""
    mixing = schedules.mixing
    if mixing is None or graph.uniform_weight is not None:
        return
    rounds = np.unique(np.linspace(0, num_rounds - 1, _ROUNDS_LOOKED_AT).astype(np.int32))
    known = jnp.asarray((graph.adjacency != 0) | np.eye(graph.num_agents, dtype=bool))
    strays = np.asarray(jax.lax.map(lambda round: (mixing(round) * ~known != 0).any(), jnp.asarray(rounds)))
    if strays.any():
        raise IncompatiblePair(
            f"In round {rounds[strays.argmax()]} the schedule of mixing has weights between agents that {graph.name} "
            "does not link. Give the graph all links that ever carry a message, cs.graphs.complete"
            f"({graph.num_agents}) if everybody meets everybody at some time."
        )


def _checked_batch(batch_size: int | None) -> int | None:
    advice = "Write batch_size=32, or batch_size=None for the whole shard."
    return None if batch_size is None else whole("batch_size", batch_size, least=1, advice=advice)


def resolve_experiment(
    algorithm: Algorithm,
    *,
    model: Any,
    task: Task,
    shards: Sequence[Any],
    graph: Graph,
    num_rounds: int,
    batch_size: int | None = 32,
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
) -> Experiment:
    """Check the parts of an experiment against each other and fill in what was left out; see `simulate`.

    Raises:
        InvalidSpec: for a part that is wrong by itself.
        IncompatiblePair: for parts that do not fit each other.
    """
    if not isinstance(algorithm, Algorithm):
        hint = " Did you pass the class instead of an instance?" if isinstance(algorithm, type) else ""
        raise InvalidSpec(
            f"algorithm={algorithm!r} is not an algorithm.{hint} Write "
            "cs.algorithms.DiffusiveCoupling(learning_rate=0.005, coupling=30.0)."
        )
    for part, kind, advice in ((task, Task, 'cs.tasks.load("digits")'), (graph, Graph, "cs.graphs.complete(10)")):
        if not isinstance(part, kind):
            raise InvalidSpec(f"{part!r} is not a {kind.__name__.lower()}. Write {advice}, say.")
    if dtype not in DTYPES:
        raise InvalidSpec(f"dtype={dtype!r}: runs are in single or double precision. Write dtype='float32'.")
    model = as_model(model)
    num_rounds = whole("num_rounds", num_rounds, least=1, advice="Write num_rounds=1000, say.")
    if observe_every is None:
        observe_every = max(1, num_rounds // 20)
    observe_every = whole("observe_every", observe_every, least=1, advice="Write observe_every=500, say.")
    if average_after is not None:
        average_after = whole("average_after", average_after, least=0, advice="Write average_after=0.")
        if average_after >= num_rounds:
            raise InvalidSpec(
                f"average_after={average_after} leaves no round of num_rounds={num_rounds} to average over. Write "
                f"average_after={num_rounds // 2}, say."
            )
    observables = resolve(observe)
    check_observables(observables, is_classification=task.is_classification)
    role_codes = _checked_roles(roles, graph.num_agents)
    matrix = mixing(graph) if callable(mixing) else (mixing or algorithm.default_mixing(graph))
    check_pair(algorithm, graph, matrix, schedules)
    check_support(matrix, graph)
    for message in algorithm.warnings(graph, matrix):
        warnings.warn(message, StabilityWarning, stacklevel=3)
    shapes = parameter_shapes(model, task.input_shape, task.num_outputs)
    for message in _wasteful_compressors(algorithm, shapes, dtype):
        warnings.warn(message, WastefulWarning, stacklevel=3)
    has_mixing = mixing is not None or (schedules is not None and schedules.mixing is not None)
    starts_apart = initial_params is None and not common_init and graph.num_agents > 1
    for message in _mismatches(algorithm, has_mixing=has_mixing, starts_apart=starts_apart):
        warnings.warn(message, MismatchWarning, stacklevel=3)
    _check_outputs(model, shapes, task)
    _check_schedules(schedules or Schedules(), graph.num_agents)
    _check_changing_weights(schedules or Schedules(), graph, num_rounds)
    experiment = Experiment(
        algorithm=algorithm,
        model=model,
        task=task,
        shards=_checked_shards(shards, task, graph, role_codes),
        graph=graph,
        mixing=matrix,
        num_rounds=num_rounds,
        batch_size=_checked_batch(batch_size),
        observables=observables,
        observe_every=observe_every,
        average_after=average_after,
        dtype=dtype,
        initial_params=_checked_params(initial_params, shapes, graph.num_agents),
        common_init=common_init,
        schedules=schedules or Schedules(),
        roles=role_codes,
    )
    return dataclasses.replace(experiment, interventions=check_interventions(experiment, tuple(interventions)))
