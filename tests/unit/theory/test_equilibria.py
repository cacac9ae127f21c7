"""Stationary states: closed forms, symmetries, branches, counts of states, blow-up, refusals."""

import itertools

import numpy as np
import pytest

from consilience import graphs
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.theory.landau import closure, relaxation
from consilience.theory.landau.dynamics import drift
from consilience.theory.landau.equilibria import MOST_AGENTS, branches, equilibria, equilibrium
from consilience.theory.landau.pieces import turning_points
from consilience.theory.landau.stability import regularisation_threshold

# States and drifts of order one to ten, found to rounding.
ROUNDING = {"rtol": 0, "atol": 1e-12}


def random_delta(seed, n, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 2, n)


def same_states(first, second, atol=1e-9):
    """Whether two arrays (states, agents) hold the same states in any order."""
    distances = np.abs(first[:, None] - second[None]).max(-1)
    matched = distances < atol
    return len(first) == len(second) and (matched.sum(0) == 1).all() and (matched.sum(1) == 1).all()


# ---- closed forms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", [0.0, 0.3, 3.0, 300.0])
def test_linear_regression_has_the_state_of_equation_six(coupling):
    delta, decay = random_delta(0, 50, mean=1.0), 0.05
    expected = (delta + coupling * delta.mean() / (1 + decay)) / (1 + decay + coupling)
    for branch in ("upper", "lower", "middle", np.zeros(50, int)):
        states = equilibria(delta, depth=0, coupling=coupling, weight_decay=decay, branch=branch)
        assert states.sizes == {"state": 1, "agent": 50}
        np.testing.assert_allclose(states["m"][0], expected, **ROUNDING)
        assert states["top_eigenvalue"].item() == pytest.approx(-1 - decay, abs=1e-12)  # the mean relaxes at this rate
    relaxed = equilibrium(delta, depth=0, coupling=coupling, weight_decay=decay, initial=0.0)
    np.testing.assert_allclose(relaxed["m"], expected, rtol=0, atol=1e-9)  # stops at a drift of 1e-12 · σ̂ · |m|


@pytest.mark.parametrize("num_agents", [1, 2, 6])
def test_pure_system_of_depth_one(num_agents):
    """δ_i = δ: zero and ±√(δ − γ̂) for all agents at once, at any coupling; nothing else above σ̂ = δ − γ̂."""
    delta, decay = np.full(num_agents, 3.0), 0.5
    ordered = np.sqrt(2.5)
    for coupling in (2.6, 40.0):
        states = equilibria(delta, depth=1, coupling=coupling, weight_decay=decay)
        expected = np.outer([-ordered, 0, ordered], np.ones(num_agents))
        np.testing.assert_allclose(states["m"], expected, **ROUNDING)
        np.testing.assert_allclose(states["mean"], [-ordered, 0, ordered], **ROUNDING)
        np.testing.assert_allclose(states["top_eigenvalue"], [-5.0, 2.5, -5.0], **ROUNDING)
        assert states["stable"].values.tolist() == [True, False, True]
    free = equilibria(delta, depth=1, coupling=0.0, weight_decay=decay)
    assert free.sizes["state"] == 3**num_agents
    assert int(free["stable"].sum()) == 2**num_agents


def test_opposite_clusters_of_the_pure_system():
    """Halves at ±√(δ − γ̂ − σ̂), stable below σ̂ = 2(δ − γ̂)/3, gone above δ − γ̂."""
    delta, signs = np.full(6, 2.0), np.repeat([-1, 1], 3)
    for coupling, is_stable in ((0.5, True), (4 / 3 - 1e-6, True), (4 / 3 + 1e-6, False), (1.9, False)):
        m = signs * np.sqrt(2 - coupling)
        options = {"depth": 1, "coupling": coupling, "weight_decay": 0.0}
        states = equilibria(delta, branch=branches(m, delta, **options), **options)
        distance = np.abs(states["m"].values - m).max(-1)
        assert distance.min() < 1e-9  # rounding over an eigenvalue of 3e-6, where stability changes
        assert bool(states["stable"][distance.argmin()]) is is_stable
    gone = equilibria(delta, depth=1, coupling=2.1, weight_decay=0.0)["m"].values
    assert np.ptp(gone, axis=1).max() < 1e-12  # what remains is the same for all agents


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("delta", [0.4, 2.0])
def test_ordered_states_of_one_agent_appear_at_the_threshold(depth, delta):
    """At D = 2 this is ¾ δ (δ/4)^(1/3)."""
    threshold = regularisation_threshold(delta, depth)
    per_side = 1 if depth % 2 == 0 else 2
    for factor, expected in ((1 - 1e-6, 1 + 2 * per_side), (1 + 1e-6, 1)):
        states = equilibria([delta], depth=depth, coupling=0.0, weight_decay=threshold * factor)
        assert states.sizes["state"] == expected
        assert (states["stable"].values == (np.arange(expected) % 2 == 0)).all()
    # At the threshold itself the two states of a side are one, that rounding may find or not.
    assert equilibria([delta], depth=depth, coupling=0.0, weight_decay=threshold).sizes["state"] in (1, 1 + per_side)


