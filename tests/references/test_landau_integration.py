"""`landau.integrate` and `landau.layered` against SciPy's DOP853, with the equations written out again; closed forms.

SciPy is called from one output time to the next, since its dense output is less exact than its steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from consilience import graphs
from consilience.graphs import Graph
from consilience.theory import landau

N = 30
TIMES = np.array([0.0, 0.3, 1.0, 4.0, 10.0])
COUPLINGS = np.array([0.0, 0.3, 3.0, 30.0, 300.0])
GAMMA = 0.05

RANDOM = np.random.default_rng(20)
DELTA = RANDOM.normal(0.3, 2, N)
START = RANDOM.uniform(-2, 2, N)
MOMENT = RANDOM.uniform(0.3, 1.8, N)
assert (DELTA < 0).any()
assert (DELTA > 0).any()

AGREEMENT = {"rtol": 0, "atol": 1e-7}
"""Both solvers keep errors per step below 1e-10 of |m|; the largest difference seen is 5e-9, of a state that passes
near a separatrix on its way. Figures need 1e-3."""


def sparse(num_agents: int = N, seed: int = 3) -> Graph:
    """Directed: everybody listens to about five others, with weights from 0.2 to 3 and rarely in return."""
    random = np.random.default_rng(seed)
    q = random.uniform(0.2, 3, (num_agents, num_agents)) * (random.random((num_agents, num_agents)) < 5 / num_agents)
    np.fill_diagonal(q, 0)
    return graphs.from_adjacency(q, name="sparse")


def uniform(weight: float, num_agents: int = N) -> Graph:
    """All listen to all with one weight, which `integrate` recognises."""
    graph = graphs.from_adjacency(weight * (np.ones((num_agents, num_agents)) - np.eye(num_agents)), name="uniform")
    assert graph.uniform_weight == weight
    return graph


GRAPHS = {"complete": None, "uniform 0.6": uniform(0.6), "sparse": sparse()}
on_every_graph = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())


def weights_of(graph: Graph | None) -> np.ndarray:
    """q_ij, by the definition of the complete graph if there is none."""
    return np.array([[float(i != j) for j in range(N)] for i in range(N)]) if graph is None else graph.adjacency


def dop853(field: Callable[[float, np.ndarray], np.ndarray], initial: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The states at `times`, of any shape."""
    states = [np.asarray(initial, float)]
    for start, end in itertools.pairwise(times):
        flat = solve_ivp(
            lambda t, y: field(t, y.reshape(initial.shape)).ravel(),
            (start, end),
            states[-1].ravel(),
            method="DOP853",
            rtol=1e-10,
            atol=1e-12,
        )
        assert flat.success
        states.append(flat.y[:, -1].reshape(initial.shape))
    return np.stack(states)


def equation_four(
    sigma: Callable[[float], float],
    q: Callable[[float], np.ndarray],
    *,
    depth: int,
    delta: np.ndarray = DELTA,
    gamma: float = GAMMA,
) -> Callable[[float, np.ndarray], np.ndarray]:
    """Eq. (4) as printed, with ⟨x̂²⟩ kept, and differences of all pairs."""

    def field(t: float, m: np.ndarray) -> np.ndarray:
        pull = (q(t) * (m[None, :] - m[:, None])).sum(axis=1)
        return delta * m**depth - MOMENT * m ** (2 * depth + 1) - gamma * m + sigma(t) / N * pull

    return field


# ---- Eq. (4) -------------------------------------------------------------------------------------------------------


@on_every_graph
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_integrate_is_equation_four(depth: int, graph: Graph | None) -> None:
    m = landau.integrate(
        DELTA,
        START,
        depth=depth,
        coupling=COUPLINGS,
        weight_decay=GAMMA,
        times=TIMES,
        graph=graph,
        second_moment=MOMENT,
    )
    assert m.shape == (len(TIMES), len(COUPLINGS), N)
    assert m.dtype == np.float64
    q = weights_of(graph)
    for k, coupling in enumerate(COUPLINGS):
        field = equation_four(lambda t, c=coupling: c, lambda t: q, depth=depth)
        np.testing.assert_allclose(m[:, k], dop853(field, START, TIMES), **AGREEMENT, err_msg=f"σ̂ = {coupling}")
    # The couplings matter, ten thousand times more than the tolerance, so that agreement means something.
    assert np.abs(np.diff(m[-1], axis=0)).max(axis=-1).min() > 1e-3


