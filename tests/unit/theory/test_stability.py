"""The top eigenvalue against dense eigenvalues of Jacobians built here, its closed forms, the thresholds of order."""

import jax
import numpy as np
import pytest

from consilience import graphs
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.theory.landau.dynamics import drift
from consilience.theory.landau.stability import regularisation_threshold, top_eigenvalue

DEPTHS = (0, 1, 2, 3)


def jacobian(m, delta, *, depth, coupling, weight_decay=1e-3, second_moment=1.0, adjacency=None):
    """∂ṁ_i/∂m_j of Eq. (4), written out by automatic differentiation of its sums as they stand."""
    n = len(m)
    adjacency = np.ones((n, n)) if adjacency is None else adjacency

    def flow(m):
        own = delta * m**depth - second_moment * m ** (2 * depth + 1) - weight_decay * m
        return own + coupling / n * (adjacency * (m[None, :] - m[:, None])).sum(1)

    with jax.enable_x64(True):
        return np.asarray(jax.jacfwd(flow)(np.asarray(m, float)))


def random_state(seed, n):
    random = np.random.default_rng(seed)
    return random.normal(size=n), random.normal(0, 2, n), random.uniform(0.3, 3, n)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("coupling", [0.0, 0.3, 30.0, 3000.0])
def test_complete_graph_against_dense_eigenvalues(depth, coupling):
    for n in (1, 2, 20):
        m, delta, second = random_state(n, n)
        options = {"depth": depth, "coupling": coupling, "weight_decay": 0.1, "second_moment": second}
        found = top_eigenvalue(m, delta, **options)
        dense = np.linalg.eigvals(jacobian(m, delta, **options)).real.max()
        # Backward stable eigenvalues of a matrix of size up to 3000 and some 1e4 for the powers: 1e-10 leaves a margin.
        assert found == pytest.approx(dense, abs=1e-10)


def secular_case(kind, n, random):
    """Slopes u and the coupling σ of diag(u − σ) + (σ/N) 11ᵀ, with what makes secular equations difficult."""
    slopes = random.normal(size=n) * 10 ** random.uniform(-3, 3)
    if kind == "ties":
        slopes = np.round(slopes)
    if kind == "all equal":
        slopes[:] = slopes[0]
    if kind == "almost equal":
        slopes[:] = slopes[0] * (1 + 1e-14 * np.arange(n))
    return slopes, 10 ** random.uniform(-6, 6)


@pytest.mark.parametrize("kind", ["random", "ties", "all equal", "almost equal"])
def test_secular_equation_against_dense_eigenvalues(kind):
    """At D = 0 the slope is −s_i − γ̂, so that any negative slopes can be had."""
    random = np.random.default_rng(3)
    for _ in range(100):
        n = int(random.integers(1, 30))
        slopes, sigma = secular_case(kind, n, random)
        shift = slopes.max()
        found = shift + top_eigenvalue(
            np.zeros(n), np.zeros(n), depth=0, coupling=sigma, weight_decay=0.0, second_moment=shift - slopes
        )
        dense = np.linalg.eigvalsh(np.diag(slopes - sigma) + sigma / n)[-1]
        # LAPACK's error: some units in the last place of the norm.
        assert found == pytest.approx(dense, abs=1e-14 * (np.abs(slopes).max() + sigma) * n)


def test_eigenvalue_keeps_its_precision_at_strong_coupling():
    """For σ → ∞ the top eigenvalue is the mean slope plus the slopes' variance over σ."""
    second = np.array([1.0, 2.0, 4.5])
    found = top_eigenvalue(np.zeros(3), np.zeros(3), depth=0, coupling=1e12, weight_decay=0.0, second_moment=second)
    # Second order in 1/σ, 1e-24, is out of reach; a few roundings of numbers of order one are not.
    assert found == pytest.approx(-second.mean() + second.var() / 1e12, abs=1e-14)


