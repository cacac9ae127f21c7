"""The recipe of paper 003's figures: its data and protocol, what it makes of known errors, and one run of each kind."""

import dataclasses
import io
import json
import math
import pathlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from consilience import tasks
from consilience.errors import InvalidSpec
from consilience.experiments import Computation, Sweep, compute, run_sweep
from consilience.recipes import get, peer_to_peer
from consilience.recipes.peer_to_peer import ALGORITHMS, GRAPHS, SETTINGS, Case, PeerToPeer, Result, slope

SMALL = PeerToPeer(
    dataset="digits", width=32, other_widths=(8,), ten_classes_width=8, num_test=40, num_rounds=20,
    observe_every=5, num_realizations=2,
)  # fmt: skip


# ---- the protocol ------------------------------------------------------------------------------------------------


def test_presets() -> None:
    recipe = get("peer-to-peer")
    quick, default, full = (recipe.presets[name]() for name in ("quick", "default", "full"))
    assert quick.dataset == "digits"
    assert default == PeerToPeer()
    assert (default.dataset, default.samples_per_agent, default.learning_rate, default.num_rounds) == (
        "mnist", 20, 0.5, 400,
    )  # fmt: skip
    assert [case.width for case in full.cases] == [1, 64, 256, 1024, 4096, 512]
    assert [case.width for case in quick.cases] == [1, 256, 128]
    assert (quick.learning_rate, quick.observe_every) == (0.2, 1)
    other = peer_to_peer.for_dataset(default, "digits")
    assert (other.dataset, other.learning_rate) == ("digits", 0.2)
    assert peer_to_peer.for_dataset(default, "mnist") == default
    assert peer_to_peer.stem(other) == "peer-to-peer-digits"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples_per_agent": 7}, "even number"),
        ({"num_realizations": 0}, "num_realizations"),
        ({"other_widths": 64}, "these are several"),
        ({"width": 0}, "width"),
        ({"bias_variance": -1.0}, "a variance is not negative"),
    ],
)
def test_protocols_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        dataclasses.replace(SMALL, **changes)


def test_widths_from_the_command_line() -> None:
    assert dataclasses.replace(SMALL, other_widths=(8.0, 32.0)).cases[1:3] == (Case("network", 8), Case("network", 32))


def test_every_agent_has_two_digits_of_its_own() -> None:
    task, shards = peer_to_peer.task_and_shards(SMALL)["network"]
    digits = tasks.load("digits", num_test=40)
    held = np.stack([np.bincount(digits.train_labels[shard], minlength=10) for shard in shards])
    np.testing.assert_array_equal(held, 10 * np.repeat(np.eye(5, dtype=int), 2, axis=1))
    odd = digits.train_labels % 2 == 1
    np.testing.assert_array_equal(task.train_labels[:, 0], np.where(odd, 1.0, -1.0))
    other = peer_to_peer.task_and_shards(dataclasses.replace(SMALL, seed=1))["network"][1]
    assert not np.array_equal(shards[0], other[0])


def test_ten_classes_are_dealt_out_unequally() -> None:
    task, shards = peer_to_peer.task_and_shards(SMALL)["ten_classes"]
    assert (len(shards), task.num_outputs, shards.sizes.sum(), task.num_train) == (10, 10, 200, 200)
    assert shards.sizes.min() >= 5
    assert shards.sizes.max() > shards.sizes.min()


def test_what_is_planned() -> None:
    planned = peer_to_peer.sweeps(SMALL)
    assert len(planned) == 3 + 2 * 9 + 9
    one = planned[Case("network", 32), "star", "atc"].experiment
    assert one.common_init
    assert one.batch_size is None
    assert one.num_rounds == 20
    assert one.mixing.name == "metropolis(star(5))"
    assert {of.setting for of, _, _ in planned} == set(SETTINGS)


