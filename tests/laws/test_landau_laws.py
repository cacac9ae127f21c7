"""Laws of the effective theory: gradients, symmetries, conserved quantities and reductions, by automatic
differentiation, quadrature, or as identities between its functions.

The shapes are those of tests/references/test_landau_integration.py, so that a session compiles each program once.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad_vec

from consilience import graphs
from consilience.graphs import Graph
from consilience.observables import effective_rank
from consilience.theory import landau
from consilience.theory.landau.dynamics import local_drift, local_slope, triadic_pull
from consilience.theory.landau.layered import layered_drift

laws = settings(deadline=None, max_examples=15, derandomize=True)
# Integrations are not worth minutes of shrinking when they fail.
few = settings(deadline=None, max_examples=5, derandomize=True, phases=(Phase.explicit, Phase.generate))

N = 30
DEPTHS = (0, 1, 2, 3)
at_every_depth = pytest.mark.parametrize("depth", DEPTHS)
TIMES = np.array([0.0, 0.1, 0.3, 1.0, 10.0])
seeds = st.integers(0, 10**6)
strengths = st.floats(0, 30)


def population(seed: int) -> dict[str, Any]:
    """δ of both signs, ⟨x̂²⟩ and m of all agents."""
    random = np.random.default_rng(seed)
    delta, m = random.normal(0, 2, N), random.uniform(-1.5, 1.5, N)
    return {"m": m, "delta": delta, "second_moment": random.uniform(0.2, 2, N)}


def random_graph(seed: int, *, directed: bool) -> Graph:
    random = np.random.default_rng(seed + 1)
    q = random.uniform(0.1, 3, (N, N)) * (random.random((N, N)) < 0.3)
    q = q if directed else np.triu(q) + np.triu(q).T
    np.fill_diagonal(q, 0)
    return graphs.from_adjacency(q)


# ---- potentials and gradients --------------------------------------------------------------------------------------


@at_every_depth
@laws
@given(seed=seeds, gamma=st.floats(0, 2))
def test_force_and_slope_are_derivatives_of_the_potential(depth: int, seed: int, gamma: float) -> None:
    with jax.enable_x64(True):
        one = {"depth": depth, "weight_decay": gamma}
        agents = population(seed)
        m, delta, moment = (jnp.asarray(agents[name]) for name in ("m", "delta", "second_moment"))

        def total(m: Any) -> Any:
            return landau.potential(m, delta, second_moment=moment, **one).sum()

        # Polynomials of degree 8 at |m| ≤ 1.5: terms of order 100, rounded at 1e-16 of it.
        rounding = {"rtol": 0, "atol": 1e-12}
        np.testing.assert_allclose(local_drift(m, delta, second_moment=moment, **one), -jax.grad(total)(m), **rounding)
        curvature = jax.grad(lambda m: jax.grad(total)(m).sum())(m)  # agents are independent
        np.testing.assert_allclose(local_slope(m, delta, second_moment=moment, **one), -curvature, **rounding)


# f'(0) of a polynomial of degree 8 from f at ±1, ±2, ±3, ±4 steps, exactly.
STENCIL = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}


@at_every_depth
@laws
@given(seed=seeds, coupling=strengths, gamma=st.floats(0, 2))
def test_the_flow_is_the_steepest_descent_of_the_energy(depth: int, seed: int, coupling: float, gamma: float) -> None:
    """∂E/∂m_i = −ṁ_i, with the factor one. In each m_i, E is a polynomial of degree 2D + 2 ≤ 8: no error of steps."""
    agents = population(seed)
    rest = {
        "delta": agents["delta"], "second_moment": agents["second_moment"], "depth": depth, "coupling": coupling,
        "weight_decay": gamma, "graph": random_graph(seed, directed=False),
    }  # fmt: skip
    step = 0.2
    shifts = step * np.eye(N)
    gradient = sum(
        weight
        / step
        * (landau.energy(agents["m"] + k * shifts, **rest) - landau.energy(agents["m"] - k * shifts, **rest))
        for k, weight in STENCIL.items()
    )
    # Energies of order 1000 at m + 4 steps ≤ 2.3, rounded, divided by the step.
    np.testing.assert_allclose(gradient, -landau.drift(agents["m"], **rest), rtol=0, atol=1e-10)


@at_every_depth
@few
@given(seed=seeds, coupling=strengths)
def test_energy_decreases_along_trajectories(depth: int, seed: int, coupling: float) -> None:
    agents, graph = population(seed), random_graph(seed, directed=False)
    rest = {
        "depth": depth, "coupling": coupling, "graph": graph, "second_moment": agents["second_moment"],
    }  # fmt: skip
    m = landau.integrate(agents["delta"], agents["m"], times=TIMES, **rest)
    energy = landau.energy(m, agents["delta"], **rest)
    assert energy.shape == TIMES.shape
    # At rest only the solver's tolerance is left, 1e-10 per step.
    assert (np.diff(energy) <= 1e-8 * (1 + abs(energy[0]))).all()
    assert energy[1] < energy[0]


@at_every_depth
@laws
@given(seed=seeds, gamma=st.floats(0, 2))
def test_layers_descend_the_loss_of_a_deep_linear_network(depth: int, seed: int, gamma: float) -> None:
    """(A4) → (A6): −½ ∂/∂θ_i^d of the mean of (x̂ Πθ − ŷ)² over an agent's own samples, plus γ Σ_d (θ_i^d)²."""
    random = np.random.default_rng(seed)
    with jax.enable_x64(True):
        x, y = jnp.asarray(random.normal(0, 1, (2, 20, N)))
        theta = jnp.asarray(random.uniform(-1.5, 1.5, (depth + 1, N)))

        def loss(theta: Any) -> Any:
            return (((x * theta.prod(axis=0) - y) ** 2).mean(axis=0) + gamma * (theta**2).sum(axis=0)).sum()

        rate = layered_drift(
            theta, (x * y).mean(axis=0), depth=depth, weight_decay=gamma, second_moment=(x**2).mean(axis=0)
        )
        np.testing.assert_allclose(rate, -0.5 * jax.grad(loss)(theta), rtol=0, atol=1e-12)  # terms of order 100