def test_a_batch_is_many_single_states():
    m, delta, second = random_state(0, 24)
    m = m.reshape(4, 6)
    delta, coupling, decay = delta[:6], np.array([0.0, 0.1, 1.0, 100.0]), np.array([[0.0], [0.5]])
    for graph in (None, graphs.cycle(6, directed=True), graphs.star(6, weight=2.0)):
        options = {"depth": 2, "second_moment": second[:6], "graph": graph}
        found = top_eigenvalue(m, delta, coupling=coupling, weight_decay=decay, **options)
        assert found.shape == (2, 4)
        for i, j in np.ndindex(2, 4):
            one = top_eigenvalue(m[j], delta, coupling=coupling[j], weight_decay=decay[i, 0], **options)
            assert found[i, j] == pytest.approx(one, abs=1e-12)  # the same sums in another order


WEIGHTED = np.random.default_rng(1).uniform(0, 2, (30, 30)) * (np.random.default_rng(2).random((30, 30)) < 0.2)
np.fill_diagonal(WEIGHTED, 0.0)
SMALL_GRAPHS = {
    "undirected": graphs.from_adjacency(np.maximum(WEIGHTED, WEIGHTED.T)),
    "directed": graphs.from_adjacency(WEIGHTED),
    "complete": graphs.complete(30, weight=0.7),
    "no edges": graphs.from_adjacency(np.zeros((30, 30))),
}


@pytest.mark.parametrize("graph", SMALL_GRAPHS.values(), ids=SMALL_GRAPHS.keys())
@pytest.mark.parametrize("depth", DEPTHS)
def test_graphs_against_dense_eigenvalues(graph, depth):
    m, delta, second = random_state(5, 30)
    options = {"depth": depth, "coupling": 7.0, "second_moment": second}
    dense = np.linalg.eigvals(jacobian(m, delta, adjacency=graph.adjacency, **options))
    top = dense[dense.real.argmax()]
    # An eigenvalue of a nonsymmetric matrix is known to rounding times its condition, some tens here.
    assert abs(top.imag) < 1e-10  # the rightmost one is real, on directed graphs too
    assert top_eigenvalue(m, delta, graph=graph, **options) == pytest.approx(top.real, abs=1e-10)


LARGE_GRAPHS = {
    "random regular": graphs.random_regular(300, 4, seed=1),
    "cycle": graphs.cycle(300),
    "star": graphs.star(300),
    "directed": graphs.from_adjacency(np.triu(graphs.erdos_renyi(300, 0.05, seed=1, connected=False).adjacency, 1)
                                      + np.tril(graphs.cycle(300).adjacency)),
    "directed cycle": graphs.cycle(300, directed=True),
}  # fmt: skip


@pytest.mark.parametrize("graph", LARGE_GRAPHS.values(), ids=LARGE_GRAPHS.keys())
@pytest.mark.parametrize("state", [pytest.param("random", marks=pytest.mark.slow), "clustered"])
def test_sparse_eigenvalues_against_dense_ones(graph, state, monkeypatch):
    m, delta, _ = random_state(6, 300)
    if state == "clustered":  # around m = 0 all slopes are nearly −γ̂: eigenvalues cluster at the top, near zero
        m *= 1e-4
    options = {"depth": 2, "coupling": 30.0}
    dense = np.linalg.eigvals(jacobian(m, delta, adjacency=graph.adjacency, **options)).real.max()
    if not graph.directed:
        monkeypatch.delattr(np.linalg, "eigvalsh")  # ARPACK's failures, to which dense eigenvalues are the answer
    found = top_eigenvalue(m, delta, graph=graph, **options)
    assert found == pytest.approx(dense, abs=1e-9)  # 1e-13 of a norm of some tens, and LAPACK's error without symmetry


def test_equal_agents_have_the_slope_as_eigenvalue_on_every_graph():
    """The rows of the Laplacian sum to zero: 1 is an eigenvector, and a positive one belongs to the top."""
    for graph in (None, *LARGE_GRAPHS.values()):
        found = top_eigenvalue(
            np.full(300, 1.5), np.full(300, 2.0), depth=1, coupling=9.0, weight_decay=0.5, graph=graph
        )
        assert found == pytest.approx(2.0 - 3 * 1.5**2 - 0.5, abs=1e-12)  # rounding of a few numbers of order ten


