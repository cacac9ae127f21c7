"""The wide transition: its protocol, its prediction against training, invented results, and once end to end."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import consilience as cs
from consilience.errors import InvalidSpec
from consilience.experiments import Computation, Sweep, compute, run_sweep
from consilience.recipes import get, wide_transition
from consilience.recipes.wide_transition import Result, Setting, WideTransition, settings, unseen

TINY = WideTransition(
    depths=(0, 1), width=16, widths=(8,), couplings=(0.03, 0.3, 1.9), cycle_couplings=(0.5, 5.0), num_rounds=64,
    record_every=16, num_seeds=2, decay_couplings=(0.1, 1.0), decay_rounds=128, num_draws=2,
    law_couplings=(1e-3, 0.03, 0.3, 1.9), law_rounds=256, weight_decays=(1e-2, 1e-3, 1e-4, 1e-5), num_test=100,
)  # fmt: skip


# ---- protocols ---------------------------------------------------------------------------------------------------


def test_presets() -> None:
    recipe = get("wide-transition")
    quick, default, full = (recipe.presets[name]() for name in ("quick", "default", "full"))
    assert default == WideTransition()
    assert quick.width < default.width < full.width
    for config in (quick, default, full):
        assert config.couplings[0] > 0
        assert config.couplings[-1] < 2 / config.learning_rate
        assert set(config.spread_couplings) <= set(config.couplings)
        assert config.rounds[-1] == config.num_rounds
        names = list(settings(config))
        assert {"common,D=1", "independent,D=1", "cycle", "decay,D=0", "decay,D=1"} <= set(names)
        assert len(names) == 2 * len(config.depths) + 3 + len(config.widths)
    assert wide_transition.stem(default) == "wide-transition"
    mnist = wide_transition.for_dataset(default, "mnist")
    assert (mnist.dataset, mnist.num_test) == ("mnist", 500)
    assert wide_transition.stem(mnist) == "wide-transition-mnist"


def test_the_documented_protocol_is_the_default() -> None:
    text = (pathlib.Path(__file__).parents[3] / "docs" / "wide-transition.md").read_text(encoding="utf-8")
    config = WideTransition()
    for phrase in (
        f"η = {config.learning_rate:g}",
        f"width {config.width}",
        f"{config.num_rounds:,} rounds",
        f"{config.samples} images",
        f"{config.num_seeds} seeds",
        f"{config.num_draws} initial functions",
    ):
        assert phrase in text.replace("\n", " "), phrase


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"couplings": 1.0}, r"couplings=1\.0: these are several"),
        ({"couplings": (1.0, 0.5)}, "two couplings or more that increase"),
        ({"couplings": (0.0, 0.5)}, "from above 0"),
        ({"couplings": (0.5, 4.0)}, "to below 4, where coupling on this graph overshoots"),
        ({"cycle_couplings": (0.5, 10.0)}, "to below 10"),
        ({"depths": (0, 2)}, r"compared at D = 1"),
        ({"widths": (256, 512)}, r"repeats width=256"),
        ({"record_every": 100}, "does not divide num_rounds=2048"),
        ({"threshold": 1.0}, "an accuracy between 0 and 1"),
        ({"samples": 0}, "each agent needs data"),
    ],
    ids=str,
)
def test_mistakes_are_found_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        WideTransition(**changes)


# ---- prediction --------------------------------------------------------------------------------------------------


def test_unseen_classes_are_those_of_the_others() -> None:
    cross = np.full((3, 3), 0.25) + 0.75 * np.eye(3)
    assert unseen(cross) == 0.25
    outputs = np.array([[[3.0, 1.0], [3.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])  # everybody says its own class
    assert unseen(wide_transition.cross_accuracy(outputs, np.array([0, 1]))) == 0.0


@pytest.mark.slow
def test_the_prediction_of_an_affine_model_is_what_training_does() -> None:
    setting = Setting(0, 1, couplings=(0.3, 1.9), num_rounds=40, record_every=20, weight_decay=1e-3)
    task, shards = wide_transition.load(TINY)
    predicted = wide_transition.predict(TINY, setting, task, shards, seed=1)
    dataset = cs.sweep(
        cs.algorithms.DiffusiveCoupling(learning_rate=TINY.learning_rate, weight_decay=1e-3),
        over={"coupling": setting.couplings, "seed": [1]}, model=setting.model, task=task, shards=shards,
        graph=cs.graphs.complete(10), num_rounds=40, observe_every=20, batch_size=None, common_init=True,
        observe=("cross_accuracy", "loss", "consensus_distance"),
    )  # fmt: skip
    trained = wide_transition.measured(dataset).sel(seed=1)
    assert float(predicted.loss[0, 0]) != pytest.approx(float(predicted.loss[0, -1]), rel=0.1)  # something was learned
    # Training is in single precision: 40 rounds of rounding errors of 6e-8, and at most one image on the edge.
    for name in ("loss", "consensus_distance"):
        np.testing.assert_allclose(predicted[name], trained[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predicted.unseen, trained.unseen, atol=2e-3)
    np.testing.assert_allclose(predicted.own, trained.own, atol=2e-2)


def test_agents_that_start_independently_are_predicted_from_their_mean() -> None:
    task, _ = wide_transition.load(TINY)
    leaves = {}
    for start in ("common", "independent"):
        setting = Setting(0, 1, (0.3, 1.0), 40, 20, start=start)
        leaves[start] = wide_transition.initial_params(setting, task, seed=0)["layer_0"]["weight"]
    # 640 weights: three standard errors of a standard deviation.
    assert leaves["common"].std() == pytest.approx(1.0, rel=0.09)
    assert leaves["independent"].std() == pytest.approx(10**-0.5, rel=0.09)


# ---- invented results --------------------------------------------------------------------------------------------


def curve(coupling: Any, rounds: Any, depth: int) -> np.ndarray:
    """Unseen accuracy: half at σ = 40/(ηT), and at half of that when deeper."""
    exchange = np.multiply.outer(np.asarray(coupling), TINY.learning_rate * np.asarray(rounds) + 1e-9)
    return exchange / (exchange + 40.0 / (1 + depth))


def invent(work: Any) -> Any:
    """Everything by `curve`; trained accuracies of narrower networks lie above it."""
    if isinstance(work, Sweep):
        over, rounds = work.over, work.experiment.observed_rounds()
        width = getattr(work.experiment.model, "width", 1)
        values = curve(over["coupling"], rounds, 0)[:, None] + 0.5 / width + 0 * np.array(over["seed"])[:, None]
        cross = np.broadcast_to(values[..., None, None], (*values.shape, 10, 10))
        dims = ("coupling", "seed", "round", "agent", "agent_evaluated")
        coords = {"coupling": over["coupling"], "seed": over["seed"], "round": rounds}
        each = (dims[:4], cross[..., 0])
        return xr.Dataset(
            {"cross_accuracy": (dims, cross), "loss": each, "consensus_distance": (dims[:3], cross[..., 0, 0])}, coords
        )
    assert isinstance(work, Computation)
    done = {}
    for cell in work.cells:
        name = cell.rpartition(",")[0] or cell
        depth = int(cell.partition("D=")[2][:1] or 1)
        if cell.startswith("rest"):
            values = [curve(TINY.law_couplings, 1 / gamma, depth) for gamma in TINY.weight_decays]
            coords = {"weight_decay": list(TINY.weight_decays), "coupling": list(TINY.law_couplings)}
            done[cell] = xr.Dataset({"unseen": (tuple(coords), np.array(values))}, coords)
        elif "draw" in cell:
            rounds, exchanges = 2.0 ** np.arange(0, 8.25, 0.5), np.geomspace(0.1, 1e4, 51)
            limit = exchanges / (exchanges + 40.0 / (1 + depth))
            done[cell] = xr.Dataset(
                {
                    "unseen": (("coupling", "round"), curve(TINY.law_couplings, rounds, depth)),
                    "limit": ("exchanges", limit),
                },
                {"coupling": list(TINY.law_couplings), "round": rounds, "exchanges": exchanges},
            )
        else:
            setting = settings(TINY)[name]
            rounds = np.arange(0, setting.num_rounds + 1, setting.record_every)
            values = curve(setting.couplings, rounds, 0)
            coords = {"coupling": list(setting.couplings), "round": rounds}
            found = {"unseen": values, "own": values, "loss": 2 - values, "consensus_distance": values}
            done[cell] = xr.Dataset({one: (tuple(coords), rows) for one, rows in found.items()}, coords)
    return done


@pytest.fixture(scope="module")
def invented() -> Result:
    return wide_transition.run(TINY, invent)


def test_critical_couplings_of_invented_results(invented: Result) -> None:
    expected = 40.0 / (TINY.learning_rate * TINY.num_rounds)
    # Between couplings a factor of six apart, curves are taken to be straight in log σ.
    assert invented.critical(invented.predicted, "common,D=0").value == pytest.approx(expected, rel=0.1)
    assert invented.critical(invented.trained, "common,D=0").value < expected
    by_round = invented.critical_by_round(invented.predicted, "common,D=0")
    assert list(by_round) == [48, 64]  # earlier it is beyond the couplings
    law = invented.law_critical("common", 1).isel(draw=0)
    assert law.dropna("round").values.tolist() == sorted(law.dropna("round").values, reverse=True)
    for depth in (0, 1):
        assert invented.exchanges(depth).values == pytest.approx(40 / (1 + depth), rel=0.01)  # a fine grid


def test_errors_fall_with_the_width(invented: Result) -> None:
    errors = {width: one.values for width, one in invented.errors_by_width().items()}
    assert list(errors) == [8, 16]
    np.testing.assert_allclose(errors[8], 0.5 / 8, rtol=1e-12)
    assert invented.slope() == (pytest.approx(-1.0), pytest.approx(0.0, abs=1e-12))


def test_predictions_of_unstable_networks_are_left_out(invented: Result) -> None:
    assert invented.num_unstable == 0
    one = invented.predicted["common,D=1"]
    last = one.loss.copy()
    last[{"seed": 1, "coupling": 2, "round": -1}] = 100.0  # from 2
    found = wide_transition.without_diverged(one.assign(loss=last))
    is_known = found.unseen.notnull()
    assert not is_known.isel(seed=1, coupling=2).any()
    assert int(is_known.sum()) == is_known.size - is_known.sizes["round"]


def check_figure(figure: Figure, directory: pathlib.Path) -> None:
    found = {text.get_text(): axes for axes in figure.axes for text in axes.texts if len(text.get_text()) == 1}
    assert sorted(found) == list("abcdef")
    for name, axes in found.items():
        assert axes.get_xlabel(), name
        assert axes.get_ylabel(), name
        assert axes.get_title(), name
        assert axes.has_data(), name
    for path in cs.plots.save(figure, directory / "figures", "figure"):
        assert path.stat().st_size > 20_000


def test_the_figure_and_the_text(invented: Result, tmp_path: pathlib.Path) -> None:
    check_figure(wide_transition.draw(invented), tmp_path)
    transition, law, rest = wide_transition.tables(invented)
    assert [row[0] for row in transition.rows] == list(settings(TINY))
    assert {len(row) for row in law.rows} == {len(law.columns)}
    assert len(rest.rows) == 2 * len(TINY.weight_decays)
    assert any("width^(-1.00" in line for line in wide_transition.remarks(invented))
    data = wide_transition.as_data(invented)
    assert data["exchanges"]["D=1"][0] == pytest.approx(20, rel=0.01)


@pytest.mark.slow
def test_from_end_to_end(tmp_path: pathlib.Path) -> None:
    def execute(work: Any) -> Any:
        function = compute if isinstance(work, Computation) else run_sweep
        return functools.partial(function, store=tmp_path / "store")(work)

    result = wide_transition.run(TINY, execute)
    for name, setting in settings(TINY).items():
        assert result.trained[name].unseen.sizes == {"seed": 2, "coupling": len(setting.couplings), "round": 5 if
                                                     setting.num_rounds == 64 else 9}  # fmt: skip
        np.testing.assert_array_equal(result.trained[name]["round"], result.predicted[name]["round"])
    # Both start from the same parameters, so they agree before the first round, and the affine model does throughout.
    first = [source["common,D=1"].unseen.isel(round=0) for source in (result.trained, result.predicted)]
    is_stable = first[1].notnull()  # sixteen neurons at the strongest coupling are not, for one seed
    assert is_stable.mean() > 0.5
    np.testing.assert_allclose(*(one.where(is_stable) for one in first), atol=2e-3)  # an image on the edge, in float32
    assert abs(result.errors("common,D=0")).max() < 3e-3
    again = wide_transition.run(TINY, execute)  # from the store
    assert wide_transition.remarks(again) == wide_transition.remarks(result)
    check_figure(wide_transition.draw(result), tmp_path)
