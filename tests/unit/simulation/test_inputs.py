"""Training data on the device are the task's, to the last bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import consilience as cs
from consilience.simulation import resolve_experiment
from consilience.simulation.inputs import Samples, training_data


def samples(inputs: np.ndarray, dtype: str = "float32") -> Samples:
    labels = np.arange(len(inputs)) % 2
    task = cs.tasks.from_arrays(inputs, labels, inputs, labels)
    experiment = resolve_experiment(
        cs.algorithms.DGD(learning_rate=0.1),
        model=cs.models.mlp(depth=0),
        task=task,
        shards=cs.tasks.iid(task, num_agents=2),
        graph=cs.graphs.complete(2),
        num_rounds=1,
        batch_size=2,
    )
    found = training_data(experiment, jnp.dtype(dtype))
    assert isinstance(found, Samples)
    return found


def test_bytes_come_back_exactly() -> None:
    """Every one of the 256 values, from the compiled program, where a division would be a rounded product."""
    inputs = (np.arange(256, dtype=np.float32) / np.float32(255)).reshape(64, 2, 2)
    data = samples(inputs)
    assert data.rows.dtype == jnp.uint8
    for take in (data.take, jax.jit(lambda indices: data.take(indices))):
        found, labels = take(np.arange(64))
        np.testing.assert_array_equal(found, inputs)
        np.testing.assert_array_equal(labels, np.arange(64) % 2)


@pytest.mark.parametrize("change", [0.001, -0.5, 1.0])
def test_other_numbers_stay_as_they_are(change: float) -> None:
    inputs = (np.arange(256, dtype=np.float32) / np.float32(255)).reshape(64, 4) + np.float32(change)
    data = samples(inputs)
    assert data.rows.dtype == jnp.float32
    np.testing.assert_array_equal(data.take(np.array([[5, 3]]))[0], inputs[[[5, 3]]])


def test_images_of_the_data_sets_are_bytes_in_single_precision_only() -> None:
    task = cs.tasks.load("digits", num_train=100, num_test=20)  # sixteenths
    assert samples(task.train_inputs).rows.dtype == jnp.float32
    with jax.enable_x64(True):
        assert samples(np.linspace(0, 1, 256).reshape(64, 4), "float64").rows.dtype == jnp.float64
