"""Where learning ends, against long trajectories, and where it does not end."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from consilience import graphs
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.graphs import MixingMatrix
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.fixed_point import fixed_point
from consilience.theory.peer_to_peer.flow import flow
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.parameters import parameters
from consilience.theory.peer_to_peer.spectra.mixing_limit import mixing_limit
from peer_to_peer_networks import ALGORITHMS, linear_network, two_pairs

RATE = 0.2

MIXINGS = {
    "cycle": graphs.metropolis(graphs.cycle(4)),
    "directed": graphs.from_matrix([[0.5, 0.5, 0, 0], [0, 0.2, 0.8, 0], [0.3, 0, 0.3, 0.4], [0.6, 0, 0, 0.4]]),
    "disconnected": two_pairs(),
    "listener": graphs.from_matrix([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0.2, 0.2, 0.3, 0.3]]),
}
NETWORKS = {
    "under-parameterised": linear_network(num_features=4),
    "over-parameterised": linear_network(num_features=30),
    "offsets": linear_network(num_features=30, offsets=True),
    "identical inputs": linear_network(num_features=4, same_inputs=True),
}


def assert_same(end: xr.Dataset, last: xr.Dataset, tolerance: float) -> None:
    for name in end.data_vars:
        scale = np.abs(last.train_outputs).max() if name == "train_outputs" else 1.0
        np.testing.assert_allclose(end[name], last[name], rtol=0, atol=tolerance * scale, err_msg=str(name))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("mixing", MIXINGS.values(), ids=MIXINGS.keys())
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
def test_the_limit_of_long_trajectories(network: Linearization, mixing: MixingMatrix, algorithm: str) -> None:
    for decay in (0.0, 0.01):
        options = {"algorithm": algorithm, "learning_rate": RATE, "weight_decay": decay}
        end = fixed_point(network, mixing, **options, keep=("outputs",))
        rounds = peer_to_peer.trajectory(
            network, mixing, **options, num_rounds=10**5, record_every=10**5, keep=("outputs",)
        )
        # A mode that does not decay is off by some 1e-15 per round, the rounding of its eigenvalue: 1e-10 in all.
        assert_same(end, rounds.isel(round=-1), 1e-9)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rounds_and_flow_end_in_the_same_place(algorithm: str) -> None:
    network, mixing = NETWORKS["under-parameterised"], MIXINGS["directed"]
    options = {"algorithm": algorithm, "learning_rate": RATE}
    end = fixed_point(network, mixing, **options, time="flow", keep="outputs")
    assert_same(end, flow(network, mixing, **options)([1e5], keep="outputs").isel(time=0), 1e-9)
    xr.testing.assert_allclose(end.drop_attrs(), fixed_point(network, mixing, **options, keep="outputs").drop_attrs())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ["cycle", "directed"])
def test_enough_parameters_fit_everybodys_data(name: str, algorithm: str) -> None:
    end = fixed_point(NETWORKS["over-parameterised"], MIXINGS[name], algorithm=algorithm, learning_rate=RATE)
    assert float(end.objective.max()) < 1e-20
    assert float(end.consensus_distance) < 1e-9


def test_agents_that_do_not_hear_each_other_learn_what_their_group_sees() -> None:
    network = NETWORKS["over-parameterised"]
    end = fixed_point(network, two_pairs(), learning_rate=RATE, keep=("errors",))
    errors = np.abs(end.train_errors).max("output")
    for agent in range(4):
        is_own = end.held_by.values // 2 == agent // 2
        assert float(errors[agent, is_own].max()) < 1e-9
        assert float(errors[agent, ~is_own].max()) > 0.1


def test_too_few_parameters_leave_dgd_biased_in_proportion_to_the_rate() -> None:
    network, mixing = NETWORKS["under-parameterised"], MIXINGS["cycle"]
    rates = np.array([0.04, 0.02, 0.01, 0.005])
    spread = [float(fixed_point(network, mixing, learning_rate=rate).consensus_distance) for rate in rates]
    slope = np.polyfit(np.log(rates), np.log(spread), 1)[0]
    assert abs(slope - 1) < 0.05  # the next order in η is some η λ_max / gap, a few per cent here


def test_coefficients_are_those_of_the_minimum_with_weight_decay() -> None:
    """One agent: ridge regression towards θ = 0, in parameter space."""
    decay = 0.05
    network = linear_network(num_features=4, num_agents=1, offsets=True)
    end = fixed_point(network, np.eye(1), learning_rate=RATE, weight_decay=decay, keep=("coefficients",))
    found = parameters(network, end.coefficients)["layer_0"]
    assert network.origin is not None
    scale = np.sqrt(2.0 / 4)
    x = np.hstack([scale * network.origin.inputs, np.full((len(network.origin.inputs), 1), np.sqrt(0.3))])
    y = network.targets.reshape(len(x), -1)
    minimum = np.linalg.solve(x.T @ x / len(x) + 2 * decay * np.eye(5), x.T @ y / len(x))
    np.testing.assert_allclose(np.vstack([found["weight"][0].T, found["bias"]]), minimum, atol=1e-12)


def test_mixing_limit() -> None:
    mixing = MIXINGS["listener"]
    limit = mixing_limit(mixing)
    np.testing.assert_allclose(limit.reached @ limit.heard, np.linalg.matrix_power(mixing.weights, 200), atol=1e-13)
    disagreement = np.eye(4) - mixing.weights
    np.testing.assert_allclose(disagreement @ limit.inverse @ disagreement, disagreement, atol=1e-14)
    np.testing.assert_allclose(disagreement @ limit.inverse, limit.inverse @ disagreement, atol=1e-14)


def test_without_an_end() -> None:
    network = NETWORKS["under-parameterised"]
    with pytest.raises(InvalidSpec, match=r"learning_rate=9 .* multiplies a mode of the agents' errors by -.*smaller"):
        fixed_point(network, MIXINGS["cycle"], learning_rate=9.0)
    assert np.isfinite(fixed_point(network, MIXINGS["cycle"], learning_rate=9.0, time="flow").objective).all()
    with pytest.raises(InvalidSpec, match=r"learning_rate=9 .* multiplies"):
        fixed_point(NETWORKS["identical inputs"], MIXINGS["cycle"], learning_rate=9.0)
    swap = graphs.from_matrix(np.eye(4)[[1, 0, 3, 2]])
    with pytest.raises(InvalidSpec, match="modulus not below 1"):
        fixed_point(NETWORKS["offsets"], swap, algorithm="atc", learning_rate=RATE)
    growing = graphs.from_matrix([[2.0, -1.0], [-1.0, 2.0]])
    with pytest.raises(InvalidSpec, match="the gradient flow grows, at the rate"):
        fixed_point(linear_network(num_features=4, num_agents=2), growing, learning_rate=RATE, time="flow")


def test_column_stochastic_mixing_is_refused() -> None:
    transposed = graphs.from_matrix(MIXINGS["directed"].weights.T)
    with pytest.raises(IncompatiblePair, match="carries agents away from θ⁰"):
        fixed_point(NETWORKS["under-parameterised"], transposed, learning_rate=RATE)
