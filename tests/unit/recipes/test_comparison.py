"""The comparison: its protocol, its evaluation on invented results whose answer is known, and once from end to end."""

import dataclasses
import itertools
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from matplotlib.figure import Figure

import consilience as cs
from compiled import compiled_programs  # noqa: F401 (a fixture)
from consilience.errors import InvalidSpec, UnknownName
from consilience.experiments import TransitionPrediction, run_sweep
from consilience.recipes import RECIPES, comparison, figure_3, get
from consilience.recipes.comparison import Comparison, Result, protocol
from consilience.recipes.comparison.protocol import GAUSSIAN

TINY = Comparison(
    datasets=("digits",), depths=(1,), couplings=(0.0, 3.2, 30.0, 300.0), num_rounds=60, average_after=40,
    num_realizations=2, num_starts=2,
)  # fmt: skip


# ---- protocol ----------------------------------------------------------------------------------------------------


def test_presets() -> None:
    recipe = get("theory-and-experiment")
    assert recipe is RECIPES["theory-and-experiment"]
    default, quick = recipe.presets["default"](), recipe.presets["quick"]()
    assert default == recipe.presets["full"]() == Comparison()
    assert default.datasets == ("digits", "mnist", "fashion_mnist", "cifar10")
    assert quick == comparison.for_dataset(default, "digits")
    assert comparison.stem(default) == "theory-and-experiment"
    assert comparison.stem(quick) == "theory-and-experiment-digits"


def test_simulations_are_those_of_figure_3() -> None:
    config = Comparison()
    for dataset in config.datasets:
        simulations, paper = config.simulations(dataset), figure_3.Figure3()
        assert simulations.dataset == dataset
        assert simulations.networks == ("D = 0", "D = 1", "D = 2")
        assert simulations.adiabatic == ()
        assert simulations.couplings == paper.couplings
        assert (simulations.num_rounds, simulations.average_after, simulations.num_realizations) == (4000, 2000, 3)
        for name in ("learning_rate", "weight_decay", "batch_size", "width"):
            assert getattr(simulations, name) == getattr(paper, name)
    assert [config.simulations(dataset).num_test for dataset in ("digits", "mnist")] == [None, 2000]
    planned = comparison.sweeps(TINY)
    assert list(planned) == [("digits", 1)]
    for (_, depth), sweep in planned.items():
        assert sweep.protocol == "quench"
        assert sweep.experiment.model == cs.models.mlp(depth=depth, width=20)
        assert sweep.over == {"coupling": list(TINY.couplings), "seed": [0, 1]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": "digits"}, "datasets='digits': these are several"),
        ({"datasets": ()}, r"datasets=\(\): these are values like 'digits'"),
        ({"datasets": ("digits", "digits")}, "each of them once"),
        ({"depths": ()}, r"depths=\(\): these are values like 0"),
        ({"depths": (0.5,)}, r"depths=\(0.5,\)"),
        ({"couplings": (0.0, 3.0)}, "needs two couplings above 0"),
        ({"couplings": ("a", "b")}, "these are values like 0.0"),
        ({"num_agents": 2}, "num_agents=2: an order of learning needs three"),
    ],
    ids=str,
)
def test_mistakes_are_found_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        Comparison(**changes)


def test_unknown_data_sets_get_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"'mnits' is not a data set\. Did you mean 'mnist'"):
        Comparison(datasets=("digits", "mnits"))
    with pytest.raises(InvalidSpec, match="in increasing order"):
        Comparison(couplings=(3.0, 2.0, 1.0)).simulations("digits")


# ---- invented results --------------------------------------------------------------------------------------------

SIGMA = (0.0, 0.3, 3.0, 30.0, 300.0)
AGENTS = 10
DELTA = np.random.default_rng(0).uniform(0.2, 1.0, AGENTS)
INVENTED = Comparison(datasets=("digits", "mnist", "fashion_mnist"), couplings=SIGMA, num_realizations=2, num_starts=2)


def step(position: int | None, low: float = 0.1, high: float = 0.9) -> np.ndarray:
    """Along the couplings: low before a position, high from it on."""
    return np.full(5, high) if position is None else np.where(np.arange(5) < position, low, high)


