"""The simulator against the effective theory, where the theory is exact: deep linear networks of width one.

A network x ↦ x Π_d θ^d on data with ⟨x²⟩ = 1 and ⟨xy⟩ = δ_i, trained by the package's own methods with the squared loss
½(output − target)², follows (A5)–(A6) of paper 001 as η → 0, with σ̂ = σ, γ̂ = 2γ and t = η · rounds (without the factor
2 of the paper's loss, time is not rescaled). Theory and simulator share no code: one integrates ordinary differential
equations, the other takes gradient steps of a model by automatic differentiation and sends messages.

Gradient descent is Euler's method, so that the difference is proportional to η: each test halves η and asks for half of
the difference, besides the difference itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import consilience as cs
from consilience.algorithms import Algorithm
from consilience.graphs import Graph, Interpolated, Periodic, Schedules
from consilience.theory import landau

NUM_AGENTS = 5
DELTA = np.array([1.5, -0.7, 0.4, 2.0, -1.2])
GAMMA = 0.05
END = 1.0
RATE = 4e-3


def chain(depth: int) -> Any:
    """x ↦ x Π_d θ^d."""
    return cs.models.from_functions(
        init=lambda key: {f"layer_{d}": {"weight": jax.random.normal(key, ())} for d in range(depth + 1)},
        apply=lambda params, inputs: inputs * jnp.prod(jnp.stack([layer["weight"] for layer in params.values()])),
    )


def task() -> Any:
    """Two samples per agent, x = ±1 and y = δ_i x: ⟨x²⟩ = 1, ⟨xy⟩ = δ_i."""
    x = np.tile([1.0, -1.0], NUM_AGENTS)[:, None]
    return cs.tasks.from_arrays(x, x * np.repeat(DELTA, 2)[:, None], x, x)


def start(depth: int, *, equal_layers: bool) -> np.ndarray:
    """θ at t = 0, shape (layers, agents), of both signs."""
    random = np.random.default_rng(1)
    theta = random.uniform(-1.2, 1.2, (depth + 1, NUM_AGENTS))
    return np.repeat(theta[:1], depth + 1, axis=0) if equal_layers else theta


def simulated(algorithm: Callable[[float], Algorithm], theta: np.ndarray, rate: float, **options: Any) -> np.ndarray:
    """θ at t = END, shape (layers, agents)."""
    depth = len(theta) - 1
    run = cs.simulate(
        algorithm(rate),
        model=chain(depth),
        task=task(),
        shards=[np.array([2 * i, 2 * i + 1]) for i in range(NUM_AGENTS)],
        num_rounds=round(END / rate),
        batch_size=None,
        observe=(),
        initial_params={f"layer_{d}": {"weight": layer} for d, layer in enumerate(theta)},
        dtype="float64",
        **{"graph": cs.graphs.complete(NUM_AGENTS), **options},
    )
    return np.stack([run[f"params/layer_{d}/weight"].values for d in range(depth + 1)])


def assert_first_order(difference: Callable[[float], float], *, largest: float) -> None:
    """The difference is at most `largest` at η = RATE, and half as large at half of it."""
    whole, half = difference(RATE), difference(RATE / 2)
    assert 1e-6 < whole < largest  # not zero: Euler's method is not exact
    # The next order in η is smaller by a factor of about ηΛ, Λ ≲ 20 the largest slope along these trajectories.
    assert half == pytest.approx(whole / 2, rel=0.15)


def diffusive(coupling: float) -> Callable[[float], Algorithm]:
    return lambda rate: cs.algorithms.DiffusiveCoupling(learning_rate=rate, coupling=coupling, weight_decay=GAMMA / 2)


WEIGHTED = cs.graphs.from_adjacency(
    [[0, 2, 0, 0, 1], [0.5, 0, 0, 0, 0], [0, 3, 0, 1, 0], [0, 0, 0.2, 0, 0], [1, 0, 0, 2, 0]], name="weighted, directed"
)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("graph", [cs.graphs.complete(NUM_AGENTS), WEIGHTED], ids=lambda g: g.name)
def test_layers_follow_the_parent_system(depth: int, graph: Graph) -> None:
    theta = start(depth, equal_layers=False)
    predicted = landau.layered(
        DELTA, theta, depth=depth, coupling=3.0, weight_decay=GAMMA, times=[0.0, END], graph=graph
    )[-1]
    assert_first_order(
        lambda rate: abs(simulated(diffusive(3.0), theta, rate, graph=graph) - predicted).max(), largest=0.03
    )


@pytest.mark.parametrize("depth", [1, 2])
def test_equal_layers_follow_equation_four(depth: int) -> None:
    theta = start(depth, equal_layers=True)
    predicted = landau.integrate(DELTA, theta[0], depth=depth, coupling=3.0, weight_decay=GAMMA, times=[0.0, END])[-1]

    def difference(rate: float) -> float:
        end = simulated(diffusive(3.0), theta, rate)
        np.testing.assert_allclose(end, end[:1].repeat(depth + 1, axis=0), rtol=0, atol=1e-12)  # they stay equal
        return abs(end[0] - predicted).max()

    assert_first_order(difference, largest=0.03)


def test_a_coupling_that_changes_in_time() -> None:
    """σ(t) rises from 0 to 6 and falls to 1; the simulator has it as a factor per round."""
    theta = start(1, equal_layers=True)
    ramp = Interpolated([0.0, 0.6 * END, END], [0.0, 2.0, 1 / 3])
    predicted = landau.integrate(
        DELTA, theta[0], depth=1, coupling=lambda t: 3.0 * ramp(t), weight_decay=GAMMA, times=[0.0, END]
    )[-1]

    def difference(rate: float) -> float:
        rounds = Interpolated([0.0, 0.6 * END / rate, END / rate], [0.0, 2.0, 1 / 3])
        end = simulated(diffusive(3.0), theta, rate, schedules=Schedules(coupling=rounds))
        return abs(end[0] - predicted).max()

    assert_first_order(difference, largest=0.03)


def test_weights_that_change_in_time() -> None:
    """q(t) goes back and forth between two directed graphs, faster than the population moves."""
    theta = start(1, equal_layers=True)
    first, second = WEIGHTED.adjacency, 2 * WEIGHTED.adjacency.T
    union = cs.graphs.from_adjacency(first + second, name="both")

    # Half of the rounds each, alternating: as η → 0 the mean of both acts.
    predicted = landau.integrate(
        DELTA, theta[0], depth=1, coupling=3.0, weight_decay=GAMMA, times=[0.0, END],
        graph=lambda t: jnp.asarray((first + second) / 2),
    )[-1]  # fmt: skip

    def difference(rate: float) -> float:
        schedules = Schedules(adjacency=Periodic(np.stack([first, second])))
        end = simulated(diffusive(3.0), theta, rate, graph=union, schedules=schedules)
        return abs(end[0] - predicted).max()

    assert_first_order(difference, largest=0.03)


@pytest.mark.parametrize("graph", [cs.graphs.complete(NUM_AGENTS), WEIGHTED], ids=lambda g: g.name)
def test_a_coupling_of_three_agents(graph: Graph) -> None:
    """Distances are means over parameters, so that at equal layers they are those of the order parameters."""
    theta = start(1, equal_layers=True)
    triadic = landau.Triadic(coupling=20.0, selectivity=0.8)
    predicted = landau.integrate(
        DELTA, theta[0], depth=1, coupling=1.0, weight_decay=GAMMA, times=[0.0, END], graph=graph, triadic=triadic
    )[-1]
    pairwise = landau.integrate(
        DELTA, theta[0], depth=1, coupling=1.0, weight_decay=GAMMA, times=[0.0, END], graph=graph
    )[-1]
    assert abs(predicted - pairwise).max() > 0.1  # the triads matter

    def method(rate: float) -> Algorithm:
        return cs.algorithms.TriadicCoupling(
            learning_rate=rate, coupling=1.0, triadic_coupling=triadic.coupling, selectivity=triadic.selectivity,
            weight_decay=GAMMA / 2,
        )  # fmt: skip

    assert_first_order(lambda rate: abs(simulated(method, theta, rate, graph=graph)[0] - predicted).max(), largest=0.03)