@pytest.mark.parametrize("gamma", [0.0, 0.1, 2.0])
def test_depth_zero_reaches_equation_six(gamma: float) -> None:
    m = landau.integrate(
        DELTA, START, depth=0, coupling=COUPLINGS, weight_decay=gamma, times=[0.0, 1.0, 2.0, 3.0, 40.0]
    )
    expected = (DELTA + COUPLINGS[:, None] * DELTA.mean() / (1 + gamma)) / (1 + gamma + COUPLINGS[:, None])
    # The slowest deviation, of the mean at γ̂ = 0, is e⁻⁴⁰ of what it was; the rest is the solver's tolerance.
    np.testing.assert_allclose(m[-1], expected, rtol=0, atol=1e-8)
    closed = landau.linear_state(DELTA, coupling=COUPLINGS, weight_decay=gamma)
    np.testing.assert_allclose(closed, expected, rtol=0, atol=1e-14)  # the same numbers in another order


# ---- batches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [None, GRAPHS["sparse"]], ids=["complete", "sparse"])
def test_a_batch_is_its_members_one_by_one(graph: Graph | None) -> None:
    """(realizations, agents) with couplings (3, 1) and weight decays (2, 1, 1): shape (2, 3, realizations, agents)."""
    random = np.random.default_rng(2)
    delta, start = random.normal(0, 2, (2, N)), random.uniform(-2, 2, (2, N))
    couplings, gamma = COUPLINGS[1:4], np.array([1e-3, 0.5])
    settings = {"depth": 1, "times": TIMES, "graph": graph, "second_moment": MOMENT}
    m = landau.integrate(delta, start, coupling=couplings[:, None], weight_decay=gamma[:, None, None], **settings)
    assert m.shape == (len(TIMES), 2, 3, 2, N)
    for at in np.ndindex(2, 3, 2):
        g, c, r = at
        one = landau.integrate(delta[r], start[r], coupling=couplings[c], weight_decay=gamma[g], **settings)
        # Rows of one coupling share their steps, so that each differs from itself alone by the tolerance, 1e-10 per
        # step, and a factor for a few hundred steps.
        np.testing.assert_allclose(m[(slice(None), *at)], one, rtol=0, atol=1e-8, err_msg=str(at))


def test_each_coupling_has_steps_of_its_own() -> None:
    """To the bit: who is integrated besides does not matter, if it has another coupling."""
    settings = {"depth": 1, "times": TIMES, "weight_decay": GAMMA}
    alone = landau.integrate(DELTA, START, coupling=[0.3], **settings)
    together = landau.integrate(DELTA, START, coupling=[300.0, 0.3, 3.0], **settings)
    np.testing.assert_array_equal(together[:, 1], alone[:, 0])