def half_way(position: int) -> float:
    """Where such a step, interpolated in log σ, is half of its way up."""
    return 0.3 * 10.0 ** (position - 1.5)


def simulated(position: int, known: np.ndarray) -> xr.Dataset:
    """Accuracy that rises at a position, loss that falls there (4 at σ = 0), what others know; two equal seeds."""
    coords = {"coupling": list(SIGMA), "seed": [0, 1], "agent": np.arange(AGENTS)}
    accuracy = xr.DataArray(step(position), dims="coupling").expand_dims(seed=2, agent=AGENTS, axis=(1, 2))
    first = xr.DataArray(np.arange(5), dims="coupling")
    cross = np.broadcast_to(np.where(np.eye(AGENTS, dtype=bool), 1.0, known), (5, 2, AGENTS, AGENTS))
    return xr.Dataset(
        {
            "accuracy": accuracy, "loss": (3 - 2 * accuracy).where(first > 0, 4.0), "magnetization": -0.5 * accuracy,
            "cross_accuracy": (("coupling", "seed", "agent", "agent_evaluated"), cross),
        },
        coords,
    )  # fmt: skip


GAIN = step(2, 0.49, 0.5)


def predicted(positions: dict[int, int | None]) -> TransitionPrediction:
    """|⟨m⟩| that rises at a position for each depth, and a gain that rises too little to have an onset."""
    definitions = [f"{centring}/0.1/{projection}" for projection in ("all", "own", "top") for centring in ("a", "b")]
    names = {"definition": definitions, "agent": np.arange(AGENTS)}
    signs = np.array([1, 1, 1, 1, -1, 1])[:, None]  # the definition "a/0.1/top" sees the opposite
    variants = xr.Dataset({"delta": (("definition", "agent"), signs * DELTA)}, names)
    agents = xr.Dataset({"delta": ("agent", DELTA), "target_second_moment": ("agent", np.full(AGENTS, 1.5))})
    order = np.stack([np.broadcast_to(step(position)[None, :, None], (6, 5, 2)) for position in positions.values()])
    curves = xr.Dataset(
        {
            "order": (("depth", "case", "coupling", "seed"), order),
            "gain": (("depth", "case", "coupling", "seed"), np.broadcast_to(GAIN[:, None], order.shape)),
        },
        {"depth": list(positions), "case": definitions, "coupling": list(SIGMA), "seed": [0, 1]},
    )
    return TransitionPrediction(agents, variants, curves, f"complete({AGENTS})")


def gaussian(_: Comparison) -> dict[int, xr.Dataset]:
    """The loss falls half of its way at position depth + 2."""
    found = {}
    for depth in (0, 1, 2):
        loss = np.repeat(step(depth + 2, 1.0, -0.5)[:, None], 2, axis=1)
        dims = ("coupling", "seed")
        found[depth] = xr.Dataset(
            {"loss": (dims, loss), "magnetization": (dims, 0.3 * loss)}, {"coupling": list(SIGMA), "seed": [0, 1]}
        )
    return found


MEASURED = {"digits": (2, 3, 4), "mnist": (3, 4, 2), "fashion_mnist": (4, 2, 3)}
PREDICTED = {"digits": (None, 2, 3), "mnist": (None, 3, 2), "fashion_mnist": (None, 4, 2)}
"""Positions for each depth; by theory D = 0 has no transition."""


@pytest.fixture(scope="module")
def invented() -> Result:
    """D = 0 knows the classes in the order of δ, D = 1 in the opposite one, D = 2 in one of its own."""
    known = [DELTA, 1 - DELTA, np.random.default_rng(1).permutation(DELTA)]
    results = {
        dataset: {depth: simulated(positions[depth], known[depth]) for depth in (0, 1, 2)}
        for dataset, positions in MEASURED.items()
    }
    sweeps = iter(results[dataset][depth] for dataset in INVENTED.datasets for depth in (0, 1, 2))
    predictions = iter(predicted(dict(enumerate(positions))) for positions in PREDICTED.values())
    one = comparison.sweeps(dataclasses.replace(INVENTED, datasets=("digits",)))
    planned = {(dataset, depth): one["digits", depth] for dataset in INVENTED.datasets for depth in (0, 1, 2)}
    with pytest.MonkeyPatch.context() as patch:  # MNIST may not be on this machine
        patch.setattr(protocol, "sweeps", lambda *_, **__: planned)
        patch.setattr(protocol, "predict_transition", lambda *_, **__: next(predictions))
        patch.setattr(protocol, "_gaussian", gaussian)
        return comparison.run(INVENTED, lambda _: next(sweeps))  # pyright: ignore[reportArgumentType]