def test_zero_is_always_a_state_from_depth_one_on():
    """Exactly so, and also where it is degenerate: without weight decay at D ≥ 2."""
    delta = random_delta(1, 4)
    for depth, coupling, decay in itertools.product((1, 2, 3, 4), (0.0, 0.7, 20.0), (0.0, 1e-3)):
        states = equilibria(delta, depth=depth, coupling=coupling, weight_decay=decay)
        smallest = np.abs(states["m"].values).max(-1).min()
        assert smallest < 1e-15, (depth, coupling, decay)  # m is found to 1e-18 of its size where it vanishes
    assert equilibria([0.0, 0.0], depth=1, coupling=1.0).sizes["state"] == 1


def test_an_agent_without_data_follows_the_mean():
    """s_i = δ_i = 0: (γ̂ + σ̂) m_i = σ̂ ⟨m⟩."""
    delta, second = np.array([2.0, 3.0, 0.0]), np.array([1.0, 0.5, 0.0])
    states = equilibria(delta, depth=2, coupling=4.0, weight_decay=0.1, second_moment=second)
    assert states.sizes["state"] > 1
    np.testing.assert_allclose(states["m"][:, 2], 4.0 / 4.1 * states["mean"], **ROUNDING)


# ---- structure ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("coupling", [0.0, 0.3, 3.0])
def test_data_set_holds_what_it_says(depth, coupling):
    delta, second = random_delta(depth, 5), np.linspace(0.5, 2, 5)
    options = {"depth": depth, "coupling": coupling, "weight_decay": 0.02, "second_moment": second}
    states = equilibria(delta, **options)
    m = states["m"].values
    assert states["m"].dims == ("state", "agent")
    assert {name: states[name].dims for name in ("mean", "top_eigenvalue", "stable", "residual")} == dict.fromkeys(
        ("mean", "top_eigenvalue", "stable", "residual"), ("state",)
    )
    np.testing.assert_array_equal(states["residual"], np.abs(drift(m, delta, **options)).max(-1))
    assert states["residual"].max() < 1e-12  # rounding of terms up to 1e3
    assert (np.diff(states["mean"]) >= -1e-12).all()  # rounding decides the order of equal means
    np.testing.assert_array_equal(states["branch"], branches(m, delta, **options))
    np.testing.assert_array_equal(states["delta"], delta)
    np.testing.assert_array_equal(states["second_moment"], second)
    assert states.attrs == {"depth": depth, "coupling": coupling, "weight_decay": 0.02, "graph": "complete graph"}


def index_sum(states, delta, *, depth, coupling, weight_decay, second_moment):
    """Σ (−1)^(unstable directions) over all states, from dense Jacobians."""
    m, n = states["m"].values, len(delta)
    slopes = -(2 * depth + 1) * second_moment * m ** (2 * depth) - weight_decay
    slopes = slopes + (depth * delta * m ** (depth - 1) if depth else 0.0)
    eigenvalues = np.linalg.eigvalsh([np.diag(u - coupling) + coupling / n for u in slopes])
    assert np.abs(eigenvalues).min() > 1e-9, "a degenerate state has no index"
    return int(((-1) ** (eigenvalues > 0).sum(-1)).sum())


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4, 5])
def test_indices_of_all_states_add_up_to_one(depth):
    """Poincaré and Hopf: the flow points inward far out, so that no single state may be missed or counted twice."""
    random = np.random.default_rng(depth)
    for _ in range(12):
        n = int(random.integers(1, 8 if depth in (1, 2, 4) else 6))
        options = {
            "depth": depth,
            "coupling": float(random.choice([0.0, 10 ** random.uniform(-2, 2)])),
            "weight_decay": float(10 ** random.uniform(-3, 0)),
            "second_moment": 10 ** random.uniform(-0.5, 0.5, n),
        }
        delta = random.normal(0.3, 2, n)
        assert index_sum(equilibria(delta, **options), delta, **options) == 1, (delta, options)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_assignments_make_up_all_states(depth):
    delta = random_delta(7, 3)
    options = {"depth": depth, "coupling": 0.4}
    everything = equilibria(delta, **options)
    most = 5 if depth == 3 else 3
    parts = [equilibria(delta, branch=np.array(b), **options) for b in itertools.product(range(most), repeat=3)]
    assert same_states(np.concatenate([part["m"].values for part in parts]), everything["m"].values)
    assert sum(part.sizes["state"] == 0 for part in parts) > 0
    for k in range(everything.sizes["state"]):
        found = equilibria(delta, branch=everything["branch"][k].values, **options)["m"].values
        assert np.abs(found - everything["m"].values[k]).max(-1).min() < 1e-12  # rounding


