"""The study of graph families: its graphs against networkx and NumPy, its linear theory, and once from end to end."""

import dataclasses
import itertools
import json
import math
import pathlib
from typing import Any

import networkx as nx
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

import consilience as cs
from consilience.errors import InvalidSpec, UnknownName
from consilience.experiments import Computation, compute
from consilience.recipes import RECIPES, get, graph_families
from consilience.recipes.graph_families import FAMILIES, PROPERTIES, GraphFamilies, Result, protocol
from consilience.theory import landau
from consilience.theory.landau.stability import top_eigenvalue

run: Any = graph_families.run  # whatever the protocol, which has overloads for simulations, too
SMALL = GraphFamilies(pulls=(1e-3, 1.0, 3.0, 30.0), side=6, num_graphs=2, num_realizations=4, span=10, average_after=5)


# ---- the protocol ------------------------------------------------------------------------------------------------


def test_presets() -> None:
    recipe = get("graphs")
    assert recipe is RECIPES["graphs"]
    quick, default = recipe.presets["quick"](), recipe.presets["default"]()
    assert recipe.presets["full"]() == default
    assert len(default.families) == len(FAMILIES) == 11
    assert default.num_agents == 196
    assert default.num_realizations * default.num_graphs == 100
    assert quick.num_agents == 100
    assert graph_families.sweeps(default) == {}
    codes = [family.code for family in FAMILIES.values()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": "torus"}, "families='torus': these are several"),
        ({"pulls": 1.0}, "pulls=1.0: these are several"),
        ({"families": ("torus", "ring")}, "fewer than three families cannot be ranked"),
        ({"side": 7}, "side=7: N = side² agents form a torus as well as four communities"),
        ({"side": 4}, "Write an even number from 6"),
        ({"depths": (0,)}, "depths=.*: at D = 0 there is no transition"),
    ],
    ids=str,
)
def test_mistakes_are_found_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        GraphFamilies(**changes)


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(UnknownName, match=r"'tours' is not a family of this study\. Did you mean 'torus'"):
        GraphFamilies(families=("tours", "ring", "complete"))
    with pytest.raises(InvalidSpec, match=r"consilience predict transition --dataset mnist --graph torus"):
        graph_families.for_dataset(SMALL, "mnist")


# ---- the graphs --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[cs.graphs.Graph]]:
    return graph_families.draw_graphs(dataclasses.replace(SMALL, side=14))


def test_all_graphs_are_connected_and_pull_equally_strongly(drawn: dict[str, list[cs.graphs.Graph]]) -> None:
    for name, members in drawn.items():
        assert len(members) == 2
        is_new = not np.array_equal(members[0].adjacency, members[1].adjacency)
        assert is_new == FAMILIES[name].is_random, name
        for graph in members:
            assert graph.num_agents == 196
            assert graph.degrees.mean() == pytest.approx(4, rel=1e-13)  # sums of 196 doubles
            assert graph.is_connected, name
            assert graph.directed == (name in ("exponential", "directed")), name
    assert drawn["complete"][0].uniform_weight == pytest.approx(4 / 195, rel=1e-13)


def test_families_are_what_they_are_called(drawn: dict[str, list[cs.graphs.Graph]]) -> None:
    degrees = {name: members[0].num_neighbours for name, members in drawn.items()}
    for name in ("directed", "random_regular", "torus", "ring"):
        assert set(degrees[name]) == {4}, name
    assert set(degrees["exponential"]) == {8}
    heard = np.count_nonzero(drawn["directed"][0].adjacency, axis=0)
    assert heard.min() < 4 < heard.max()
    assert degrees["barabasi_albert"].max() > 15
    ring = nx.to_numpy_array(nx.circulant_graph(196, [1, 2]))
    np.testing.assert_array_equal(drawn["ring"][0].adjacency, ring)
    lattice = nx.grid_2d_graph(14, 14, periodic=True)
    np.testing.assert_array_equal(drawn["torus"][0].adjacency, nx.to_numpy_array(lattice, nodelist=sorted(lattice)))
    block = np.arange(196) // 49
    weights = np.array([one.adjacency for one in drawn["communities"]])
    within = weights[:, block[:, None] == block].sum() / weights.sum()
    # 0.95 of about 800 edges; the null is the protocol's probability, a standard error is .008.
    assert within == pytest.approx(0.95, abs=4 * 0.008)