def test_large_batches_are_solved_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three realizations, of which two are solved at once: the one in the middle is solved twice."""
    monkeypatch.setattr("consilience.theory.landau.integration._NUMBERS_AT_ONCE", 2 * N)
    delta = np.random.default_rng(4).normal(0, 2, (3, N))
    settings = {"depth": 1, "coupling": 3.0, "times": TIMES}
    m = landau.integrate(delta, START, **settings)
    for r in range(3):
        # Other steps, the same tolerance, as above.
        np.testing.assert_allclose(m[:, r], landau.integrate(delta[r], START, **settings), rtol=0, atol=1e-8)


def test_one_time_one_agent_and_times_that_do_not_begin_at_zero() -> None:
    settings = {"depth": 1, "coupling": 2.0, "weight_decay": GAMMA}
    np.testing.assert_array_equal(landau.integrate(DELTA, START, times=[3.0], **settings), START[None])
    shifted = landau.integrate(DELTA, START, times=TIMES - 7, **settings)
    # Autonomous: only the rounding of times and of the steps that it moves differs.
    np.testing.assert_allclose(shifted, landau.integrate(DELTA, START, times=TIMES, **settings), rtol=0, atol=1e-9)
    single = landau.integrate([1.5], [0.1], times=TIMES, graph=graphs.from_adjacency([[0.0]]), **settings)
    # Bernoulli's equation ṁ = am − m³: m² = a/(1 + (a/m₀² − 1)e^(−2at)), with a = δ − γ̂.
    a = 1.5 - GAMMA
    closed = np.sqrt(a / (1 + (a / 0.01 - 1) * np.exp(-2 * a * TIMES)))
    np.testing.assert_allclose(single[:, 0], closed, rtol=0, atol=1e-8)  # the tolerance, grown from m = 0.1 to 1.2
    np.testing.assert_allclose(
        landau.integrate([1.5], [0.1], times=TIMES, **settings), single, rtol=0, atol=1e-8
    )  # two methods


# ---- couplings that change in time, and three agents at a time -----------------------------------------------------


def wave(t: float) -> jnp.ndarray:
    """σ̂(t), smooth."""
    return 2 + 2 * jnp.sin(3 * t)


RAMP = graphs.Interpolated(rounds=(1.0, 4.0, 5.0), values=(0.0, 30.0, 0.5))


@pytest.mark.parametrize("graph", [None, GRAPHS["sparse"]], ids=["complete", "sparse"])
def test_coupling_that_changes_in_time(graph: Graph | None) -> None:
    q = weights_of(graph)
    m = landau.integrate(
        DELTA, START, depth=1, coupling=wave, weight_decay=GAMMA, times=TIMES, graph=graph, second_moment=MOMENT
    )
    field = equation_four(lambda t: 2 + 2 * np.sin(3 * t), lambda t: q, depth=1)
    np.testing.assert_allclose(m, dop853(field, START, TIMES), **AGREEMENT)


def test_coupling_from_a_table() -> None:
    """Piecewise linear: both solvers have to notice the kinks, at 1, 4 and 5."""
    times = np.array([0.0, 1.0, 4.0, 5.0, 10.0])
    m = landau.integrate(
        DELTA, START, depth=2, coupling=RAMP, weight_decay=GAMMA, times=[0.0, 4.5, 10.0], second_moment=MOMENT
    )
    field = equation_four(lambda t: np.interp(t, RAMP.rounds, RAMP.values), lambda t: weights_of(None), depth=2)
    np.testing.assert_allclose(m[-1], dop853(field, START, times)[-1], **AGREEMENT)


def test_weights_that_change_in_time() -> None:
    """A graph that fades into its transpose, while the coupling changes besides."""
    q = GRAPHS["sparse"].adjacency

    def fading(t: float) -> jnp.ndarray:
        share = jnp.exp(-t / 2)
        return share * q + (1 - share) * q.T

    def faded(t: float) -> np.ndarray:
        return np.exp(-t / 2) * q + (1 - np.exp(-t / 2)) * q.T

    m = landau.integrate(
        DELTA, START, depth=1, coupling=wave, weight_decay=GAMMA, times=TIMES, graph=fading, second_moment=MOMENT
    )
    field = equation_four(lambda t: 2 + 2 * np.sin(3 * t), faded, depth=1)
    np.testing.assert_allclose(m, dop853(field, START, TIMES), **AGREEMENT)


@pytest.mark.parametrize("graph", [None, sparse(6)], ids=["complete", "sparse"])
def test_triadic_coupling_by_three_loops(graph: Graph | None) -> None:
    """Every ordered pair of neighbours pulls to where it is, the more the two agree; besides the pairwise coupling."""
    n, tau, selectivity, sigma = 6, 20.0, 0.7, 1.5
    delta, start = DELTA[:n], START[:n]
    q = np.ones((n, n)) - np.eye(n) if graph is None else graph.adjacency

    def field(t: float, m: np.ndarray) -> np.ndarray:
        rates = delta * m - m**3 - GAMMA * m
        for i in range(n):
            rates[i] += sigma / n * sum(q[i, j] * (m[j] - m[i]) for j in range(n))
            for j in range(n):
                for k in range(n):
                    if j != k and q[i, j] and q[i, k]:
                        agreement = np.exp(-selectivity * (m[j] - m[k]) ** 2)
                        rates[i] += tau / n**2 * q[i, j] * q[i, k] * agreement * ((m[j] + m[k]) / 2 - m[i])
        return rates

    settings = {"depth": 1, "coupling": sigma, "weight_decay": GAMMA, "graph": graph}
    times = np.array([0.0, 0.5, 1.5])
    triadic = landau.Triadic(tau, selectivity)
    m = landau.integrate(delta, start, times=times, triadic=triadic, **settings)
    np.testing.assert_allclose(m, dop853(field, start, times), **AGREEMENT)
    np.testing.assert_allclose(
        landau.drift(start, delta, triadic=triadic, **settings), field(0.0, start), rtol=0, atol=1e-12
    )  # sums of 36 terms of order 1
    without = landau.integrate(delta, start, times=times, **settings)
    assert np.abs(m - without).max() > 0.1, "triads hardly pull, so this proves little"


# ---- the parent system ---------------------------------------------------------------------------------------------


def parent_system(sigma: float, q: np.ndarray, gamma: float) -> Callable[[float, np.ndarray], np.ndarray]:
    """(A5) with the gradient (A6), both as printed: with their factors 2, and in their time. θ is (layers, agents)."""

    def field(t: float, theta: np.ndarray) -> np.ndarray:
        rates = np.empty_like(theta)
        for d in range(len(theta)):
            others = np.prod(np.delete(theta, d, axis=0), axis=0)
            gradient = -2 * DELTA * others + 2 * MOMENT * theta[d] * others**2 + 2 * gamma * theta[d]
            rates[d] = -gradient + sigma / N * (q * (theta[d][None, :] - theta[d][:, None])).sum(axis=1)
        return rates

    return field


@pytest.mark.parametrize(
    ("depth", "graph"), [(0, "sparse"), (1, "sparse"), (2, "sparse"), (3, "sparse"), (1, "uniform 0.6")]
)
def test_layered_is_the_parent_system_in_half_its_time(depth: int, graph: str) -> None:
    """With σ̂ = σ/2, γ̂ = γ and t' = 2t, as the text before (A11) rescales them."""
    start = np.random.default_rng(depth).uniform(-1.5, 1.5, (depth + 1, N))
    sigmas = np.array([0.0, 0.6, 60.0])
    theta = landau.layered(
        DELTA, start, depth=depth, coupling=sigmas / 2, weight_decay=GAMMA, times=TIMES, graph=GRAPHS[graph],
        second_moment=MOMENT,
    )  # fmt: skip
    assert theta.shape == (len(TIMES), len(sigmas), depth + 1, N)
    for k, sigma in enumerate(sigmas):
        expected = dop853(parent_system(sigma, weights_of(GRAPHS[graph]), GAMMA), start, TIMES / 2)
        np.testing.assert_allclose(theta[:, k], expected, **AGREEMENT, err_msg=f"σ = {sigma}")


