"""What an experiment hands to the compiled loop: tables of agents, training data and test data as device arrays."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from consilience.observables import EvaluationSet
from consilience.simulation.batching import full_batches
from consilience.simulation.experiment import Experiment

_EVALUATION_BYTES = 512 * 2**20


def agent_table(experiment: Experiment, dtype: Any) -> dict[str, jax.Array]:
    """What each agent's context says of it in every round; leaves with agents on axis 0."""
    neighbours = experiment.graph.neighbours
    return {
        "agent": jnp.arange(experiment.num_agents, dtype=jnp.int32),
        "shard_weight": jnp.asarray(experiment.shard_weights, dtype),
        "degree": jnp.asarray(experiment.graph.degrees, dtype),
        "neighbours": jnp.asarray(neighbours.ids),
        "neighbour_mask": jnp.asarray(neighbours.mask),
    }


def _target_dtype(experiment: Experiment, dtype: Any) -> Any:
    return jnp.int32 if experiment.task.is_classification else dtype


class Samples(eqx.Module):
    """Training data on the device, from which mini-batches are taken.

    Rows are flat, because XLA takes rows of one axis twice as fast as images. Images that were bytes divided by 255, as
    those of most data sets, are kept as bytes in single precision: a quarter of the memory, half of the time, and the
    same numbers to the last bit.

    Attributes:
        rows: shape (samples, features), floating-point numbers, or bytes that stand for 255ths.
        targets: shape (samples, ...).
        shape: of one input.
    """

    rows: jax.Array
    targets: jax.Array
    shape: tuple[int, ...] = eqx.field(static=True)

    def take(self, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Inputs and targets of some samples."""
        inputs = self.rows[indices]
        if inputs.dtype == jnp.uint8:
            inputs = _in_255ths(inputs)
        return inputs.reshape(*indices.shape, *self.shape), self.targets[indices]


# 1/255 in two parts: the first has 16 bits, so that its product with a byte is exact, and the sum is rounded once, as a
# quotient is. A division costs as much as taking the samples.
_HIGH = np.floor(2.0**23 / 255) / 2.0**23
_LOW = 1 / 255 - _HIGH


def _in_255ths(values: jax.Array) -> jax.Array:
    """k/255 for bytes k, in single precision, to the last bit."""
    numbers = values.astype(jnp.float32)
    return numbers * np.float32(_HIGH) + numbers * np.float32(_LOW)


class Shards(eqx.Module):
    """Every agent's whole shard, for full batches, padded to the largest: leaves (agents, 1, samples, ...).

    Attributes:
        inputs: of the samples.
        targets: of the samples.
        weights: of the samples, shape (agents, samples); zero on padding.
    """

    inputs: jax.Array
    targets: jax.Array
    weights: jax.Array


def training_data(experiment: Experiment, dtype: Any) -> Samples | Shards:
    """The training data, for mini-batches or for full batches."""
    task, target_dtype = experiment.task, _target_dtype(experiment, dtype)
    if experiment.batch_size is None:
        indices, weights = full_batches(experiment.shards)
        inputs, targets = task.train_inputs[indices][:, None], task.train_labels[indices][:, None]
        return Shards(jnp.asarray(inputs, dtype), jnp.asarray(targets, target_dtype), jnp.asarray(weights, dtype))
    rows = np.asarray(task.train_inputs, dtype).reshape(task.num_train, -1)
    as_bytes = _bytes(rows)
    return Samples(
        rows=jnp.asarray(rows if as_bytes is None else as_bytes),
        targets=jnp.asarray(task.train_labels, target_dtype),
        shape=task.input_shape,
    )


def _bytes(rows: np.ndarray) -> np.ndarray | None:
    """The bytes that give exactly these numbers when divided by 255, if there are such."""
    if rows.dtype != np.float32 or not (rows.size and rows.min() >= 0 and rows.max() <= 1):
        return None
    found = np.rint(rows * 255).astype(np.uint8)
    return found if (found.astype(np.float32) / np.float32(255) == rows).all() else None


def evaluation_set(experiment: Experiment, dtype: Any, *, num_replicas: int) -> EvaluationSet:
    """The test set, in blocks that keep the activations of all agents and replicas within half a gigabyte."""
    task = experiment.task
    num_classes = task.num_classes or 1
    labels = task.test_labels if task.is_classification else np.zeros(task.num_test, int)
    counts = np.bincount(labels, minlength=num_classes)
    # The widest activation of a small network is taken to be eight times its input.
    per_sample = 8 * math.prod(task.input_shape) * num_replicas * len(experiment.learners) * jnp.dtype(dtype).itemsize
    num_blocks = -(-task.num_test // int(np.clip(_EVALUATION_BYTES // per_sample, 16, 1000)))
    block = -(-task.num_test // num_blocks)
    padding = num_blocks * block - task.num_test

    def blocks(values: np.ndarray) -> np.ndarray:
        padded = np.concatenate([values, np.zeros((padding, *values.shape[1:]), values.dtype)])
        return padded.reshape(num_blocks, block, *values.shape[1:])

    return EvaluationSet(
        inputs=jnp.asarray(blocks(task.test_inputs), dtype),
        targets=jnp.asarray(blocks(task.test_labels), _target_dtype(experiment, dtype)),
        class_weights=jnp.asarray(blocks(np.eye(num_classes)[labels] / np.maximum(counts, 1)), dtype),
        class_shares=jnp.asarray(counts / counts.sum(), dtype),
    )