def test_families_that_are_hardly_ever_connected_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_MAX_DRAWS", 3)
    config = GraphFamilies(families=("erdos_renyi", "torus", "ring"), side=20)
    with pytest.raises(InvalidSpec, match="erdos_renyi with side=20: 0 of 3 graphs are connected"):
        graph_families.draw_graphs(config)


@pytest.mark.slow
def test_properties_against_networkx_and_numpy(drawn: dict[str, list[cs.graphs.Graph]]) -> None:
    for name, members in drawn.items():
        graph = members[1]
        found = graph_families.properties(graph)
        if graph.directed:
            # NumPy's eigenvalues of a Laplacian that is built here, agent by agent.
            q = graph.adjacency
            laplacian = np.array([[q[i].sum() if i == j else -q[i, j] for j in range(196)] for i in range(196)])
            eigenvalues = np.linalg.eigvals(laplacian) / 4
        else:
            eigenvalues = nx.laplacian_spectrum(nx.from_numpy_array(graph.adjacency)) / 4
        rest = eigenvalues[abs(eigenvalues) > 1e-9]  # the smallest gap is 1e-3
        assert len(rest) == 195, name
        squares = np.mean([weight**2 for _, weight in nx.from_numpy_array(graph.adjacency).degree(weight="weight")])
        expected = {"gap": rest.real.min(), "largest": abs(rest).max(), "relaxation": np.mean((1 / rest).real)}
        expected |= {"heterogeneity": 1.0 if graph.directed else squares / 16}
        for key, value in expected.items():
            # Eigenvalues of order 1 to 1e-14, of which the ring's smallest is 1e-3.
            assert found[key] == pytest.approx(value, rel=1e-9), (name, key)


def test_properties_in_closed_form() -> None:
    ring = graph_families.draw_graphs(dataclasses.replace(SMALL, side=14))["ring"][0]
    angles = 2 * np.pi * np.arange(1, 196) / 196
    spectrum = (4 - 2 * np.cos(angles) - 2 * np.cos(2 * angles)) / 4
    found = graph_families.properties(ring)
    # As above.
    assert found["gap"] == pytest.approx(spectrum.min(), rel=1e-9)
    assert found["relaxation"] == pytest.approx((1 / spectrum).mean(), rel=1e-9)


# ---- the linear theory -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_small_states_grow_as_the_leading_mode(drawn: dict[str, list[cs.graphs.Graph]]) -> None:
    """ṁ = J m as long as m is small, on every graph; the rate is also that of `top_eigenvalue`."""
    pull, times = 1.0, np.array([0.0, 30.0, 31.0])
    delta = landau.gaussian_disorder(1, 196, std=0.5, seed=3)[0]
    for name in ("complete", "directed", "torus", "barabasi_albert", "ring"):
        graph = drawn[name][0]
        rate, agents = graph_families.leading_mode(graph, delta, pull=pull, weight_decay=0.1)
        assert 1 <= agents <= 196
        options = {"depth": 1, "coupling": pull * 196 / 4, "weight_decay": 0.1, "graph": graph}
        exact = top_eigenvalue(np.zeros(196), delta, **options)
        assert rate == pytest.approx(float(exact), rel=1e-8)  # ARPACK's tolerance, or LAPACK's
        m = landau.integrate(delta, np.full(196, 1e-20), times=times, atol=1e-30, **options)
        # After t = 30 other modes are still there, the next e^(−30 (λ₁ − λ₂)) of the first: a percent or two.
        assert math.log(m[2].sum() / m[1].sum()) == pytest.approx(rate, rel=0.03), name
        weight = (m[2] / m[2].sum()) ** 2
        assert weight.sum() ** 2 / (weight**2).sum() == pytest.approx(agents, rel=0.1), name  # likewise