def test_two_opposite_clusters_lose_stability_at_two_thirds():
    """D = 1, δ_i = δ, half of the agents at ±√(δ − γ̂ − σ̂): λ = 3σ̂ − 2(δ − γ̂)."""
    delta, decay, signs = 2.0, 0.2, np.repeat([-1.0, 1.0], 3)
    critical = 2 * (delta - decay) / 3
    for coupling in critical * np.array([0.1, 1 - 1e-6, 1.0, 1 + 1e-6, 1.4]):
        m = signs * np.sqrt(delta - decay - coupling)
        options = {"depth": 1, "coupling": coupling, "weight_decay": decay}
        assert np.abs(drift(m, np.full(6, delta), **options)).max() < 1e-14  # rounding
        found = top_eigenvalue(m, np.full(6, delta), **options)
        assert found == pytest.approx(3 * coupling - 2 * (delta - decay), abs=1e-13)  # rounding


# ---- the regularisation threshold --------------------------------------------------------------------------------


def ordered_roots(delta, depth, weight_decay):
    """Real m ≠ 0 with δ m^(D−1) − m^(2D) = γ̂, by the eigenvalues of a companion matrix."""
    polynomial = np.zeros(2 * depth + 1)
    polynomial[0] = 1.0
    polynomial[depth + 1] -= delta
    polynomial[-1] += weight_decay
    roots = np.roots(polynomial)
    real = roots[np.abs(roots.imag) < 1e-9 * np.abs(roots)].real  # pairs at the relative distance 1e-6/2 are 1e-3 apart
    return real[np.abs(real) > 1e-9]


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("delta", [-2.5, -0.3, 0.3, 1.0, 7.0])
def test_order_exists_just_below_the_threshold_and_not_above(depth, delta):
    threshold = regularisation_threshold(delta, depth)
    if depth % 2 == 1 and delta < 0:
        assert threshold == 0
        assert len(ordered_roots(delta, depth, 1e-3)) == 0
        return
    below, above = (ordered_roots(delta, depth, threshold * factor) for factor in (1 - 1e-6, 1 + 1e-6))
    assert len(above) == 0
    assert len(below) == (2 if depth == 1 or depth % 2 == 0 else 4)
    if depth % 2 == 0:
        assert (np.sign(below) == np.sign(delta)).all()


def test_thresholds_that_are_known():
    delta = np.array([[0.0, 0.5], [4.0, -4.0]])
    # Rounding of a few powers.
    np.testing.assert_allclose(regularisation_threshold(delta, 1), np.maximum(delta, 0), rtol=0, atol=1e-15)
    expected = 0.75 * np.abs(delta) * (np.abs(delta) / 4) ** (1 / 3)
    np.testing.assert_allclose(regularisation_threshold(delta, 2), expected, rtol=1e-14)


# ---- refusals ----------------------------------------------------------------------------------------------------


def test_refusals():
    good = {"depth": 1, "coupling": 1.0}
    with pytest.raises(InvalidSpec, match="m\\* = δ"):
        regularisation_threshold(1.0, 0)
    with pytest.raises(InvalidSpec, match="depth=-1"):
        regularisation_threshold(1.0, -1)
    with pytest.raises(InvalidSpec, match="delta holds nan"):
        regularisation_threshold([1.0, np.nan], 2)
    with pytest.raises(InvalidSpec, match=r"depth=1\.5"):
        top_eigenvalue([0.0], [1.0], depth=1.5, coupling=1.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSpec, match="coupling holds -1"):
        top_eigenvalue([0.0], [1.0], depth=1, coupling=-1.0)
    with pytest.raises(InvalidSpec, match="initial holds nan"):
        top_eigenvalue([np.nan], [1.0], **good)
    with pytest.raises(IncompatiblePair, match="do not broadcast"):
        top_eigenvalue([0.0, 1.0], [1.0, 1.0, 1.0], **good)
    with pytest.raises(IncompatiblePair, match="has 4 agents"):
        top_eigenvalue([0.0, 1.0], [1.0, 1.0], graph=graphs.cycle(4), **good)
