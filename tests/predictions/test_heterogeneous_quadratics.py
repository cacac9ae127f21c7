"""Where methods settle on quadratics with different minima: at the minimum of the mean, or where linear algebra says.

At a constant step every method here is a linear recursion θ ← A θ + b of all agents' parameters. Its fixed point is
solved for, and its spectral radius says how many rounds the simulation needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consilience import graphs
from consilience.algorithms import AdaptThenCombine, Algorithm, FederatedAveraging
from consilience.algorithms.exact_diffusion import ExactDiffusion
from consilience.algorithms.fed_prox import FedProx
from consilience.algorithms.gradient_tracking import GradientTracking
from consilience.algorithms.push_sum import PushSum
from consilience.algorithms.relay_sum import RelaySum
from consilience.algorithms.scaffold import Scaffold
from quadratics import as_quadratics, ends
from registries import small_problem

ETA, STEPS = 0.15, 4
PROBLEM = small_problem(4, sizes=(3, 5, 4, 6), common_init=True)
# Not too much decay, lest the minima come together; enough for some thousand rounds to do.
DECAY = 0.03
QUADRATICS = as_quadratics(PROBLEM, weight_decay=DECAY)
MINIMUM = QUADRATICS.minimum()
N, D, OUTPUTS = QUADRATICS.pulls.shape
RATES: dict[str, Any] = {"learning_rate": ETA, "weight_decay": DECAY}
PATH = graphs.path(N)
LOPSIDED = graphs.from_adjacency([[0, 1, 0, 0], [0, 0, 2, 1], [1, 0, 0, 1], [3, 0, 0, 0]], name="lopsided")

EXACT = 1e-8
"""What the issue asks of methods that are exact; 1600 rounds contract every recursion here by more than 1e-10."""
CLOSED_FORM = 1e-9
"""What the issue asks of a bias that is known."""


def settled(algorithm: Algorithm, graph: graphs.Graph, num_rounds: int = 1600) -> np.ndarray:
    return ends(PROBLEM.simulate(algorithm, graph=graph, num_rounds=num_rounds, observe_every=num_rounds))


def block_diagonal(blocks: np.ndarray) -> np.ndarray:
    """(agents, d, d) → (agents d, agents d)."""
    return np.einsum("ij,iab->iajb", np.eye(N), blocks).reshape(N * D, N * D)


def fixed_point(matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """θ = A θ + b."""
    assert np.abs(np.linalg.eigvals(matrix)).max() < 0.99, "1600 rounds would not do"
    return np.linalg.solve(np.eye(len(matrix)) - matrix, shift)


def assert_settles_at(actual: np.ndarray, expected: np.ndarray, *, beside: np.ndarray) -> None:
    """At `expected`, which is not the minimum `beside`."""
    np.testing.assert_allclose(actual, expected, atol=CLOSED_FORM)
    assert np.abs(expected - beside).max() > 1e-2, "there is no bias to be known"


def test_minima_are_heterogeneous() -> None:
    alone = np.stack([np.linalg.solve(h, p) for h, p in zip(QUADRATICS.hessians, QUADRATICS.pulls, strict=True)])
    assert np.abs(alone - MINIMUM).max(axis=(1, 2)).min() > 0.1
    np.testing.assert_allclose(QUADRATICS.gradient(np.stack(N * [MINIMUM])).mean(axis=0), 0, atol=1e-12)  # rounding


@pytest.mark.parametrize(
    ("algorithm", "graph"),
    [
        (GradientTracking(**RATES), PATH),
        (ExactDiffusion(**RATES), PATH),
        (RelaySum(**RATES), PATH),
        (Scaffold(**RATES, local_steps=STEPS), graphs.complete(N)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Algorithm) else "",
)
def test_exact_methods_reach_the_minimum_of_the_mean_loss(algorithm: Algorithm, graph: graphs.Graph) -> None:
    """With a constant step, from heterogeneous losses, every agent."""
    np.testing.assert_allclose(settled(algorithm, graph), np.stack(N * [MINIMUM]), atol=EXACT)


def test_adapt_then_combine_keeps_the_bias_of_its_fixed_point() -> None:
    """θ = W (θ − η (H θ − p)) for all agents at once."""
    mix = np.kron(graphs.metropolis(PATH).weights, np.eye(D))
    step = np.eye(N * D) - ETA * block_diagonal(QUADRATICS.hessians)
    expected = fixed_point(mix @ step, ETA * mix @ QUADRATICS.pulls.reshape(N * D, OUTPUTS))
    actual = settled(AdaptThenCombine(**RATES), PATH)
    assert_settles_at(actual, expected.reshape(actual.shape), beside=MINIMUM)
    assert np.abs(actual - actual.mean(axis=0)).max() > 1e-2, "the agents agree"


@pytest.mark.parametrize("proximity", [0.0, 0.5])
def test_federated_averaging_keeps_the_bias_of_its_local_steps(proximity: float) -> None:
    """A local step contracts to its own minimum: θ_i − a = M (θ_i − a) with M = I − η (H_i + μ) and
    a = (H_i + μ)⁻¹ (p_i + μ θ); K of them and a mean with weights n_i are linear in θ."""
    weights = QUADRATICS.sizes / QUADRATICS.sizes.sum()
    matrix, shift = np.zeros((D, D)), np.zeros((D, OUTPUTS))
    for weight, hessian, pull in zip(weights, QUADRATICS.hessians, QUADRATICS.pulls, strict=True):
        held = hessian + proximity * np.eye(D)
        left = np.linalg.matrix_power(np.eye(D) - ETA * held, STEPS)
        gone = (np.eye(D) - left) @ np.linalg.inv(held)
        matrix += weight * (left + proximity * gone)
        shift += weight * gone @ pull
    expected = fixed_point(matrix, shift)
    algorithm = FedProx(**RATES, local_steps=STEPS, proximity=proximity)
    actual = settled(algorithm if proximity else FederatedAveraging(**RATES, local_steps=STEPS), graphs.complete(N))
    assert_settles_at(actual, np.stack(N * [expected]), beside=QUADRATICS.minimum(weights))


def test_the_bias_of_federated_averaging_is_the_local_steps_and_not_the_weights() -> None:
    weights = QUADRATICS.sizes / QUADRATICS.sizes.sum()
    one_step = settled(FederatedAveraging(**RATES), graphs.complete(N), num_rounds=3200)
    np.testing.assert_allclose(one_step, np.stack(N * [QUADRATICS.minimum(weights)]), atol=EXACT)


def test_push_sum_keeps_the_bias_of_its_fixed_point() -> None:
    """x = W (x − η (H x / v − p)), θ = x / v, with the stationary weights v = W v, Σ v = N."""
    weights = graphs.column_stochastic(LOPSIDED).weights
    values, vectors = np.linalg.eig(weights)
    v = np.real(vectors[:, np.argmax(np.real(values))])
    v = N * v / v.sum()
    assert np.ptp(v) > 0.1
    mix = np.kron(weights, np.eye(D))
    step = np.eye(N * D) - ETA * block_diagonal(QUADRATICS.hessians / v[:, None, None])
    masses = fixed_point(mix @ step, ETA * mix @ QUADRATICS.pulls.reshape(N * D, OUTPUTS))
    expected = masses.reshape(N, D, OUTPUTS) / v[:, None, None]
    assert_settles_at(settled(PushSum(**RATES), LOPSIDED), expected, beside=MINIMUM)


def test_the_bias_of_adapt_then_combine_is_of_the_order_of_the_learning_rate() -> None:
    """By the closed form: halving η halves the largest distance, up to terms of higher order."""
    mix = np.kron(graphs.metropolis(PATH).weights, np.eye(D))
    hessian, pull = block_diagonal(QUADRATICS.hessians), QUADRATICS.pulls.reshape(N * D, OUTPUTS)
    biases = []
    for eta in (2e-3, 1e-3):
        theta = np.linalg.solve(np.eye(N * D) - mix @ (np.eye(N * D) - eta * hessian), eta * mix @ pull)
        biases.append(np.abs(theta.reshape(N, D, OUTPUTS) - MINIMUM).max())
    # Terms of the next order are of relative size η / (gap · decay), some per cent.
    assert biases[0] / biases[1] == pytest.approx(2, rel=0.1)