def test_the_early_growth_of_the_mean_does_not_depend_on_an_undirected_graph(
    drawn: dict[str, list[cs.graphs.Graph]],
) -> None:
    """Σ_ij q_ij (m_j − m_i) = 0 where q is symmetric: coupling moves ⟨m⟩ at second order in time only."""
    delta, start = landau.gaussian_disorder(1, 196)[0], landau.uniform_start(1, 196, offset=0.4)[0]
    step = 1e-6
    slopes = {}
    for name, members in drawn.items():
        m = landau.integrate(delta, start, depth=1, coupling=49.0, times=[0.0, step], graph=members[0])
        slopes[name] = (m[1].mean() - m[0].mean()) / step
    alone = float(np.mean(delta * start - start**3 - 1e-3 * start))
    for name, slope in slopes.items():
        # The second order is some ten times the step; rounding is 1e-16 / step.
        if name != "directed":
            assert slope == pytest.approx(alone, abs=2e-4), name
    assert slopes["directed"] != pytest.approx(alone, abs=1e-2)  # some are heard by more agents than others


def test_the_complete_graph_is_that_of_the_paper() -> None:
    config = dataclasses.replace(SMALL, families=("complete", "torus", "ring"), depths=(1,), rtol=1e-8, atol=1e-10)
    m = run(config, compute).magnetization.sel(depth=1, family="complete", graph=1)
    seed, size = config.seed + 1, (config.num_realizations, 36)
    unit = landau.sweep(
        landau.gaussian_disorder(*size, seed=seed), landau.uniform_start(*size, offset=config.offset, seed=seed),
        depth=1, couplings=np.array(config.pulls) * 36 / 35, span=10, average_after=5, rtol=1e-8, atol=1e-10,
    )  # fmt: skip
    # Two integrations at the tolerance rtol.
    np.testing.assert_allclose(m, unit.magnetization, atol=1e-6)


# ---- evaluation of an invented result ----------------------------------------------------------------------------

CRITICAL = {"complete": 1.0, "torus": 2.0, "barabasi_albert": 4.0, "ring": 8.0}


def invent(work: Computation) -> dict[str, xr.Dataset]:
    """⟨m⟩ = log10(10 · pull / critical) / 2, which is 0.5 where the pull is critical; no order at D = 2.

    Realizations are 0.02 apart. On the second graph everything happens at a pull a tenth larger.
    """
    config = work.parameters["config"]
    found = {}
    for cell in work.cells:
        family, number, depth = cell.split(",")
        critical = CRITICAL[family] * (1.1 if number == "graph=1" else 1.0)
        curve = np.log10(10 * np.array(config.pulls) / critical) / 2 if depth == "D=1" else 0.0 * np.array(config.pulls)
        values = curve[:, None] + np.array([-0.01, 0.01])
        found[cell] = xr.Dataset({"magnetization": (("coupling", "seed"), values)})
    return found


@pytest.fixture(scope="module")
def invented() -> Result:
    config = dataclasses.replace(
        SMALL, families=tuple(CRITICAL), pulls=(0.1, 1.0, 10.0, 100.0), num_realizations=2, threshold=0.5,
        other_thresholds=(0.4,),
    )  # fmt: skip
    return run(config, invent)


def test_critical_pulls_are_interpolated_and_pooled(invented: Result) -> None:
    for family, value in CRITICAL.items():
        # Curves are straight in the logarithm, so that interpolation is exact.
        np.testing.assert_allclose(invented.by_graph.sel(depth=1, family=family), [value, 1.1 * value], rtol=1e-9)
        critical = invented.critical[1, family]
        assert critical.value == pytest.approx(value * 1.1**0.5, rel=1e-9)
        assert critical.num_realizations == 4
        assert critical.interval[0] <= critical.value <= critical.interval[1]
        assert math.isnan(invented.critical[2, family].value)
    assert np.isinf(invented.by_graph.sel(depth=2)).all()


