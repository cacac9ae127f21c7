"""The one-step methods have the orders that they claim, and the loop around them keeps its promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from consilience import graphs
from consilience.theory import landau
from consilience.theory.landau.dynamics import local_drift, local_slope, mean_field_pull
from consilience.theory.landau.solvers import Step, Stepper, dormand_prince, rodas4, row_errors, solve

Field = Callable[[Any, Any], Any]

N = 8
# Tame, so that a few dozen steps suffice for errors to fall as their power law says.
DELTA = np.random.default_rng(5).uniform(-1, 1, N)
START = np.random.default_rng(0).uniform(-0.5, 0.5, N)
SIGMA = 1.0


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def slope(steps: np.ndarray, errors: np.ndarray) -> float:
    """p of errors ~ stepᵖ, by least squares."""
    return float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


ORDER = 0.3
"""What the next order still adds to the slope at the steps below; a power more or less is 1 off."""


def errors_of_fixed_steps(
    stepper: Stepper, field: Field, initial: Any, truth: Any, num_steps: np.ndarray
) -> np.ndarray:
    """The largest error at time 1, for each number of steps."""

    @jax.jit
    def final(num_steps: Any) -> Any:
        h = 1 / num_steps
        y = jnp.asarray(initial, float)

        def one(k: Any, now: Step) -> Step:
            return stepper.step(k * h, now.state, now.slope, h)

        return jax.lax.fori_loop(0, num_steps, one, Step(y, field(0.0, y), y)).state

    errors = np.array([np.abs(np.asarray(final(int(n))) - truth).max() for n in num_steps])
    assert errors.min() > 1e-13, "rounding hides the order"
    return errors


# ---- a population on the complete graph: the Jacobian is diagonal plus rank one ------------------------------------


def population(delta: np.ndarray = DELTA, coupling: Any = SIGMA) -> tuple[Field, Callable[[Any], Any]]:
    """ṁ of Eq. (4) at D = 1 and γ̂ = 0, and the diagonal part of its Jacobian."""

    def field(t: Any, m: Any) -> Any:
        return local_drift(m, delta, depth=1, weight_decay=0.0) + coupling * mean_field_pull(m)

    def diagonal(m: Any) -> Any:
        return local_slope(m, delta, depth=1, weight_decay=0.0) - coupling

    return field, diagonal


FIELD, DIAGONAL = population()
METHODS = {"dormand_prince": dormand_prince(FIELD), "rodas4": rodas4(FIELD, DIAGONAL, SIGMA)}


def exact(until: float) -> np.ndarray:
    """The population of `DELTA` by DOP853, near rounding."""
    return solve_ivp(
        lambda t, m: np.asarray(FIELD(t, m)), (0, until), START, method="DOP853", rtol=1e-13, atol=1e-14
    ).y[:, -1]


def test_jacobian_is_diagonal_plus_rank_one() -> None:
    jacobian = jax.jacfwd(lambda m: FIELD(0.0, m))(jnp.asarray(START))
    np.testing.assert_allclose(jacobian, np.diag(DIAGONAL(START)) + SIGMA / N, rtol=0, atol=1e-14)  # a few products


# ---- order ---------------------------------------------------------------------------------------------------------


def test_dormand_prince_has_order_five() -> None:
    """ẏ = −2t(y − sin t)² + cos t has the solution 1/(1 + t²) + sin t: nonlinear, and the field depends on time."""

    def field(t: Any, y: Any) -> Any:
        return -2 * t * (y - jnp.sin(t)) ** 2 + jnp.cos(t)

    num_steps = np.array([8, 16, 32, 64])
    errors = errors_of_fixed_steps(dormand_prince(field), field, [1.0], 0.5 + np.sin(1.0), num_steps)
    assert slope(1 / num_steps, errors) == pytest.approx(5, abs=ORDER)


def test_rodas_has_order_four_where_agents_differ() -> None:
    """All order conditions of a Rosenbrock method up to four, on a system with the Jacobian that it is meant for."""
    num_steps = np.array([16, 32, 64, 128])
    errors = errors_of_fixed_steps(METHODS["rodas4"], FIELD, START, exact(1.0), num_steps)
    assert slope(1 / num_steps, errors) == pytest.approx(4, abs=ORDER)


@pytest.mark.parametrize("mean_coupling", [SIGMA, 0.0])
def test_rodas_needs_the_rank_one_part(mean_coupling: float) -> None:
    """Agents alike follow Bernoulli's equation ṁ = δm − m³; without (σ̂/N) 11ᵀ in the Jacobian the order is lost."""
    delta, start = 1.0, 0.3
    field, diagonal = population(np.full(N, delta))
    closed = np.sqrt(delta / (1 + (delta / start**2 - 1) * np.exp(-2 * delta)))
    num_steps = np.array([8, 16, 32, 64])
    errors = errors_of_fixed_steps(rodas4(field, diagonal, mean_coupling), field, np.full(N, start), closed, num_steps)
    order = slope(1 / num_steps, errors)
    assert (order == pytest.approx(4, abs=ORDER)) if mean_coupling else (order < 2.5)


