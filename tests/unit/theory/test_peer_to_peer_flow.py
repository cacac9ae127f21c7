"""The gradient flow: its state-transition matrix, its Euler steps, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consilience import graphs
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.flow import flow, state_transition
from peer_to_peer_networks import ALGORITHMS, linear_network

DIRECTED = graphs.from_matrix([[0.5, 0.5, 0, 0], [0, 0.2, 0.8, 0], [0.3, 0, 0.3, 0.4], [0.6, 0, 0, 0.4]])
CYCLE = graphs.metropolis(graphs.cycle(4))
NETWORK = linear_network(num_features=4, offsets=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("mixing", [DIRECTED, CYCLE], ids=["directed", "cycle"])
def test_state_transition(mixing: graphs.MixingMatrix, algorithm: str) -> None:
    solution = flow(NETWORK, mixing, algorithm=algorithm, learning_rate=0.3, weight_decay=0.01)
    agents, rank = NETWORK.num_agents, solution.coordinates.rank
    identity = np.eye(agents * rank).reshape(agents, rank, agents, rank)
    np.testing.assert_allclose(solution.state_transition(2.0, 2.0), identity, atol=0)
    late, early = solution.state_transition(7.0, 2.5), solution.state_transition(2.5, 1.0)
    # Entries of order one, rounded in some ten products of matrices.
    np.testing.assert_allclose(np.tensordot(late, early, axes=2), solution.state_transition(7.0, 1.0), atol=1e-13)
    back = np.tensordot(solution.state_transition(1.0, 2.5), early, axes=2)
    np.testing.assert_allclose(back, identity, atol=1e-10)  # the inverse grows as e^{2/η · 1.5}, 2e4
    direct = state_transition(NETWORK, mixing, 7.0, 2.5, algorithm=algorithm, learning_rate=0.3, weight_decay=0.01)
    np.testing.assert_array_equal(direct, late)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_state_transition_carries_differences_of_solutions(algorithm: str) -> None:
    """Two starts, the same data: their difference at t is Φ(t, 0) times that at 0."""
    still = linear_network(num_features=4)
    solutions = [flow(lin, DIRECTED, algorithm=algorithm, learning_rate=0.3) for lin in (NETWORK, still)]
    late = [solution([0.0, 4.0], keep="outputs").train_outputs for solution in solutions]
    coords = solutions[0].coordinates
    moved = np.tensordot(solutions[0].state_transition(4.0), coords.start, axes=2)
    np.testing.assert_allclose((late[0] - late[1])[1, ..., 0], moved @ coords.features.T, atol=1e-12)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rounds_come_to_the_flow_in_proportion_to_the_rate(algorithm: str) -> None:
    """With Eq. (2)'s W = I − (ησ/N) L both tend to the same limit at fixed time, and Euler's error is first order."""
    rates = np.array([0.02, 0.01, 0.005, 0.0025])
    errors = []
    for rate in rates:
        options: dict[str, Any] = {"algorithm": algorithm, "learning_rate": rate}
        mixing = graphs.diffusive(graphs.star(4), learning_rate=rate, coupling=3.0)
        rounds = peer_to_peer.trajectory(NETWORK, mixing, **options, num_rounds=round(1 / rate), keep="outputs")
        smooth = flow(NETWORK, mixing, **options)([1.0], keep="outputs")
        errors.append(float(np.abs(rounds.train_outputs[-1] - smooth.train_outputs[0]).max()))
    slopes = np.diff(np.log(errors)) / np.diff(np.log(rates))
    assert np.abs(slopes - 1).max() < 0.05  # the second order contributes η λ_max, a few per cent
    assert abs(slopes[-1] - 1) < abs(slopes[0] - 1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_predicted_flow_is_the_flow(algorithm: str) -> None:
    run = peer_to_peer.trajectory(
        NETWORK, DIRECTED, algorithm=algorithm, learning_rate=0.3, num_rounds=9, record_every=4, time="flow"
    )
    assert run["round"].values.tolist() == [0, 4, 8, 9]
    smooth = flow(NETWORK, DIRECTED, algorithm=algorithm, learning_rate=0.3)(run.time.values)
    np.testing.assert_allclose(run.test_loss, smooth.test_loss, rtol=1e-12)
    assert run.attrs["time"] == "flow"


def test_infinitely_stiff_and_unstable_rounds_do_not_matter() -> None:
    """A rate at which rounds diverge at once; averages of rounds are taken with smaller steps."""
    random = np.random.default_rng(1)
    x = random.normal(size=(25, 8, 6))
    network = peer_to_peer.linearize(peer_to_peer.infinite_width_kernel(1), None, x, x[..., :1])
    solution = flow(network, graphs.uniform(25), learning_rate=20.0)
    run = solution([0.0, 10.0, 100.0])
    assert run.attrs["method"] == "kernel, Poisson averages of rounds"
    assert (np.diff(run.objective.mean("agent")) < 0).all()


def test_refusals() -> None:
    with pytest.raises(InvalidSpec, match=r"times=.*ascending numbers"):
        flow(NETWORK, CYCLE, learning_rate=0.1)([1.0, 0.5])
    with pytest.raises(InvalidSpec, match=r"ascending numbers"):
        flow(NETWORK, CYCLE, learning_rate=0.1)([-1.0, 0.5])
    with pytest.raises(InvalidSpec, match="times are numbers"):
        flow(NETWORK, CYCLE, learning_rate=0.1).state_transition(np.nan)
    with pytest.raises(UnknownName, match="'gossip' is not an algorithm"):
        flow(NETWORK, CYCLE, algorithm="gossip", learning_rate=0.1)
    with pytest.raises(IncompatiblePair, match="changes with the round"):
        flow(NETWORK, graphs.Periodic(CYCLE.weights[None]), learning_rate=0.1)
    with pytest.raises(InvalidSpec, match=r"learning_rate=0.0: this is a positive number"):
        flow(NETWORK, CYCLE, learning_rate=0.0)
    x = np.random.default_rng(0).normal(size=(30, 5, 200))
    wide = peer_to_peer.linearize(peer_to_peer.infinite_width_kernel(0, "linear"), None, x, x[..., :1])
    with pytest.raises(InvalidSpec, match="needs the matrix of a whole round"):
        flow(wide, graphs.uniform(30), learning_rate=0.1).state_transition(1.0)
    assert repr(flow(NETWORK, CYCLE, learning_rate=0.1)).startswith("Flow(dgd, Linearization(4 agents")