def test_rank_correlations(invented: Result) -> None:
    # The gap falls and the relaxation time grows from the first of these to the last, but for Barabási and Albert.
    means = invented.properties.mean("graph")
    ranks = {name: means[name].values.argsort().argsort() for name in PROPERTIES}
    for name, group in itertools.product(PROPERTIES, ("all", "sparse")):
        found = invented.correlations[1, name, group]
        kept = ranks[name] if group == "all" else ranks[name][1:].argsort().argsort()
        n = len(kept)
        assert found.num_families == n
        if name != "heterogeneity":  # which has ties
            by_hand = 1 - 6 * ((kept - np.arange(n)) ** 2).sum() / (n * (n**2 - 1))
            assert found.value == pytest.approx(by_hand, abs=1e-12)  # ranks are whole numbers
        assert found.interval[0] <= found.value <= found.interval[1]
        # Two-sided: of the 24 (6) orders of four (three) families at least one in each direction is as extreme.
        assert found.p_value > (0.06 if n == 4 else 0.25)
        assert math.isnan(invented.correlations[2, name, group].value)
    assert invented.correlation_at("relaxation", 1, 0.4) == invented.correlations[1, "relaxation", "all"].value


def test_what_does_not_order_is_drawn_and_told_all_the_same(invented: Result) -> None:
    assert isinstance(graph_families.draw(invented), Figure)
    tables = graph_families.tables(invented)
    assert [len(table.rows) for table in tables] == [4, 4, 8]
    assert tables[1].rows[0][6].startswith("nan")
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    assert np.isnan(invented.modes.rate.values).sum() == 0
    only_deep = dataclasses.replace(invented.config, depths=(2,))
    assert np.isnan(run(only_deep, invent).modes.rate.values).all()


# ---- from end to end ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_end_to_end(tmp_path: pathlib.Path) -> None:
    result = run(SMALL, lambda work: compute(work, store=tmp_path / "store"))
    assert result.magnetization.shape == (2, 11, 2, 4, 4)
    assert result.num_diverged == 0
    again = run(SMALL, lambda work: compute(work, store=tmp_path / "store"))
    xr.testing.assert_identical(result.magnetization, again.magnetization)
    # All but uncoupled, graphs do not differ: by what a pull of 1e-3 does in a time of 10, and by rtol.
    spread = result.magnetization.max("family") - result.magnetization.min("family")
    assert (spread.isel(coupling=0) < 0.02).all()
    assert spread.isel(coupling=1).mean() > 0.1
    json.dumps(graph_families.as_data(result))
    assert len(graph_families.rows(result)) == 22
    assert any("mean degree 4 on every graph" in line for line in graph_families.remarks(result))
    check_figure(graph_families.draw(result), tmp_path)


def check_figure(figure: Figure, directory: pathlib.Path) -> None:
    found = {text.get_text(): axes for axes in figure.axes for text in axes.texts if text.get_text() in "abcdefghij"}
    assert sorted(found) == list("abcdefghij")
    for name, axes in found.items():
        assert axes.get_xlabel(), name
        assert axes.get_ylabel() or name not in "abfg", name
        assert axes.has_data(), name
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [f"{family.code}  {family.label}" for family in FAMILIES.values()]
    codes = {family.code for family in FAMILIES.values()}
    figure.draw_without_rendering()
    for name, axes in found.items():
        texts = [text for text in axes.texts if isinstance(text, Annotation) and text.get_text() in codes]
        if name not in "af":
            assert {text.get_text() for text in texts} <= codes
            assert texts, name
        boxes = [Text.get_window_extent(text) for text in texts]  # without the line to the point
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2)), f"labels of {name} overlap"
    for path in cs.plots.save(figure, directory / "figures", "figure"):
        assert path.stat().st_size > 20_000
