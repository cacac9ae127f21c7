"""Stationary states against independent computations: brute force for few agents, integration by SciPy for twenty."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize

from consilience import graphs
from consilience.theory.landau.equilibria import branches, equilibria, equilibrium
from consilience.theory.landau.stability import top_eigenvalue

DEPTHS = (0, 1, 2, 3)


class Flow:
    """Eq. (4) as it is printed, with all sums over pairs of agents."""

    def __init__(self, delta, *, depth, coupling, weight_decay=1e-3, second_moment=1.0, adjacency=None):
        self.delta, self.depth, self.decay = np.asarray(delta), depth, weight_decay
        self.second = np.broadcast_to(second_moment, self.delta.shape)
        n = len(self.delta)
        weights = np.ones((n, n)) - np.eye(n) if adjacency is None else adjacency
        self.coupled = coupling / n * (weights - np.diag(weights.sum(1)))

    def __call__(self, m):
        own = self.delta * m**self.depth - self.second * m ** (2 * self.depth + 1) - self.decay * m
        return own + m @ self.coupled.T

    def jacobian(self, m):
        d = self.depth
        slope = -(2 * d + 1) * self.second * m ** (2 * d) - self.decay
        if d > 0:
            slope = slope + d * self.delta * m ** (d - 1)
        return self.coupled + slope[..., None] * np.eye(len(self.delta))

    def bound(self):
        """No stationary |m_i| is above it: the outermost agent's own drift leads outward, or vanishes."""
        return (np.abs(self.delta) / self.second).max() ** (1 / (self.depth + 1))


# ---- brute force for one to three agents -------------------------------------------------------------------------


def unique_states(states):
    kept = np.empty((0, states.shape[1]))
    for m in states:
        if len(kept) == 0 or np.abs(kept - m).max(-1).min() > 1e-6:
            kept = np.vstack([kept, m])
    return kept


def by_roots(flow):
    """One agent: the real roots of a polynomial, eigenvalues of its companion matrix."""
    polynomial = np.zeros(2 * flow.depth + 2)
    polynomial[0] -= flow.second[0]
    polynomial[-1 - flow.depth] += flow.delta[0]
    polynomial[-2] -= flow.decay
    roots = np.roots(polynomial)
    return unique_states(roots[np.abs(roots.imag) < 1e-9].real[:, None])


def by_elimination(flow):
    """Two agents: the first equation gives m_2 as a function of m_1, the second changes sign at every state."""
    pull = flow.coupled[0, 1]

    def other(first):
        alone = flow.delta[0] * first**flow.depth - flow.second[0] * first ** (2 * flow.depth + 1) - flow.decay * first
        return first - alone / pull

    def remainder(first):
        return flow(np.stack([np.asarray(first), other(first)], -1))[..., 1]

    # Uneven points, finer around zero, none at a likely zero.
    line = np.sinh(np.linspace(-9.01, 9.0, 40_000)) / np.sinh(9) * flow.bound() * 1.01
    values = remainder(line)
    changes = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    firsts = [scipy.optimize.brentq(remainder, line[k], line[k + 1], xtol=1e-15) for k in changes]
    return unique_states(np.array([[first, other(first)] for first in firsts]))


def by_newton(flow, points_per_agent):
    """Newton's method from all points of a grid, by dense linear algebra."""
    n = len(flow.delta)
    line = np.sinh(np.linspace(-3, 3.01, points_per_agent)) / np.sinh(3) * flow.bound()
    m = np.array(list(itertools.product(line, repeat=n)))
    with np.errstate(all="ignore"):
        for _ in range(60):
            force, matrix = flow(m), flow.jacobian(m)
            fine = np.isfinite(m).all(-1) & (np.abs(np.linalg.det(np.where(np.isfinite(matrix), matrix, 0))) > 0)
            m, force, matrix = m[fine], force[fine], matrix[fine]
            m = m - np.linalg.solve(matrix, force[..., None])[..., 0]
        m = m[np.abs(flow(m)).max(-1) < 1e-10]
    return unique_states(m)


