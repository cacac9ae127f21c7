"""Predictions of linear networks against training, which they must equal: rounds, parameters, losses, gradient flow.

Training is written out here in parameter space, for affine networks, in NumPy; and done by the simulator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import xarray as xr

import consilience as cs
from consilience import graphs, models
from consilience.algorithms import DGD, AdaptThenCombine, Algorithm, CombineThenAdapt, DiffusiveCoupling
from consilience.graphs import MixingMatrix
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.dynamics import dynamics
from consilience.theory.peer_to_peer.flow import flow
from consilience.theory.peer_to_peer.parameters import parameters
from consilience.theory.peer_to_peer.powers import repeated
from consilience.theory.peer_to_peer.quantities import measure

MODEL = models.ntk_mlp(depth=0, weight_variance=2.0, bias_variance=0.3)
SIZES = (3, 5, 2, 4, 6)
NUM_OUTPUTS, NUM_TEST = 2, 7
ROUNDS, RATE = 500, 0.12
KEPT = ("outputs", "coefficients")

# Five hundred roundings of 1e-16 in numbers of order one, amplified by the kernel's condition, are far below 1e-11.
ROUNDING = 1e-11


def directed() -> MixingMatrix:
    """A random directed graph, connected by a cycle, with random weights whose rows sum to one."""
    random = np.random.default_rng(3)
    heard = (
        (random.random((5, 5)) < 0.4) | np.eye(5, k=1, dtype=bool) | np.eye(5, k=-4, dtype=bool) | np.eye(5, dtype=bool)
    )
    weights = random.uniform(0.2, 1.0, size=(5, 5)) * heard
    return graphs.from_matrix(weights / weights.sum(axis=1, keepdims=True), name="directed")


MIXINGS = {
    "cycle": graphs.metropolis(graphs.cycle(5)),
    "star": graphs.metropolis(graphs.star(5)),
    "complete": graphs.metropolis(graphs.complete(5)),
    "directed": directed(),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """Data of five agents with unequal shards, and where they start."""

    inputs: list[np.ndarray]
    targets: list[np.ndarray]
    test_inputs: np.ndarray
    test_targets: np.ndarray
    params: Any
    offsets: Any = None

    @property
    def start(self) -> np.ndarray:
        """θ_q(0) of all agents, (agents, features + 1, outputs), biases last."""
        start = np.stack([flat(self.params)] * len(SIZES))
        return start if self.offsets is None else start + flat(self.offsets)

    @cached_property
    def designs(self) -> list[np.ndarray]:
        return [design(x) for x in self.inputs]

    @cached_property
    def network(self) -> peer_to_peer.Linearization:
        return peer_to_peer.linearize(
            MODEL,
            self.params,
            self.inputs,
            self.targets,
            test_inputs=self.test_inputs,
            test_targets=self.test_targets,
            offsets=self.offsets,
        )


def flat(params: Any) -> np.ndarray:
    """(..., features + 1, outputs)"""
    layer = params["layer_0"]
    return np.concatenate([np.asarray(layer["weight"]).swapaxes(-1, -2), np.asarray(layer["bias"])[..., None, :]], -2)


def problem(num_features: int) -> Problem:
    """Fewer features than samples make it under-parameterised."""
    random = np.random.default_rng(num_features)

    def data(size: int) -> tuple[np.ndarray, np.ndarray]:
        x = random.normal(size=(size, num_features))
        return x, np.tanh(x @ random.normal(size=(num_features, NUM_OUTPUTS))) + 0.3 * random.normal(
            size=(size, NUM_OUTPUTS)
        )

    shards = [data(size) for size in SIZES]
    layer = {"weight": random.normal(size=(num_features, NUM_OUTPUTS)).T, "bias": random.normal(size=NUM_OUTPUTS)}
    return Problem([x for x, _ in shards], [y for _, y in shards], *data(NUM_TEST), {"layer_0": layer})


def with_offsets(original: Problem) -> Problem:
    random = np.random.default_rng(1)
    layer = original.params["layer_0"]
    offsets = {name: 0.5 * random.normal(size=(len(SIZES), *leaf.shape)) for name, leaf in layer.items()}
    return replace(original, offsets={"layer_0": offsets})


UNDER, OVER = problem(4), problem(30)
PROBLEMS = {"under-parameterised": UNDER, "over-parameterised": OVER}


# ---- training, in parameter space ------------------------------------------------------------------------------------


def design(x: np.ndarray) -> np.ndarray:
    """Outputs are design(x) @ flat parameters."""
    scale = np.sqrt(MODEL.weight_variance / x.shape[1])
    return np.concatenate([scale * x, np.full((len(x), 1), np.sqrt(MODEL.bias_variance))], axis=1)


def gradients(given: Problem, theta: np.ndarray, weight_decay: float) -> np.ndarray:
    found = [phi.T @ (phi @ own - y) / len(y) for phi, y, own in zip(given.designs, given.targets, theta, strict=True)]
    return np.stack(found) + 2 * weight_decay * theta


def mixed(weights: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return (weights @ theta.reshape(len(theta), -1)).reshape(theta.shape)


def change(
    given: Problem, theta: np.ndarray, weights: np.ndarray, algorithm: str, rate: float, decay: float
) -> np.ndarray:
    """θ⁺ of all agents, as written in paper 003."""
    if algorithm == "dgd":
        return mixed(weights, theta) - rate * gradients(given, theta, decay)
    if algorithm == "atc":
        return mixed(weights, theta - rate * gradients(given, theta, decay))
    psi = mixed(weights, theta)
    return psi - rate * gradients(given, psi, decay)


def train(
    given: Problem,
    weights: Callable[[int], np.ndarray],
    algorithm: str,
    *,
    weight_decay: float = 0.0,
    rate: float = RATE,
    num_rounds: int = ROUNDS,
) -> np.ndarray:
    """θ of all agents after each round, shape (rounds + 1, agents, features + 1, outputs)."""
    theta = [given.start]
    for round in range(num_rounds):
        theta.append(change(given, theta[-1], weights(round), algorithm, rate, weight_decay))
    return np.stack(theta)


def quantities(given: Problem, theta: np.ndarray) -> dict[str, np.ndarray]:
    """What is predicted, from the parameters of all agents and rounds."""

    def errors(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return design(x) @ theta - y  # (rounds, agents, samples, outputs)

    losses = [
        np.square(errors(x, y)).sum(axis=(-1, -2)) / (2 * len(x))
        for x, y in zip(given.inputs, given.targets, strict=True)
    ]
    spread = theta - theta.mean(axis=1, keepdims=True)
    return {
        "train_loss": np.stack([losses[q][:, q] for q in range(len(SIZES))], axis=1),
        "objective": np.mean(losses, axis=0),
        "test_loss": np.square(errors(given.test_inputs, given.test_targets)).sum(axis=(-1, -2)) / (2 * NUM_TEST),
        "consensus_distance": np.sqrt(np.square(spread).sum(axis=(-1, -2)).mean(axis=1)),
        "train_outputs": design(np.concatenate(given.inputs)) @ theta,
        "test_outputs": design(given.test_inputs) @ theta,
    }


def assert_predicted(given: Problem, network: Any, run: xr.Dataset, theta: np.ndarray) -> None:
    """Every quantity at every round, relative to its largest value (distances: of the parameters); some parameters."""
    for name, expected in quantities(given, theta).items():
        scale = np.abs(theta if name == "consensus_distance" else expected).max()
        assert np.abs(run[name].values - expected).max() < ROUNDING * scale, name
    some = [0, 1, len(theta) // 2, len(theta) - 1]
    found = flat(parameters(network, run.coefficients.isel({run.train_loss.dims[0]: some})))
    assert np.abs(found - theta[some]).max() < ROUNDING * np.abs(theta).max()


# ---- rounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["dgd", "atc", "cta"])
@pytest.mark.parametrize("mixing", MIXINGS.values(), ids=MIXINGS.keys())
@pytest.mark.parametrize("given", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_rounds(given: Problem, mixing: MixingMatrix, algorithm: str) -> None:
    theta = train(given, lambda round: mixing.weights, algorithm)
    network = given.network
    run = peer_to_peer.trajectory(
        network, mixing, algorithm=algorithm, learning_rate=RATE, num_rounds=ROUNDS, keep=KEPT
    )
    assert run.objective[-1].mean() < 0.5 * run.objective[0].mean()
    assert_predicted(given, network, run, theta)
    of = dynamics(network, mixing, algorithm=algorithm, learning_rate=RATE)
    (last,) = repeated(of, np.array([ROUNDS]), "rounds")  # whichever way was cheapest above
    expected = quantities(given, theta[-1:])
    for name, values in measure(network, last).items():
        scale = np.abs(theta).max() if name == "consensus_distance" else float(run[name].max())
        assert np.abs(values - expected[name][0]).max() < ROUNDING * scale, name


@pytest.mark.parametrize("algorithm", ["dgd", "atc", "cta"])
@pytest.mark.parametrize("given", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_offsets_and_weight_decay(given: Problem, algorithm: str) -> None:
    given, mixing, decay = with_offsets(given), MIXINGS["directed"], 0.03
    theta = train(given, lambda round: mixing.weights, algorithm, weight_decay=decay)
    network = given.network
    run = peer_to_peer.trajectory(
        network, mixing, algorithm=algorithm, learning_rate=RATE, num_rounds=ROUNDS, weight_decay=decay, keep=KEPT
    )
    assert_predicted(given, network, run, theta)


@pytest.mark.parametrize("algorithm", ["dgd", "atc", "cta"])
def test_time_varying_mixing(algorithm: str) -> None:
    weights = np.stack([mixing.weights for mixing in MIXINGS.values()])
    theta = train(OVER, lambda round: weights[round % len(weights)], algorithm, num_rounds=60)
    network = OVER.network
    run = peer_to_peer.trajectory(
        network, graphs.Periodic(weights), algorithm=algorithm, learning_rate=RATE, num_rounds=60, keep=KEPT
    )
    assert_predicted(OVER, network, run, theta)


# ---- the simulator ---------------------------------------------------------------------------------------------------


def simulate(given: Problem, algorithm: Algorithm, mixing: MixingMatrix | None, graph: graphs.Graph) -> xr.Dataset:
    task = cs.tasks.from_arrays(
        np.concatenate(given.inputs),
        np.concatenate(given.targets),
        given.test_inputs,
        given.test_targets,
        loss="squared",
    )
    ends = np.cumsum(SIZES)
    return cs.simulate(
        algorithm,
        model=MODEL,
        task=task,
        shards=[np.arange(end - size, end) for end, size in zip(ends, SIZES, strict=True)],
        graph=graph,
        mixing=mixing,
        num_rounds=200,
        batch_size=None,
        initial_params=given.params,
        observe=("loss",),
        observe_every=50,
        dtype="float64",
    )


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        pytest.param("dgd", DGD(RATE), marks=pytest.mark.slow),  # compiled anew; Eq. (2), below, is the same
        pytest.param("atc", AdaptThenCombine(RATE), marks=pytest.mark.slow),
        ("cta", CombineThenAdapt(RATE)),
    ],
)
def test_simulated(name: str, algorithm: Algorithm) -> None:
    mixing = MIXINGS["star"]
    simulated = simulate(UNDER, algorithm, mixing, graphs.star(5))
    assert_simulated(simulated, predicted=200, mixing=mixing, algorithm=name)


def test_equation_two_is_dgd() -> None:
    graph = graphs.cycle(5)
    mixing = graphs.diffusive(graph, learning_rate=RATE, coupling=12.0)
    simulated = simulate(UNDER, DiffusiveCoupling(RATE, coupling=12.0, weight_decay=0.0), None, graph)
    assert_simulated(simulated, predicted=200, mixing=mixing, algorithm="dgd")


def assert_simulated(simulated: xr.Dataset, *, predicted: int, mixing: MixingMatrix, algorithm: str) -> None:
    network = UNDER.network
    run = peer_to_peer.trajectory(
        network, mixing, algorithm=algorithm, learning_rate=RATE, num_rounds=predicted, keep=KEPT, record_every=50
    )
    end = flat(parameters(network, run.coefficients[-1]))
    weight, bias = simulated["params/layer_0/weight"].values, simulated["params/layer_0/bias"].values
    np.testing.assert_allclose(end, flat({"layer_0": {"weight": weight, "bias": bias}}), atol=ROUNDING, rtol=0)
    np.testing.assert_allclose(run.test_loss, simulated.loss, rtol=ROUNDING)


# ---- the gradient flow -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["dgd", "atc", "cta"])
@pytest.mark.parametrize("name", ["star", "directed"])
def test_flow(name: str, algorithm: str) -> None:
    """dϑ/dt = −Aϑ − b in parameter space, integrated; rounds are its Euler steps."""
    given, decay, weights = with_offsets(UNDER), 0.02, MIXINGS[name].weights
    times = np.array([0.0, 0.3, 2.0, 9.0])

    def drift(_: float, theta: np.ndarray) -> np.ndarray:
        now = theta.reshape(given.start.shape)
        disagreement = (now - mixed(weights, now)) / RATE
        if algorithm == "dgd":
            pull = gradients(given, now, decay)
        elif algorithm == "atc":
            pull = mixed(weights, gradients(given, now, decay))
        else:
            pull = gradients(given, mixed(weights, now), decay)
        return -(disagreement + pull).ravel()

    solved = scipy.integrate.solve_ivp(
        drift, (0, 9), given.start.ravel(), method="DOP853", t_eval=times, rtol=1e-12, atol=1e-12
    )
    theta = solved.y.T.reshape(len(times), *given.start.shape)
    network = given.network
    run = flow(network, MIXINGS[name], algorithm=algorithm, learning_rate=RATE, weight_decay=decay)(times, keep=KEPT)
    for quantity, expected in quantities(given, theta).items():
        # The integrator's own tolerance, 1e-12 per step, adds up over some hundred steps.
        np.testing.assert_allclose(
            run[quantity], expected, rtol=0, atol=1e-9 * np.abs(expected).max(), err_msg=quantity
        )
    np.testing.assert_allclose(flat(parameters(network, run.coefficients)), theta, rtol=0, atol=1e-9)
