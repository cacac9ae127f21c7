"""All ways to get the states after many rounds, or at moments of the flow, against each other; and which is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from consilience import graphs
from consilience.graphs import MixingMatrix
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.coordinates import coordinates
from consilience.theory.peer_to_peer.dynamics import decays_and_gains, dynamics
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.operators import round_map
from consilience.theory.peer_to_peer.powers import ways
from consilience.theory.peer_to_peer.quantities import measure
from peer_to_peer_networks import ALGORITHMS, linear_network, two_pairs

JOINT = "joint modes of W and the kernel"
MIXINGS = {
    "cycle": graphs.metropolis(graphs.cycle(4)),
    "disconnected": two_pairs(),
    "directed": graphs.from_matrix([[0.5, 0.5, 0, 0], [0, 0.2, 0.8, 0], [0.3, 0, 0.3, 0.4], [0.6, 0, 0, 0.4]]),
}
NETWORKS = {
    "unequal shards": linear_network(num_features=4, offsets=True, num_outputs=2),
    "identical inputs": linear_network(num_features=4, same_inputs=True),
    "identical inputs, offsets": linear_network(num_features=6, same_inputs=True, offsets=True),
}


@pytest.mark.parametrize("time", ["rounds", "flow"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("mixing", MIXINGS.values(), ids=MIXINGS.keys())
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
def test_all_ways_agree(network: Linearization, mixing: MixingMatrix, algorithm: str, time: str) -> None:
    of = dynamics(network, mixing, algorithm=algorithm, learning_rate=0.3, weight_decay=0.01)
    elapsed = np.array([0.0, 1.0, 3.0, 150.0]) if time == "rounds" else np.array([0.0, 0.7, 3.2, 60.0])
    found = {way.name: way.states() for way in ways(of, elapsed, time)}
    expected = 2 + (algorithm == "dgd" and mixing.is_symmetric) + (network.sizes == 3).all()
    assert len(found) == expected
    records = [[measure(network, state, ("outputs",)) for state in states] for states in found.values() if states]
    for others in records[1:]:
        for record, other in zip(records[0], others, strict=True):
            for name, values in record.items():
                # Roundings of numbers of order one, a hundred times.
                np.testing.assert_allclose(other[name], values, rtol=1e-11, atol=1e-11, err_msg=name)


@pytest.mark.slow  # the loop
def test_a_million_rounds_recorded_ten_times() -> None:
    """Against a loop over the matrix of a round, which is built from the paper's formulas."""
    network, mixing = NETWORKS["unequal shards"], MIXINGS["directed"]
    options = {"algorithm": "cta", "learning_rate": 1e-4}
    run = peer_to_peer.trajectory(network, mixing, **options, num_rounds=10**6, record_every=10**5, keep=("outputs",))
    assert run.attrs["method"] == "powers of the matrix of a round"
    coords = coordinates(network)
    step = round_map(coords, mixing, **options)
    v = np.repeat(coords.start.reshape(-1, 1), network.num_columns, axis=1)
    matrix, push = np.ascontiguousarray(step.matrix), step.offset
    expected = []
    for round in range(10**6 + 1):
        if round % 10**5 == 0:
            outputs = np.einsum("kr,qrc->qkc", coords.features, v.reshape(4, coords.rank, -1)) + network.outputs
            expected.append(outputs.reshape(4, -1, network.num_outputs))
        v = matrix.dot(v) + push
    assert len(run["round"]) == 11
    # A million roundings of 1e-16, all in one direction at worst.
    np.testing.assert_allclose(run.train_outputs, expected, rtol=0, atol=1e-9)


def test_joint_modes_are_chosen_for_identical_inputs() -> None:
    run = peer_to_peer.trajectory(
        NETWORKS["identical inputs"], MIXINGS["cycle"], algorithm="atc", learning_rate=0.1, num_rounds=10**6,
        record_every=10**5,
    )  # fmt: skip
    assert run.attrs["method"] == JOINT
    assert np.isfinite(run.train_loss).all()


def test_a_defective_mixing_matrix_has_no_modes() -> None:
    """A path along which everybody listens one way only: Jordan blocks, which powers manage."""
    weights = 0.5 * (np.eye(4) + np.eye(4, k=-1))
    weights[0, 0] = 1.0
    of = dynamics(NETWORKS["identical inputs"], weights, algorithm="dgd", learning_rate=0.3)
    found = {way.name: way.states() for way in ways(of, np.array([0.0, 40.0]), "rounds")}
    assert found[JOINT] is None
    run = peer_to_peer.trajectory(
        NETWORKS["identical inputs"], weights, learning_rate=0.3, num_rounds=10**5, record_every=10**5
    )
    assert run.attrs["method"] == "powers of the matrix of a round"


def test_few_rounds_of_a_large_problem_are_repeated() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(20, 15, 40))
    network = peer_to_peer.linearize(peer_to_peer.infinite_width_kernel(1), None, x, x[..., :1])
    run = peer_to_peer.trajectory(network, graphs.uniform(20), learning_rate=0.1, num_rounds=5)
    assert run.attrs["method"] == "kernel, repeated rounds"


@pytest.mark.parametrize("epsilon", [0.0, 1e-13, 0.3, 1.0, 1.7, 2.0, 2.5, 0.2 + 0.4j])
def test_decays_and_gains(epsilon: complex) -> None:
    rounds = 7
    left, gained = decays_and_gains(epsilon, rounds, "rounds")
    np.testing.assert_allclose(left, (1 - epsilon) ** rounds, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(gained, sum((1 - epsilon) ** k for k in range(rounds)), rtol=1e-13)
    left, gained = decays_and_gains(epsilon, 2.5, "flow")
    np.testing.assert_allclose(left, np.exp(-2.5 * epsilon), rtol=1e-14)
    steps = np.exp(-epsilon * (np.arange(4000) + 0.5) * 2.5 / 4000)
    np.testing.assert_allclose(gained, steps.mean() * 2.5, rtol=1e-6)  # the midpoint rule's (ε h)²/24


def test_divergence_is_data() -> None:
    for name, network in NETWORKS.items():
        run = peer_to_peer.trajectory(
            network, MIXINGS["cycle"], learning_rate=50.0, num_rounds=10**4, record_every=10**3
        )
        assert np.isfinite(run.train_loss[0]).all(), name
        assert not np.isfinite(run.train_loss[-1]).any(), name
