"""Figure 3: its protocols, its evaluation on invented results whose answer is known, and once from end to end."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import consilience as cs
from compiled import compiled_programs  # noqa: F401 (a fixture)
from consilience.errors import InvalidSpec, UnknownName
from consilience.experiments import Sweep, run_sweep
from consilience.recipes import RECIPES, figure_3, get
from consilience.recipes.figure_3 import Figure3, Result

AGENTS = 10
TINY = Figure3(
    dataset="digits", networks=("D = 0", "D = 1"), couplings=(0.0, 3.2, 30.0, 300.0), num_rounds=60, average_after=40,
    num_realizations=2, adiabatic=(), num_train=200, num_test=60, batch_size=8, observe_every=20,
)  # fmt: skip


# ---- protocols ---------------------------------------------------------------------------------------------------


def test_presets() -> None:
    recipe = get("figure-3")
    assert recipe is RECIPES["figure-3"]
    quick, default, full = (recipe.presets[name]() for name in ("quick", "default", "full"))
    assert (quick.dataset, default.dataset, full.dataset) == ("digits", "mnist", "mnist")
    assert (default.num_rounds, default.average_after, default.num_realizations) == (20_000, 10_000, 1)
    assert len(default.couplings) == 16
    assert (full.num_rounds, full.average_after, full.num_realizations, full.num_test) == (40_000, 20_000, 10, None)
    assert max(full.couplings) < 400  # the stability limit 2/η
    for config in (quick, default, full):
        assert {0.0, 3.2, 30.0, 300.0, 316.0} <= set(config.couplings)
        assert list(config.couplings) == sorted(set(config.couplings))
        assert config.networks == ("D = 0", "D = 1", "D = 2")
        assert (config.learning_rate, config.weight_decay, config.batch_size, config.width) == (0.005, 1e-3, 32, 20)
    with pytest.raises(UnknownName, match=r"'figure-4' is not a recipe\. Did you mean 'figure-3'"):
        get("figure-4")


def test_cifar10_adds_a_convolutional_network() -> None:
    config = figure_3.for_dataset(Figure3(), "cifar10")
    assert config.networks == ("D = 0", "D = 1", "D = 2", "CNN")
    assert config.model("CNN") == cs.models.cnn()
    assert figure_3.for_dataset(config, "cifar10") == config
    assert figure_3.for_dataset(Figure3(), "fashion_mnist") == Figure3(dataset="fashion_mnist")


def test_the_default_protocol_runs_on_digits_too() -> None:
    config = figure_3.for_dataset(Figure3(), "digits")
    assert figure_3.sweeps(config)["quench", "D = 0"].experiment.task.num_test == 360


def test_networks_are_depths_or_the_convolutional_one() -> None:
    assert Figure3(width=7).model("D = 3") == cs.models.mlp(depth=3, width=7)
    for wrong in ("D = x", "D3", "D = ", "cnn", 1):
        with pytest.raises(InvalidSpec, match="is not a network of this figure; write 'D = 0'"):
            Figure3(networks=("D = 1", wrong), adiabatic=())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": ("D = 0", "D = 1")}, "'D = 2' is not among the networks"),
        ({"adiabatic_down": ("D = 4",)}, "'D = 4' is not among the networks"),
        ({"phase_network": "CNN"}, "'CNN' is not among the networks"),
        ({"couplings": (3.0, 1.0)}, "at least two numbers in increasing order"),
        ({"couplings": (3.0,)}, "at least two numbers in increasing order"),
        ({"couplings": ("a", "b")}, "at least two numbers in increasing order"),
        ({"couplings": 5.0}, "couplings=5.0: these are several"),
        ({"networks": "D = 1"}, "networks='D = 1': these are several"),
    ],
    ids=str,
)
def test_mistakes_are_found_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        Figure3(**changes)


def test_lists_and_arrays_will_do() -> None:
    config = Figure3(couplings=np.array([0.0, 1.0]), networks=["D = 0", "D = 1", "D = 2"])  # pyright: ignore
    assert config == Figure3(couplings=(0.0, 1.0))


def test_sweeps_are_planned_from_the_protocol() -> None:
    config = dataclasses.replace(figure_3.quick(), adiabatic_down=("D = 1",))
    planned = figure_3.sweeps(config)
    assert list(planned) == [
        ("quench", "D = 0"), ("quench", "D = 1"), ("quench", "D = 2"),
        ("adiabatic_up", "D = 2"), ("adiabatic_down", "D = 1"),
    ]  # fmt: skip
    for (protocol, network), sweep in planned.items():
        assert sweep.protocol == protocol
        assert sweep.title == f"figure-3 digits {network} {protocol}"
        assert sweep.over == {"coupling": list(config.couplings), "seed": [0, 1, 2]}
        experiment = sweep.experiment
        assert experiment.model == config.model(network)
        assert (experiment.num_rounds, experiment.average_after, experiment.batch_size) == (4000, 2000, 32)
        assert experiment.graph.num_agents == 10
        assert all(len(set(experiment.task.train_labels[shard])) == 1 for shard in experiment.shards)
    assert len({sweep.run_id for sweep in planned.values()}) == 5


# ---- evaluation of invented results ------------------------------------------------------------------------------

COUPLINGS = (0.0, 1.0, 10.0, 100.0)
CURVES = {"D = 0": (0.1, 0.1, 0.3, 0.8), "D = 1": (0.1, 0.1, 0.1, 0.6), "D = 2": (0.1, 0.1, 0.1, 0.15)}
ROWS, COLUMNS = np.random.default_rng(0).uniform(0.2, 1.0, (2, AGENTS))
INVENTED = Figure3(
    dataset="digits", num_test=None, couplings=COUPLINGS, num_realizations=2, num_rounds=20, average_after=10
)


def invent(sweep: Sweep) -> xr.Dataset:
    """Results of two realizations that lie 0.02 apart; cross-accuracies that are rank one for D = 0 only."""
    network = sweep.title.split("digits ")[1].rpartition(" ")[0]
    shift = xr.DataArray([-0.01, 0.01], dims="seed", coords={"seed": [0, 1]})
    accuracy = xr.DataArray(list(CURVES[network]), dims="coupling", coords={"coupling": list(COUPLINGS)}) + shift
    accuracy = accuracy.expand_dims(agent=np.arange(AGENTS), axis=-1)
    shape = np.outer(ROWS, COLUMNS) if network == "D = 0" else np.outer(ROWS, COLUMNS) + 0.3 * np.eye(AGENTS)
    pair = xr.DataArray(shape, dims=("agent", "agent_evaluated"), coords={"agent_evaluated": np.arange(AGENTS)})
    scalar = accuracy.isel(agent=0, drop=True)
    dataset = xr.Dataset(
        {
            "accuracy": accuracy, "loss": 3 - accuracy, "magnetization": -accuracy, "parameter_mean": accuracy,
            "cross_accuracy": pair * scalar, "mergeability": scalar, "consensus_distance": scalar,
            "outcome": xr.full_like(scalar, "completed", dtype="U16"), "final_round": xr.full_like(scalar, 20, int),
        },
        attrs={"wall_seconds": {"advance": 2.0, "observe": 1.0, "compile": 0.5}},
    )  # fmt: skip
    return dataset.transpose("coupling", "seed", ...)


@pytest.fixture(scope="module")
def invented() -> Result:
    return figure_3.run(INVENTED, invent)


def test_critical_couplings_are_where_accuracy_leaves_chance(invented: Result) -> None:
    quench = invented.critical["quench"]
    # D = 0 rises from 0.1 to 0.3 over the decade from 1 to 10, D = 1 from 0.1 to 0.6 over the next, and D = 2 does not
    # reach the threshold of 0.2. Interpolation is linear in log σ.
    assert quench["D = 0"].value == pytest.approx(10**0.5, rel=1e-9)  # interpolated in doubles
    assert quench["D = 1"].value == pytest.approx(10 * 10**0.2, rel=1e-9)
    assert str(quench["D = 2"]) == "not reached below σ = 100"
    assert quench["D = 0"].bracket == (1.0, 10.0)
    low, high = quench["D = 0"].interval
    assert low < quench["D = 0"].value < high
    assert quench["D = 0"].num_realizations == 2
    assert list(invented.critical) == ["quench", "adiabatic_up"]
    assert list(invented.critical["adiabatic_up"]) == ["D = 2"]


def test_the_learning_path_is_compared_with_that_of_the_first_network(invented: Result) -> None:
    # ∫ over (0, 1, 10, 100) of the curve of D = 0, by hand.
    area = 0.1 + 9 * 0.2 + 90 * 0.55
    np.testing.assert_allclose(invented.paths["D = 0"], np.outer(ROWS, COLUMNS) * area, rtol=1e-12)  # in doubles
    assert invented.r2["D = 0"] == pytest.approx(1, abs=1e-12)
    shape = np.outer(ROWS, COLUMNS)
    expected = np.corrcoef(shape.ravel(), (shape + 0.3 * np.eye(AGENTS)).ravel())[0, 1] ** 2
    assert invented.r2["D = 1"] == pytest.approx(expected, abs=1e-12)
    assert invented.ranks["D = 0"] == pytest.approx(1, abs=1e-9)  # singular values of 1e-16 times some ten
    assert invented.ranks["D = 1"] > 1.5


def test_indices_times_and_outcomes(invented: Result) -> None:
    assert set(invented.indices.dims) == {"network", "coupling"}
    assert np.isfinite(invented.indices.column_index).all()
    assert invented.seconds == {"advance": 8.0, "observe": 4.0, "compile": 2.0}
    assert invented.outcomes == {"completed": 4 * 2 * 4}


def test_the_table_has_a_row_for_every_point(invented: Result) -> None:
    table = figure_3.rows(invented)
    assert [(row["protocol"], row["network"]) for row in table[::4]] == [
        ("quench", "D = 0"), ("quench", "D = 1"), ("quench", "D = 2"), ("adiabatic_up", "D = 2"),
    ]  # fmt: skip
    assert [row["coupling"] for row in table[:4]] == list(COUPLINGS)
    for row, accuracy in zip(table[:4], CURVES["D = 0"], strict=True):
        # Means and deviations of two doubles.
        assert row["accuracy"] == pytest.approx(accuracy, abs=1e-12)
        assert row["loss"] == pytest.approx(3 - accuracy, abs=1e-12)
        assert row["magnetization"] == pytest.approx(-accuracy, abs=1e-12)
        assert row["accuracy_std"] == pytest.approx(0.01, abs=1e-12)


def test_one_realization_has_no_spread() -> None:
    config = dataclasses.replace(INVENTED, num_realizations=1)
    result = figure_3.run(config, lambda sweep: invent(sweep).isel(seed=[0]))
    assert {row["accuracy_std"] for row in figure_3.rows(result)} == {None}
    assert "1 realization (no bands)" in figure_3.subtitle(config)
    assert "2 realizations (bands: one standard deviation)" in figure_3.subtitle(INVENTED)
    assert isinstance(figure_3.draw(result), Figure)


def test_what_diverged_is_left_out(invented: Result) -> None:
    def diverge(sweep: Sweep) -> xr.Dataset:
        """D = 1 diverges at the largest coupling, in one realization of a quench and in all of other protocols."""
        dataset = invent(sweep)
        lost = (dataset.coupling == 100.0) & (dataset.seed >= (sweep.protocol == "quench"))
        lost = lost & ("D = 1" in sweep.title)
        data = dataset.drop_vars(["outcome", "final_round"]).where(~lost)
        return data.assign(
            outcome=xr.where(lost, "diverged", dataset.outcome), final_round=dataset.final_round
        ).assign_attrs(dataset.attrs)

    config = dataclasses.replace(INVENTED, adiabatic=("D = 1",))
    result = figure_3.run(config, diverge)
    assert result.outcomes == {"completed": 32 - 3, "diverged": 3}
    kept = next(row for row in figure_3.rows(result) if row["network"] == "D = 1" and row["coupling"] == 100.0)
    assert kept["accuracy"] == pytest.approx(0.59, abs=1e-12)
    assert figure_3.rows(result)[-1]["accuracy"] != figure_3.rows(result)[-1]["accuracy"]  # NaN
    assert np.isfinite(list(result.r2.values())).all()
    figure_3.draw(result)

    def all_diverge(sweep: Sweep) -> xr.Dataset:
        dataset = invent(sweep)
        return dataset.where((dataset.coupling < 100.0) | ("D = 1" not in sweep.title)).assign_attrs(dataset.attrs)

    result = figure_3.run(dataclasses.replace(config, adiabatic=()), all_diverge)
    # The path of every network ends where one of them has none.
    np.testing.assert_allclose(result.paths["D = 0"], np.outer(ROWS, COLUMNS) * (0.1 + 9 * 0.2), rtol=1e-12)
    figure_3.draw(result)


# ---- the figure --------------------------------------------------------------------------------------------------


def panels(figure: Figure) -> dict[str, Any]:
    """Axes by their letter."""
    return {text.get_text(): axes for axes in figure.axes for text in axes.texts if len(text.get_text()) == 1}


def check_figure(figure: Figure, directory: pathlib.Path) -> None:
    found = panels(figure)
    assert sorted(found) == list("abcdefgh")
    for name, axes in found.items():
        assert axes.get_xlabel(), name
        assert axes.get_ylabel(), name
        assert axes.has_data(), name
    for path in cs.plots.save(figure, directory / "figures", "figure"):
        assert path.stat().st_size > 20_000


def test_the_figure_has_all_panels(invented: Result, tmp_path: pathlib.Path) -> None:
    figure = figure_3.draw(invented)
    check_figure(figure, tmp_path)
    found = panels(figure)
    labels = [text.get_text() for text in found["a"].get_legend().get_texts()]
    assert labels[:3] == ["D = 0", "D = 1", "D = 2"]
    assert "adiabatic up" in labels[3]
    assert [len(found[name].collections) for name in "abc"] == [3, 3, 3]  # one band per quench
    assert ["σ" in axes.get_title() or "sigma" in axes.get_title() for axes in map(found.get, "efg")] == [True] * 3
    assert "digits" in figure.get_suptitle()


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_programs")
def test_from_end_to_end(tmp_path: pathlib.Path) -> None:
    result = figure_3.run(TINY, lambda sweep: run_sweep(sweep, store=tmp_path / "store"))
    assert result.outcomes == {"completed": 16}
    table = figure_3.rows(result)
    assert len(table) == 8
    for row in table:
        assert 0 <= row["accuracy"] <= 1
        assert row["loss"] > 0
        assert row["accuracy_std"] is not None
    isolated = [row["accuracy"] for row in table if row["coupling"] == 0]
    assert isolated == pytest.approx(
        [0.1, 0.1], abs=0.06
    )  # chance: 600 images, three standard errors of 0.012 and more
    assert all(c.num_realizations == 2 for c in result.critical["quench"].values())
    assert all(0 <= value <= 1 for value in result.r2.values())
    assert (abs(result.indices.to_dataarray()) <= 1).all()
    check_figure(figure_3.draw(result), tmp_path)
