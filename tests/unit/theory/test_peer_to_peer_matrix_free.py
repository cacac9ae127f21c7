"""Rounds by products with J and Jᵀ, against the same rounds in kernel space."""

import jax
import numpy as np
import pytest
import xarray as xr

from consilience import graphs, models
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.arguments import learning_data
from consilience.theory.peer_to_peer.matrix_free import (
    kernel_bytes,
    matrix_free_bytes,
    matrix_free_trajectory,
    rounds_per_record,
)

NUM_OUTPUTS = 2
# 100 rounds of sums in another order, each rounding by 1e-16 of its terms; measured are 1e-14.
ROUNDING = 1e-12


def problem(sizes=(4, 1, 3), num_test=5, dtype=np.float64, model=None):
    """A network, its parameters and the data of agents with shards of these sizes."""
    model = model or models.ntk_mlp(depth=1, width=12)
    random = np.random.default_rng(0)
    x = [random.normal(size=(n, 3)) for n in (*sizes, num_test)]
    y = [random.normal(size=(n, NUM_OUTPUTS)) for n in (*sizes, num_test)]
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), model.init(jax.random.key(1), (3,), NUM_OUTPUTS))
    return model, params, learning_data(x[:-1], y[:-1], x[-1], y[-1])


def in_kernel_space(model, params, data, mixing, *, offsets=None, **options):
    """The same prediction by `trajectory`."""
    parts = np.cumsum(data.sizes)[:-1]
    tested = {"test_inputs": data.test_inputs, "test_targets": data.test_targets} if len(data.test_inputs) else {}
    shards = np.split(data.inputs, parts), np.split(data.targets, parts)
    linear = peer_to_peer.linearize(model, params, *shards, offsets=offsets, **tested)
    return peer_to_peer.trajectory(linear, mixing, **options)


def small_offsets(params, num_agents):
    """Another small deviation for each agent."""
    random = np.random.default_rng(2)
    return jax.tree.map(lambda leaf: 1e-2 * random.normal(size=(num_agents, *leaf.shape)), params)


def assert_equal(found, expected, tolerance=ROUNDING):
    assert set(found.variables) == set(expected.variables)
    for name in expected.variables:
        assert found[name].dims == expected[name].dims
        scale = np.abs(expected[name].values).max()
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance * scale, err_msg=str(name))


def directed(num_agents):
    """Row-stochastic, not symmetric."""
    weights = np.random.default_rng(3).random((num_agents, num_agents)) + 0.1
    return weights / weights.sum(axis=1, keepdims=True)


def schedule(round):
    """Another matrix in every round of three."""
    return (np.eye(3), directed(3), np.roll(np.eye(3), 1, axis=0))[round % 3]


@pytest.mark.parametrize(
    ("algorithm", "mixing", "every"),
    [("dgd", directed(3), 30), ("atc", directed(3), 30), ("cta", schedule, 90)],  # 90: more than are held
    ids=["dgd", "atc", "cta, scheduled"],
)
def test_equals_the_kernel_form(algorithm, mixing, every):
    model, params, data = problem()
    options = {
        "algorithm": algorithm, "learning_rate": 0.1, "weight_decay": 0.03, "num_rounds": 100, "record_every": every,
        "offsets": small_offsets(params, 3), "keep": ("outputs", "errors"),
    }  # fmt: skip
    found = matrix_free_trajectory(model, params, data, mixing, **options)
    assert_equal(found, in_kernel_space(model, params, data, mixing, **options))
    assert found["round"].values.tolist() == [*range(0, 100, every), 100]
    assert found.attrs["method"] == "matrix-free, repeated rounds in float64"
    assert found.consensus_distance[0] > 0  # the offsets


class Cubic:
    """A model of another kind: no dense layers, parameters in a list."""

    name = "cubic"

    def init(self, key, input_shape, num_outputs):
        return [jax.random.normal(key, (3, NUM_OUTPUTS)), jax.numpy.ones(())]

    def apply(self, params, inputs):
        return jax.numpy.sin(inputs @ params[0]) * params[1] ** 3