# ---- symmetries ----------------------------------------------------------------------------------------------------


@at_every_depth
@laws
@given(seed=seeds, coupling=strengths, tau=strengths)
def test_reflection(depth: int, seed: int, coupling: float, tau: float) -> None:
    """m → −m with δ → (−1)^(D+1) δ.

    Let m' = −m. Then ṁ' = −ṁ = −δ(−1)^D m'^D − s m'^(2D+1) − γ̂m' + coupling of m', since m^(2D+1), m and both
    couplings are odd: Eq. (4) with δ' = (−1)^(D+1) δ. For odd D the equation is symmetric as it stands, which is why
    its order is a broken symmetry; for even D a change of the sign of δ goes with it.
    """
    agents, graph = population(seed), random_graph(seed, directed=True)
    rest = {
        "depth": depth, "coupling": coupling, "graph": graph, "second_moment": agents["second_moment"],
        "triadic": landau.Triadic(tau),
    }  # fmt: skip
    m, delta = agents["m"], agents["delta"]
    # Signs are exact in floating point; NumPy may still round sums of other signs in another order.
    reflected = landau.drift(-m, (-1) ** (depth + 1) * delta, **rest)
    np.testing.assert_allclose(reflected, -landau.drift(m, delta, **rest), rtol=0, atol=1e-12)
    mirrored = landau.effective_loss(-m, (-1) ** (depth + 1) * delta, depth)
    np.testing.assert_allclose(mirrored, landau.effective_loss(m, delta, depth), rtol=0, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2])
@few
@given(seed=seeds, coupling=strengths)
def test_trajectories_are_reflected_too(depth: int, seed: int, coupling: float) -> None:
    agents = population(seed)
    rest = {"depth": depth, "coupling": coupling, "times": TIMES}
    m = landau.integrate(agents["delta"], agents["m"], **rest)
    reflected = landau.integrate((-1) ** (depth + 1) * agents["delta"], -agents["m"], **rest)
    np.testing.assert_allclose(reflected, -m, rtol=0, atol=1e-9)  # the same steps; XLA may round them otherwise


@at_every_depth
@laws
@given(seed=seeds, coupling=strengths, tau=strengths)
def test_relabelling_agents_commutes_with_the_dynamics(depth: int, seed: int, coupling: float, tau: float) -> None:
    agents, graph = population(seed), random_graph(seed, directed=True)
    order = np.random.default_rng(seed).permutation(N)
    relabelled = graphs.from_adjacency(graph.adjacency[np.ix_(order, order)])
    rest = {"depth": depth, "coupling": coupling, "triadic": landau.Triadic(tau, 0.5)}
    moved = {name: values[order] for name, values in agents.items()}
    # Only the order of summation differs, in terms of order 1000 at most.
    np.testing.assert_allclose(
        landau.drift(**moved, graph=relabelled, **rest), landau.drift(**agents, graph=graph, **rest)[order], atol=1e-10
    )


