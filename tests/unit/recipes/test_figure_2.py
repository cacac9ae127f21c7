"""Figure 2: its protocol, its evaluation on invented curves whose answer is known, and once from end to end."""

import dataclasses
import functools
import json
import math
import pathlib
from typing import Any

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from matplotlib.figure import Figure

import consilience as cs
from consilience.errors import InvalidSpec
from consilience.experiments import Computation, compute
from consilience.recipes import RECIPES, figure_2, get
from consilience.recipes.figure_2 import Figure2, Result
from consilience.theory import landau

TINY = Figure2(
    couplings=(0.0, 0.5, 3.0, 30.0), num_agents=12, num_realizations=4, adiabatic=(2,), spans=(10.0, 20.0),
    wait_depths=(1,), offsets=(0.0, 0.5), seed=3,
)  # fmt: skip


# ---- protocol ----------------------------------------------------------------------------------------------------


def test_the_default_protocol_is_that_of_the_paper() -> None:
    """Paper 001, Appendix B and Fig. 2; 60 couplings from 0 to 10^2.5 as in the issue."""
    recipe = get("figure-2")
    assert recipe is RECIPES["figure-2"]
    config = recipe.presets["default"]()
    assert config == recipe.presets["full"]() == Figure2()
    assert (config.num_agents, config.num_realizations) == (200, 200)
    assert (config.weight_decay, config.disorder_std, config.offset) == (1e-3, 2.0, 0.05)
    assert (config.span, config.average_after) == (10.0, 5.0)
    assert config.depths == config.adiabatic == (0, 1, 2)
    assert len(config.couplings) == 60
    assert config.couplings[0] == 0
    assert config.couplings[-1] == pytest.approx(10**2.5, abs=1e-6)  # couplings are rounded to six decimals
    assert (np.diff(config.couplings) > 0).all()
    assert (config.rtol, config.atol) == (1e-3, 1e-6)  # SciPy's defaults
    quick = recipe.presets["quick"]()
    assert dataclasses.replace(quick, couplings=config.couplings, num_realizations=200) == config
    assert (len(quick.couplings), quick.num_realizations) == (24, 50)


def test_cells_are_all_curves_of_the_figure() -> None:
    planned = figure_2.computation(Figure2())
    assert planned.subject == "landau.sweep"
    assert planned.title == "figure-2"
    assert list(planned.cells)[:3] == ["adiabatic_up,D=2", "adiabatic_up,D=1", "adiabatic_up,D=0"]  # the longest first
    waited = {f"span={span},D={depth}" for span in (10, 100, 1000) for depth in (1, 2)}
    shifted = {f"offset={offset}" for offset in ("0", "0.05", "0.2", "0.5", "1")}
    swept = {f"{protocol},D={depth}" for protocol in ("quench", "adiabatic_up") for depth in (0, 1, 2)}
    assert set(planned.cells) == waited | shifted | swept
    assert figure_2.sweeps(Figure2()) == {}  # nothing is simulated
    assert figure_2.stem(Figure2()) == "figure-2"


def test_lists_and_arrays_will_do() -> None:
    config = Figure2(depths=[0.0, 1.0, 2.0], couplings=np.array(Figure2.couplings))  # pyright: ignore
    assert config == Figure2()
    assert all(type(depth) is int for depth in config.depths)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": 1}, r"depths=1: these are several\. Write depths=\(0, 1, 2\)"),
        ({"depths": "12"}, "depths='12': these are several"),
        ({"depths": ()}, r"depths=\(\): these are values like 0, each of them once"),
        ({"depths": (1.5,)}, r"depths=\(1.5,\): these are values like 0"),
        ({"depths": (1, 1)}, "each of them once"),
        ({"couplings": ("a",)}, r"couplings=\('a',\): these are values like 0.0"),
        ({"couplings": (1.0, None)}, "these are values like 0.0"),
        ({"offsets": ()}, r"offsets=\(\)"),
        ({"spans": ()}, r"spans=\(\)"),
        ({"spans": (10.0, 10.0)}, "each of them once"),
        ({"wait_depths": ()}, r"wait_depths=\(\)"),
        ({"plane_couplings": (1.0,)}, r"panels c, d and e show one coupling each. Write three"),
    ],
    ids=str,
)
def test_mistakes_are_found_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        Figure2(**changes)


