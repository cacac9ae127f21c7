"""Predictions: what they say of invented curves, and how they are made from tasks whose δ are known."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

import consilience as cs
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.experiments import TransitionPrediction, predict_transition
from consilience.experiments.prediction import COUPLINGS, default_definitions
from consilience.tasks import Shards, Task
from consilience.theory import landau

DELTA = np.array([1.5, -0.5, 0.8, 2.0])
"""Of both signs, so that a lost sign is seen."""
MOMENTS = np.array([0.5, 1.5, 0.8, 1.2])
"""⟨x²⟩ of each agent; their mean is 1."""
SIGMA = [0.0, 0.5, 4.0, 40.0]
OPTIONS: dict[str, Any] = {
    "couplings": SIGMA, "num_realizations": 8, "learning_rate": 0.01, "num_rounds": 500, "num_groups": 3, "seed": 5,
    "definitions": {"only": landau.DisorderDefinition()},
}  # fmt: skip
INTEGRATION = 1e-3
"""The integration's relative tolerance; populations in other company are integrated with other steps."""


def predict(parts: tuple[Task, Shards], **changes: Any) -> TransitionPrediction:
    return predict_transition(*parts, **{**OPTIONS, **changes})


def exact_task() -> tuple[Task, Shards]:
    """Inputs ±√s_i and a linear teacher of slope δ_i/s_i for each agent: ⟨xx⟩ is 1, ⟨xy⟩_i = δ_i, and ⟨xx⟩_i = s_i."""
    x = np.sqrt(MOMENTS)[:, None] * np.tile([1.0, -1.0], (4, 3))
    y = (DELTA / MOMENTS)[:, None] * x
    task = cs.tasks.from_arrays(x.ravel(), y.ravel(), [1.0], [1.0], name="exact")
    return task, cs.tasks.from_indices(task, np.arange(x.size).reshape(x.shape))


def gaussian_task(num_samples: int, seed: int) -> tuple[Task, Shards]:
    """Six agents with Gaussian inputs in two dimensions, the second of which is of no use, and noise."""
    random, slopes = np.random.default_rng(seed), np.linspace(0.8, 1.6, 6)
    x = random.normal(size=(6, num_samples, 2))
    y = slopes[:, None] * x[..., 0] + 0.5 * random.normal(size=(6, num_samples))
    task = cs.tasks.from_arrays(x.reshape(-1, 2), y.ravel(), x[0], y[0], name="gaussian")
    return task, cs.tasks.from_indices(task, np.arange(6 * num_samples).reshape(6, num_samples))


# ---- invented curves ---------------------------------------------------------------------------------------------


def invented(
    order: dict[str, list[float]], gain: dict[str, list[float]] | None = None, *, spread: float = 0.0
) -> TransitionPrediction:
    """A prediction with these curves, two realizations of them `spread` apart; two definitions, "a" and "b"."""
    coords = {"coupling": [0.0, 1.0, 10.0, 100.0]}
    shift = xr.DataArray([-spread / 2, spread / 2], dims="seed")

    def curves(values: dict[str, list[float]]) -> xr.DataArray:
        table = xr.DataArray([values[case] for case in order], {"case": list(order), **coords}, ("case", "coupling"))
        return (table + shift).expand_dims(depth=[1])

    names = {"definition": ["a", "b"], "agent": np.arange(3)}
    delta = xr.DataArray([[0.1, 0.9, 0.5], [0.1, 0.4, 0.5]], names, ("definition", "agent"))
    one = delta.isel(definition=0, drop=True)
    return TransitionPrediction(
        disorder=xr.Dataset({"delta": one, "delta_error": one / 10, "second_moment": one + 1}),
        variants=xr.Dataset({"delta": delta}),
        curves=xr.Dataset({"order": curves(order), "gain": curves(gain or order)}),
        graph_name="complete(3)",
    )


RISING = {"a": [0.0, 0.0, 0.8, 0.2], "b": [0.8, 0.8, 0.8, 0.8]}


def test_onset_and_end_are_half_way() -> None:
    prediction = invented(RISING, spread=0.02)
    onset, end = prediction.onset(1, "order"), prediction.end(1, "order")
    # 0.4 is half-way between 0 and 0.8, and two thirds of the way from 0.8 to 0.2; interpolated in log σ, in doubles.
    assert onset.value == pytest.approx(10**0.5, rel=1e-12)
    assert end.value == pytest.approx(10 ** (1 + 2 / 3), rel=1e-12)
    assert onset.bracket == (1.0, 10.0)
    assert end.bracket == (10.0, 100.0)
    assert onset.interval[0] < onset.value < onset.interval[1]
    assert onset.num_realizations == 2
    assert prediction.definition == "a"
    assert prediction.share_alone(1, "order") == pytest.approx(0, abs=1e-12)
    assert prediction.share_alone(1, "order", "b") == pytest.approx(1, abs=1e-12)
    assert prediction.has_transition(1, "order")
    assert not prediction.has_transition(1, "order", "b")