def test_losses_on_the_data_of_each_agent() -> None:
    """Against NumPy, for models that answer one number to everything: agent q answers q."""
    task, shards = peer_to_peer.task_and_shards(SMALL)["ten_classes"]
    answers = np.arange(len(shards), dtype=np.float32)
    population: Any = SimpleNamespace(
        params=answers,
        apply=lambda params, inputs: params + 0 * inputs[:, 0, :1] * np.ones(10),
        loss_function=task.loss,
    )
    found = np.asarray(peer_to_peer.shard_losses(task, shards).measure(population))
    expected = [
        [0.5 * ((answer - task.train_labels[shard]) ** 2).sum(axis=1).mean() for shard in shards] for answer in answers
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # single precision


# ---- what is made of errors that are known -----------------------------------------------------------------------


def test_slope() -> None:
    # Errors exp(±s) about 1/width: the line is exact, and the squared residuals sum to 4s².
    s, widths = 0.1, [64, 256]
    errors = np.array([[1 / 64], [1 / 256]]) * np.exp([-s, s])
    found = slope(xr.DataArray(errors, {"width": widths}, ("width", "seed")))
    assert found.value == pytest.approx(-1.0, abs=1e-12)  # rounding
    # Σ (x − x̄)² = 4 (log 4 / 2)²; Student's t of two degrees of freedom is 4.3027 at 97.5 %.
    half = 4.3027 * (4 * s**2 / 2) ** 0.5 / np.log(4)
    assert found.interval == pytest.approx((-1 - half, -1 + half), rel=1e-4)
    alone = slope(xr.DataArray(errors[:, :1], {"width": widths}, ("width", "seed")))
    assert alone.value == pytest.approx(-1.0, abs=1e-12)
    assert math.isnan(alone.interval[0])


ERROR = {"network": 0.5, "affine": 1e-5, "ten_classes": 0.02}
"""Largest relative error of invented training; of networks with one hidden layer, divided by the width."""


def invent(work: Any) -> Any:
    """Losses that fall like 1/round, and training that differs from them by `ERROR`, most in the last round."""
    rounds, num_agents = np.arange(SMALL.num_rounds + 1), 10 if "ten classes" in work.title else 5
    losses = np.arange(1.0, num_agents + 1) / (1.0 + rounds[:, None])
    if isinstance(work, Computation):
        names = work.parameters["graphs"]
        dims = ("graph", "algorithm", "round", "agent")
        whole = np.broadcast_to(losses, (len(names), len(ALGORITHMS), *losses.shape))
        variables = {"test_loss": (dims, whole), "objective": (dims, whole), "train_loss": (dims, 0.5 * whole)}
        seconds = {"seconds": (dims[:2], np.ones(whole.shape[:2])), "linearization_seconds": 2.0}
        return {cell: xr.Dataset({**variables, **seconds}, {"round": rounds}) for cell in work.cells}
    at = np.arange(0, SMALL.num_rounds + 1, SMALL.observe_every)
    setting = next(name for name, found in SETTINGS.items() if found.label in work.title)
    width = work.experiment.model.width if setting == "network" else 1
    share = ERROR[setting] / width * at[:, None] / at[-1]
    seeds = np.arange(1.0, 1.0 + len(work.cells))[:, None, None]  # of the second initialisation, twice as large
    trained = losses[at] / (1 + share * seeds)
    # On its own data an agent has half of the mean loss.
    own, others = trained * 0.5, trained * (1 + 0.5 / (num_agents - 1))
    by_shard = np.where(np.eye(num_agents, dtype=bool), own[..., None], others[..., None])
    found = {
        "loss": (("seed", "round", "agent"), trained),
        "shard_losses": (("seed", "round", "agent", "held_by"), by_shard),
        "outcome": (("seed",), ["completed"] * len(work.cells)),
    }
    attrs = {"wall_seconds": {"advance": 3.0 * len(work.cells)}}
    return xr.Dataset(found, {"seed": range(len(work.cells)), "round": at}, attrs)


@pytest.fixture(scope="module")
def invented() -> Result:
    return peer_to_peer.run(SMALL, invent)


def test_errors_are_largest_over_agents_and_rounds(invented: Result) -> None:
    for case in SMALL.cases:
        errors = invented.largest_errors(case)
        expected = ERROR[case.setting] / (case.width if case.setting == "network" else 1) * np.array([1.0, 2.0])
        for loss in peer_to_peer.LOSSES:
            # Errors are left after subtracting 1, to some 1e-16.
            found = errors[loss].transpose(..., "seed").values
            np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-7)
    assert invented.outcomes == {"completed": 2 * (3 + 18 + 9)}
    assert invented.slope is not None
    assert invented.slope.value == pytest.approx(-1.0, abs=1e-12)