CASES = {
    1: [([1.5], 1.0), ([-1.2], 1.0), ([2.5], [0.6])],
    2: [([1.5, 0.8], 1.0), ([2.0, -1.1], 1.0), ([-0.7, -1.9], [1.4, 0.7])],
    3: [([1.6, 0.9, 2.2], 1.0), ([2.0, -1.3, 0.6], [1.0, 0.5, 2.0])],
}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("coupling", [0.05, 0.4, 2.0, 30.0])
@pytest.mark.parametrize("num_agents", [1, 2, 3])
def test_all_states_of_few_agents(num_agents, depth, coupling):
    for delta, second in CASES[num_agents]:
        options = {"depth": depth, "coupling": coupling, "weight_decay": 0.03, "second_moment": second}
        flow = Flow(delta, **options)
        if num_agents == 1:
            expected = by_roots(flow)
        elif num_agents == 2:
            expected = by_elimination(flow)
        else:
            expected = by_newton(flow, 13)
        states = equilibria(delta, **options)
        found = states["m"].values
        distances = np.abs(found[:, None] - expected[None]).max(-1)
        # Companion matrices and Newton's method leave some 1e-12 over the smallest eigenvalues, here above 1e-3.
        assert (distances.min(0) < 1e-7).all(), ("missed", expected[distances.min(0) >= 1e-7])
        assert (distances.min(1) < 1e-7).all(), ("not found by brute force", found[distances.min(1) >= 1e-7])
        assert len(found) == len(expected)
        eigenvalues = np.linalg.eigvals(flow.jacobian(found)).real.max(-1)
        np.testing.assert_allclose(states["top_eigenvalue"], eigenvalues, rtol=0, atol=1e-10)  # LAPACK's rounding
        np.testing.assert_array_equal(states["stable"], eigenvalues < 0)
        assert np.abs(flow(found)).max() < 1e-12  # rounding


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_newton_finds_nothing_that_eight_agents_lack(depth):
    """Three thousand random starts among up to thousands of states."""
    random = np.random.default_rng(depth)
    delta = random.normal(0, 2, 8)
    options = {"depth": depth, "coupling": 0.2, "weight_decay": 1e-2}
    flow, states = Flow(delta, **options), equilibria(delta, **options)["m"].values
    m = random.uniform(-1, 1, (3000, 8)) * flow.bound() * 10 ** random.uniform(-2, 0, (3000, 1))
    with np.errstate(all="ignore"):
        for _ in range(50):
            m = m - np.linalg.solve(flow.jacobian(m), flow(m)[..., None])[..., 0]
            m = m[np.isfinite(m).all(-1)]
    m = unique_states(m[np.abs(flow(m)).max(-1) < 1e-10])
    assert len(m) > 5
    distances = np.array([np.abs(states - one).max(-1).min() for one in m])
    assert distances.max() < 1e-7  # a drift of 1e-10 over the smallest eigenvalues, of order 1e-2


# ---- where integration ends --------------------------------------------------------------------------------------


def endpoint(flow, start):
    """m after so long a time that max |ṁ_i| < 1e-9, by SciPy's implicit Runge–Kutta method."""
    end, span = start, 1e2
    for _ in range(8):
        run = scipy.integrate.solve_ivp(
            lambda _, m: flow(m),
            (0, span),
            end,
            method="Radau",
            jac=lambda _, m: flow.jacobian(m),
            rtol=1e-8,
            atol=1e-12,
        )
        end, span = run.y[:, -1], span * 4
        if np.abs(flow(end)).max() < 1e-9:
            return end
    raise AssertionError(f"still moving, at {np.abs(flow(end)).max()}")


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("coupling", [0.0, 0.3, 3.0, 30.0])
def test_integration_ends_in_one_of_the_equilibria(depth, coupling):
    random = np.random.default_rng(100 * depth + int(coupling))
    delta, start = random.normal(0, 2, 20), random.uniform(-1.95, 2.05, 20)
    options = {"depth": depth, "coupling": coupling}
    flow = Flow(delta, **options)
    end = endpoint(flow, start)

    states = equilibria(delta, branch=branches(end, delta, **options), **options)
    distance = np.abs(states["m"].values - end).max(-1)
    # A drift of 1e-9 over the slowest rate, γ̂ = 1e-3: the claim of the theory's issue.
    assert distance.min() < 1e-6
    nearest = states.isel(state=int(distance.argmin()))
    dense = np.linalg.eigvals(flow.jacobian(nearest["m"].values)).real.max()
    assert float(nearest["top_eigenvalue"]) == pytest.approx(dense, abs=1e-10)  # LAPACK's rounding
    assert bool(nearest["stable"])
    assert dense < 0

    for initial in (end, start):  # from the endpoint, and all the way along the flow
        found = equilibrium(delta, initial=initial, **options)
        np.testing.assert_allclose(found["m"], nearest["m"], rtol=0, atol=1e-6)
        assert bool(found["stable"])


