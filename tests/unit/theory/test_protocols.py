"""Sweeps against `integrate` called by hand, divergence as an outcome, and the draws of Appendix B."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from consilience import graphs
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.theory import landau
from consilience.theory.landau.protocols import _RECORDS as RECORDS

SEEDS, N = 3, 6
DELTA = landau.gaussian_disorder(SEEDS, N)
START = landau.uniform_start(SEEDS, N)
COUPLINGS = [0.0, 0.5, 4.0]
TIMES = np.concatenate([[0.0], np.linspace(5, 10, RECORDS + 1)])
"""Appendix B: ten units of time, of which the second half is averaged over."""
TOLERANCES = {"rtol": 1e-3, "atol": 1e-6}
LINEAR = {"depth": 0, "couplings": [1.0], "weight_decay": 0.1}


def by_hand(start: np.ndarray, coupling: float, **options: Any) -> np.ndarray:
    settings = {"depth": 1, "weight_decay": 1e-3, **TOLERANCES, **options}
    return landau.integrate(DELTA, start, coupling=coupling, times=TIMES, **settings)


def mean_of_second_half(values: np.ndarray) -> np.ndarray:
    """By the trapezoidal rule on an even grid."""
    inner = values[2:-1].sum(axis=0)
    return (inner + (values[1] + values[-1]) / 2) / (len(values) - 2)


# ---- what a sweep is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", landau.PROTOCOLS)
def test_sweeps_are_integrations_in_their_order(protocol: str) -> None:
    result = landau.sweep(DELTA, START, depth=1, couplings=COUPLINGS, protocol=protocol)
    order = [2, 1, 0] if protocol == "adiabatic_down" else [0, 1, 2]
    state = START
    for k in order:
        m = by_hand(START if protocol == "quench" else state, COUPLINGS[k])
        state = m[-1]
        one = result.isel(coupling=k)
        np.testing.assert_array_equal(one.final, m[-1])
        # Sums of a few terms in another order.
        np.testing.assert_allclose(one.order_parameter, mean_of_second_half(m), rtol=0, atol=1e-13)
        np.testing.assert_allclose(one.magnetization, mean_of_second_half(m.mean(axis=-1)), rtol=0, atol=1e-13)
        loss = (m**4).mean(axis=-1) - 2 * DELTA.mean(axis=-1) * (m**2).mean(axis=-1)
        np.testing.assert_allclose(one.loss, mean_of_second_half(loss), rtol=0, atol=1e-12)
    assert (result.outcome == "completed").all()


def test_protocols_differ_where_they_have_to() -> None:
    """They share the coupling that they begin with, and nothing else."""
    quench, up, down = (
        landau.sweep(DELTA, START, depth=1, couplings=COUPLINGS, protocol=protocol).final
        for protocol in landau.PROTOCOLS
    )
    for adiabatic, first in ((up, 0), (down, -1)):
        np.testing.assert_array_equal(adiabatic[first], quench[first])
        assert (abs(adiabatic - quench).max(("seed", "agent")) > 1e-3).sum() == 2


def test_labels_and_a_single_population() -> None:
    result = landau.sweep(DELTA[0], START[0], depth=1, couplings=COUPLINGS)
    assert dict(result.sizes) == {"coupling": 3, "seed": 1, "agent": N}
    assert result.order_parameter.dims == result.final.dims == ("coupling", "seed", "agent")
    assert result.magnetization.dims == result.loss.dims == result.outcome.dims == ("coupling", "seed")
    assert result.coupling.values.tolist() == COUPLINGS
    assert result.seed.values.tolist() == [0]
    assert all("long_name" in result[name].attrs for name in ("order_parameter", "magnetization", "loss", "final"))
    many = landau.sweep(DELTA, START[0], depth=1, couplings=COUPLINGS)
    assert many.sizes["seed"] == SEEDS, "one initial condition for several draws of disorder"


def test_graph_moments_decay_span_and_tolerances_are_passed_on() -> None:
    moment = np.linspace(0.5, 1.5, N)
    options = {"graph": graphs.cycle(N), "second_moment": moment, "weight_decay": 0.3, "rtol": 1e-9, "atol": 1e-11}
    result = landau.sweep(DELTA, START, depth=1, couplings=[4.0], span=20.0, average_after=15.0, **options)
    times = np.concatenate([[0.0], np.linspace(15, 20, RECORDS + 1)])
    m = landau.integrate(DELTA, START, depth=1, coupling=4.0, times=times, **options)
    np.testing.assert_array_equal(result.final[0], m[-1])
    loss = moment.mean() * (m**4).mean(axis=-1) - 2 * DELTA.mean(axis=-1) * (m**2).mean(axis=-1)
    np.testing.assert_allclose(result.loss[0], mean_of_second_half(loss), rtol=0, atol=1e-12)  # sums of a few terms


def test_averages_may_take_in_the_start() -> None:
    """Between t = 0 and t = 1 at D = 0, where m(t) is an exponential that is easily averaged."""
    result = landau.sweep([0.0], [1.0], **LINEAR, span=1.0, average_after=0.0, rtol=1e-10)
    # The trapezoidal rule is off by h²/12 of the second derivative, which is 1.1² at most.
    error = 1.1**2 / (12 * RECORDS**2)
    assert float(result.order_parameter[0, 0, 0]) == pytest.approx((1 - np.exp(-1.1)) / 1.1, abs=error)


# ---- averages ------------------------------------------------------------------------------------------------------


def test_time_average_is_the_trapezoidal_rule_from_the_first_time_that_counts() -> None:
    times = np.array([0.0, 1.0, 1.5, 4.0])
    m = np.stack([3 * times - 1, times**0 * 7], axis=-1)  # straight lines, which trapezoids integrate exactly
    np.testing.assert_allclose(landau.time_average(m, times, after=0.0), [5, 7], rtol=1e-15)
    np.testing.assert_allclose(landau.time_average(m, times, after=0.7), [3 * 2.5 - 1, 7], rtol=1e-15)
    np.testing.assert_allclose(landau.time_average(m, times, after=-3.0), [5, 7], rtol=1e-15)
    np.testing.assert_array_equal(landau.time_average(m, times, after=4.0), m[-1])


def test_hysteresis_area() -> None:
    """Triangles by hand; of either sign, and along other dimensions."""
    coupling = [0.0, 1.0, 4.0]
    down = xr.DataArray([[0.0, 2.0, 0.0], [1.0, 1.0, 1.0]], dims=("depth", "coupling"), coords={"coupling": coupling})
    up = xr.zeros_like(down)
    np.testing.assert_array_equal(landau.hysteresis_area(up, down), [1 + 3, 4])
    np.testing.assert_array_equal(landau.hysteresis_area(down, up), [1 + 3, 4])
    assert float(landau.hysteresis_area(down[0], down[0])) == 0
    assert landau.hysteresis_area(up, down).name == "hysteresis_area"


def test_hysteresis_area_of_sweeps() -> None:
    """At D = 0 there is one stationary state and no hysteresis; at D = 1 states are many."""
    areas = {}
    for depth in (0, 1):
        up, down = (
            landau.sweep(DELTA, START, depth=depth, couplings=COUPLINGS, protocol=f"adiabatic_{way}").magnetization
            for way in ("up", "down")
        )
        area = landau.hysteresis_area(up, down)
        np.testing.assert_allclose(area, np.trapezoid(abs(down - up), COUPLINGS, axis=0), rtol=1e-14)
        areas[depth] = float(area.max())
    # What is left of the initial condition at D = 0 is e⁻⁵ of 2 at the least, over couplings up to 4.
    assert areas[0] < 0.03
    assert areas[1] > 0.3


# ---- realizations that diverge -------------------------------------------------------------------------------------

# With ⟨x̂²⟩ = 0 and D = 2, nothing bounds m where δm > 0. In the first realization one agent of δ = 1 starts at m = 1:
# alone it is infinite at t = 1, and strongly coupled to five others at zero it is dragged to the mean 1/6, where it
# would take 36 units of time. The others are ordinary.
UNBOUNDED_DELTA = np.vstack([np.eye(N)[0], DELTA[1:]])
UNBOUNDED_START = np.vstack([np.eye(N)[0], START[1:]])
UNBOUNDED = {
    "depth": 2, "weight_decay": 0.0, "second_moment": np.array([[0.0], [1.0], [1.0]]), "rtol": 1e-8, "atol": 1e-10,
}  # fmt: skip


def unbounded(protocol: str) -> xr.Dataset:
    return landau.sweep(UNBOUNDED_DELTA, UNBOUNDED_START, couplings=COUPLINGS, protocol=protocol, **UNBOUNDED)


def test_what_diverges_is_marked_and_not_averaged_with_others() -> None:
    result = unbounded("quench")
    assert result.outcome[:, 0].values.tolist() == ["diverged", "diverged", "completed"]
    assert (result.outcome[:, 1:] == "completed").all()
    for name in ("order_parameter", "magnetization", "loss", "final"):
        lost = np.isnan(result[name])
        np.testing.assert_array_equal(lost, (result.outcome == "diverged").broadcast_like(lost))
    rest = {**UNBOUNDED, "second_moment": 1.0}
    alone = landau.sweep(UNBOUNDED_DELTA[1:], UNBOUNDED_START[1:], couplings=COUPLINGS, **rest)
    # They share steps with the first realization, of a tolerance of 1e-8.
    np.testing.assert_allclose(result.final[:, 1:], alone.final, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.magnetization[:, 1:], alone.magnetization, rtol=0, atol=1e-6)


def test_what_has_diverged_stays_so_in_adiabatic_sweeps() -> None:
    up = unbounded("adiabatic_up")
    assert (up.outcome[:, 0] == "diverged").all(), "though a quench at the last coupling completes"
    assert np.isnan(up.final[:, 0]).all()
    assert np.isnan(up.loss[:, 0]).all()
    down = unbounded("adiabatic_down")
    # Held back at first; lost at σ̂ = 0.5, and so at σ̂ = 0, where a quench from anywhere below m = 1/10 would complete.
    assert down.outcome[::-1, 0].values.tolist() == ["completed", "diverged", "diverged"]
    assert np.isnan(down.final[:2, 0]).all()
    for result in (up, down):
        assert (result.outcome[:, 1:] == "completed").all()
        assert np.isfinite(result.final[:, 1:]).all()


# ---- disorder and initial conditions -------------------------------------------------------------------------------


def test_draws_follow_appendix_b() -> None:
    """Null: N(0, 2²) and the uniform distribution, 40,000 draws each. Seed 0; five standard errors, and a
    Kolmogorov–Smirnov test at 1e-4."""
    delta, start = landau.gaussian_disorder(200, 200), landau.uniform_start(200, 200)
    assert abs(delta.mean()) < 5 * 2 / 200
    assert abs(delta.std() - 2) < 5 * 2 / np.sqrt(2 * 40_000)
    assert abs(start.mean() - 0.05) < 5 * (4 / np.sqrt(12)) / 200
    assert start.min() >= -1.95
    assert start.max() <= 2.05
    assert scipy.stats.kstest(delta.ravel(), "norm", (0, 2)).pvalue > 1e-4
    assert scipy.stats.kstest(start.ravel(), "uniform", (-1.95, 4)).pvalue > 1e-4
    # Disorder and start are independent of each other, and realizations are: correlations have the error 1/√n.
    assert abs(np.corrcoef(delta.ravel(), start.ravel())[0, 1]) < 5 / 200
    assert abs(np.corrcoef(delta[:-1].ravel(), delta[1:].ravel())[0, 1]) < 5 / 200
    assert abs(np.corrcoef(delta[:, :-1].ravel(), delta[:, 1:].ravel())[0, 1]) < 5 / 200


def test_common_random_numbers() -> None:
    """Other parameters stretch and shift the same draws; more realizations do not change the first."""
    delta, start = landau.gaussian_disorder(4, N, seed=7), landau.uniform_start(4, N, seed=7)
    np.testing.assert_array_equal(landau.gaussian_disorder(9, N, seed=7)[:4], delta)
    np.testing.assert_array_equal(landau.uniform_start(9, N, seed=7)[:4], start)
    stretched = landau.gaussian_disorder(4, N, mean=1.0, std=6.0, seed=7)
    np.testing.assert_allclose(stretched, 1 + 3 * delta, rtol=0, atol=1e-14)  # rounding
    wide = landau.uniform_start(4, N, width=4.0, offset=1.0, seed=7)
    np.testing.assert_allclose(wide - 1, 2 * (start - 0.05), rtol=0, atol=1e-14)
    for draw in (landau.gaussian_disorder, landau.uniform_start):
        assert (draw(4, N, seed=8) != draw(4, N, seed=7)).all()
        np.testing.assert_array_equal(draw(4, N), draw(4, N, seed=0))


# ---- errors --------------------------------------------------------------------------------------------------------

POPULATION = {"delta": [1.0, 2.0, 3.0], "initial": 0.5, "depth": 1, "coupling": 1.0, "times": [0.0, 1.0]}
SWEPT = {"delta": [1.0, 2.0, 3.0], "initial": 0.5, "depth": 1, "couplings": [0.0, 1.0]}
NOT_FINITE = "δ_i = ⟨x̂ŷ⟩ is an average"


class Unhashable:
    """A function of time by which no compiled program can be remembered."""

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __call__(self, t: Any) -> Any:
        return 1.0


CASES = [
    # (function, what is wrong, error, the value seen, the advice)
    (landau.integrate, {"depth": -1}, InvalidSpec, "depth=-1", "Write a whole number from 0"),
    (landau.integrate, {"depth": True}, InvalidSpec, "depth=True", "Write a whole number from 0"),
    (landau.integrate, {"depth": 1.0}, InvalidSpec, "depth=1.0", "Write a whole number from 0"),
    (landau.integrate, {"delta": [1, np.nan, 1]}, InvalidSpec, "delta holds nan at [1]", "Write finite numbers."),
    (landau.integrate, {"delta": [[1, 1], [1, np.inf]]}, InvalidSpec, "inf at [1, 1]", "Write finite numbers."),
    (landau.integrate, {"delta": "wide"}, InvalidSpec, "delta='wide'", "Write a number or an array of numbers."),
    (landau.integrate, {"delta": None}, InvalidSpec, "delta=None", "Write a number or an array"),
    (landau.integrate, {"delta": [1, 1j, 1]}, InvalidSpec, "delta=[1, 1j, 1]", "Write a number or an array"),
    (landau.integrate, {"delta": [[1, 2], [1]]}, InvalidSpec, "delta=[[1, 2], [1]]", "Write a number or an array"),
    (landau.integrate, {"delta": 2.0}, InvalidSpec, "delta=2 has no axis of agents", "Write delta=[2]"),
    (landau.integrate, {"delta": []}, InvalidSpec, "delta has shape (0,)", "one at least"),
    (landau.integrate, {"delta": [1.0], "initial": [1.0, 2.0]}, IncompatiblePair, "delta has 1 agents", "one δ per"),
    (landau.integrate, {"initial": [1, 2]}, IncompatiblePair, "initial (2,)", "coupling=couplings[:, None]"),
    (landau.integrate, {"initial": [np.nan, 0, 0]}, InvalidSpec, "initial holds nan at [0]", "finite numbers"),
    (landau.integrate, {"coupling": -0.5}, InvalidSpec, "coupling holds -0.5", "finite numbers from 0 up"),
    (landau.integrate, {"coupling": [1, 2]}, None, "", ""),
    (
        landau.integrate,
        {"delta": np.ones((3, 4)), "coupling": [1, 2]},
        IncompatiblePair,
        "coupling (2,)",
        "coupling=couplings[:, None]",
    ),
    (landau.integrate, {"weight_decay": [0.1, -1]}, InvalidSpec, "weight_decay holds -1.0 at [1]", "from 0 up"),
    (landau.integrate, {"second_moment": -2}, InvalidSpec, "second_moment holds -2.0", "from 0 up"),
    (landau.integrate, {"times": [0, 2, 1]}, InvalidSpec, "times[2]=1 does not come after times[1]=2", "np.sort"),
    (landau.integrate, {"times": [0, 1, 1]}, InvalidSpec, "times[2]=1 does not come after", "np.unique"),
    (landau.integrate, {"times": []}, InvalidSpec, "times has shape (0,)", "np.linspace(0, 10, 101)"),
    (landau.integrate, {"times": [[0, 1]]}, InvalidSpec, "times has shape (1, 2)", "np.linspace(0, 10, 101)"),
    (landau.integrate, {"times": 1.0}, InvalidSpec, "times has shape ()", "np.linspace(0, 10, 101)"),
    (landau.integrate, {"times": [0, np.nan]}, InvalidSpec, "times holds nan at [1]", "finite numbers"),
    (landau.integrate, {"graph": graphs.cycle(4)}, IncompatiblePair, "cycle(4) has 4 agents", "a graph of 3 agents"),
    (landau.integrate, {"graph": "cycle"}, InvalidSpec, "graph='cycle'", "cs.graphs.cycle(3)"),
    (landau.integrate, {"graph": np.ones((3, 3))}, InvalidSpec, "graph=array([[1.", "from_adjacency(q)"),
    (
        landau.integrate,
        {"coupling": lambda t: np.ones(3)},
        IncompatiblePair,
        "coupling(0) has shape (3,)",
        "one by one",
    ),
    (landau.integrate, {"coupling": lambda t: -1.0}, InvalidSpec, "coupling(0) holds -1.0", "from 0 up"),
    (landau.integrate, {"coupling": lambda t: "a"}, InvalidSpec, "coupling(0)='a'", "Write a number"),
    (landau.integrate, {"coupling": Unhashable()}, InvalidSpec, "cannot be hashed", "a frozen dataclass"),
    (landau.integrate, {"graph": lambda t: np.ones((2, 2))}, IncompatiblePair, "graph(0) has shape (2, 2)", "(3, 3)"),
    (landau.integrate, {"graph": lambda t: -np.eye(3)}, InvalidSpec, "graph(0) holds -1.0 at [0, 0]", "from 0 up"),
    (landau.integrate, {"graph": lambda t: np.inf * np.ones((3, 3))}, InvalidSpec, "holds inf at [0, 0]", "finite"),
    (landau.integrate, {"triadic": 2.0}, InvalidSpec, "triadic=2.0", "landau.Triadic(coupling=1.0"),
    (landau.integrate, {"triadic": landau.Triadic(-1.0)}, InvalidSpec, "triadic.coupling holds -1.0", "from 0 up"),
    (landau.integrate, {"triadic": landau.Triadic(1, -2.0)}, InvalidSpec, "triadic.selectivity holds -2.0", "from 0"),
    (
        landau.integrate,
        {"triadic": landau.Triadic([1.0, 2.0])},  # pyright: ignore[reportArgumentType]
        InvalidSpec,
        "triadic.coupling has shape (2,)",
        "one strength at a time",
    ),
    (landau.integrate, {"rtol": 0}, InvalidSpec, "rtol=0", "Write rtol=1e-06"),
    (landau.integrate, {"atol": "small"}, InvalidSpec, "atol='small'", "Write atol=1e-06"),
    (landau.integrate, {"rtol": True}, InvalidSpec, "rtol=True", "Write rtol=1e-06"),
    (landau.layered, {"initial": np.ones((3, 3))}, IncompatiblePair, "initial has shape (3, 3)", "np.tile(m[..., None"),
    (landau.layered, {"initial": [1.0, 1.0, 1.0]}, IncompatiblePair, "initial has shape (3,)", "np.tile"),
    (landau.layered, {"initial": [[1, 1, 1], [1, np.nan, 1]]}, InvalidSpec, "initial holds nan at [1, 1]", "finite"),
    (landau.layered, {"initial": "x"}, InvalidSpec, "initial='x'", "Write a number"),
    (landau.layered, {"initial": np.ones((2, 4))}, IncompatiblePair, "initial (4,)", "coupling=couplings[:, None]"),
    (landau.layered, {"depth": -1}, InvalidSpec, "depth=-1", "Write a whole number from 0"),
    (landau.sweep, {"protocol": "quenhc"}, UnknownName, "'quenhc' is not a protocol", "Did you mean 'quench'?"),
    (landau.sweep, {"couplings": [1, 0]}, InvalidSpec, "couplings=[1, 0]", "couplings=[0.0, 1.0, 10.0]"),
    (landau.sweep, {"couplings": []}, InvalidSpec, "couplings=[]", "couplings=[0.0, 1.0, 10.0]"),
    (landau.sweep, {"couplings": 3.0}, InvalidSpec, "couplings=3.0", "couplings=[0.0, 1.0, 10.0]"),
    (landau.sweep, {"couplings": [-1.0, 0]}, InvalidSpec, "couplings holds -1.0 at [0]", "from 0 up"),
    (landau.sweep, {"average_after": 10.0}, InvalidSpec, "average_after=10.0", "Write average_after=5."),
    (landau.sweep, {"average_after": -1}, InvalidSpec, "average_after=-1", "Write average_after=5."),
    (landau.sweep, {"span": np.inf}, InvalidSpec, "span=inf", "Write span=10"),
    (landau.sweep, {"delta": np.ones((2, 2, 3))}, InvalidSpec, "delta has shape (2, 2, 3)", "one sweep for each"),
    (landau.sweep, {"weight_decay": [0.1, 0.2]}, InvalidSpec, "weight_decay (2,)", "one sweep for each"),
    (landau.sweep, {"initial": "x"}, InvalidSpec, "initial='x'", "Write a number"),
    (landau.sweep, {"initial": np.ones((2, 4))}, IncompatiblePair, "initial (2, 4)", "agents on their last axis"),
    (landau.sweep, {"graph": graphs.cycle(4)}, IncompatiblePair, "cycle(4) has 4 agents", "a graph of 3 agents"),
]


@pytest.mark.parametrize(("function", "wrong", "error", "seen", "advice"), CASES)
def test_bad_input_is_refused(
    function: Any, wrong: dict[str, Any], error: type[Exception] | None, seen: str, advice: str
) -> None:
    given = (SWEPT if function is landau.sweep else POPULATION) | wrong
    if function is landau.layered and "initial" not in wrong:
        given["initial"] = np.ones((2, 3))
    if error is None:
        assert function(**given).shape == (2, 2, 3)
        return
    with pytest.raises(error) as raised:
        function(**given)
    message = str(raised.value)
    assert type(raised.value) is error
    assert seen in message
    assert advice in message
    assert "\n" not in message, "one paragraph"


ONE = np.array([1.0, 2.0, 3.0])
OTHERS = [
    (lambda: landau.drift(ONE, [np.nan, 0, 0], depth=1, coupling=1.0), InvalidSpec, "delta holds nan", "finite"),
    (
        lambda: landau.energy(ONE, ONE, depth=1, coupling=1.0, graph=graphs.from_adjacency(np.eye(3)[[1, 2, 0]])),
        IncompatiblePair,
        "is directed",
        "np.maximum(q, q.T)",
    ),
    (lambda: landau.time_average(ONE, [0, 1, 2], after=5), InvalidSpec, "after=5", "Write after=2."),
    (
        lambda: landau.time_average(ONE, [0, 1], after=0),
        IncompatiblePair,
        "(3,), and there are 2 times",
        "one for each",
    ),
    (lambda: landau.time_average(ONE, [0, 0, 1], after=0), InvalidSpec, "times[1]=0 does not come", "np.unique"),
    (
        lambda: landau.hysteresis_area(
            xr.DataArray(ONE, dims="coupling", coords={"coupling": [0, 1, 2]}),
            xr.DataArray(ONE, dims="coupling", coords={"coupling": [0, 1, 3]}),
        ),
        IncompatiblePair,
        "[0, 1, 2] and [0, 1, 3]",
        "Sweep the same couplings",
    ),
    (lambda: landau.effective_loss(ONE, ONE, -1), InvalidSpec, "depth=-1", "from 0"),
    (lambda: landau.cross_loss(ONE, [1.0, 2.0], 1), IncompatiblePair, "delta (2,)", "one δ per agent"),
    (lambda: landau.effective_loss(ONE, np.ones((2, 3)), 1), IncompatiblePair, "delta (2, 3)", "one δ per agent"),
    (lambda: landau.cross_loss(ONE, ONE, 1, second_moment=-1), InvalidSpec, "second_moment holds -1.0", "from 0 up"),
    (lambda: landau.linear_state(1.0, coupling=1.0), InvalidSpec, "delta has shape ()", "Write delta=[1.0]"),
    (
        lambda: landau.linear_state(np.ones((3, 4)), coupling=[1.0, 2.0]),
        IncompatiblePair,
        "delta (3, 4) and coupling (2,)",
        "coupling=couplings[:, None]",
    ),
    (lambda: landau.cross_accuracy(np.ones((2, 3)), 1.0), InvalidSpec, "delta has shape (2, 3)", "one realization"),
    (lambda: landau.cross_accuracy(ONE, 1.0, weight_decay=-1), InvalidSpec, "weight_decay holds -1.0", "from 0 up"),
    (
        lambda: landau.cross_accuracy(ONE, 1.0, weight_decay=[0.1, 0.2]),  # pyright: ignore[reportArgumentType]
        InvalidSpec,
        "weight_decay has shape (2,)",
        "Write weight_decay=1e-3",
    ),
    (lambda: landau.learning_path(ONE, [1.0, -1.0]), InvalidSpec, "couplings holds -1.0 at [1]", "from 0 up"),
    (lambda: landau.gaussian_disorder(0, 3), InvalidSpec, "num_realizations=0", "a whole number from 1 up"),
    (lambda: landau.uniform_start(2, 2.5), InvalidSpec, "num_agents=2.5", "a whole number from 1 up"),  # pyright: ignore
    (lambda: landau.uniform_start(2, 3, seed=-1), InvalidSpec, "seed=-1", "Write seed=0"),
]


@pytest.mark.parametrize(("call", "error", "seen", "advice"), OTHERS)
def test_bad_input_elsewhere_is_refused(call: Any, error: type[Exception], seen: str, advice: str) -> None:
    with pytest.raises(error) as raised:
        call()
    message = str(raised.value)
    assert type(raised.value) is error
    assert seen in message
    assert advice in message
    assert "\n" not in message