def test_named_branches_and_those_counted_from_above():
    delta = np.array([3.0, 2.0, -1.0])  # the last has a single piece
    options = {"depth": 1, "coupling": 0.1}
    for name, same in (("upper", [2, 2, 0]), ("upper", [-1, -1, -1]), ("lower", [-3, -3, -1]), ("middle", [1, -2, 0])):
        first, second = equilibria(delta, branch=name, **options), equilibria(delta, branch=np.array(same), **options)
        assert first.sizes["state"] == 1
        assert first.identical(second)
    assert (equilibria(delta, branch="upper", **options)["m"][0, :2] > 1).all()
    assert equilibria(delta, branch=[1, 1, 1], **options).sizes["state"] == 0  # which the last agent does not have
    assert equilibria(delta, branch="upper", **options).identical(
        equilibria(delta, branch=branches([2.0, 2.0, 0.0], delta, **options), **options)
    )


def test_branches_are_counted_between_turning_points():
    """D = 3 without coupling: g = m⁷ − δm³ + γ̂m turns where 7m⁶ − 3δm² + γ̂ = 0."""
    delta, decay = 1.0, 0.05
    turns = np.roots([7.0, 0.0, -3 * delta, decay])  # in m²
    turns = np.sort(np.sqrt(turns[(np.abs(turns.imag) < 1e-12) & (turns.real > 0)].real))
    m = np.concatenate([-turns[::-1], turns])[:, None] + np.array([-1e-6, 1e-6])
    found = branches(m.ravel(), np.full(8, delta), depth=3, coupling=0.0, weight_decay=decay)
    assert found.tolist() == [0, 1, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_pieces_appear_where_the_slope_first_vanishes(depth):
    """D δ x^(D−1) − (2D+1) x^(2D) is largest where 2(2D+1) x^(D+1) = (D−1) δ."""
    delta = 1.7
    x = np.linspace(0, 2, 2_000_001)
    slope = depth * delta * x ** (depth - 1) - (2 * depth + 1) * x ** (2 * depth)
    lowest, critical = x[slope.argmax()], slope.max()
    assert 2 * (2 * depth + 1) * lowest ** (depth + 1) == pytest.approx(
        (depth - 1) * delta, rel=1e-5
    )  # the grid's step
    options = {"depth": depth, "coupling": 0.0}
    # The falling piece is as wide as the root of the distance to where it appears: 1e-3.
    m = lowest + np.array([-0.1, 0.0, 0.1])
    first = 0 if depth % 2 == 0 else 2  # at odd depths there are as many on the other side
    below = branches(m, [delta] * 3, weight_decay=critical * (1 - 1e-6), **options)
    above = branches(m, [delta] * 3, weight_decay=critical * (1 + 1e-6), **options)
    assert below.tolist() == [first, first + 1, first + 2]
    assert above.tolist() == [0, 0, 0]


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
def test_turning_points_against_roots_of_the_slope(depth):
    random = np.random.default_rng(depth)
    for _ in range(50):
        delta, second, linear = random.normal(0, 3), 10 ** random.uniform(-1, 1), 10 ** random.uniform(-3, 0.5)
        slope = np.zeros(2 * depth + 1)
        slope[0] = (2 * depth + 1) * second
        slope[-1] += linear
        slope[depth + 1] -= depth * delta
        roots = np.roots(slope)
        expected = np.sort(roots[np.abs(roots.imag) < 1e-9].real)  # none of the 300 is closer to a double root
        found = turning_points(np.array(delta), np.array(second), np.array(linear), depth)
        np.testing.assert_allclose(found[np.isfinite(found)], expected, rtol=1e-9)  # companion matrices, close roots
        assert (np.diff(found[np.isfinite(found)]) > 0).all()


def test_pieces_without_weight_decay_and_coupling():
    """g = m^(2D+1) − δ m^D is flat at m = 0, where it turns at even D and falls on at odd D."""
    m = [-9.0, -0.1, 0.1, 9.0]
    options = {"coupling": 0.0, "weight_decay": 0.0}
    assert branches(m, [1.0] * 4, depth=2, **options).tolist() == [0, 0, 1, 2]
    assert branches(m, [-1.0] * 4, depth=2, **options).tolist() == [0, 1, 2, 2]
    assert branches(m, [1.0] * 4, depth=3, **options).tolist() == [0, 1, 1, 2]
    assert branches(m, [-1.0] * 4, depth=3, **options).tolist() == [0, 0, 0, 0]


def test_branches_of_a_batch_and_on_graphs():
    delta, m = random_delta(2, 6), np.random.default_rng(3).normal(size=(4, 6))
    couplings = np.array([0.0, 0.2, 1.0, 9.0])
    found = branches(m, delta, depth=2, coupling=couplings)
    for k in range(4):
        np.testing.assert_array_equal(found[k], branches(m[k], delta, depth=2, coupling=couplings[k]))
    # At fixed neighbours agents of a cycle of weight 3 are pulled by σ̂ · 2 · 3/6 to zero, as by weight decay.
    on_cycle = branches(m, delta, depth=2, coupling=couplings, graph=graphs.cycle(6, weight=3.0))
    np.testing.assert_array_equal(on_cycle, branches(m, delta, depth=2, coupling=0.0, weight_decay=1e-3 + couplings))
    # On a complete graph of weight q, those of σ̂q.
    complete = branches(m, delta, depth=2, coupling=couplings, graph=graphs.complete(6, weight=0.5))
    np.testing.assert_array_equal(complete, branches(m, delta, depth=2, coupling=couplings / 2))


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_reflection(depth):
    """With m also −m is a state, if (−1)^(D+1) δ takes the place of δ."""
    delta = random_delta(depth + 10, 4)
    options = {"depth": depth, "coupling": 0.5}
    first = equilibria(delta, **options)
    second = equilibria((-1) ** (depth + 1) * delta, **options)
    assert same_states(first["m"].values, -second["m"].values)
    np.testing.assert_allclose(np.sort(first["top_eigenvalue"]), np.sort(second["top_eigenvalue"]), rtol=0, atol=1e-9)
    start = np.random.default_rng(0).normal(size=4)
    one = equilibrium(delta, initial=start, **options)
    other = equilibrium((-1) ** (depth + 1) * delta, initial=-start, **options)
    np.testing.assert_allclose(one["m"], -other["m"], **ROUNDING)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_relabelling_agents(depth):
    delta, second = random_delta(depth + 20, 5), np.linspace(0.5, 2, 5)
    order = np.array([3, 0, 4, 1, 2])
    options = {"depth": depth, "coupling": 0.2}
    first = equilibria(delta, second_moment=second, **options)
    second_ = equilibria(delta[order], second_moment=second[order], **options)
    assert same_states(first["m"].values[:, order], second_["m"].values)


def test_scaling():
    """m → λm, δ → λ^(D+1) δ, γ̂ → λ^(2D) γ̂, σ̂ → λ^(2D) σ̂ is a symmetry: nothing depends on the units."""
    delta = random_delta(4, 4)
    for depth, scale in itertools.product((1, 2, 3), (1e-3, 1e3)):
        first = equilibria(delta, depth=depth, coupling=0.3, weight_decay=1e-2)
        stretch = scale ** (2 * depth)
        second = equilibria(
            delta * scale ** (depth + 1), depth=depth, coupling=0.3 * stretch, weight_decay=1e-2 * stretch
        )
        assert same_states(first["m"].values * scale, second["m"].values, atol=1e-9 * scale)


def test_many_agents_on_the_upper_branch():
    """Up to a thousand agents; D = 2 at strong coupling has three states, zero, a saddle and the ordered one."""
    delta = random_delta(5, 1000, mean=0.5)
    states = equilibria(delta, depth=2, coupling=100.0, branch="upper")
    assert states["stable"].values.tolist() == [True, False, True]
    assert states["residual"].max() < 1e-11  # rounding of σ̂ (⟨m⟩ − m_i)
    assert abs(states["mean"][0]) < 1e-12  # zero


@pytest.mark.parametrize("most", [closure._MOST_UNDECIDED, 50])
def test_balanced_disorder_without_weight_decay(most, monkeypatch):
    """Drifts of both signs cancel around m = 0, a degenerate state, to more digits than there are.

    By reflection and exchange of agents, states come in pairs; only zero and one pair are distinguishable. The limit on
    intervals, reached here if it is low, must end the search without inventing any.
    """
    monkeypatch.setattr(closure, "_MOST_UNDECIDED", most)
    states = equilibria(np.tile([-1.0, 1.0], 20), depth=4, coupling=3.0, weight_decay=0.0, branch="upper")
    assert states["residual"].max() < 1e-12  # rounding
    means = states["mean"].values
    assert len(means) == 3
    assert means[1] == pytest.approx(0.0, abs=1e-15)  # found to 1e-18 of the largest m
    assert means[0] == pytest.approx(-means[2], abs=1e-12)  # rounding


# ---- one state ---------------------------------------------------------------------------------------------------


def test_equilibrium_stays_at_any_stationary_state():
    delta = random_delta(6, 4)
    states = equilibria(delta, depth=2, coupling=0.3)
    assert not states["stable"].all()
    for k in range(states.sizes["state"]):
        m = states["m"].values[k]
        found = equilibrium(delta, depth=2, coupling=0.3, initial=m)
        np.testing.assert_array_equal(found["m"], m)
        assert bool(found["stable"]) == bool(states["stable"][k])


def test_equilibrium_leaves_a_saddle_as_the_flow_does():
    """From the double well's top, displaced by 1e-6 of its width, to the side of the displacement."""
    for side in (-1, 1):
        found = equilibrium([1.0] * 3, depth=1, coupling=2.0, weight_decay=0.0, initial=np.full(3, side * 1e-6))
        np.testing.assert_allclose(found["m"], side * np.ones(3), **ROUNDING)
        assert bool(found["stable"])


def test_equilibrium_of_a_marginal_state():
    """D = 1 at δ = γ̂: ṁ = −m³ decays as t^(−1/2), for which integration would need t = 10⁸."""
    found = equilibrium([0.5], depth=1, coupling=0.0, weight_decay=0.5, initial=1.0)
    assert float(found["residual"]) <= 1e-12
    assert 0 <= float(found["m"][0]) <= 1.1e-4  # m³ ≤ 1e-12


def test_equilibrium_data_set():
    delta = random_delta(8, 12)
    graph = graphs.watts_strogatz(12, 4, rewiring=0.3, seed=1)
    found = equilibrium(delta, depth=1, coupling=6.0, initial=np.linspace(-1, 2, 12), graph=graph)
    assert found["m"].dims == ("agent",)
    assert all(found[name].ndim == 0 for name in ("mean", "top_eigenvalue", "stable", "residual"))
    assert float(found["mean"]) == pytest.approx(found["m"].values.mean())
    assert found.attrs["graph"] == graph.name
    looser = equilibrium(delta, depth=1, coupling=6.0, initial=np.linspace(-1, 2, 12), graph=graph, tolerance=1e-4)
    assert 1e-12 < float(looser["residual"]) < 1e-2  # of terms up to a hundred


@pytest.mark.parametrize("graph", [None, graphs.cycle(3), graphs.cycle(150)], ids=["complete", "dense", "sparse"])
def test_what_blows_up_is_nan(graph):
    """Only without the stabilising power: ṁ = m² from 1 reaches infinity at t = 1."""
    n = 3 if graph is None else graph.num_agents
    delta, second = np.ones(n), np.zeros(n)
    found = equilibrium(delta, depth=2, coupling=1.0, weight_decay=0.0, initial=1.0, second_moment=second, graph=graph)
    assert np.isnan(found["m"]).all()
    assert np.isinf(found["residual"])
    assert not found["stable"]
    settles = equilibrium(delta, depth=2, coupling=1.0, initial=-1.0, second_moment=second, graph=graph)
    assert np.abs(settles["m"]).max() < 1e-8  # the drift is −γ̂m, of which 1e-12 is tolerated


@pytest.mark.parametrize("directed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_equilibrium_where_iterations_do_not_converge(directed, monkeypatch):
    """Long cycles at strong coupling need hundreds of iterations; sparse factors take their place."""
    graph, random = graphs.cycle(150, directed=directed), np.random.default_rng(0)
    delta, start = random.normal(1, 2, 150), random.uniform(-2, 2.2, 150)
    options = {"depth": 1, "coupling": 100.0 * 150, "initial": start, "graph": graph}
    factorised = []
    factors = relaxation._factors
    monkeypatch.setattr(relaxation, "_factors", lambda matrix: factorised.append(1) or factors(matrix))
    monkeypatch.setattr(relaxation, "_MAX_ITERATIONS", 40)
    found = equilibrium(delta, **options)
    assert len(factorised) > 5
    assert bool(found["stable"])
    monkeypatch.setattr(relaxation, "_DENSE_UP_TO", 150)
    dense = equilibrium(delta, **options)
    np.testing.assert_allclose(found["m"], dense["m"], rtol=0, atol=1e-8)  # drifts of 1e-12 · 200 · |m|


def test_equilibrium_of_a_single_agent_on_a_graph_without_edges():
    alone = graphs.from_adjacency([[0.0]])
    found = equilibrium([4.0], depth=1, coupling=3.0, weight_decay=0.0, initial=0.1, graph=alone)
    assert float(found["m"][0]) == pytest.approx(2.0, abs=1e-12)


# ---- refusals ----------------------------------------------------------------------------------------------------


def test_refusals_of_equilibria():
    good = {"depth": 1, "coupling": 1.0}
    with pytest.raises(InvalidSpec, match=f"3\\^{MOST_AGENTS + 1}"):
        equilibria(np.ones(MOST_AGENTS + 1), **good)
    with pytest.raises(UnknownName, match=r"'uper' is not a branch\. Did you mean 'upper'"):
        equilibria([1.0], branch="uper", **good)
    with pytest.raises(IncompatiblePair, match="one piece per agent"):
        equilibria([1.0, 1.0], branch=[0], **good)
    for branch in ([0, 3], [-4, 0], [0.0, 1.0], [True, False]):
        with pytest.raises(InvalidSpec, match="at most 3 piece"):
            equilibria([1.0, 1.0], branch=branch, **good)
    with pytest.raises(InvalidSpec, match="at most 1 piece"):
        equilibria([1.0], branch=[1], depth=0, coupling=1.0)
    with pytest.raises(IncompatiblePair, match="batch of populations"):
        equilibria(np.ones((2, 3)), **good)
    with pytest.raises(IncompatiblePair, match="batch of populations"):
        equilibria([1.0], depth=1, coupling=np.array([0.0, 1.0]))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSpec, match="no axis of agents"):
        equilibria(1.0, **good)
    with pytest.raises(InvalidSpec, match="delta holds inf"):
        equilibria([1.0, np.inf], **good)
    with pytest.raises(InvalidSpec, match="weight_decay holds -1"):
        equilibria([1.0], weight_decay=-1.0, **good)
    with pytest.raises(InvalidSpec, match="second_moment holds 0 where delta holds 2"):
        equilibria([1.0, 2.0], second_moment=[1.0, 0.0], **good)
    with pytest.raises(InvalidSpec, match=r"second_moment\[1\]=0 without weight decay"):
        equilibria([1.0, 0.0], second_moment=[1.0, 0.0], depth=1, coupling=0.0, weight_decay=0.0)
    with pytest.raises(InvalidSpec, match="second_moment holds 0 where"):
        branches([1.0], [1.0], second_moment=0.0, **good)


def test_refusals_of_equilibrium():
    good = {"depth": 1, "coupling": 1.0}
    with pytest.raises(IncompatiblePair, match="batch of populations"):
        equilibrium([1.0, 2.0], initial=np.zeros((3, 2)), **good)
    with pytest.raises(InvalidSpec, match="initial holds nan"):
        equilibrium([1.0], initial=np.nan, **good)
    with pytest.raises(InvalidSpec, match="tolerance=0"):
        equilibrium([1.0], initial=0.1, tolerance=0, **good)
    with pytest.raises(IncompatiblePair, match="has 3 agents"):
        equilibrium([1.0, 2.0], initial=0.1, graph=graphs.cycle(3), **good)
    with pytest.raises(InvalidSpec, match="is not a graph"):
        equilibrium([1.0, 2.0], initial=0.1, graph=np.ones((2, 2)), **good)  # pyright: ignore[reportArgumentType]