def test_critical_couplings_are_half_way(invented: Result) -> None:
    for dataset in INVENTED.datasets:
        for depth in (0, 1, 2):
            # Interpolated in doubles.
            assert invented.measured(dataset, depth).value == pytest.approx(half_way(MEASURED[dataset][depth]))
            assert invented.predicted(dataset, depth, GAUSSIAN) == pytest.approx(half_way(depth + 2))
            assert np.isnan(invented.predicted(dataset, depth, "gain"))
            expected, found = PREDICTED[dataset][depth], invented.predicted(dataset, depth, "order")
            assert np.isnan(found) if expected is None else found == pytest.approx(half_way(expected))


def test_the_order_of_learning_is_compared(invented: Result) -> None:
    agreement = invented.order["digits"]
    shuffled = np.random.default_rng(1).permutation(DELTA)
    rho: Any = scipy.stats.spearmanr(DELTA, shuffled)
    assert [one.value for one in agreement.values()] == pytest.approx([1, -1, rho.statistic], abs=1e-12)  # in doubles
    assert agreement[0].p_value < 0.001
    assert agreement[1].p_value == 1
    assert [one.reproducibility for one in agreement.values()] == pytest.approx([1, 1, 1])
    assert {one.num_ranked for one in agreement.values()} == {AGENTS}
    over = invented.order_over_definitions["digits"]
    np.testing.assert_allclose(over[0], [1, 1, 1, 1, -1, 1], atol=1e-12)
    np.testing.assert_allclose(over[1], [-1, -1, -1, -1, 1, -1], atol=1e-12)


def kendall(predicted: list[int], measured: list[int]) -> float:
    """τ_b by its definition: pairs in agreement less those in disagreement, over the geometric mean of those untied."""
    pairs = list(itertools.combinations(zip(predicted, measured, strict=True), 2))
    signs = [(np.sign(a[0] - b[0]), np.sign(a[1] - b[1])) for a, b in pairs]
    return sum(x * y for x, y in signs) / np.sqrt(sum(x * x for x, _ in signs) * sum(y * y for _, y in signs))


def test_orderings_are_compared(invented: Result) -> None:
    found = {(row["kind"], row["over"]): row for row in comparison.orderings(invented)}
    assert len(found) == 3 * (1 + 3 + 3)
    pairs = {
        "order": {(d, k): (PREDICTED[d][k], MEASURED[d][k]) for d in MEASURED for k in (1, 2)},
        "Gaussian": {(d, k): (k + 2, MEASURED[d][k]) for d in MEASURED for k in (0, 1, 2)},
    }
    for kind, members in pairs.items():
        ways = {"all": list(members.values())}
        ways |= {f"depths, {d}": [pair for (name, _), pair in members.items() if name == d] for d in MEASURED}
        ways |= {f"data sets, D = {k}": [pair for (_, at), pair in members.items() if at == k] for k in (0, 1, 2)}
        for over, values in ways.items():
            row = found[kind, over]
            assert row["n"] == len(values)
            predictions, measurements = zip(*values, strict=True) if values else ((), ())
            if len(values) < 3 or len(set(predictions)) == 1:
                assert np.isnan(row["tau"])
            else:
                assert row["tau"] == pytest.approx(kendall(list(predictions), list(measurements)))
    assert found["Gaussian", "depths, digits"]["p_value"] == pytest.approx(2 / 6)  # one of six orders, on either side
    assert found["gain", "all"]["n"] == 0