def test_layered_with_coupling_and_weights_that_change_in_time() -> None:
    q = GRAPHS["sparse"].adjacency
    start = np.random.default_rng(9).uniform(-1.5, 1.5, (2, N))

    def turning(t: float) -> jnp.ndarray:
        return q * (1 + jnp.cos(t)) / 2

    theta = landau.layered(
        DELTA, start, depth=1, coupling=wave, weight_decay=GAMMA, times=TIMES, graph=turning, second_moment=MOMENT
    )

    def field(t: float, theta: np.ndarray) -> np.ndarray:  # t is that of (A5)
        sigma, weights = 2 * (2 + 2 * np.sin(3 * 2 * t)), q * (1 + np.cos(2 * t)) / 2
        return parent_system(sigma, weights, GAMMA)(t, theta)

    np.testing.assert_allclose(theta, dop853(field, start, TIMES / 2), **AGREEMENT)


def test_batches_of_layered_systems() -> None:
    """(2, layers, agents) with δ of its own and couplings (2,): the same as one by one, to the tolerance."""
    random = np.random.default_rng(11)
    start, delta = random.uniform(-1, 1, (2, 2, N)), random.normal(0, 2, (2, N))
    settings = {"depth": 1, "times": TIMES, "graph": GRAPHS["sparse"], "second_moment": MOMENT}
    both = landau.layered(delta, start, coupling=[0.3, 3.0], **settings)
    for r, coupling in enumerate((0.3, 3.0)):
        one = landau.layered(delta[r], start[r], coupling=coupling, **settings)
        np.testing.assert_allclose(both[:, r], one, rtol=0, atol=1e-8)  # other steps, the same tolerance
