"""`predict` and `trajectory`: what they return, how they are called, and parameters from coefficients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from consilience import graphs, models
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.parameters import parameters
from peer_to_peer_networks import linear_network

MIXING = graphs.metropolis(graphs.path(3))
MODEL = models.ntk_mlp(depth=1, width=16)


def two_outputs() -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = [random.normal(size=(size, 3)) for size in (2, 5, 3)]
    test = random.normal(size=(4, 3))
    return x, [shard[:, :2] for shard in x], test, test[:, :2]


def test_what_is_returned() -> None:
    x, y, test_x, test_y = two_outputs()
    params = {"layer_0": {"weight": np.ones((2, 3)), "bias": np.zeros(2)}}
    run = peer_to_peer.predict(
        models.ntk_mlp(depth=0),
        params,
        x,
        y,
        MIXING,
        learning_rate=0.1,
        num_rounds=7,
        test_inputs=test_x,
        test_targets=test_y,
        record_every=3,
        keep=("outputs", "errors", "coefficients"),
    )
    assert run["round"].values.tolist() == [0, 3, 6, 7]
    np.testing.assert_allclose(run["time"], 0.1 * run["round"])
    for name in ("train_loss", "objective", "test_loss"):
        assert run[name].dims == ("round", "agent")
    assert run.consensus_distance.dims == ("round",)
    assert run.train_outputs.dims == ("round", "agent", "sample", "output")
    assert run.held_by.values.tolist() == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]
    assert run.coefficients.shape == (4, 3, 20 + 1, 1)
    np.testing.assert_allclose(run.train_errors, run.train_outputs - np.concatenate(y), atol=1e-14)
    np.testing.assert_allclose(run.test_errors, run.test_outputs - test_y, atol=1e-14)
    own = run.train_errors.isel(agent=1, sample=run.held_by.values == 1)
    np.testing.assert_allclose(run.train_loss[:, 1], np.square(own).sum(("sample", "output")) / 10, rtol=1e-12)
    np.testing.assert_allclose(run.test_loss, np.square(run.test_errors).sum(("test_sample", "output")) / 8, rtol=1e-12)
    assert run.attrs["algorithm"] == "dgd"
    assert "method" in run.attrs


def test_parameters_predict_the_outputs_of_the_linearised_network() -> None:
    """θ⁰ + a small step: the network itself is linear there, but for second order."""
    x, y, _, _ = two_outputs()
    params = MODEL.init(jax.random.key(0), (3,), 2)
    network = peer_to_peer.linearize(MODEL, params, x, y)
    errors = []
    for rate in (1e-3, 1e-4):
        run = peer_to_peer.trajectory(
            network, MIXING, learning_rate=rate, num_rounds=1, keep=("outputs", "coefficients")
        )
        trained = parameters(network, run.coefficients[1])
        assert trained["layer_0"]["weight"].shape == (3, 16, 3)
        with jax.enable_x64(True):
            outputs = np.asarray(jax.vmap(MODEL.apply, in_axes=(0, None))(trained, jnp.asarray(np.concatenate(x))))
        errors.append(np.abs(outputs - run.train_outputs[1].values).max())
    assert errors[1] < 0.02 * errors[0]  # a hundredth, and what ReLUs that switch add


def test_parameters_of_rounds_and_agents_keep_leading_dimensions() -> None:
    network = linear_network(num_features=4, num_outputs=2)
    run = peer_to_peer.trajectory(network, np.eye(4), learning_rate=0.1, num_rounds=3, keep="coefficients")
    every = parameters(network, run.coefficients)["layer_0"]["weight"]
    assert every.shape == (4, 4, 2, 4)
    one = parameters(network, run.coefficients[2, 1])["layer_0"]["weight"]
    np.testing.assert_allclose(one, every[2, 1], rtol=1e-12)
    with pytest.raises(IncompatiblePair, match=r"\(\.\.\., 25, 1\) is needed"):
        parameters(network, np.zeros((4, 24)))


def test_infinite_width_has_no_parameters() -> None:
    x, y, _, _ = two_outputs()
    network = peer_to_peer.linearize(peer_to_peer.infinite_width_kernel(1), None, x, y)
    run = peer_to_peer.trajectory(network, MIXING, learning_rate=0.1, num_rounds=1, keep="coefficients")
    assert run.coefficients.shape == (2, 3, 10, 2)
    with pytest.raises(InvalidSpec, match="infinitely many parameters"):
        parameters(network, run.coefficients)


def test_schedules_and_constant_matrices_agree() -> None:
    network = linear_network(num_features=4)
    weights = graphs.metropolis(graphs.cycle(4)).weights
    options = {"algorithm": "atc", "learning_rate": 0.2, "num_rounds": 20, "record_every": 7, "weight_decay": 0.01}
    constant = peer_to_peer.trajectory(network, weights, **options)
    scheduled = peer_to_peer.trajectory(network, graphs.Periodic(weights[None]), **options)
    xr.testing.assert_allclose(constant.drop_attrs(), scheduled.drop_attrs(), rtol=1e-12)


def test_no_rounds() -> None:
    run = peer_to_peer.trajectory(linear_network(num_features=4), np.eye(4), learning_rate=0.2, num_rounds=0)
    assert run.sizes["round"] == 1


def test_refusals() -> None:
    network = linear_network(num_features=4)
    weights = graphs.metropolis(graphs.cycle(4)).weights
    options = {"learning_rate": 0.2, "num_rounds": 2}
    with pytest.raises(UnknownName, match="'dsgd' is not an algorithm with a closed form"):
        peer_to_peer.trajectory(network, weights, algorithm="dsgd", **options)
    with pytest.raises(UnknownName, match="algorithm with a closed form"):
        peer_to_peer.trajectory(network, graphs.Periodic(weights[None]), algorithm="dsgd", **options)
    with pytest.raises(UnknownName, match="'stream' is not a kind of time"):
        peer_to_peer.trajectory(network, weights, time="stream", **options)
    with pytest.raises(UnknownName, match="'losses' is not a quantity"):
        peer_to_peer.trajectory(network, weights, keep="losses", **options)
    with pytest.raises(IncompatiblePair, match="needs one matrix for all times"):
        peer_to_peer.trajectory(network, graphs.Periodic(weights[None]), time="flow", **options)
    with pytest.raises(IncompatiblePair, match="is for 3 agents, but there is data of 4"):
        peer_to_peer.trajectory(network, MIXING, **options)
    lopsided = np.array([[0.5, 0, 0, 0.5], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0.5]])
    with pytest.raises(IncompatiblePair, match="do not sum to one, only its columns"):
        peer_to_peer.trajectory(network, lopsided, **options)
    with pytest.raises(IncompatiblePair, match="do not sum to one, only its columns"):
        peer_to_peer.trajectory(network, graphs.Periodic(lopsided[None]), **options)
    with pytest.raises(InvalidSpec, match=r"num_rounds=2.5"):
        peer_to_peer.trajectory(network, weights, learning_rate=0.2, num_rounds=2.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec, match="weight_decay=-1"):
        peer_to_peer.trajectory(network, weights, weight_decay=-1, **options)