def test_rows_and_tables_hold_what_was_found(invented: Result) -> None:
    rows = comparison.rows(invented)
    assert [(row["dataset"], row["depth"]) for row in rows] == [(d, k) for d in INVENTED.datasets for k in (0, 1, 2)]
    assert rows[1]["measured_onset"] == invented.measured("digits", 1).value
    assert rows[1]["predicted_onset_order"] == invented.predicted("digits", 1, "order")
    assert rows[1]["gain_alone"] == pytest.approx(0.98)
    assert rows[1]["learning_order"]["value"] == pytest.approx(-1)
    assert rows[1]["learning_order_over_definitions"]["a/0.1/top"] == pytest.approx(1)
    critical, order, agreement = comparison.tables(invented)
    for table in (critical, order, agreement):
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert critical.rows[0] == ["digits", "0", "0.949", "0.949 – 0.949", "none", "none", "0.949", "98%"]
    assert critical.rows[1][4:] == ["0.949", "none", "9.49", "98%"]
    assert order.rows[1][:3] == ["digits", "1", "-1.00"]
    assert order.rows[1][-3:] == ["-1.00 – -1.00", "-1.00 – -1.00", "-1.00 – 1.00"]
    # Where three predictions are known and differ.
    assert [row[:2] for row in agreement.rows] == [
        ["order", "all"], ["order", "data sets, D = 1"], ["order", "data sets, D = 2"], ["Gaussian", "all"],
        ["Gaussian", "depths, digits"], ["Gaussian", "depths, mnist"], ["Gaussian", "depths, fashion_mnist"],
    ]  # fmt: skip
    text = "\n".join(comparison.remarks(invented))
    assert "definition a/0.1/all" in text
    assert "over 9 pairs of data set and depth, smallest -1.00" in text
    found = json.loads(json.dumps(comparison.as_data(invented)))
    assert found["config"]["datasets"] == ["digits", "mnist", "fashion_mnist"]
    assert found["disorder"]["mnist"]["delta"] == DELTA.tolist()
    assert len(found["orderings"]) == len(comparison.orderings(invented))


def test_a_single_depth_has_no_ordering(invented: Result) -> None:
    one = dataclasses.replace(invented, config=dataclasses.replace(INVENTED, datasets=("digits",), depths=(1,)))
    assert len(comparison.tables(one)) == 2


def test_what_diverged_is_left_out(invented: Result) -> None:
    whole = invented.simulated["digits"][0]
    half = whole.where((whole.seed == 0) | (whole.coupling < 100))
    np.testing.assert_allclose(protocol.measured_earliness(half), protocol.measured_earliness(whole)[:1])
    none = whole.where(whole.coupling < 100)
    assert np.isnan(protocol.measured_earliness(none)).all()
    simulations = {**invented.simulated, "digits": {**invented.simulated["digits"], 0: half, 1: none}}
    result = dataclasses.replace(invented, simulated=simulations)
    assert result.measured("digits", 0).value == pytest.approx(half_way(2))
    assert isinstance(comparison.draw(result), Figure)


# ---- the figure --------------------------------------------------------------------------------------------------


def panels(figure: Figure) -> dict[str, Any]:
    """Axes by their letter."""
    return {text.get_text(): axes for axes in figure.axes for text in axes.texts if len(text.get_text()) == 1}


def check_figure(figure: Figure, letters: str, directory: pathlib.Path) -> None:
    found = panels(figure)
    assert sorted(found) == list(letters)
    assert all(axes.has_data() for axes in found.values())
    for path in cs.plots.save(figure, directory / "figures", "figure"):
        assert path.stat().st_size > 20_000


def lines_of(axes: Any, style: str) -> list[np.ndarray]:
    return [line.get_ydata() for line in axes.lines if line.get_linestyle() == style and len(line.get_ydata()) == 5]


