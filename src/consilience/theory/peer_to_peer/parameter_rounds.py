"""The linearised network in parameter space: rounds and outputs by products with J and Jᵀ, compiled.

J_q ϑ is a directional derivative and J_qᵀ e a back-propagation, both at θ⁰. Their cost is that of evaluating the
network, and no matrix is formed. Deviations ϑ_q = θ_q − θ⁰ are pytrees like the parameters, with a leading axis of
agents; everything is computed in their precision.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.theory.peer_to_peer.arguments import Floats, LearningData

BATCH = 256
"""Samples on which all agents are evaluated at a time."""


@dataclass(frozen=True, eq=False)
class Shards:
    """The data of all agents in one array each, padded to the largest shard.

    Attributes:
        inputs: shape (agents, samples, ...).
        residuals: f(X, θ⁰) − y, shape (agents, samples, outputs).
        shares: 1/n_q for a sample of the agent's, 0 for one that pads; shape (agents, samples, 1).
    """

    inputs: NDArray[Any]
    residuals: NDArray[Any]
    shares: NDArray[Any]

    @classmethod
    def of(cls, data: LearningData, outputs: Floats, precision: np.dtype[Any]) -> Shards:
        """The shards of `data`, whose outputs at θ⁰ are given; a sample of the agent's own is what pads."""
        sizes, slots = data.sizes[:, None], np.arange(data.sizes.max())
        where = np.minimum(slots, sizes - 1) + np.cumsum(sizes, axis=0) - sizes
        shares = np.where(slots < sizes, 1 / sizes, 0.0)[..., None]
        inputs, residuals = data.inputs[where], (outputs - data.targets)[where]
        return cls(*(array.astype(precision) for array in (inputs, residuals, shares)))


def advance(
    model: Any,
    params: Any,
    deviations: Any,
    shards: Shards,
    weights: NDArray[Any],
    *,
    count: int,
    algorithm: str,
    learning_rate: float,
    weight_decay: float,
) -> Any:
    """The deviations after `count` rounds, the k-th with the mixing matrix weights[k % len(weights)].

    The given deviations are consumed: their memory is used for the result.
    """
    import jax

    precision = jax.tree.leaves(deviations)[0].dtype
    rates = np.array([learning_rate, weight_decay], precision)
    arrays = shards.inputs, shards.residuals, shards.shares
    return _compiled(_advance, model, algorithm)(deviations, params, *arrays, weights.astype(precision), rates, count)


def output_changes(model: Any, params: Any, deviations: Any, inputs: NDArray[Any], num_outputs: int) -> Floats:
    """J(x) ϑ_q of all agents on common samples, float64, shape (agents, samples, outputs)."""
    import jax

    one = jax.tree.leaves(deviations)[0]
    changes = np.empty((len(one), len(inputs), num_outputs))
    batch = max(min(BATCH, len(inputs)), 1)
    evaluate = _compiled(_output_changes, model)
    for start in range(0, len(inputs), batch):
        chosen = np.arange(start, start + batch).clip(max=len(inputs) - 1)  # batches of one shape, to the end
        found = evaluate(deviations, params, inputs[chosen].astype(one.dtype))
        changes[:, start : start + batch] = found[:, : len(inputs) - start]
    return changes


def consensus_distance(deviations: Any) -> float:
    """√(mean_q ‖θ_q − θ̄‖²)."""
    return float(np.sqrt(_compiled(_mean_square_distance)(deviations)))


def _advance(
    model: Any,
    algorithm: str,
    deviations: Any,
    params: Any,
    inputs: Any,
    residuals: Any,
    shares: Any,
    weights: Any,
    rates: Any,
    count: Any,
) -> Any:
    import jax

    learning_rate, weight_decay = rates
    changes, pull_back = _products(model, params, inputs, deviations)

    def step(at: Any, into: Any) -> Any:
        """`into` minus the learning rate times the gradients at `at`."""
        (gradient,) = pull_back(shares * (changes(at) + residuals))
        return jax.tree.map(
            lambda x, g, d, p: x - learning_rate * (g + 2 * weight_decay * (d + p)), into, gradient, at, params
        )

    def one_round(k: Any, state: Any) -> Any:
        matrix = weights[k % len(weights)]
        if algorithm == "dgd":
            return step(state, _mixed(matrix, state))
        if algorithm == "atc":
            return _mixed(matrix, step(state, state))
        mixed = _mixed(matrix, state)
        return step(mixed, mixed)

    return jax.lax.fori_loop(0, count, one_round, deviations)


def _products(model: Any, params: Any, inputs: Any, deviations: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """ϑ → J_q ϑ_q of all agents, shape (agents, samples, outputs), and its transpose.

    An agent after the other: as fast as all together, and what belongs to one fits into the processor's cache.
    """
    import jax

    def change(one: Any) -> Any:
        deviation, x = one
        return jax.jvp(lambda p: model.apply(p, x), (params,), (deviation,))[1]

    # It is linear already. Linearising it once more takes out what does not depend on the deviations, the network at
    # θ⁰, which is then evaluated once and not in every round.
    _, changes = jax.linearize(lambda d: jax.lax.map(change, (d, inputs)), deviations)
    return changes, jax.linear_transpose(changes, deviations)


def _mixed(matrix: Any, deviations: Any) -> Any:
    import jax

    return jax.tree.map(lambda leaf: (matrix @ leaf.reshape(len(leaf), -1)).reshape(leaf.shape), deviations)


def _output_changes(model: Any, deviations: Any, params: Any, inputs: Any) -> Any:
    import jax

    _, change = jax.linearize(lambda p: model.apply(p, inputs), params)
    return jax.lax.map(change, deviations)


def _mean_square_distance(deviations: Any) -> Any:
    import jax
    import jax.numpy as jnp

    apart = [(leaf - leaf.mean(axis=0)).reshape(len(leaf), -1) for leaf in jax.tree.leaves(deviations)]
    return jnp.stack([jnp.square(leaf).sum(axis=1) for leaf in apart]).sum(axis=0).mean()


def _compiled(function: Callable[..., Any], *static: Any) -> Callable[..., Any]:
    """`function` with its static arguments, compiled; once and for all calls if these can be compared."""
    try:
        return _remembered(function, *static)
    except TypeError:  # unhashable: an equinox module that holds arrays
        return _jitted(function, *static)


def _jitted(function: Callable[..., Any], *static: Any) -> Callable[..., Any]:
    import jax

    donated = (0,) if function is _advance else ()
    return jax.jit(functools.partial(function, *static), donate_argnums=donated)


_remembered = functools.lru_cache(maxsize=16)(_jitted)
