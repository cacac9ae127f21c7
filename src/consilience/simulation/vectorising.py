"""From one agent and replica to all: `vmap` over replicas, then over agents, in groups where memory asks for it.

Vectorised over everything, a round holds the activations of the whole population at once. For small networks that is
little. For networks whose activations are far larger than their parameters (convolutions) it drives every layer out of
the processor's cache, and groups of agents, one after the other, are faster.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consilience.algorithms import Local
from consilience.models import parameter_shapes
from consilience.simulation.experiment import Experiment

_GROUP_BYTES = 32 * 2**20
# Activations are large if they are so many times the parameters: measured on the networks of the laboratory, whose
# ratios are 0.4 – 1 (dense layers) and 400 (convolutions).
_LARGE = 8


def over_agents_and_replicas(
    function: Callable[..., Any], *, replica_axes: tuple[Any, ...], agent_axes: tuple[Any, ...], at_once: int | None
) -> Callable[..., Any]:
    """`function` of one agent and replica for all of them.

    Args:
        function: of arguments without axes of agents or replicas.
        replica_axes: for each argument the axis of replicas behind the axis of agents, a pytree or `None`, as in
            `jax.vmap`.
        agent_axes: the same for the axis of agents, which is 0 where there is one.
        at_once: agents that are computed side by side; all by default.

    Returns:
        A function whose results have agents on axis 0 and replicas on axis 1.

    Example:
        >>> add = over_agents_and_replicas(jnp.add, replica_axes=(0, None), agent_axes=(0, 0), at_once=2)
        >>> add(jnp.zeros((3, 2)), jnp.arange(3.0)).tolist()
        [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
    """
    of_one_agent = jax.vmap(function, in_axes=replica_axes)
    if at_once is None:
        return jax.vmap(of_one_agent, in_axes=agent_axes)

    def in_groups(*arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments, is_leaf=_is_none)
        axes = jax.tree.leaves(jax.tree.broadcast(agent_axes, arguments, is_leaf=_is_none), is_leaf=_is_none)

        def of_agent(own: list[jax.Array]) -> Any:
            mine = iter(own)
            return of_one_agent(
                *structure.unflatten(
                    leaf if axis is None else next(mine) for axis, leaf in zip(axes, leaves, strict=True)
                )
            )

        own = [leaf for axis, leaf in zip(axes, leaves, strict=True) if axis is not None]
        return jax.lax.map(of_agent, own, batch_size=at_once)

    return in_groups


def _is_none(value: Any) -> bool:
    return value is None


def in_order(agents: Sequence[Any], parts: Sequence[Any]) -> Any:
    """The results of groups of agents, put together in the order of agents.

    Args:
        agents: who is in each group; a single group is everybody.
        parts: their results, leaves (agents of the group, ...).

    Example:
        >>> in_order([np.array([2, 0]), np.array([1])], [jnp.array([5, 3]), jnp.array([4])]).tolist()
        [3, 4, 5]
    """
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate(agents))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[order], *parts)


def depends(function: Callable[[Any], Any], argument: Any) -> bool:
    """Whether anything that a function computes takes its argument in, as far as its program shows.

    Example:
        >>> depends(lambda x: 2 * x, 1.0), depends(lambda x: 2, 1.0)
        (True, False)
    """
    program = jax.make_jaxpr(function)(argument).jaxpr
    given = {id(variable) for variable in program.invars}
    taken = [*program.outvars, *(variable for equation in program.eqns for variable in equation.invars)]
    return any(id(variable) in given for variable in taken)


@dataclass(frozen=True)
class Activations:
    """What a network computes on the way to its gradient.

    Attributes:
        num_bytes: for each replica of an agent, for all samples of a mini-batch.
        are_large: whether that is much more than the parameters.
    """

    num_bytes: int
    are_large: bool

    def agents_at_once(self, num_replicas: int, num_agents: int) -> int | None:
        """How many agents a round should compute side by side; `None` for all, as always on accelerators.

        A group's parameters are copied out of the population's and back, so that groups gain something only where
        activations are large.
        """
        of_agent = self.num_bytes * num_replicas
        if jax.default_backend() != "cpu" or not self.are_large or of_agent * num_agents <= _GROUP_BYTES:
            return None
        return max(1, _GROUP_BYTES // of_agent)


def activations(experiment: Experiment) -> Activations:
    """The activations of an experiment's network in single precision.

    Counted in the traced gradient, before the compiler merges what it can.
    """
    e = experiment
    parts = e.model, e.task.loss, e.task.input_shape, e.task.num_outputs, e.task.train_labels.shape[1:]
    try:
        per_sample = _remembered(*parts)
    except TypeError:  # a model that cannot be hashed
        per_sample = _bytes_per_sample(*parts)
    num_bytes = per_sample * (e.batch_size or max(len(shard) for shard in e.shards))
    return Activations(num_bytes, are_large=num_bytes >= _LARGE * 4 * e.num_parameters)


def _bytes_per_sample(
    model: Any, loss: Any, input_shape: tuple[int, ...], num_outputs: int, target_shape: tuple[int, ...]
) -> int:
    # Arrays that hold something for each sample and replica are told by their sizes: multiples of two prime numbers.
    num_replicas, num_samples = 101, 103
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((num_replicas, *leaf.shape), jnp.float32),
        parameter_shapes(model, input_shape, num_outputs),
    )
    inputs = jax.ShapeDtypeStruct((num_samples, *input_shape), jnp.float32)
    target_dtype = jnp.float32 if target_shape else jnp.int32
    targets = jax.ShapeDtypeStruct((num_samples, *target_shape), target_dtype)

    def gradient(params: Any, inputs: Any, targets: Any) -> Any:
        return Local(inputs[None], targets[None], None, model.apply, loss).gradient(params)

    program = jax.make_jaxpr(jax.vmap(gradient, in_axes=(0, None, None)))(params, inputs, targets)
    return _bytes_of(program.jaxpr, multiples_of=num_replicas * num_samples) // (num_replicas * num_samples)


_remembered = functools.lru_cache(maxsize=64)(_bytes_per_sample)


def _bytes_of(jaxpr: Any, multiples_of: int) -> int:
    """Bytes of all intermediate results of a program whose size is such a multiple."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [value for value in jax.tree.leaves(equation.params, is_leaf=_is_program) if _is_program(value)]
        if inner:
            total += sum(_bytes_of(getattr(program, "jaxpr", program), multiples_of) for program in inner)
        else:
            results = [out.aval for out in equation.outvars]
            total += sum(aval.size * aval.dtype.itemsize for aval in results if aval.size % multiples_of == 0)
    return total


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")