@few
@given(seed=seeds, coupling=strengths)
def test_relabelling_agents_commutes_with_integration(seed: int, coupling: float) -> None:
    agents, graph = population(seed), random_graph(seed, directed=False)
    order = np.random.default_rng(seed).permutation(N)
    relabelled = graphs.from_adjacency(graph.adjacency[np.ix_(order, order)])
    rest = {"depth": 1, "coupling": coupling, "times": TIMES}
    moved = landau.integrate(agents["delta"][order], agents["m"][order], graph=relabelled, **rest)
    # Rounding, which a state that passes near a saddle may amplify; steps are the same.
    expected = landau.integrate(agents["delta"], agents["m"], graph=graph, **rest)[..., order]
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-8)


# ---- layers --------------------------------------------------------------------------------------------------------


@at_every_depth
@few
@given(seed=seeds, coupling=strengths, gamma=st.floats(0, 1))
def test_equal_layers_stay_equal_and_are_the_order_parameter(
    depth: int, seed: int, coupling: float, gamma: float
) -> None:
    """(A11) is (A5) on the subspace of equal layers, exactly: no mean field is needed there."""
    agents, graph = population(seed), random_graph(seed, directed=False)
    rest = {
        "depth": depth, "coupling": coupling, "weight_decay": gamma, "times": TIMES, "graph": graph,
        "second_moment": agents["second_moment"],
    }  # fmt: skip
    m = landau.integrate(agents["delta"], agents["m"], **rest)
    theta = landau.layered(agents["delta"], np.tile(agents["m"], (depth + 1, 1)), **rest)
    # Two runs of one equation, with the same tolerance of 1e-10 per step.
    np.testing.assert_allclose(theta, np.broadcast_to(m[:, None], theta.shape), rtol=0, atol=1e-8)


@pytest.mark.parametrize("depth", DEPTHS[1:])
@few
@given(seed=seeds)
def test_layers_conserve_differences_of_squares(depth: int, seed: int) -> None:
    """At γ̂ = σ̂ = 0, d/dt (θ^d)² = 2(δΠ − sΠ²) with the product Π of all layers: the same for every layer."""
    agents = population(seed)
    start = np.random.default_rng(seed).uniform(-1.2, 1.2, (depth + 1, N))
    theta = landau.layered(
        agents["delta"], start, depth=depth, coupling=0.0, weight_decay=0.0, times=TIMES,
        graph=random_graph(seed, directed=False), second_moment=agents["second_moment"],
    )  # fmt: skip
    squares = theta**2
    assert np.abs(squares[-1] - squares[0]).max() > 0.1
    differences = squares - squares[:, :1]
    np.testing.assert_allclose(differences, np.broadcast_to(differences[:1], differences.shape), rtol=0, atol=1e-8)


# ---- losses and the learning path ----------------------------------------------------------------------------------


@at_every_depth
@laws
@given(seed=seeds)
def test_losses_are_means_of_squared_errors(depth: int, seed: int) -> None:
    """Of samples of every agent, less what predicting nothing costs, ⟨ŷ²⟩; and their mean is the effective loss."""
    random = np.random.default_rng(seed)
    m = random.uniform(-1.5, 1.5, (3, N))
    x, y = random.normal(0, 1, (2, 20, N))
    delta, moment = (x * y).mean(axis=0), (x**2).mean(axis=0)
    cross = landau.cross_loss(m, delta, depth, second_moment=moment)
    output = m[:, :, None, None] ** (depth + 1) * x.T  # realization, agent, agent evaluated, sample
    expected = ((output - y.T) ** 2 - y.T**2).mean(axis=-1)
    np.testing.assert_allclose(cross, expected, rtol=0, atol=1e-12)  # 20 terms of order 100
    effective = landau.effective_loss(m, delta, depth, second_moment=moment)
    np.testing.assert_allclose(effective, cross.mean(axis=(-2, -1)), rtol=0, atol=1e-12)


@laws
@given(seed=seeds, coupling=strengths, gamma=st.floats(0, 2))
def test_closed_forms_of_depth_zero(seed: int, coupling: float, gamma: float) -> None:
    """Eq. (6) is where Eq. (4) rests, and Eq. (8) is minus the cross-loss there."""
    delta = population(seed)["delta"]
    m = landau.linear_state(delta, coupling=coupling, weight_decay=gamma)
    rest = landau.drift(m, delta, depth=0, coupling=coupling, weight_decay=gamma)
    np.testing.assert_allclose(rest, 0, rtol=0, atol=1e-12)  # differences of terms of order 100
    np.testing.assert_allclose(m.mean(), delta.mean() / (1 + gamma), rtol=0, atol=1e-13)  # whatever the coupling
    accuracy = landau.cross_accuracy(delta, coupling, weight_decay=gamma)
    np.testing.assert_allclose(accuracy, -landau.cross_loss(m, delta, 0), rtol=0, atol=1e-12)