def test_tables_remarks_and_data(invented: Result) -> None:
    errors, widths = peer_to_peer.tables(invented)
    assert len(errors.rows) == 3 + 18 + 9
    assert [len(row) for row in errors.rows] == [len(errors.columns)] * len(errors.rows)
    row = next(row for row in errors.rows if row[0] == "two hidden layers, ten classes, width 8")
    assert row[1:4] == ["cycle", "DGD", "3 (2 – 4)"]
    assert row[-2:] == ["1.00", "3.00"]
    assert widths.rows[-1] == ["any", "any", "9.4 (6.2 – 12)", "2.3 (1.6 – 3.1)", str(invented.slope)]
    assert any("60 completed" in line for line in peer_to_peer.remarks(invented))
    data = json.loads(json.dumps(peer_to_peer.as_data(invented)))
    assert len(data["rows"]) == 30
    trajectories = data["trajectories"]["affine classifier, odd or even"]
    assert np.shape(trajectories["trained"]) == (1, 3, 5, 5)
    assert trajectories["rounds"] == [0, 5, 10, 15, 20]


def test_the_figure(invented: Result) -> None:
    figure = peer_to_peer.draw(invented)
    assert isinstance(figure, Figure)
    letters = [text.get_text() for axes in figure.axes for text in axes.texts if len(text.get_text()) == 1]
    assert len(set(letters)) == len(letters) == len(ALGORITHMS) * (1 + len(GRAPHS)) + len(GRAPHS) + 1
    assert all(axes.has_data() for axes in figure.axes)
    figure.set_layout_engine("none")  # which takes most of the time
    figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_a_single_width_has_no_slope(invented: Result) -> None:
    alone = dataclasses.replace(invented.config, other_widths=())
    single = dataclasses.replace(invented, config=alone)
    assert single.slope is None
    assert len(peer_to_peer.tables(single)) == 1
    assert peer_to_peer.as_data(single)["slope"] is None


def test_a_network_that_diverges_is_no_success(invented: Result) -> None:
    case = SMALL.cases[1]
    broken = invented.trained[case].copy(deep=True)
    broken.test_loss[dict(seed=0, graph=0, algorithm=0, round=-1, agent=0)] = np.nan  # noqa: C408
    result = dataclasses.replace(invented, trained={**invented.trained, case: broken})
    errors = result.largest_errors(case).test_loss.transpose("seed", "graph", "algorithm")
    assert np.isnan(errors[0, 0, 0])
    assert np.isnan(errors).sum() == 1
    assert any("nan" in cell for row in peer_to_peer.tables(result)[0].rows for cell in row)


# ---- one run of each kind ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_prediction_and_training_share_the_start_and_the_losses(tmp_path: pathlib.Path) -> None:
    """The affine classifier, whose prediction is exact: what is left is single precision."""
    wanted = SMALL.cases[0]

    def execute(work: Sweep | Computation) -> Any:
        if SETTINGS["affine"].label not in work.title:
            return invent(work)
        if isinstance(work, Computation):
            return compute(work, store=tmp_path)
        return run_sweep(work, store=tmp_path) if work.title.endswith("dgd on complete") else invent(work)

    result = peer_to_peer.run(SMALL, execute)
    errors = result.relative_errors(wanted).sel(algorithm="dgd")
    for loss in peer_to_peer.LOSSES:
        # Losses are means of some hundred numbers with relative rounding errors of 6e-8 each.
        assert abs(errors[loss]).max() < 5e-6, loss
    predicted = result.predicted[wanted].test_loss.sel(algorithm="dgd")
    assert predicted.isel(round=-1).max() < predicted.isel(round=0).min()
    assert not np.allclose(predicted.isel(seed=0), predicted.isel(seed=1))
