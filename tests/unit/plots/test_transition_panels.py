"""Panels: what is drawn, and that missing values and single realizations do no harm."""

import io
import pathlib
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from consilience import plots
from consilience.errors import InvalidSpec

COUPLINGS = np.array([0.0, 0.1, 1.0, 30.0])
NETWORKS = ["D = 0", "D = 1"]


def new_axes() -> Axes:
    return Figure().subplots()


def quantity(num_seeds: int = 3, couplings: Any = COUPLINGS) -> xr.DataArray:
    values = np.random.default_rng(0).uniform(size=(2, len(couplings), num_seeds))
    coords = {"network": NETWORKS, "coupling": couplings, "seed": np.arange(num_seeds)}
    return xr.DataArray(values, coords, ("network", "coupling", "seed"))


# ---- style -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("couplings", "ticks"),
    [
        ([0.0, 0.1, 1.0, 30.0], ["0", "$10^{0}$", "$10^{1}$"]),
        ([0.1, 1.0, 30.0], ["0", "$10^{0}$", "$10^{1}$"]),
        ([0.0, 3.2], ["0"]),
        ([0.0, 0.05, 395.0], ["0", "$10^{-1}$", "$10^{0}$", "$10^{1}$", "$10^{2}$"]),
    ],
)
def test_the_coupling_axis_has_room_for_zero(couplings: list[float], ticks: list[str]) -> None:
    axes = new_axes()
    plots.coupling_axis(axes, np.array(couplings))
    assert axes.get_xscale() == "symlog"
    left, right = axes.get_xlim()
    assert left < 0
    assert right > couplings[-1]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ticks
    # Logarithmic above the smallest coupling: equal factors are equal distances.
    least = min(coupling for coupling in couplings if coupling > 0)
    at = [axes.transData.transform((factor * least, 0))[0] for factor in (1, 3, 9)]
    assert at[1] - at[0] == pytest.approx(at[2] - at[1], rel=1e-6)  # pixels, from logarithms in doubles
    assert "sigma" in axes.get_xlabel()


def test_the_label_may_be_left_out() -> None:
    axes = new_axes()
    plots.coupling_axis(axes, COUPLINGS, label="")
    assert axes.get_xlabel() == ""


def test_without_a_positive_coupling_the_axis_stays_as_it_is() -> None:
    axes = new_axes()
    plots.coupling_axis(axes, np.array([0.0]))
    assert (axes.get_xscale(), axes.get_xlabel()) == ("linear", "")


def test_depths_keep_their_colours_and_others_get_their_own() -> None:
    assert plots.colours(["D = 1"])["D = 1"] == plots.colours(["D = 0", "D = 1"])["D = 1"]
    many = [*(f"D = {depth}" for depth in range(4)), "CNN", "dgd"]
    assert len(set(plots.colours(many).values())) == 6
    assert len(set(plots.markers(many).values())) == 6
    assert len(plots.colours([str(number) for number in range(20)])) == 20


def test_settings_last_as_long_as_the_block() -> None:
    before = mpl.rcParams["font.size"]
    with plots.style():
        assert mpl.rcParams["font.size"] == 8
    assert mpl.rcParams["font.size"] == before


