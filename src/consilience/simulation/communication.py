"""What a run costs in bits and gradients: counted on the messages that its method emits, never declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consilience.algorithms import LEARNER, Context, Local
from consilience.graphs import Schedules
from consilience.messages import decode, num_bits
from consilience.randomness import Purpose, key
from consilience.simulation.experiment import Experiment
from consilience.simulation.interventions import stages
from consilience.simulation.simulation import precision


def message_bits(experiment: Experiment) -> list[int]:
    """8 × the bytes of one agent's message, for each exchange of a round; along edges, of the message to one neighbour.

    Example:
        >>> import consilience as cs
        >>> task = cs.tasks.load("digits")
        >>> message_bits(cs.simulation.resolve_experiment(
        ...     cs.algorithms.DGD(learning_rate=0.1), model=cs.models.mlp(depth=0), task=task,
        ...     shards=cs.tasks.by_class(task, num_agents=10), graph=cs.graphs.complete(10), num_rounds=1))
        [20800]
    """
    return [num_bits(message) for message, _ in _exchanges(experiment)]


def _exchanges(experiment: Experiment) -> list[tuple[Any, Any]]:
    """Shapes of one message, and of what an implied server sends back for it, for each exchange."""
    e = experiment
    steps, batch = (1, max(map(len, e.shards))) if e.batch_size is None else (e.algorithm.num_local_steps, e.batch_size)
    whole_shard = e.batch_size is None

    def shaped(exchange: int) -> tuple[Any, Any]:
        def of_agent(params: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
            weights = jnp.zeros(batch, inputs.dtype) if whole_shard else None
            local = Local(inputs, targets, weights, e.model.apply, e.task.loss)
            context = _context(e, exchange)
            _, message = e.algorithm.emit(e.algorithm.init(params, context), local, context)
            return message, e.algorithm.broadcast(decode(message), context) if e.algorithm.has_implied_server else ()

        def struct(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, dtype)

        params = jax.tree.map(lambda leaf: struct(leaf.shape, e.dtype), e.params_shapes)
        labels = e.task.train_labels
        targets = struct((steps, batch, *labels.shape[1:]), e.dtype if labels.dtype.kind == "f" else jnp.int32)
        return jax.eval_shape(of_agent, params, struct((steps, batch, *e.task.input_shape), e.dtype), targets)

    with precision(e.dtype):
        return [shaped(exchange) for exchange in range(e.algorithm.num_exchanges)]


def _context(e: Experiment, exchange: int) -> Context:
    """Any agent's, for shapes."""
    slots = e.graph.neighbours.num_slots
    return Context(
        round=jnp.asarray(0),
        agent=jnp.asarray(0),
        role=jnp.asarray(0),
        active=jnp.asarray(True),
        shard_weight=jnp.asarray(1.0, e.dtype),
        degree=jnp.asarray(1.0, e.dtype),
        neighbours=jnp.zeros(slots, jnp.int32),
        neighbour_mask=jnp.ones(slots, bool),
        key=key(0, Purpose.AGENT, 0, 0),
        shared_key=key(0, Purpose.SHARED, 0),
        num_agents=e.num_agents,
        exchange=exchange,
    )


@dataclass(frozen=True)
class Costs:
    """What a run costs, all agents together, up to each round.

    Attributes:
        bits: sent by agents, and by a server that is implied or has the role; shape (rounds + 1,), 0 before round 0.
        gradients: mini-batches for which a gradient (or a loss, for methods without gradients) was asked, same shape.
    """

    bits: np.ndarray
    gradients: np.ndarray


def costs(experiment: Experiment) -> Costs:
    """Bits and gradients of a run, counted.

    Over a graph each working link carries one message per exchange, in each direction in which it works. A method with
    an implied server sends one message up for each active agent, and one down to it.

    Example:
        >>> import consilience as cs
        >>> task = cs.tasks.load("digits")
        >>> run = cs.simulation.resolve_experiment(
        ...     cs.algorithms.DGD(learning_rate=0.1), model=cs.models.mlp(depth=0), task=task,
        ...     shards=cs.tasks.by_class(task, num_agents=10), graph=cs.graphs.cycle(10), num_rounds=3)
        >>> costs(run).bits.tolist(), costs(run).gradients.tolist()   # 20 messages of 650 numbers in single precision
        ([0, 416000, 832000, 1248000], [0, 10, 20, 30])
    """
    e = experiment
    busy = [[count[part.start : part.stop] for count in _busy(stage.experiment)] for part, stage in stages(e)]
    learners, links = (np.concatenate(counts) for counts in zip(*busy, strict=True))
    shapes = _exchanges(e)
    up, down = (sum(num_bits(part[which]) for part in shapes) for which in (0, 1))
    sent = learners * (up + down) if e.algorithm.has_implied_server else links * up
    asked = learners * e.algorithm.num_local_steps
    return Costs(*(np.concatenate([[0], np.cumsum(each)]) for each in (sent, asked)))


def _busy(e: Experiment) -> tuple[np.ndarray, np.ndarray]:
    """How many learners are active, and how many links carry messages, in each round; shapes (rounds,)."""
    n, schedules = e.num_agents, e.schedules
    others = ~np.eye(n, dtype=bool)

    def of_round(round: Any) -> tuple[Any, Any]:
        active = jnp.ones(n, bool) if schedules.active is None else schedules.active(round)
        roles = jnp.asarray(e.roles) if schedules.roles is None else schedules.roles(round)
        works = jnp.asarray(e.graph.adjacency != 0) & others
        if schedules.mixing is not None:
            works = works & (schedules.mixing(round) != 0)
        if schedules.edges is not None:
            works = works & schedules.edges(round)
        works = works & active[:, None] & active[None, :]
        return (active & (roles == LEARNER)).sum(), works.sum()

    if schedules == Schedules():
        once = [np.asarray(count) for count in of_round(jnp.asarray(0))]
        return np.repeat(once[0], e.num_rounds).astype(np.int64), np.repeat(once[1], e.num_rounds).astype(np.int64)
    learners, links = jax.jit(lambda: jax.lax.map(of_round, jnp.arange(e.num_rounds), batch_size=64))()
    return np.asarray(learners, np.int64), np.asarray(links, np.int64)