@few
@given(seed=seeds, start=st.floats(-2, 2))
def test_at_depth_zero_coupling_leaves_the_mean_alone(seed: int, start: float) -> None:
    """On undirected graphs with any weights: d⟨m⟩/dt = ⟨δ⟩ − (1 + γ̂)⟨m⟩, with the pull of pairs cancelling."""
    agents = population(seed)
    initial = agents["m"] + start
    graph, gamma = random_graph(seed, directed=False), 1e-3
    m = landau.integrate(agents["delta"], initial, depth=0, coupling=[0.0, 1.0, 20.0], times=TIMES, graph=graph)
    rest = agents["delta"].mean() / (1 + gamma)
    expected = rest + (initial.mean() - rest) * np.exp(-(1 + gamma) * TIMES)
    # The tolerance of 1e-10 per step.
    np.testing.assert_allclose(m.mean(axis=-1), np.tile(expected[:, None], 3), rtol=0, atol=1e-8)


@few
@given(seed=seeds, to=st.floats(0.1, 300), gamma=st.floats(0, 2))
def test_learning_path_is_the_integral_of_cross_accuracies(seed: int, to: float, gamma: float) -> None:
    delta = population(seed)["delta"]
    integral, error = quad_vec(
        lambda sigma: landau.cross_accuracy(delta, sigma, weight_decay=gamma).values, 0, to, epsabs=1e-10, epsrel=1e-12
    )
    assert error < 1e-8
    path = landau.learning_path(delta, to, weight_decay=gamma)
    np.testing.assert_allclose(path, integral, rtol=1e-8, atol=1e-8)  # quadrature, as asked of it above
    several = landau.learning_path(delta, [0.0, to], weight_decay=gamma)
    np.testing.assert_array_equal(several[0], 0)
    np.testing.assert_array_equal(several[1], path)


@few
@given(seed=seeds)
def test_learning_path_becomes_rank_one(seed: int) -> None:
    """For δ > 0, Ŝ_x/σ' → c(2δ_j − c) with c = ⟨δ⟩/(1 + γ̂), one column pattern for all agents.

    The rest is of order log σ'/σ', and so is the deviation of the effective rank from one (with a logarithm more).
    """
    delta = np.abs(population(seed)["delta"]) + 0.1
    to = np.array([1e1, 1e3, 1e5, 1e7])
    path = landau.learning_path(delta, to, weight_decay=0.0)
    c = delta.mean()
    # Coefficients of the logarithm are 2e_i(δ_j − c), of order 10.
    limit = np.tile(c * (2 * delta - c), (N, 1))
    np.testing.assert_allclose(path[-1] / to[-1], limit, rtol=0, atol=100 * np.log(to[-1]) / to[-1])
    excess = np.array([effective_rank(one) - 1 for one in path])
    assert (np.diff(excess) < 0).all()
    assert excess[-1] < 1e-3
    assert excess[0] < 1.5  # of at most N − 1 = 29: "approximately rank one" from the start


# ---- three agents at a time ----------------------------------------------------------------------------------------


@laws
@given(seed=seeds, tau=strengths, selectivity=st.floats(0, 5), value=st.floats(-2, 2))
def test_agents_that_agree_are_left_alone_by_triads(seed: int, tau: float, selectivity: float, value: float) -> None:
    """And otherwise nobody is pulled beyond the others: the pull of the largest is down, of the smallest up."""
    q = random_graph(seed, directed=True).adjacency
    agreed = np.full((2, N), value)
    np.testing.assert_allclose(triadic_pull(agreed, q, selectivity), 0, rtol=0, atol=1e-13)  # sums of 900 terms
    m = population(seed)["m"]
    pull = triadic_pull(m, q, selectivity)
    assert pull[m.argmax()] <= 1e-13
    assert pull[m.argmin()] >= -1e-13


@at_every_depth
@laws
@given(seed=seeds, coupling=strengths, tau=strengths)
def test_triads_that_listen_to_all_pairs_alike_are_a_pairwise_coupling(
    depth: int, seed: int, coupling: float, tau: float
) -> None:
    """λ = 0 on the complete graph: Σ_{k≠i,j} 1 = N − 2 triads with each j, so τ̂(N − 2)/N is added to σ̂."""
    agents = population(seed)
    both = landau.drift(**agents, depth=depth, coupling=coupling, triadic=landau.Triadic(tau, selectivity=0.0))
    pairwise = landau.drift(**agents, depth=depth, coupling=coupling + tau * (N - 2) / N)
    np.testing.assert_allclose(both, pairwise, rtol=0, atol=1e-11)  # sums of terms of order 100