def test_order_and_gain_are_asked_separately() -> None:
    prediction = invented(RISING, {"a": [1.0, 1.0, 1.0, 3.0], "b": [0.0, 0.0, 0.0, 1.0]})
    assert prediction.onset(1, "gain").value == pytest.approx(10**1.5, rel=1e-12)
    assert np.isinf(prediction.end(1, "gain").value)
    assert prediction.share_alone(1, "gain") == pytest.approx(1 / 3, abs=1e-12)
    with pytest.raises(InvalidSpec, match="quantity='orders': write 'order' for"):
        prediction.onset(1, "orders")


def test_a_small_rise_is_no_transition() -> None:
    assert not invented({"a": [0.96, 1.0, 1.0, 0.0], "b": [1.0] * 4}).has_transition(1, "order")
    assert invented({"a": [0.94, 1.0, 1.0, 0.0], "b": [1.0] * 4}).has_transition(1, "order")
    # Agents that know less than nothing alone have a transition, and those that never know anything have none.
    assert invented({"a": [-2.0, -1.0, 0.5, 0.5], "b": [1.0] * 4}).has_transition(1, "order")
    assert not invented({"a": [0.0] * 4, "b": [1.0] * 4}).has_transition(1, "order")


def test_definitions_without_a_transition_have_no_onset() -> None:
    onsets = invented(RISING).onsets_over_definitions(1, "order")
    assert onsets.definition.values.tolist() == ["a", "b"]
    assert onsets.values[0] == pytest.approx(10**0.5, rel=1e-12)
    assert np.isnan(onsets.values[1])


def test_the_sampling_error_is_the_jackknife_of_the_logarithm() -> None:
    groups = {"group 0": [0.0, 0.0, 0.8, 0.2], "group 1": [0.0, 0.2, 0.8, 0.2]}  # cross 0.4 at 10^(1/2) and 10^(1/3)
    prediction = invented(RISING | groups)
    # √((G − 1)/G Σ (v − v̄)²) of two values is half of their distance.
    assert prediction.sampling_error(1, "order") == pytest.approx(np.log(10) / 12, rel=1e-12)
    assert np.isnan(invented(RISING | groups | {"group 1": [0.5] * 4}).sampling_error(1, "order"))


def test_classes_are_ordered_by_their_disorder() -> None:
    order = invented(RISING).class_order()
    assert order.agent.values.tolist() == [1, 2, 0]
    assert order.delta.values.tolist() == [0.9, 0.5, 0.1]
    assert order.second_moment.values.tolist() == [1.9, 1.5, 1.1]
    assert order.delta_error.values == pytest.approx([0.09, 0.05, 0.01])
    # The other definition puts agent 2 before agent 1.
    assert order.earliest.values.tolist() == [1, 1, 3]
    assert order.latest.values.tolist() == [2, 2, 3]


def test_what_diverged_is_left_out() -> None:
    prediction = invented(RISING)
    lost = prediction.curves.where((prediction.curves.seed > 0) | (prediction.curves.coupling < 5))
    kept = TransitionPrediction(prediction.disorder, prediction.variants, lost, prediction.graph_name)
    assert kept.onset(1, "order").value == pytest.approx(10**0.5, rel=1e-12)
    assert kept.share_alone(1, "order") == prediction.share_alone(1, "order")


# ---- made from a task --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exact() -> TransitionPrediction:
    return predict(exact_task(), depths=[0, 1, 2])


def test_the_disorder_is_that_of_the_task(exact: TransitionPrediction) -> None:
    order = exact.class_order()
    assert order.agent.values.tolist() == [3, 0, 2, 1]
    np.testing.assert_allclose(order.delta, np.sort(DELTA)[::-1], rtol=1e-12)  # means of six doubles
    np.testing.assert_allclose(order.second_moment, MOMENTS[[3, 0, 2, 1]], rtol=1e-12)
    assert order.earliest.values.tolist() == order.latest.values.tolist() == [1, 2, 3, 4]
    assert exact.disorder.attrs["task"] == "exact"
    assert exact.graph_name == "complete(4)"
    assert exact.curves.order.dims == exact.curves.gain.dims == ("depth", "case", "coupling", "seed")
    assert exact.curves.class_gain.dims == ("depth", "case", "coupling", "agent")
    assert exact.curves.case.values.tolist() == ["only", "group 0", "group 1", "group 2"]
    assert exact.curves.coupling.values.tolist() == SIGMA