@pytest.mark.parametrize(("method", "order"), [("dormand_prince", 5), ("rodas4", 4)])
def test_the_error_estimate_is_that_of_the_embedded_method(method: str, order: int) -> None:
    """The embedded solution, state − error, is off by h^order after one step; the state itself by a power more."""
    y, sizes = jnp.asarray(START), np.array([0.1, 0.05, 0.025, 0.0125])
    found = [METHODS[method].step(0.0, y, FIELD(0.0, y), h) for h in sizes]
    truth = [exact(float(h)) for h in sizes]
    estimates = np.array([np.linalg.norm(one.error) for one in found])
    embedded = np.array([np.linalg.norm(one.state - one.error - e) for one, e in zip(found, truth, strict=True)])
    own = np.array([np.linalg.norm(one.state - e) for one, e in zip(found, truth, strict=True)])
    assert slope(sizes, estimates) == pytest.approx(order, abs=ORDER)
    assert slope(sizes, embedded) == pytest.approx(order, abs=ORDER)
    assert slope(sizes[:3], own[:3]) > order + 0.7  # the smallest step of order six reaches rounding


def evaluations(method: str, h: float) -> tuple[Step, list[np.ndarray], list[np.ndarray]]:
    """One step from `START`, and where the field is evaluated on the way, with its values; the start comes first."""
    at, values = [], []

    def recorded(t: Any, y: Any) -> Any:
        at.append(np.asarray(y))
        values.append(np.asarray(FIELD(t, y)))
        return FIELD(t, y)

    y = jnp.asarray(START)
    first = recorded(0.0, y)
    stepper = dormand_prince(recorded) if method == "dormand_prince" else rodas4(recorded, DIAGONAL, SIGMA)
    return stepper.step(0.0, y, first, h), at, values


def test_the_error_of_dormand_prince_is_taken_from_the_published_weights_of_order_four() -> None:
    h = 0.1
    new, _, slopes = evaluations("dormand_prince", h)
    published = (5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
    embedded = START + h * sum(b * k for b, k in zip(published, slopes, strict=True))
    np.testing.assert_allclose(new.error, new.state - embedded, rtol=0, atol=1e-15)  # rounding of numbers below one


def test_the_error_of_rodas_is_taken_from_where_its_last_stage_is() -> None:
    """Hairer and Wanner choose both solutions stiffly accurate: the embedded one is the last stage's argument."""
    new, at, _ = evaluations("rodas4", 0.1)
    assert len(at) == 7, "six stages, the first at the start, and the slope that is handed on"
    np.testing.assert_allclose(new.error, new.state - at[5], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(new.state, at[6])


@pytest.mark.parametrize("method", METHODS)
def test_the_slope_handed_on_is_the_field_at_the_new_state(method: str) -> None:
    y = jnp.asarray(START)
    new = METHODS[method].step(0.0, y, FIELD(0.0, y), 0.1)
    np.testing.assert_allclose(new.slope, FIELD(0.1, new.state), rtol=0, atol=1e-14)  # the same sums


# ---- the loop ------------------------------------------------------------------------------------------------------


@jax.jit
def implicit(initial: Any, coupling: Any, times: Any) -> Any:
    field, diagonal = population(coupling=coupling)
    step = rodas4(field, diagonal, coupling)
    return solve(field, step, initial, times, rtol=1e-6, atol=1e-9, max_steps=200_000)


@jax.jit
def explicit(initial: Any, coupling: Any, times: Any, max_steps: Any = 200_000) -> Any:
    field, _ = population(coupling=coupling)
    step = dormand_prince(field)
    return solve(field, step, initial, times, rtol=1e-6, atol=1e-9, max_steps=max_steps)


def test_only_the_explicit_method_pays_for_strong_coupling() -> None:
    times = np.array([0.0, 10.0])
    couplings = np.array([1.0, 1e1, 1e2, 1e3, 1e4])
    steps = {
        solver: np.array([int(solver(START[None], coupling, times)[1]) for coupling in couplings])
        for solver in (implicit, explicit)
    }
    # Agents meet within 1/σ̂, whose resolution costs a constant number of steps; then nothing is fast any more.
    assert steps[implicit].max() < 150
    # Stability asks for σ̂h ≲ 3.3, the end of the method's interval on the negative real axis.
    expected = couplings[2:] * times[-1] / 3.3
    np.testing.assert_allclose(steps[explicit][2:], expected, rtol=0.3)  # the share of steps that are rejected


@pytest.mark.parametrize("solver", [implicit, explicit])
def test_output_times_cost_nothing_but_themselves(solver: Callable[..., Any]) -> None:
    """Also if they are close to each other, and steps between them tiny."""
    few, many = np.array([0.0, 5.0]), np.sort(np.append(np.linspace(0, 5, 21), np.linspace(0, 5, 21)[1:-1] + 1e-9))
    sparse, num_sparse = solver(START[None], SIGMA, few)
    dense, num_dense = solver(START[None], SIGMA, many)
    assert dense.shape == (40, 1, N)
    np.testing.assert_array_equal(dense[0, 0], START)
    # Steps cut short to end at an output time are extra ones, and they do not slow down those after them.
    assert num_dense <= num_sparse + 39
    # A hundred times the tolerance of a step.
    np.testing.assert_allclose(dense[[7, -1], 0], [exact(1.0), exact(5.0)], rtol=0, atol=1e-4)
    np.testing.assert_allclose(sparse[-1, 0], exact(5.0), rtol=0, atol=1e-4)


def test_after_max_steps_all_rows_are_given_up() -> None:
    states, num_steps = explicit(START[None], 1e4, np.array([0.0, 1e-4, 10.0, 20.0]), max_steps=50)
    assert num_steps == 51  # the one that finds that the number is exceeded is counted too
    assert np.isfinite(states[:2]).all()
    assert np.isnan(states[2:]).all()


def test_errors_are_measured_row_by_row_relative_to_the_larger_end() -> None:
    error = np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 0.0]])
    before, after = np.array([[1.0, -2.0], [1, 1], [1, 1]]), np.array([[-4.0, 1.0], [1, 1], [1, 1]])
    found = row_errors(error, before, after, 0.5, 1.0)
    # 3/(1 + 0.5·4) = 1 and 4/(1 + 0.5·2) = 2
    np.testing.assert_allclose(found, [np.sqrt((1 + 4) / 2), 0, np.nan], rtol=1e-15)