def test_any_differentiable_model_and_no_test_data():
    model, params, data = problem(num_test=1, model=Cubic())
    data = learning_data(np.split(data.inputs, [4, 5]), np.split(data.targets, [4, 5]))
    options = {"learning_rate": 0.05, "num_rounds": 20, "record_every": 10, "keep": "outputs"}
    found = matrix_free_trajectory(model, params, data, graphs.uniform(3), **options)
    assert "test_loss" not in found
    assert "test_outputs" not in found
    assert_equal(found, in_kernel_space(model, params, data, graphs.uniform(3), **options))


def test_single_precision_is_that_of_the_parameters():
    model, params, data = problem(dtype=np.float32)
    options = {"learning_rate": 0.1, "num_rounds": 300, "record_every": 100}
    found = matrix_free_trajectory(model, params, data, directed(3), **options)
    expected = in_kernel_space(model, params, data, directed(3), **options)
    assert found.attrs["method"].endswith("float32")
    # 300 rounds with a relative rounding of 6e-8 each, if all went one way: 2e-5.
    assert_equal(found, expected, tolerance=2e-5)
    assert not np.array_equal(found.train_loss, expected.train_loss)


def test_parameters_survive_and_nothing_is_compiled_again():
    model, params, data = problem()
    options = {"learning_rate": 0.1, "num_rounds": 7, "record_every": 3}
    offsets = small_offsets(params, 3)
    first = matrix_free_trajectory(model, params, data, graphs.uniform(3), offsets=offsets, **options)
    with jax.log_compiles(False), jax.enable_x64(True):
        compiled = []
        jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.append(event))
        again = matrix_free_trajectory(model, params, data, directed(3), offsets=offsets, **options)
        jax.monitoring.clear_event_listeners()
    assert not [event for event in compiled if "backend_compile" in event]
    assert float(again.train_loss[0, 0]) == float(first.train_loss[0, 0])
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves((params, offsets)))


def test_records_cost_what_rounds_cost_by_default():
    model, params, data = problem()
    # Per parameter: 3 agents on 8 + 5 samples, 2 · 39 = 78, against 4 · 3 · 4 (padded) + 2 · 9 = 66.
    assert rounds_per_record(data) == 2
    found = matrix_free_trajectory(model, params, data, graphs.uniform(3), learning_rate=0.1, num_rounds=5)
    assert found["round"].values.tolist() == [0, 2, 4, 5]


def test_what_it_takes():
    _, params, data = problem()
    assert kernel_bytes(data) == 8 * 16 * (16 + 10)
    assert kernel_bytes(data, shared=True) == 8 * 8 * (8 + 5)
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert matrix_free_bytes(params, data) == 4 * 3 * 8 * num_parameters
    assert matrix_free_bytes(problem(dtype=np.float32)[1], data) == 4 * 3 * 4 * num_parameters


def test_refusals():
    model, params, data = problem()
    options = {"learning_rate": 0.1, "num_rounds": 3}
    with pytest.raises(UnknownName, match="coefficients"):
        matrix_free_trajectory(model, params, data, graphs.uniform(3), keep="coefficients", **options)
    with pytest.raises(UnknownName, match="sgd"):
        matrix_free_trajectory(model, params, data, graphs.uniform(3), algorithm="sgd", **options)
    with pytest.raises(IncompatiblePair, match="4 agents"):
        matrix_free_trajectory(model, params, data, graphs.uniform(4), **options)
    with pytest.raises(InvalidSpec, match="leading axis of agents"):
        matrix_free_trajectory(model, params, data, graphs.uniform(3), offsets=params, **options)
    far = jax.tree.map(lambda leaf: 300 * leaf, small_offsets(params, 3))
    with pytest.raises(InvalidSpec, match="starts so far"):
        matrix_free_trajectory(model, params, data, graphs.uniform(3), offsets=far, **options)
    wrong = learning_data([data.inputs], [data.targets[:, :1]])
    with pytest.raises(IncompatiblePair, match="targets have 1 component"):
        matrix_free_trajectory(model, params, wrong, np.eye(1), **options)


def test_a_data_set_like_that_of_predict():
    model, params, data = problem()
    found = matrix_free_trajectory(
        model, params, data, graphs.uniform(3), learning_rate=0.1, num_rounds=2, keep="errors"
    )
    assert isinstance(found, xr.Dataset)
    assert found.train_errors.dims == ("round", "agent", "sample", "output")
    assert found.held_by.values.tolist() == [0, 0, 0, 0, 1, 2, 2, 2]
    assert found.attrs["time"] == "rounds"