def by_hand(depth: int, graph: cs.graphs.Graph | None = None, *, half: float = 0.5, span: float = 10.0) -> xr.Dataset:
    """The theory for the same population by the stated rules: σ̂ = σ/2, and t = 2η · rounds = 10."""
    return landau.sweep(
        DELTA, landau.uniform_start(8, 4, offset=0.05, seed=5), depth=depth, couplings=half * np.array(SIGMA),
        weight_decay=1e-3, second_moment=MOMENTS, graph=graph, span=span, average_after=span / 2,
    )  # fmt: skip


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_theory_is_solved_for_half_the_coupling_and_the_time_of_the_experiment(
    exact: TransitionPrediction, depth: int
) -> None:
    curves = exact.curves.sel(case="only", depth=depth)
    expected = by_hand(depth)
    np.testing.assert_allclose(curves.order, abs(expected.magnetization), atol=INTEGRATION)
    matrix = landau.cross_loss(expected.order_parameter.values, DELTA, depth, second_moment=MOMENTS)
    others = matrix[..., ~np.eye(4, dtype=bool)]
    np.testing.assert_allclose(curves.gain, -others.mean(axis=-1), atol=10 * INTEGRATION)  # m² (m² δ at D = 1) of m ≈ 1
    by_class = np.array([-np.delete(matrix[..., j], j, axis=-1).mean(axis=(1, 2)) for j in range(4)]).T
    np.testing.assert_allclose(curves.class_gain, by_class, atol=10 * INTEGRATION)
    if depth > 0:  # the comparison sees a factor of two in either
        for wrong in (by_hand(depth, half=1.0), by_hand(depth, span=20.0)):
            assert abs(curves.order.values - abs(wrong.magnetization.values)).max() > 20 * INTEGRATION


def test_gain_is_minus_the_mean_cross_loss_of_the_same_states() -> None:
    """Of two agents, exactly: each one's data as the other knows them."""
    delta, x = np.array([1.0, 3.0]), np.tile([1.0, -1.0], (2, 3))
    task = cs.tasks.from_arrays(x.ravel(), (delta[:, None] * x).ravel(), [1.0], [1.0])
    shards = cs.tasks.from_indices(task, np.arange(12).reshape(2, 6))
    prediction = predict((task, shards), depths=[0], couplings=[0.0, 1e4])
    # Eq. (6) at D = 0: apart, m_i = δ_i/(1 + γ); together, m = ⟨δ⟩/(1 + γ). On j's data the gain of m is 2δ_j m − m².
    apart, together = np.array([3.0, 1.0]) / 1.001, 2 / 1.001
    found = prediction.curves.class_gain.sel(case="only", depth=0)
    # Values of order one to eight; of the start, e^(−t) is left at t ≥ 5, which is 1e-3 on average.
    np.testing.assert_allclose(found[0], 2 * delta * apart - apart**2, atol=0.02)
    np.testing.assert_allclose(found[1], 2 * delta * together - together**2, atol=0.02)


def test_the_graph_is_passed_on(exact: TransitionPrediction) -> None:
    ring = cs.graphs.cycle(4)
    found = predict(exact_task(), depths=[1], graph=ring)
    curves = found.curves.sel(case="only", depth=1)
    np.testing.assert_allclose(curves.order, abs(by_hand(1, ring).magnetization), atol=INTEGRATION)
    assert abs(curves.order - exact.curves.order.sel(case="only", depth=1)).max() > 20 * INTEGRATION
    assert found.graph_name == ring.name


def test_seeds_choose_the_initial_conditions(exact: TransitionPrediction) -> None:
    again = predict(exact_task(), depths=[0, 1, 2])
    xr.testing.assert_identical(again.curves, exact.curves)
    xr.testing.assert_identical(again.disorder, exact.disorder)
    other = predict(exact_task(), depths=[1], seed=6)
    xr.testing.assert_identical(other.disorder, exact.disorder)
    assert abs(other.curves.order - exact.curves.order.sel(depth=[1])).max() > 0.01  # another start, another average


