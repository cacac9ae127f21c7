"""What predictions reduce to: one agent, isolated agents, centralised learning, relabelled agents, other forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from consilience import graphs
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.coordinates import coordinates
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.operators import round_map

ALGORITHMS = ("dgd", "atc", "cta")
OPTIONS: dict[str, Any] = {"learning_rate": 0.1, "num_rounds": 60}
KERNEL = peer_to_peer.infinite_width_kernel(1)

# Some hundred roundings of numbers of order one.
ROUNDING = 1e-12


def data(sizes: tuple[int, ...]) -> dict[str, Any]:
    random = np.random.default_rng(4)
    x = [random.normal(size=(size, 3)) for size in sizes]
    test = random.normal(size=(6, 3))
    return {
        "inputs": x,
        "targets": [np.sin(2 * shard) for shard in x],
        "test_inputs": test,
        "test_targets": np.sin(2 * test),
    }


def network(given: dict[str, Any]) -> Linearization:
    return peer_to_peer.linearize(KERNEL, None, **given)


UNEQUAL, EQUAL = data((2, 4, 3)), data((3, 3, 3))


def kernel_descent(x: np.ndarray, y: np.ndarray, test: np.ndarray, rounds: int, rate: float) -> tuple[list, list]:
    """f ← f − (η/n) K (f − y), on the training and on the test inputs."""
    train, tested = np.zeros_like(y), np.zeros((len(test), y.shape[1]))
    outputs = [(train, tested)]
    for _ in range(rounds):
        error = train - y
        tested = tested - rate / len(x) * KERNEL(test, x) @ error
        train = train - rate / len(x) * KERNEL(x) @ error
        outputs.append((train, tested))
    return [each[0] for each in outputs], [each[1] for each in outputs]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_agent_is_kernel_gradient_descent(algorithm: str) -> None:
    given = data((7,))
    run = peer_to_peer.trajectory(network(given), np.eye(1), algorithm=algorithm, keep="outputs", **OPTIONS)
    train, test = kernel_descent(given["inputs"][0], given["targets"][0], given["test_inputs"], 60, 0.1)
    np.testing.assert_allclose(run.train_outputs[:, 0], train, atol=ROUNDING)
    np.testing.assert_allclose(run.test_outputs[:, 0], test, atol=ROUNDING)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_agents_that_hear_nobody_learn_alone(algorithm: str) -> None:
    run = peer_to_peer.trajectory(network(UNEQUAL), np.eye(3), algorithm=algorithm, keep="outputs", **OPTIONS)
    for agent in range(3):
        _, test = kernel_descent(UNEQUAL["inputs"][agent], UNEQUAL["targets"][agent], UNEQUAL["test_inputs"], 60, 0.1)
        np.testing.assert_allclose(run.test_outputs[:, agent], test, atol=ROUNDING)


def test_full_averaging_after_adapting_is_centralised_learning() -> None:
    run = peer_to_peer.trajectory(network(EQUAL), graphs.uniform(3), algorithm="atc", keep="outputs", **OPTIONS)
    x, y = np.concatenate(EQUAL["inputs"]), np.concatenate(EQUAL["targets"])
    train, test = kernel_descent(x, y, EQUAL["test_inputs"], 60, 0.1)
    for agent in range(3):
        np.testing.assert_allclose(run.train_outputs[:, agent], train, atol=ROUNDING)
        np.testing.assert_allclose(run.test_outputs[:, agent], test, atol=ROUNDING)
    np.testing.assert_allclose(run.consensus_distance, 0, atol=ROUNDING)


def test_combining_first_is_adapting_first_seen_between() -> None:
    """CTA's ψ = Wθ follow ATC: θ of ATC after k rounds is W times θ of CTA."""
    mixing = graphs.row_stochastic(graphs.star(3))
    atc, cta = (
        peer_to_peer.trajectory(network(UNEQUAL), mixing, algorithm=algorithm, keep="outputs", **OPTIONS)
        for algorithm in ("atc", "cta")
    )
    between = np.einsum("qr,krsc->kqsc", mixing.weights, cta.test_outputs)
    np.testing.assert_allclose(atc.test_outputs, between, atol=ROUNDING)


@pytest.mark.parametrize("time", ["rounds", "flow"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_relabelled_agents_learn_the_same(algorithm: str, time: str) -> None:
    weights = np.array([[0.7, 0.3, 0], [0.1, 0.4, 0.5], [0.6, 0, 0.4]])
    order = [2, 0, 1]
    permuted = UNEQUAL | {name: [UNEQUAL[name][agent] for agent in order] for name in ("inputs", "targets")}
    run = peer_to_peer.trajectory(network(UNEQUAL), weights, algorithm=algorithm, time=time, **OPTIONS)
    relabelled = peer_to_peer.trajectory(
        network(permuted), weights[np.ix_(order, order)], algorithm=algorithm, time=time, **OPTIONS
    )
    expected = run.isel(agent=order).drop_vars("agent").drop_attrs()
    xr.testing.assert_allclose(relabelled.drop_vars("agent").drop_attrs(), expected, rtol=1e-10, atol=ROUNDING)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_kernel_says_what_the_papers_matrices_say(algorithm: str) -> None:
    """Rounds in kernel space against the paper's matrices in orthonormal coordinates."""
    mixing = graphs.row_stochastic(graphs.star(3))
    lin = network(UNEQUAL)
    run = peer_to_peer.trajectory(lin, mixing, algorithm=algorithm, keep="outputs", **OPTIONS)
    coords = coordinates(lin)
    step = round_map(coords, mixing, algorithm=algorithm, learning_rate=0.1)
    v = np.zeros((coords.size, lin.num_columns))
    for round in range(61):
        outputs = coords.test_features @ v.reshape(3, coords.rank, -1)
        np.testing.assert_allclose(run.test_outputs[round], outputs, atol=ROUNDING)
        v = step.matrix @ v + step.offset


def test_without_weights_on_others_time_varying_mixing_is_no_mixing() -> None:
    schedule = graphs.Periodic(np.stack([np.eye(3), graphs.uniform(3).weights]))
    lin = network(UNEQUAL)
    mixed = peer_to_peer.trajectory(lin, schedule, learning_rate=0.1, num_rounds=1)
    alone = peer_to_peer.trajectory(lin, np.eye(3), learning_rate=0.1, num_rounds=1)
    xr.testing.assert_allclose(mixed.drop_attrs(), alone.drop_attrs(), atol=ROUNDING)
