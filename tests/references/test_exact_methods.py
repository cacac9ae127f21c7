"""Methods over undirected graphs, derived again in NumPy; most in another form than that of the implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consilience import graphs
from consilience.algorithms.decaying_coupling import DecayingCoupling
from consilience.algorithms.exact_diffusion import ExactDiffusion
from consilience.algorithms.gradient_tracking import GradientTracking
from consilience.algorithms.variance_corrected import VarianceCorrected
from quadratics import as_quadratics, ends, mixed, states_of
from registries import ROUNDING, assert_simulator_equals_oracle, small_problem

ETA, DECAY, ROUNDS = 0.1, 0.05, 6
PROBLEM = small_problem(3)
QUADRATICS = as_quadratics(PROBLEM, weight_decay=DECAY)
PATH = graphs.path(3)
W = graphs.metropolis(PATH).weights

# What the issue asks for; a few rounds of double precision leave 1e-14.
TOLERANCE = 1e-10


def simulated(algorithm: Any, **options: Any) -> np.ndarray:
    return ends(PROBLEM.simulate(algorithm, graph=PATH, **{"num_rounds": ROUNDS, **options}))


def test_gradient_tracking_without_trackers() -> None:
    """With the trackers eliminated: X(t+2) = 2 W X(t+1) − W² X(t) − η W (G(t+1) − G(t))."""
    x, g = QUADRATICS.start, QUADRATICS.gradient(QUADRATICS.start)
    x, before, g_before = mixed(W, x - ETA * g), x, g
    for _ in range(ROUNDS - 1):
        g = QUADRATICS.gradient(x)
        new = 2 * mixed(W, x) - mixed(W @ W, before) - ETA * mixed(W, g - g_before)
        x, before, g_before = new, x, g
    actual = simulated(GradientTracking(learning_rate=ETA, weight_decay=DECAY))
    np.testing.assert_allclose(actual, x, atol=TOLERANCE)


def test_exact_diffusion_without_intermediate_steps() -> None:
    """In the form of D²: X(t+2) = W̃ (2 X(t+1) − X(t) − η (G(t+1) − G(t))), with W̃ = (I + W)/2."""
    half = (np.eye(3) + W) / 2
    x, g = QUADRATICS.start, QUADRATICS.gradient(QUADRATICS.start)
    x, before, g_before = mixed(half, x - ETA * g), x, g
    for _ in range(ROUNDS - 1):
        g = QUADRATICS.gradient(x)
        x, before, g_before = mixed(half, 2 * x - before - ETA * (g - g_before)), x, g
    actual = simulated(ExactDiffusion(learning_rate=ETA, weight_decay=DECAY))
    np.testing.assert_allclose(actual, x, atol=TOLERANCE)


@pytest.mark.parametrize("kappa", [1.0, 0.4])
def test_variance_correction_by_hand(kappa: float) -> None:
    params = [PROBLEM.initial(agent) for agent in range(3)]
    for _ in range(ROUNDS):
        learned = []
        for agent, one in enumerate(params):
            for _ in range(2):
                gradient = PROBLEM.gradient(one, PROBLEM.shards[agent], weight_decay=DECAY)
                one = {name: one[name] - ETA * gradient[name] for name in one}
            learned.append(one)
        params = [{} for _ in range(3)]
        for agent, name in np.ndindex(3, 2):
            leaf = ("weight", "bias")[name]
            mix = sum(W[agent, j] * learned[j][leaf] for j in range(3))
            target = sum(W[agent, j] * learned[j][leaf].var() for j in range(3))
            factor = np.sqrt((1 - kappa) + kappa * target / mix.var())
            params[agent][leaf] = mix.mean() + (mix - mix.mean()) * factor
    algorithm = VarianceCorrected(learning_rate=ETA, weight_decay=DECAY, local_steps=2, correction=kappa)
    run = PROBLEM.simulate(algorithm, graph=PATH, num_rounds=ROUNDS)
    for agent in range(3):
        for leaf, expected in params[agent].items():
            np.testing.assert_allclose(run.params(agent)[leaf], expected, atol=TOLERANCE)


def test_decaying_coupling_by_hand() -> None:
    a, b, sigma = 0.8, 0.3, 4.0
    x, q = QUADRATICS.start, PATH.adjacency
    for t in range(ROUNDS):
        pull = np.stack([sum(q[i, j] * (x[j] - x[i]) for j in range(3)) for i in range(3)])
        x = x - ETA / (t + 1) ** a * QUADRATICS.gradient(x) + ETA * sigma / 3 / (t + 1) ** b * pull
    algorithm = DecayingCoupling(ETA, sigma, DECAY, rate_exponent=a, coupling_exponent=b)
    np.testing.assert_allclose(simulated(algorithm), x, atol=TOLERANCE)


@pytest.mark.slow
def test_noise_of_decaying_coupling_is_white_and_shrinks_with_the_rate() -> None:
    """Null: what the noise adds in round t is α_t s times independent standard normal numbers.

    500 agents of 8 parameters are 4000 numbers after each of one and of three rounds; limits are five standard errors.
    """
    num_agents, s, a = 500, 0.7, 0.8
    problem = small_problem(num_agents, sizes=(1,) * num_agents)
    quadratics, graph = as_quadratics(problem), graphs.cycle(num_agents)
    algorithm = DecayingCoupling(ETA, 0.0, rate_exponent=a, noise_scale=s)

    def noise_after(num_rounds: int) -> np.ndarray:
        theta = quadratics.start
        for t in range(num_rounds):
            theta = theta - ETA / (t + 1) ** a * quadratics.gradient(theta)
        return ends(problem.simulate(algorithm, graph=graph, num_rounds=num_rounds, seed=4)) - theta

    first = noise_after(1).reshape(num_agents, -1) / (ETA * s)
    assert abs(first.mean()) < 5 / np.sqrt(first.size)
    assert abs(first.var() - 1) < 5 * np.sqrt(2 / first.size)
    # Agents, and entries of different leaves, do not share their noise.
    assert abs((first * np.roll(first, 1, axis=0)).mean()) < 5 / np.sqrt(first.size)
    correlations = first.T @ first / num_agents
    assert np.abs(correlations - np.diag(correlations.diagonal())).max() < 5 / np.sqrt(num_agents)
    # The noise of earlier rounds arrives through the factors I − α_t H_i of the gradient.
    variance, passed = np.zeros((num_agents, 4)), np.broadcast_to(np.eye(4), (num_agents, 4, 4))
    for t in (2, 1, 0):
        rate = ETA / (t + 1) ** a
        variance += (rate * s) ** 2 * (passed**2).sum(axis=-1)
        passed = passed @ (np.eye(4) - rate * quadratics.hessians)
    third = noise_after(3) / np.sqrt(variance)[..., None]
    assert abs(third.var() - 1) < 5 * np.sqrt(2 / third.size)


# ---- invariants, on states of the simulator that are those of the oracle -----------------------------------------


def test_the_mean_tracker_is_the_mean_gradient() -> None:
    links = graphs.Schedules(edges=graphs.Bernoulli(0.6, num_agents=3, seed=1, links=True))
    algorithm = GradientTracking(learning_rate=ETA, weight_decay=DECAY)
    _, states = assert_simulator_equals_oracle(algorithm, graph=PATH, schedules=links, batch_size=2)
    difference = states_of(states, "tracker") - states_of(states, "gradient")
    np.testing.assert_allclose(difference.mean(axis=0), 0, atol=ROUNDING)
    assert np.abs(difference).max() > 1e-3, "trackers that are gradients track nothing"


def test_corrections_of_exact_diffusion_cancel_in_the_mean() -> None:
    algorithm = ExactDiffusion(learning_rate=ETA, weight_decay=DECAY)
    _, states = assert_simulator_equals_oracle(algorithm, graph=PATH, batch_size=2)
    difference = states_of(states, "params") - states_of(states, "adapted")
    np.testing.assert_allclose(difference.mean(axis=0), 0, atol=ROUNDING)
    assert np.abs(difference).max() > 1e-3


def test_variance_correction_keeps_variances_and_the_means_of_layers() -> None:
    """At η = 0 only mixing is left: variances of layers mix by W, and so do the means of layers."""
    algorithm = VarianceCorrected(learning_rate=0.0)
    run, _ = assert_simulator_equals_oracle(algorithm, graph=PATH, num_rounds=1)
    for name, start in PROBLEM.initial_params.items():
        end = run[f"params/{name}"].values.reshape(3, -1)
        start = start.reshape(3, -1)
        np.testing.assert_allclose(end.var(axis=1), W @ start.var(axis=1), atol=ROUNDING)
        np.testing.assert_allclose(end.mean(axis=1), W @ start.mean(axis=1), atol=ROUNDING)


def test_decaying_coupling_keeps_the_mean() -> None:
    """On an undirected graph the mean of the first round moves along the mean gradient alone."""
    algorithm = DecayingCoupling(ETA, 5.0, DECAY, rate_exponent=0.8)
    start = QUADRATICS.start
    expected = (start - ETA * QUADRATICS.gradient(start)).mean(axis=0)
    np.testing.assert_allclose(simulated(algorithm, num_rounds=1).mean(axis=0), expected, atol=ROUNDING)


def test_noisy_decaying_coupling_in_the_simulator_is_the_loop() -> None:
    algorithm = DecayingCoupling(ETA, 5.0, DECAY, rate_exponent=0.8, noise_scale=0.1)
    assert_simulator_equals_oracle(algorithm, graph=PATH, batch_size=2)


# ---- what is said before a run that will not end well -----------------------------------------------------------


def test_exact_diffusion_warns_where_its_corrections_diverge() -> None:
    """μ² − 2λμ + λ = 0: the larger root leaves the unit circle at λ = −1/3."""
    graph, algorithm = graphs.cycle(4), ExactDiffusion(learning_rate=0.0)
    for lowest, diverges in ((-0.32, False), (-0.34, True)):
        weight = (1 - lowest) / 4  # eigenvalues 1, 1 − 2w, 1 − 2w, 1 − 4w
        mixing = graphs.from_matrix((1 - 2 * weight) * np.eye(4) + weight * graph.adjacency)
        assert np.abs(np.roots([1, -2 * lowest, lowest])).max() > 1 if diverges else True
        assert bool(algorithm.warnings(graph, mixing)) == diverges
    assert not algorithm.warnings(graph, algorithm.default_mixing(graph))
    directed = graphs.cycle(4, directed=True)
    (text,) = algorithm.warnings(directed, graphs.row_stochastic(directed))
    assert "symmetric" in text