def test_an_agent_alone_has_nobody_who_could_know_its_data() -> None:
    task, shards = exact_task()
    alone = predict((task, cs.tasks.from_indices(task, [shards[0]])), depths=[1])
    assert not alone.curves.gain.any()
    assert not alone.has_transition(1, "gain")


def test_defaults() -> None:
    definitions = default_definitions()
    assert definitions == dict(landau.DEFINITIONS)
    first = landau.DisorderDefinition()
    assert next(iter(definitions)) == first.name
    assert COUPLINGS[0] == 0
    assert (np.diff(COUPLINGS) > 0).all()
    assert COUPLINGS[-1] < cs.graphs.complete(10).coupling_limit(0.005)


@pytest.mark.slow
def test_the_sampling_error_is_that_of_repeated_samples() -> None:
    """The jackknife of one data set against the spread of predictions over 20 of them.

    Null: both estimate the same standard error. That of the spread of 20 is known to 1/√38 = 16 %, the mean of 20
    jackknives of 10 groups to 1/√(18 · 20) = 5 %, so that 50 % is three standard errors. Seeds 0 … 19.
    """
    options = {"depths": [1], "couplings": [0.0, *np.geomspace(0.2, 6, 7)], "num_realizations": 10}
    options |= {"num_rounds": 1000, "num_groups": 10}
    many = [predict(gaussian_task(160, seed), **options) for seed in range(20)]
    spread = np.std(np.log([one.onset(1, "order").value for one in many]), ddof=1)
    errors = [one.sampling_error(1, "order") for one in many]
    assert np.isfinite(errors).all()
    assert np.mean(errors) == pytest.approx(spread, rel=0.5)
    # A hundred times the samples, a tenth of the error; single jackknives of ten groups are known to 24 %.
    precise = predict(gaussian_task(16_000, 0), **options)
    assert precise.sampling_error(1, "order") == pytest.approx(np.mean(errors) / 10, rel=0.75)


# ---- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": [-1]}, r"depth=-1: the depth D counts hidden layers"),
        ({"depths": [0.5]}, r"depth=0.5: the depth D counts"),
        ({"depths": []}, r"depths=\[\]: write a list of depths D, each of them once"),
        ({"depths": [1, 1]}, r"depths=\[1, 1\]: write a list"),
        ({"depths": 1}, r"depths=1: write a list"),
        ({"depths": "12"}, r"depths='12': write a list"),
        ({"couplings": [1.0, 0.0]}, r"couplings=\[1.0, 0.0\]: .* at least two in increasing order"),
        ({"couplings": [1.0]}, r"at least two in increasing order"),
        ({"couplings": 3.0}, r"couplings=3.0: .* at least two in increasing order"),
        ({"couplings": [-1.0, 1.0]}, r"couplings holds -1.0 at \[0\]"),  # σ as it was given, and not σ̂
        ({"couplings": ["a", "b"]}, r"Write a number or an array of numbers"),
        ({"couplings": [0.0, np.inf]}, r"couplings holds inf at \[1\]"),
        ({"learning_rate": 0.0}, r"learning_rate=0.0: this has to be a positive number"),
        ({"learning_rate": "fast"}, r"learning_rate='fast'"),
        ({"num_rounds": 0}, r"num_rounds=0: the theory runs as long as the experiment"),
        ({"num_rounds": 0.5}, r"num_rounds=0.5"),
        ({"weight_decay": -1.0}, r"weight_decay holds -1.0"),
        ({"num_realizations": 0}, r"num_realizations=0"),
        ({"num_groups": 1}, r"num_groups=1: the jackknife leaves out one of at least two"),
        ({"offset": [0.1, 0.2]}, r"offset=\[0.1, 0.2\]: ε shifts the start"),
        ({"seed": -1}, r"seed=-1: a seed is a whole number"),
    ],
    ids=str,
)
def test_mistakes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message) as error:
        predict(exact_task(), **{"depths": [1], **changes})
    assert "\n" not in str(error.value)


def test_parts_that_do_not_fit_are_refused() -> None:
    task, shards = exact_task()
    with pytest.raises(IncompatiblePair, match=r"cycle\(5\) has 5 agents, but .* Use a graph of 4 agents"):
        predict((task, shards), depths=[1], graph=cs.graphs.cycle(5))
    small = cs.tasks.from_arrays([1.0, -1.0], [1.0, -1.0], [1.0], [1.0], name="small")
    with pytest.raises(IncompatiblePair, match="names sample 5, and 'small' has training samples 0 … 1"):
        predict((small, shards), depths=[1])