# ---- rows that cannot be continued ---------------------------------------------------------------------------------

RATES = np.array([[1.0, 2.0], [-1.0, 0.5]])
FROM = np.array([[1.0, 0.4], [1.0, 0.4]])
BLOW_UP: dict[str, Any] = {
    "depth": 2, "weight_decay": 0.0, "second_moment": 0.0, "times": np.array([0, 0.5, 0.99, 1 - 1e-6, 1 + 1e-6, 1.5, 2])
}  # fmt: skip
"""With ⟨x̂²⟩ = 0 nothing bounds m. ṁ = δm² has m = m₀/(1 − δm₀t), which in the first row is infinite at t = 1."""


@pytest.mark.parametrize("graph", [None, graphs.from_adjacency([[0, 1e-300], [0, 0]])], ids=["implicit", "explicit"])
def test_a_row_that_diverges_is_nan_from_then_on_and_others_do_not_notice(graph: graphs.Graph | None) -> None:
    m = landau.integrate(RATES, FROM, coupling=0.0, graph=graph, **BLOW_UP)
    times = BLOW_UP["times"][:, None]
    # Near the pole an error of the time t is multiplied by m/(1 − t).
    np.testing.assert_allclose(m[:3, 0], FROM[0] / (1 - RATES[0] * FROM[0] * times[:3]), rtol=1e-7)
    assert np.isfinite(m[3, 0]).all()
    assert np.isnan(m[4:, 0]).all(), "both agents of the realization: it is no solution any more"
    np.testing.assert_allclose(m[:, 1], FROM[1] / (1 - RATES[1] * FROM[1] * times), rtol=1e-9)
    alone = landau.integrate(RATES[[1, 1]], FROM[[1, 1]], coupling=0.0, graph=graph, **BLOW_UP)
    # They share steps, which the first row makes small: the difference is the tolerance, 1e-10 for each large step.
    np.testing.assert_allclose(m[:, 1], alone[:, 1], rtol=1e-9)


def test_a_row_that_diverges_does_not_touch_other_couplings() -> None:
    weak, strong = np.full(2, 0.1), np.full(2, 50.0)
    both = landau.integrate(np.tile(RATES, (2, 1)), np.ones((4, 2)), coupling=np.append(weak, strong), **BLOW_UP)
    assert np.isnan(both[-1, 0]).all()
    second = landau.integrate(RATES, np.ones((2, 2)), coupling=strong, **BLOW_UP)
    assert np.isfinite(second[:, 1]).all()
    np.testing.assert_array_equal(both[:, 2:], second)


def test_infinite_slopes_at_the_start_end_at_once() -> None:
    """1e200 squared is no number; the row is given up, and the integration ends."""
    m = landau.integrate(RATES, [[1e200, 1.0], [-1.0, -1.0]], coupling=0.0, **BLOW_UP)
    assert np.isfinite(m[0]).all()
    assert np.isnan(m[1:, 0]).all()
    assert np.isfinite(m[:2, 1]).all()