def test_the_figure_has_all_panels(invented: Result, tmp_path: pathlib.Path) -> None:
    figure = comparison.draw(invented)
    check_figure(figure, "abcdefghijk", tmp_path)
    found = panels(figure)
    # Columns abc, def and ghi, with labels at the left and below; j and k under all of them.
    assert [name for name in sorted(found) if found[name].get_ylabel()] == list("abcjk")
    assert [name for name in sorted(found) if found[name].get_xlabel()] == list("cfijk")
    assert [found[name].get_title() for name in "adg"] == ["digits", "mnist", "fashion-mnist"]
    # Order: D = 1 and 2, for which the theory sees one; each curve divided by its largest value, whatever its sign.
    theory, simulations = lines_of(found["a"], "-"), lines_of(found["a"], "None")
    np.testing.assert_allclose(theory, [step(2) / 0.9, step(3) / 0.9])
    np.testing.assert_allclose(simulations, [step(3) / 0.9, step(4) / 0.9])
    np.testing.assert_allclose(lines_of(found["a"], ":"), [abs(step(k, 1.0, -0.5)) for k in (3, 4)])
    # Loss: divided by that at σ = 0; of the measured disorder ⟨ŷ²⟩ − gain, and Gaussian from its smallest.
    np.testing.assert_allclose(lines_of(found["b"], "None")[0], np.where(np.arange(5) > 0, 3 - 2 * step(2), 4) / 4)
    np.testing.assert_allclose(lines_of(found["b"], "-")[0], (1.5 - GAIN) / (1.5 - 0.49))
    np.testing.assert_allclose(lines_of(found["b"], ":")[0], step(2, 1.0, 0.0))
    np.testing.assert_allclose(lines_of(found["c"], "None")[0], step(2) / 0.9)
    # Ranks: perfect at D = 0, opposite at D = 1, so that means lie between.
    (points,) = [line for line in found["j"].lines if line.get_marker() == "o" and len(line.get_ydata()) == AGENTS]
    ranks = [scipy.stats.rankdata(-known) for known in
             (DELTA, 1 - DELTA, np.random.default_rng(1).permutation(DELTA))]  # fmt: skip
    np.testing.assert_allclose(points.get_ydata(), np.mean(ranks, axis=0))
    drawn = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in found["k"].lines
        if len(line.get_xdata()) == 1
    }  # fmt: skip
    expected = {(half_way(depth + 2), half_way(at)) for row in MEASURED.values() for depth, at in enumerate(row)}
    expected |= {
        (half_way(x), half_way(y))
        for dataset in MEASURED
        for x, y in zip(PREDICTED[dataset], MEASURED[dataset], strict=True)
        if x is not None
    }
    assert {(round(x, 6), round(y, 6)) for x, y in drawn} == {(round(x, 6), round(y, 6)) for x, y in expected}
    assert "nothing is fitted" in figure.get_suptitle()


# ---- from end to end ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_programs")
def test_from_end_to_end(tmp_path: pathlib.Path) -> None:
    result = comparison.run(TINY, run_sweep)  # pyright: ignore[reportArgumentType]
    assert [list(members) for members in result.simulated.values()] == [[1]]
    assert (result.simulated["digits"][1].outcome == "completed").all()
    prediction = result.predictions["digits"]
    task = cs.tasks.load("digits")
    shards = cs.tasks.by_class(task, 10)
    # The shards of the theory are those of the simulation: one class each, with the digit of the agent.
    xr.testing.assert_allclose(prediction.disorder.delta, cs.theory.landau.measure_disorder(task, shards).delta)
    assert prediction.graph_name == "complete(10)"
    assert prediction.curves.depth.values.tolist() == [1]
    agreement = result.order["digits"][1]
    assert -1 <= agreement.value <= 1
    assert agreement.num_ranked == 10
    assert result.measured("digits", 1).num_realizations == 2
    assert result.order_over_definitions["digits"][1].sizes == {"definition": 18}
    assert result.gaussian[1].sizes["agent"] == 200
    # In the σ of Eq. (2), half of which is σ̂: what the paper's theory has at σ̂ = 1 is at σ = 2 here.
    delta, start = cs.theory.landau.gaussian_disorder(2, 200), cs.theory.landau.uniform_start(2, 200)
    at = float(result.gaussian[1].coupling[20])
    expected = cs.theory.landau.sweep(delta, start, depth=1, couplings=[at / 2]).loss[0]
    np.testing.assert_allclose(result.gaussian[1].loss[20], expected, rtol=0.01)  # integrated to 1e-3 each
    # t = 2η · rounds is 0.6 here: the theory has hardly left its initial condition at σ = 0.
    start = cs.theory.landau.uniform_start(2, 10, seed=0).mean(axis=1)
    at_rest = prediction.curves.order.sel(case=prediction.definition, depth=1, coupling=0.0)
    np.testing.assert_allclose(at_rest, abs(start), atol=0.5)
    check_figure(comparison.draw(result), "abcde", tmp_path)
    assert len(comparison.tables(result)) == 2
    json.dumps(comparison.as_data(result))