def test_figures_are_saved_as_png_and_svg(tmp_path: pathlib.Path) -> None:
    figure = Figure()
    figure.subplots().plot([0, 1])
    paths = plots.save(figure, tmp_path / "a" / "b", "name")
    assert [path.name for path in paths] == ["name.png", "name.svg"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in paths[1].read_bytes()
    assert b"<dc:date>" not in paths[1].read_bytes()
    assert plots.save(figure, str(tmp_path / "a" / "b"), "name") == paths


# ---- curves ------------------------------------------------------------------------------------------------------


def test_curves_are_means_with_bands_of_one_deviation() -> None:
    values, axes = quantity(), new_axes()
    plots.curves(axes, values)
    assert [line.get_label() for line in axes.lines] == NETWORKS
    for line, name in zip(axes.lines, NETWORKS, strict=True):
        np.testing.assert_allclose(line.get_ydata(), values.sel(network=name).mean("seed"), rtol=1e-14)  # one mean
    (band, _) = axes.collections
    vertices = band.get_paths()[0].vertices
    one = values.sel(network="D = 0")
    top = (one.mean("seed") + one.std("seed")).values
    for coupling, height in zip(COUPLINGS, top, strict=True):
        assert [coupling, height] in vertices


def test_there_is_a_band_only_where_there_are_realizations() -> None:
    axes = new_axes()
    plots.curves(axes, quantity(num_seeds=1))
    assert len(axes.lines) == 2
    assert len(axes.collections) == 0
    plots.curves(axes, quantity(num_seeds=3), dashed=True, label=", adiabatic", every_label=True)
    assert len(axes.collections) == 0
    assert axes.lines[2].get_linestyle() == "--"
    assert axes.lines[2].get_label() == "D = 0, adiabatic"
    plots.curves(axes, quantity(), every_label="")
    assert axes.lines[4].get_label().startswith("_")  # in no legend


def test_couplings_in_no_order_make_one_line() -> None:
    values = quantity(couplings=np.array([30.0, 0.0, 1.0, 0.1]))
    axes = new_axes()
    plots.curves(axes, values)
    inset = plots.linear_inset(axes, values)
    for line in (*axes.lines, *inset.lines):
        assert list(line.get_xdata()) == sorted(COUPLINGS)
    assert inset.get_xscale() == "linear"


def test_missing_values_leave_gaps() -> None:
    values = quantity()
    values[0, 3] = np.nan  # all realizations diverged
    values[1, 3, 0] = np.nan  # one of three
    axes = new_axes()
    plots.curves(axes, values)
    plots.linear_inset(axes, values)
    first, second = (np.asarray(line.get_ydata()) for line in axes.lines[:2])
    assert np.isnan(first).tolist() == [False, False, False, True]
    assert second[3] == pytest.approx(float(values[1, 3, 1:].mean()), rel=1e-14)  # one mean
    axes.figure.savefig(io.BytesIO(), format="png")


def test_insets_keep_a_logarithmic_scale() -> None:
    axes = new_axes()
    plots.curves(axes, quantity())
    axes.set_yscale("log")
    assert plots.linear_inset(axes, quantity()).get_yscale() == "log"


# ---- matrices and paths ------------------------------------------------------------------------------------------


def test_matrices_are_drawn_in_the_given_order() -> None:
    matrix = xr.DataArray(np.arange(9.0).reshape(3, 3) / 9, dims=("agent_evaluated", "agent")).assign_coords(
        agent=[3, 4, 5], agent_evaluated=[3, 4, 5]
    )
    axes = new_axes()
    image = plots.cross_matrix(axes, matrix, np.array([2, 0, 1]), ["3", "4", "5"], "title")
    array = image.get_array()
    assert array is not None
    assert array[0, 1] == float(matrix.sel(agent=5, agent_evaluated=3))
    assert image.get_clim() == (0, 1)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["5", "3", "4"]
    big = xr.DataArray(np.eye(40), dims=("agent", "agent_evaluated"))
    plots.cross_matrix(axes, big, np.arange(40), [str(number) for number in range(40)], "")
    assert len(axes.get_xticks()) <= 14


def test_a_learning_path_may_lack_a_network() -> None:
    random = np.random.default_rng(0)
    first = xr.DataArray(random.uniform(size=(4, 4)), dims=("agent", "agent_evaluated"))
    turned = (2 * first).transpose("agent_evaluated", "agent")
    axes = new_axes()
    plots.learning_path(axes, {"D = 0": first, "D = 1": turned}, first, {"D = 0": 1.0, "D = 1": 1.0})
    x, y = axes.lines[1].get_data()
    np.testing.assert_allclose(y, 2 * np.asarray(x), atol=1e-14)  # a product and a mean
    assert axes.lines[2].get_label() == "linear fit"
    axes = new_axes()
    plots.learning_path(axes, {"D = 0": first, "D = 1": first * np.nan}, first, {"D = 0": 1.0, "D = 1": np.nan})
    x, y = axes.lines[2].get_data()
    np.testing.assert_allclose(y, x, atol=1e-12)  # least squares over 16 points of the network that is there


def test_critical_couplings_that_do_not_exist_are_not_marked() -> None:
    axes = new_axes()
    plots.mark_critical(axes, {"D = 0": 1.6, "D = 1": np.nan, "D = 2": 0.0, "CNN": np.inf}, top=0.2)
    assert len(axes.lines) == 1
    assert list(axes.lines[0].get_xdata()) == [1.6, 1.6]


def test_letters() -> None:
    axes = new_axes()
    plots.letter(axes, "b")
    assert axes.texts[0].get_text() == "b"


# ---- overview ----------------------------------------------------------------------------------------------------


def dataset(**dims: Any) -> xr.Dataset:
    """What a sweep over `dims` returns, with three agents."""
    sizes = tuple(len(values) for values in dims.values())
    random = np.random.default_rng(0)
    swept = [name for name in dims if name != "round"]
    return xr.Dataset(
        {
            "accuracy": ((*dims, "agent"), random.uniform(size=(*sizes, 3)), {"long_name": "test accuracy"}),
            "consensus_distance": (tuple(dims), random.uniform(size=sizes)),
            "cross_accuracy": ((*dims, "agent", "agent_evaluated"), random.uniform(size=(*sizes, 3, 3))),
            "params/layer_0/bias": ((*swept, "agent"), random.uniform(size=(*[len(dims[n]) for n in swept], 3))),
            "outcome": (tuple(swept), np.full([len(dims[n]) for n in swept], "completed")),
        },
        dims,
        {"title": "my sweep"},
    )


def test_overview_of_a_sweep() -> None:
    data = dataset(coupling=[30.0, 0.0, 1.0], seed=[0, 1], learning_rate=[0.1, 0.2])
    data["accuracy"][0, 0] = np.nan
    figure = plots.overview(data)
    assert [axes.get_ylabel() for axes in figure.axes] == ["test accuracy", "consensus_distance"]
    assert figure.get_suptitle() == "my sweep"
    for axes in figure.axes:
        assert axes.get_xscale() == "symlog"
        assert len(axes.lines) == 4
        assert all(list(line.get_xdata()) == [0.0, 1.0, 30.0] for line in axes.lines)
    line = figure.axes[1].lines[0].get_ydata()
    expected = data.consensus_distance.isel(seed=0, learning_rate=0).sortby("coupling")
    np.testing.assert_array_equal(line, expected)


def test_overview_of_a_sweep_with_rounds_shows_the_last() -> None:
    data = dataset(coupling=[0.0, 1.0], round=[0, 5, 10])
    figure = plots.overview(data, title="other")
    assert figure.get_suptitle() == "other"
    expected = data.accuracy.isel(round=-1).mean("agent")
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), expected, rtol=1e-14)  # one mean


def test_overview_of_a_run_shows_its_rounds() -> None:
    figure = plots.overview(dataset(round=[0, 5, 10]))
    assert [axes.get_xlabel() for axes in figure.axes] == ["round", "round"]
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]
    figure = plots.overview(dataset(seed=[3, 4], round=[0, 5, 10]))
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]


def test_overview_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="no observable of the agents along 'coupling' or 'round'"):
        plots.overview(dataset(seed=[0, 1]))
    assert plt.get_fignums() == []  # no figure is left open