def weighted(seed, *, directed):
    random = np.random.default_rng(seed)
    weights = random.uniform(0.2, 3, (20, 20)) * (random.random((20, 20)) < 0.2)
    np.fill_diagonal(weights, 0.0)
    return graphs.from_adjacency(weights if directed else np.maximum(weights, weights.T))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("coupling", [0.3, 3.0, 30.0])
def test_integration_ends_in_the_equilibrium_of_a_graph(depth, directed, coupling):
    random = np.random.default_rng(1000 * depth + int(coupling))
    delta, start, graph = random.normal(0, 2, 20), random.uniform(-1.95, 2.05, 20), weighted(depth, directed=directed)
    flow = Flow(delta, depth=depth, coupling=coupling, adjacency=graph.adjacency)
    end = endpoint(flow, start)
    for initial in (end, start):
        found = equilibrium(delta, depth=depth, coupling=coupling, initial=initial, graph=graph)
        np.testing.assert_allclose(found["m"], end, rtol=0, atol=1e-6)  # as above
        dense = np.linalg.eigvals(flow.jacobian(found["m"].values)).real.max()
        assert float(found["top_eigenvalue"]) == pytest.approx(dense, abs=1e-9)  # the same, without symmetry
        assert bool(found["stable"])


@pytest.mark.parametrize(
    "graph",
    [
        graphs.random_regular(144, 4, seed=1),
        graphs.torus(12, 12),
        graphs.cycle(144, directed=True),
        graphs.erdos_renyi(144, 0.3, seed=1, weight=0.5),
    ],
    ids=lambda graph: graph.name,
)
def test_sparse_solvers_follow_the_flow(graph):
    """Above a hundred agents systems are solved iteratively, or by sparse factors: the flow must end where it does."""
    random = np.random.default_rng(0)
    delta, start = random.normal(0.3, 2, 144), random.uniform(-1.95, 2.05, 144)
    options = {"depth": 1, "coupling": 108.0}
    found = equilibrium(delta, initial=start, graph=graph, **options)
    flow = Flow(delta, adjacency=graph.adjacency, **options)
    run = scipy.integrate.solve_ivp(
        lambda _, m: flow(m), (0, 500), start, "LSODA", jac=lambda _, m: flow.jacobian(m), rtol=1e-8, atol=1e-11
    )
    np.testing.assert_allclose(found["m"], run.y[:, -1], rtol=0, atol=1e-5)  # 1e-8, over rates down to some 1e-3
    assert bool(found["stable"])
    assert top_eigenvalue(found["m"].values, delta, graph=graph, **options) < 0
    assert np.abs(flow(found["m"].values)).max() < 1e-9  # 1e-12 of the largest term, some hundreds


def test_the_flow_is_followed_to_its_own_basin():
    """Of thousands of stable states the one that the flow ends in: 32 starts, complete graph, D = 1 and 2."""
    random = np.random.default_rng(5)
    for depth in (1, 2):
        for _ in range(16):
            delta, start = random.normal(0, 2, 12), random.uniform(-1.95, 2.05, 12)
            flow = Flow(delta, depth=depth, coupling=0.3)
            found = equilibrium(delta, depth=depth, coupling=0.3, initial=start)
            np.testing.assert_allclose(found["m"], endpoint(flow, start), rtol=0, atol=1e-6)  # as above


@pytest.mark.slow
def test_three_thousand_agents_on_a_sparse_graph():
    graph = graphs.random_regular(3000, 4, seed=0)
    random = np.random.default_rng(1)
    delta, start = random.normal(0, 2, 3000), random.uniform(-1.95, 2.05, 3000)
    found = equilibrium(delta, depth=1, coupling=3000.0, initial=start, graph=graph)
    assert float(found["residual"]) < 1e-10  # 1e-12 of terms up to some tens
    assert bool(found["stable"])
