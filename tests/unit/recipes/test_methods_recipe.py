"""Methods compared: budgets, tuning, and invented results; and one comparison that is run."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np
import pytest
import xarray as xr

import consilience as cs
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.experiments import Sweep, run_sweep
from consilience.recipes import get, methods
from consilience.recipes.methods import FIRST_TUNING_SEED, Methods, Result, contenders

TINY = Methods(
    methods=("isolated", "dgd", "choco_sgd"), dataset="digits", graph="cycle", budget="rounds=20",
    rates=(0.01, 0.1, 1.0), num_seeds=2, num_tuning_seeds=2, depth=0, num_train=200, num_test=60, num_records=4,
)  # fmt: skip
NUM_PARAMETERS = 64 * 10 + 10
LINKS = 2 * 10
"""Of the cycle of ten agents, in both directions."""


# ---- protocols ---------------------------------------------------------------------------------------------------


def test_presets() -> None:
    recipe = get("methods")
    quick, default, full = (recipe.presets[name]() for name in ("quick", "default", "full"))
    assert default == Methods()
    assert quick.dataset == "digits"
    assert quick.num_seeds < default.num_seeds < full.num_seeds
    assert methods.stem(default) == "methods-mnist-complete-by_class"
    table = dataclasses.replace(default, graph="{family = 'torus', rows = 2, columns = 5}")
    assert methods.stem(table) == "methods-mnist-family-torus-rows-2-columns-5-by_class"
    assert methods.for_dataset(default, "digits").num_test is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": "dgd"}, r"methods='dgd': these are several"),
        ({"rates": (0.1, 0.01)}, "positive and increase"),
        ({"rates": (0.0, 0.01)}, "positive and increase"),
        ({"num_seeds": 0}, "number of runs"),
        ({"num_seeds": 10_001}, "no run may be in both"),
        ({"budget": "1e9"}, "sets nothing"),
        ({"budget": "bits=-1"}, "a budget is a positive number"),
        ({"budget": "bits=many"}, "a budget is a positive number"),
        ({"settings": ("dgd=3",)}, "with a dot before the parameter"),
        ({"settings": ("dgd.learning_rate=3",)}, "for it is tuned"),
    ],
    ids=str,
)
def test_mistakes_are_found_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        Methods(**changes)


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [
        ({"methods": ("dgdd",)}, "'dgd'"),
        ({"budget": "bit=3"}, "'bits'"),
        ({"settings": ("dgdd.weight_decay=3",)}, "'dgd'"),
    ],
    ids=str,
)
def test_unknown_names_get_the_nearest(changes: dict[str, Any], nearest: str) -> None:
    with pytest.raises(UnknownName, match=f"Did you mean {nearest}"):
        Methods(**changes)


# ---- what is run -------------------------------------------------------------------------------------------------


def test_all_methods_share_everything_but_their_rates() -> None:
    found = contenders(TINY)
    assert list(found) == list(TINY.methods)
    shared = [contender.setting for contender in found.values()]
    assert all(setting is shared[0] for setting in shared)
    assert {contender.algorithm.weight_decay for contender in found.values()} == {TINY.weight_decay}
    tuned = dataclasses.replace(TINY, settings=("choco_sgd.consensus_step=0.125", "dgd.weight_decay=0.5"))
    found = contenders(tuned)
    assert float(found["choco_sgd"].algorithm.consensus_step) == 0.125
    assert found["dgd"].algorithm.weight_decay == 0.5
    assert found["isolated"].algorithm.weight_decay == TINY.weight_decay


def test_graphs_and_partitions_are_names_or_tables() -> None:
    config = dataclasses.replace(
        TINY, methods=("dgd",), graph="{family = 'torus', rows = 2, columns = 5}", partition="dirichlet",
        settings=("partition.alpha=0.5",),
    )  # fmt: skip
    setting = contenders(config)["dgd"].setting
    assert setting["graph"].name == "torus(2, 5)"
    assert setting["shards"].name == "dirichlet"


def test_budgets_are_turned_into_rounds() -> None:
    """The price of a round of DGD is one model of single precision per link, and one gradient per agent."""
    bits = LINKS * NUM_PARAMETERS * 32
    one = contenders(dataclasses.replace(TINY, budget=f"bits={7.9 * bits}", max_rounds=1000))
    assert (one["dgd"].bits, one["dgd"].gradients) == (bits, 10)
    assert (one["dgd"].num_rounds, one["dgd"].is_capped) == (7, False)
    assert (one["isolated"].bits, one["isolated"].gradients) == (0, 20)
    assert (one["isolated"].num_rounds, one["isolated"].is_capped) == (1000, True)
    assert 7 < one["choco_sgd"].num_rounds < 7 * 4  # three in ten numbers, with their places
    gradients = contenders(dataclasses.replace(TINY, budget="gradients=400"))
    assert [gradients[name].num_rounds for name in TINY.methods] == [20, 40, 40]
    with pytest.raises(InvalidSpec, match=r"does not pay for one round of dgd, which takes 416,000 bits"):
        contenders(dataclasses.replace(TINY, budget="bits=1000", methods=("dgd",)))


def test_a_method_that_the_graph_cannot_carry_is_named() -> None:
    with pytest.raises(IncompatiblePair, match=r"federated_averaging: .*is not the complete graph"):
        contenders(dataclasses.replace(TINY, methods=("dgd", "federated_averaging")))


def test_no_seed_is_tuned_on_and_evaluated() -> None:
    contender = contenders(TINY)["dgd"]
    tuning, evaluation = contender.tuning(TINY), contender.evaluation(TINY, 0.1)
    assert set(tuning.over["seed"]).isdisjoint(evaluation.over["seed"])
    assert tuning.over["learning_rate"] == list(TINY.rates)
    assert tuning.experiment.num_rounds == evaluation.experiment.num_rounds == 20
    assert evaluation.algorithm(0).learning_rate == 0.1  # pyright: ignore[reportAttributeAccessIssue]
    assert set(methods.sweeps(TINY)) == set(TINY.methods)


# ---- invented results --------------------------------------------------------------------------------------------

REACHED = {"Isolated": (0.1, 0.1, 0.1), "DGD": (0.4, 0.9, np.nan), "ChocoSGD": (0.2, 0.5, 0.6)}
"""Accuracy at each learning rate; DGD diverges at the largest."""


def invent(work: Sweep, diverged: tuple[str, ...] = ()) -> xr.Dataset:
    """Accuracies that rise linearly with the rounds; agent 0 is worst, by 0.09, and agent 1 better than the mean."""
    name = type(work.experiment.algorithm).__name__
    rounds = work.experiment.observed_rounds()
    seeds = np.asarray(work.over["seed"])
    offset = np.zeros(10)
    offset[:2] = -0.09, 0.09
    if "learning_rate" in work.over:
        assert seeds.min() >= FIRST_TUNING_SEED
        final = np.asarray(REACHED[name])[:, None, None, None] * np.ones((1, len(seeds), 1, 1))
        dims = ("learning_rate", "seed", "round", "agent")
        coords = {"learning_rate": work.over["learning_rate"]}
    else:
        rate = list(TINY.rates).index(work.algorithm(0).learning_rate)  # pyright: ignore[reportAttributeAccessIssue]
        # The two seeds differ by 0.02.
        final = REACHED[name][rate] + 0.02 * (seeds[:, None, None] - 0.5)
        dims, coords = ("seed", "round", "agent"), {}
    accuracy = final * (rounds / rounds[-1])[:, None] + offset
    lost = name in diverged and "learning_rate" not in work.over
    if lost:
        accuracy[-1, -1] = np.nan
    distance = np.where(np.isnan(accuracy[..., 0]), np.nan, 0.5)
    outcome = np.where(np.isnan(accuracy[..., -1, 0]), "diverged", "completed")
    return xr.Dataset(
        {"accuracy": (dims, accuracy), "consensus_distance": (dims[:-1], distance), "outcome": (dims[:-2], outcome)},
        {**coords, "seed": seeds, "round": rounds},
    )


@pytest.fixture(scope="module")
def invented() -> Result:
    return methods.run(TINY, invent)


def test_the_best_rate_is_that_of_the_mean_accuracy(invented: Result) -> None:
    rates = {name: invented.best_rate(name) for name in TINY.methods}
    assert rates == {"isolated": 0.01, "dgd": 0.1, "choco_sgd": 1.0}  # of equals the smallest
    assert [invented.is_at_the_end(name) for name in TINY.methods] == [True, False, True]
    assert invented.tuning["dgd"].values == pytest.approx([0.4, 0.9, 0.0])  # what diverged is lost


def test_rows_hold_means_and_spreads_over_seeds(invented: Result) -> None:
    found = {row["method"]: row for row in methods.rows(invented)}
    dgd = found["dgd"]
    assert dgd["accuracy"] == pytest.approx(0.9)
    assert dgd["accuracy_std"] == pytest.approx(0.02 / np.sqrt(2))  # of two values that are 0.02 apart, n − 1
    assert dgd["worst_accuracy"] == pytest.approx(0.9 - 0.09)
    assert dgd["consensus_distance"] == 0.5
    assert (dgd["rounds"], dgd["bits"], dgd["gradients"]) == (20, 20 * LINKS * NUM_PARAMETERS * 32, 200)
    assert invented.price("dgd", "bits").tolist() == [0, *(dgd["bits"] * np.array([1, 2, 3, 4]) // 4)]


def test_a_run_that_diverged_counts_as_lost() -> None:
    result = methods.run(TINY, functools.partial(invent, diverged=("DGD", "ChocoSGD")))
    (dgd,) = [row for row in methods.rows(result) if row["method"] == "dgd"]
    assert dgd["num_diverged"] == 1
    assert dgd["accuracy"] == pytest.approx((0.89 + 0) / 2)
    assert dgd["consensus_distance"] == 0.5  # of the other one
    (line,) = [row for row in methods.tables(result)[0].rows if row[0] == "dgd"]
    assert line[2].endswith("(1 lost)")
    assert methods.draw(result).axes  # without warnings


def test_the_table_and_the_remarks_say_how(invented: Result) -> None:
    (table,) = methods.tables(invented)
    assert table.title == "digits, by_class, cycle(10), budget rounds=20"
    assert [row[1] for row in table.rows] == ["0.01†", "0.1", "1†"]
    assert {len(row) for row in table.rows} == {len(table.columns)}
    text = "\n".join(methods.remarks(invented))
    for phrase in (
        "best of 0.01, 0.1, 1", "seeds 10000 to 10001", "on seeds 0 to 1", "no validation split",
        "for isolated, choco_sgd", "choco_sgd consensus_step=0.3, compressor=TopK(fraction=0.3)",
    ):  # fmt: skip
        assert phrase in text, phrase
    assert "max_rounds" not in text
    data = methods.as_data(invented)
    assert data["tuning"]["choco_sgd"] == pytest.approx({"0.01": 0.2, "0.1": 0.5, "1.0": 0.6})
    assert data["curves"]["dgd"]["rounds"] == [0, 5, 10, 15, 20]


def test_the_figure(invented: Result, tmp_path: pathlib.Path) -> None:
    figure = methods.draw(invented)
    assert len(figure.axes) == 8
    top, bottom = figure.axes[:3], figure.axes[4:7]
    assert [axes.get_xlabel() for axes in bottom] == [
        "rounds", "bits sent, all agents", "gradients asked for, all agents",
    ]  # fmt: skip
    assert [len(axes.lines) for axes in (*top, *bottom)] == [3] * 6
    for axes in (top[0], bottom[1]):
        assert {line.get_label() for line in axes.lines} == {
            "isolated, η = 0.01†", "dgd, η = 0.1", "choco_sgd, η = 1†",
        }  # fmt: skip
    for path in cs.plots.save(figure, tmp_path, "figure"):
        assert path.stat().st_size > 20_000


# ---- once, from end to end ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_evaluated_is_a_simulation_at_the_best_rate(tmp_path: pathlib.Path) -> None:
    config = dataclasses.replace(TINY, methods=("dgd",), rates=(0.01, 0.1))
    execute = functools.partial(run_sweep, store=tmp_path / "store")
    result = methods.run(config, execute)
    setting = contenders(config)["dgd"].setting
    for seed in range(2):
        alone = cs.simulate(
            cs.algorithms.DGD(learning_rate=result.best_rate("dgd"), weight_decay=config.weight_decay), num_rounds=20,
            observe_every=5, seed=seed, **setting,
        )  # fmt: skip
        # In single precision, summed in another order, a test image on the edge may fall to either side.
        np.testing.assert_allclose(result.accuracy("dgd").sel(seed=seed), alone.accuracy.mean("agent"), atol=2 / 60)
    again = methods.run(config, execute)
    assert methods.rows(again) == methods.rows(result)