def test_there_is_no_data_set() -> None:
    with pytest.raises(
        InvalidSpec, match=r"--dataset mnist: .* uses no data. `consilience predict transition --dataset m"
    ):
        figure_2.for_dataset(Figure2(), "mnist")


# ---- the ranking planes ------------------------------------------------------------------------------------------


def rescaled_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks among all pairs, from 0 to 1; values that differ by rounding only are tied."""
    ranks = scipy.stats.rankdata(values.round(12)).reshape(values.shape)
    return (ranks - 1) / (values.size - 1)


def test_planes_are_the_ranks_of_equation_eight() -> None:
    config = Figure2(weight_decay=0.0, plane_mean=0.0)  # the limits of the paper
    none, medium = (figure_2.ranking_plane(config, sigma, num_points=21) for sigma in (0.0, 3.0))
    strong = figure_2.ranking_plane(Figure2(), 1e15, num_points=21)
    d = np.linspace(0, 4, 21)
    np.testing.assert_array_equal(none.agent, d)  # up to two standard deviations
    for plane in (none, medium, strong):
        assert plane.dims == ("agent", "agent_evaluated")
        assert float(plane.min()) >= 0
        assert float(plane.max()) <= 1
    # No coupling: 2 δ_i δ_j − δ_i².
    np.testing.assert_array_equal(none, rescaled_ranks(2 * np.outer(d, d) - d[:, None] ** 2))
    # Of all agents, those with δ_i = δ_j know data j best.
    np.testing.assert_array_equal(none.argmax("agent"), np.arange(21))
    # Medium: m_i = δ_i/(1 + σ̂), so (2(1 + σ̂) δ_i δ_j − δ_i²)/(1 + σ̂)², symmetric in its leading term.
    np.testing.assert_array_equal(medium, rescaled_ranks((8 * np.outer(d, d) - d[:, None] ** 2) / 16))
    assert abs(medium - medium.values.T).max() < 0.5 * float(abs(none - none.values.T).max())
    # Strong: every m is ⟨δ⟩, and 2⟨δ⟩δ_j − ⟨δ⟩² depends on the data only.
    assert (strong == strong.isel(agent=0)).all()
    assert (strong.isel(agent=0).diff("agent_evaluated") > 0).all()


def test_planes_are_those_of_the_theory_of_the_population() -> None:
    """(Â_x)_ij of agents on the axis, among many others whose mean δ is the stated one."""
    config, d = Figure2(), np.linspace(0, 4, 9)
    others = np.full(100_000, config.plane_mean)
    delta = np.concatenate([d, others])
    for sigma in config.plane_couplings:
        m = (delta + sigma * delta.mean() / (1 + config.weight_decay)) / (1 + config.weight_decay + sigma)  # Eq. (6)
        values = m[:9, None] * (2 * d[None, :] - m[:9, None])
        plane = figure_2.ranking_plane(config, sigma, num_points=9)
        # The nine agents move the mean by 2e-4 of it; 81 pairs, of which neighbours may change places.
        assert scipy.stats.spearmanr(plane.values.ravel(), values.ravel()).statistic > 0.999  # pyright: ignore


# ---- evaluation of invented curves -------------------------------------------------------------------------------

SIGMA = (0.0, 1.0, 10.0, 100.0)
INVENTED = Figure2(
    depths=(0, 1), couplings=SIGMA, num_agents=50, num_realizations=4, adiabatic=(1,), offsets=(0.0, 0.2),
    spans=(10.0, 100.0), wait_depths=(1,),
)  # fmt: skip
SIZES = {0: (0.1, 0.1, 0.1, 0.1), 1: (0.1, 0.6, 0.8, 0.2)}
SIGNS = np.array([1.0, -1.0, 1.0, 1.0])
ALTERNATING = np.array([-1.0, 1.0, -1.0, 1.0])


def invent(computation: Computation) -> dict[str, xr.Dataset]:
    """|⟨m⟩| as stated, with one of four realizations negative; the loss falls from 1 to −0.5, ± 0.1."""
    found = {}
    for name in computation.cells:
        depth = 0 if name.endswith("D=0") else 1
        size = np.array(SIZES[depth]) * (0.5 if name.startswith("span=100") else 1)
        loss = np.array([[1.0], [0.5], [0.0], [-0.5]]) + 0.1 * ALTERNATING
        found[name] = xr.Dataset(
            {
                "magnetization": (("coupling", "seed"), size[:, None] * SIGNS),
                "loss": (("coupling", "seed"), loss),
                "outcome": (("coupling", "seed"), np.full((4, 4), "completed")),
            },
            {"coupling": list(SIGMA), "seed": np.arange(4)},
        )
    return found


def diverge(computation: Computation) -> dict[str, xr.Dataset]:
    """As above; realization 1 of the quench of depth 1 diverges at the last coupling."""
    found = invent(computation)
    one = found["quench,D=1"]
    lost = (one.coupling == 100.0) & (one.seed == 1)
    found["quench,D=1"] = one.drop_vars("outcome").where(~lost).assign(outcome=xr.where(lost, "diverged", one.outcome))
    return found


@pytest.fixture(scope="module")
def invented() -> Result:
    return figure_2.run(INVENTED, invent)  # pyright: ignore[reportArgumentType]


def test_rows_are_means_and_spreads(invented: Result) -> None:
    table = figure_2.rows(invented)
    assert [(row["protocol"], row["network"]) for row in table[::4]] == [
        ("quench", "D = 0"), ("quench", "D = 1"), ("adiabatic_up", "D = 1"),
    ]  # fmt: skip
    assert [row["coupling"] for row in table[:4]] == list(SIGMA)
    row = table[6]  # |⟨m⟩| = 0.8 at D = 1, one of four negative; sums of four doubles
    assert row["abs_magnetization"] == pytest.approx(0.8, abs=1e-12)
    assert row["abs_magnetization_std"] == pytest.approx(0, abs=1e-12)
    assert row["magnetization"] == pytest.approx(0.4, abs=1e-12)
    assert row["magnetization_std"] == pytest.approx(0.8 * np.std(SIGNS), abs=1e-12)
    assert (row["loss"], row["loss_std"]) == (pytest.approx(0, abs=1e-12), pytest.approx(0.1, abs=1e-12))
    assert row["susceptibility"] == pytest.approx(0, abs=1e-12)  # |⟨m⟩| does not fluctuate
    assert row["binder_cumulant"] == pytest.approx(2 / 3, abs=1e-12)
    assert {row["num_diverged"] for row in table} == {0}
    assert invented.num_diverged == 0


def test_what_diverged_is_left_out(invented: Result) -> None:
    result = figure_2.run(INVENTED, diverge)  # pyright: ignore[reportArgumentType]
    assert result.num_diverged == 1
    row, before = figure_2.rows(result)[7], figure_2.rows(invented)[7]
    assert (row["network"], row["coupling"], row["num_diverged"]) == ("D = 1", 100.0, 1)
    assert row["abs_magnetization"] == pytest.approx(before["abs_magnetization"], abs=1e-12)
    assert row["magnetization"] == pytest.approx(0.2, abs=1e-12)  # the negative one is gone
    assert row["magnetization_std"] == pytest.approx(0, abs=1e-12)
    assert row["loss"] == pytest.approx(-0.5 - 0.1 / 3, abs=1e-12)
    assert figure_2.remarks(result)[0].endswith("1 diverged.")
    assert figure_2.remarks(invented)[0].endswith("None diverged.")
    assert isinstance(figure_2.draw(result), Figure)


def test_where_order_begins_and_ends() -> None:
    def found(*values: float) -> tuple[float, float, float]:
        table = np.array(values)[:, None] * SIGNS
        return figure_2.ordered_range(xr.DataArray(table, dims=("coupling", "seed"), coords={"coupling": list(SIGMA)}))

    assert found(0.1, 0.6, 0.8, 0.2) == (10.0, 1.0, 10.0)
    assert found(0.1, 0.3, 0.8, 0.5) == (10.0, 10.0, math.inf)
    assert found(0.8, 0.7, 0.2, 0.1) == (0.0, 0.0, 1.0)


def test_remarks_are_about_these_numbers(invented: Result) -> None:
    text = "\n".join(figure_2.remarks(invented))
    assert "n = 4 realizations of N = 50 agents" in text
    assert "D = 1  quench         σ̂ = 1 to 10, maximum 0.80 at σ̂ = 10" in text
    assert "D = 0  quench         does not depend on the coupling" in text
    assert "ε = 0.2   0.40 at σ̂ = 10, 50%" in text  # three of four positive
    assert "D = 1  t = 10: 10, t = 100: 10" in text


def test_tables_hold_the_rows(invented: Result) -> None:
    tables = figure_2.tables(invented)
    assert [table.title for table in tables] == [
        "theory, D = 0, quench", "theory, D = 1, quench", "theory, D = 1, adiabatic up",
    ]  # fmt: skip
    for table in tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert [row[0] for row in table.rows] == ["0", "1", "10", "100"]
    assert tables[1].rows[2][1:4] == ["0.800 ± 0.000", "0.400 ± 0.693", "0.000 ± 0.100"]


def test_plain_data_are_complete(invented: Result) -> None:
    found = json.loads(json.dumps(figure_2.as_data(invented)))
    assert found["rows"] == figure_2.rows(invented)
    assert found["config"]["couplings"] == list(SIGMA)
    assert found["num_diverged"] == 0
    assert set(found["signed_magnetization"]) == {"0", "0.2"}
    assert found["signed_magnetization"]["0.2"] == pytest.approx([0.05, 0.3, 0.4, 0.1], abs=1e-12)


# ---- the figure --------------------------------------------------------------------------------------------------


def panels(figure: Figure) -> dict[str, Any]:
    """Axes by their letter."""
    return {text.get_text(): axes for axes in figure.axes for text in axes.texts if len(text.get_text()) == 1}


def check_figure(figure: Figure, directory: pathlib.Path) -> None:
    found = panels(figure)
    assert sorted(found) == list("abcdefg")
    for name, axes in found.items():
        assert axes.get_xlabel(), name
        assert axes.get_ylabel(), name
        assert axes.has_data(), name
    for path in cs.plots.save(figure, directory / "figures", "figure"):
        assert path.stat().st_size > 20_000


def test_the_figure_has_all_panels(invented: Result, tmp_path: pathlib.Path) -> None:
    figure = figure_2.draw(invented)
    check_figure(figure, tmp_path)
    found = panels(figure)
    labels = [text.get_text() for text in found["a"].get_legend().get_texts()]
    assert labels == ["D = 0", "D = 1", "D = 1, adiabatic"]
    # Markers for quenches with a band each, a dashed line for the adiabatic sweep: |⟨m⟩|, and not ⟨m⟩, in panel a.
    assert [line.get_linestyle() for line in found["a"].lines] == ["-", "-", "--"]
    assert len(found["a"].collections) == len(found["b"].collections) == 2
    np.testing.assert_allclose(found["a"].lines[1].get_ydata(), SIZES[1], atol=1e-12)
    np.testing.assert_allclose(found["b"].lines[1].get_ydata(), [1.0, 0.5, 0.0, -0.5], atol=1e-12)
    (inset,) = found["b"].child_axes
    np.testing.assert_allclose(inset.lines[1].get_ydata(), [0.0, 0.5, 1.0, 1.5], atol=1e-12)
    assert ["no coupling" in found["c"].get_title(), "300" in found["e"].get_title()] == [True, True]
    assert [line.get_label() for line in found["f"].lines[:2]] == [r"$\epsilon$ = 0", r"$\epsilon$ = 0.2"]
    np.testing.assert_allclose(found["f"].lines[1].get_ydata(), np.array(SIZES[1]) / 2, atol=1e-12)
    np.testing.assert_allclose(found["g"].lines[1].get_ydata(), np.array(SIZES[1]) / 2, atol=1e-12)
    assert "N = 50" in figure.get_suptitle()
    assert "4 realizations" in figure.get_suptitle()


def test_without_adiabatic_sweeps_there_is_still_a_figure(tmp_path: pathlib.Path) -> None:
    config = dataclasses.replace(INVENTED, adiabatic=())
    result = figure_2.run(config, invent)  # pyright: ignore[reportArgumentType]
    assert list(result.curves) == ["quench"]
    check_figure(figure_2.draw(result), tmp_path)
    assert [line.get_linestyle() for line in panels(figure_2.draw(result))["a"].lines] == ["-", "-"]


# ---- from end to end ---------------------------------------------------------------------------------------------


def test_from_end_to_end(tmp_path: pathlib.Path) -> None:
    result = figure_2.run(TINY, lambda work: compute(work, store=tmp_path / "store"))  # pyright: ignore
    check_figure(figure_2.draw(result), tmp_path)
    assert result.num_diverged == 0
    assert len(figure_2.rows(result)) == 4 * 4
    delta = landau.gaussian_disorder(4, 12, std=2.0, seed=3)

    @functools.cache
    def by_hand(depth: int, *, offset: float = 0.05, span: float = 10.0, protocol: str = "quench") -> xr.Dataset:
        """Appendix B, written out; a tenth of the tolerances, so that these are the errors of the figure."""
        return landau.sweep(
            delta, landau.uniform_start(4, 12, offset=offset, seed=3), depth=depth, couplings=TINY.couplings,
            protocol=protocol, span=span, average_after=span / 2, rtol=1e-4, atol=1e-7,
        )  # fmt: skip

    for depth in (0, 1, 2):
        found, expected = result.curves["quench"].sel(network=f"D = {depth}"), by_hand(depth)
        for name in ("magnetization", "loss"):  # of order one, with relative tolerance 1e-3
            np.testing.assert_allclose(found[name], expected[name], atol=0.01)
    # Adiabatic sweeps pass errors on to the next coupling.
    found = result.curves["adiabatic_up"].sel(network="D = 2").magnetization
    np.testing.assert_allclose(found, by_hand(2, protocol="adiabatic_up").magnetization, atol=0.03)
    shifted = result.offsets.magnetization.sel(offset=0.5)
    np.testing.assert_allclose(shifted, by_hand(1, offset=0.5).magnetization, atol=0.01)
    waited = result.spans.magnetization.sel(span=20.0, network="D = 1")
    np.testing.assert_allclose(waited, by_hand(1, span=20.0).magnetization, atol=0.01)
    # The comparisons could have failed.
    for other in (by_hand(1, offset=0.0), by_hand(1, span=20.0), by_hand(2)):
        assert abs(by_hand(1).magnetization - other.magnetization).max() > 0.03

    def refuse(work: Computation) -> dict[str, xr.Dataset]:
        loading = dataclasses.replace(work, cells=dict.fromkeys(work.cells, lambda: pytest.fail("not loaded")))
        return compute(loading, store=tmp_path / "store")

    again = figure_2.run(TINY, refuse)  # pyright: ignore[reportArgumentType]
    xr.testing.assert_identical(again.curves["quench"], result.curves["quench"])
    assert figure_2.as_data(again) == figure_2.as_data(result)
