"""What exact, directed and corrected methods say that they reduce to, run on both sides."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import consilience as cs
from consilience import graphs
from consilience.algorithms import AdaptThenCombine, Algorithm, DiffusiveCoupling, FederatedAveraging, Isolated
from consilience.algorithms.decaying_coupling import DecayingCoupling
from consilience.algorithms.exact_diffusion import ExactDiffusion
from consilience.algorithms.fed_prox import FedProx
from consilience.algorithms.gradient_tracking import GradientTracking
from consilience.algorithms.push_sum import PushSum
from consilience.algorithms.relay_sum import RelaySum
from consilience.algorithms.scaffold import Scaffold
from consilience.algorithms.variance_corrected import VarianceCorrected
from quadratics import as_quadratics, ends
from registries import ROUNDING, SmallProblem, assert_same_params, final_params, small_problem, weighted_star

RATES: dict[str, Any] = {"learning_rate": 0.1, "weight_decay": 0.05}
ROUNDS = 4
SINGLE = small_problem(1)
PAIR = small_problem(2)
UNEQUAL = small_problem(4)
EQUAL = small_problem(4, sizes=(4, 4, 4, 4), common_init=True)
STAR = weighted_star()
UNIFORM, IDENTITY = graphs.uniform(4), graphs.from_matrix(np.eye(4), "identity")
STEADY: dict[str, Any] = {"rate_exponent": 0.0, "coupling_exponent": 0.0}

# Strongly connected, and every agent is heard by as many as it hears: doubly stochastic, but not symmetric.
BALANCED = graphs.cycle(4, directed=True)


@functools.cache
def run(
    algorithm: Algorithm, problem: SmallProblem = UNEQUAL, *, num_rounds: int = ROUNDS, **options: Any
) -> xr.Dataset:
    """A simulation on mini-batches; those that several tests ask for run once."""
    return problem.simulate(algorithm, num_rounds=num_rounds, batch_size=2, **options)


# ---- one agent, or agents that do not interact -------------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithm",
    [
        GradientTracking(**RATES),
        ExactDiffusion(**RATES),
        Scaffold(**RATES, local_steps=2),
        FedProx(**RATES, local_steps=2, proximity=0.0),
        PushSum(**RATES),
        RelaySum(**RATES),
        VarianceCorrected(**RATES, local_steps=2),
        DecayingCoupling(**RATES, coupling=3.0, rate_exponent=0.0),
    ],
    ids=lambda algorithm: type(algorithm).__name__,
)
def test_one_agent_does_sgd(algorithm: Algorithm) -> None:
    """Plain mini-batch SGD in NumPy."""
    steps = algorithm.num_local_steps
    params = SINGLE.initial(0)
    for samples in SINGLE.batches(batch_size=2, num_rounds=ROUNDS, num_local_steps=steps).reshape(-1, 2):
        gradient = SINGLE.gradient(params, samples, weight_decay=RATES["weight_decay"])
        params = {name: params[name] - RATES["learning_rate"] * gradient[name] for name in params}
    for name, leaf in final_params(run(algorithm, SINGLE)).items():
        np.testing.assert_allclose(leaf[0], params[name.removeprefix("params/")], rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize(
    "algorithm",
    [GradientTracking(**RATES), ExactDiffusion(**RATES), PushSum(**RATES), VarianceCorrected(**RATES)],
    ids=lambda algorithm: type(algorithm).__name__,
)
def test_the_identity_matrix_isolates(algorithm: Algorithm) -> None:
    assert_same_params(run(algorithm, mixing=IDENTITY), run(Isolated(**RATES)))


def test_no_coupling_that_does_not_decay_isolates() -> None:
    coupled = DecayingCoupling(**RATES, coupling=0.0, rate_exponent=0.0)
    assert_same_params(run(coupled), run(Isolated(**RATES)))


# ---- adapt-then-combine ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [GradientTracking, ExactDiffusion], ids=lambda method: method.__name__)
def test_with_full_averaging_there_is_nothing_to_correct(method: type[Algorithm]) -> None:
    combined = run(AdaptThenCombine(**RATES), mixing=UNIFORM)
    assert_same_params(run(method(**RATES), mixing=UNIFORM), combined)


@pytest.mark.parametrize("method", [GradientTracking, ExactDiffusion], ids=lambda method: method.__name__)
def test_the_first_round_corrects_nothing(method: type[Algorithm]) -> None:
    options: dict[str, Any] = {"graph": STAR, "mixing": graphs.metropolis(STAR)}
    combined, corrected = AdaptThenCombine(**RATES), method(**RATES)
    assert_same_params(run(corrected, num_rounds=1, **options), run(combined, num_rounds=1, **options))
    difference = ends(run(corrected, **options)) - ends(run(combined, **options))
    assert np.abs(difference).max() > 1e-3, "later rounds correct nothing either"


def test_push_sum_with_a_doubly_stochastic_matrix_is_adapt_then_combine() -> None:
    mixing = graphs.column_stochastic(BALANCED)
    assert mixing.is_doubly_stochastic
    assert not mixing.is_symmetric
    options: dict[str, Any] = {"graph": BALANCED, "mixing": mixing}
    assert_same_params(run(PushSum(**RATES), **options), run(AdaptThenCombine(**RATES), **options))


def test_push_sum_without_learning_averages_initial_parameters() -> None:
    graph = graphs.from_adjacency([[0, 1, 0, 0], [0, 0, 2, 1], [1, 0, 0, 1], [3, 0, 0, 0]], name="lopsided")
    end = ends(run(PushSum(learning_rate=0.0), graph=graph, num_rounds=200))
    start = as_quadratics(UNEQUAL).start
    # The second eigenvalue of W is 0.66 in modulus, and 0.66^200 is nothing.
    np.testing.assert_allclose(end, np.broadcast_to(start.mean(axis=0), start.shape), atol=ROUNDING)


def test_relay_sum_of_two_is_adapt_then_combine() -> None:
    graph = graphs.complete(2)
    combined = run(AdaptThenCombine(**RATES), PAIR, graph=graph, mixing=graphs.uniform(2))
    assert_same_params(run(RelaySum(**RATES), PAIR, graph=graph), combined)


def test_relay_sum_without_learning_is_a_mean_over_delayed_parameters() -> None:
    """On a path, at η = 0, in closed form: the mean over j of θ_j, |i − j| − 1 rounds ago."""
    history = [as_quadratics(UNEQUAL).start]
    for t in range(9):
        new = np.zeros_like(history[0])
        for i in range(4):
            known = [
                history[then][j] for j in range(4) if (then := t - max(0, abs(i - j) - 1)) >= 0
            ]  # what j sends needs |i − j| hops, one per round
            new[i] = sum(known) / len(known)
        history.append(new)
    end = ends(run(RelaySum(learning_rate=0.0), graph=graphs.path(4), num_rounds=9))
    np.testing.assert_allclose(end, history[-1], atol=ROUNDING)


def test_no_correction_of_variance_is_adapt_then_combine() -> None:
    corrected = VarianceCorrected(**RATES, local_steps=2, correction=0.0)
    assert_same_params(run(corrected, graph=STAR), run(AdaptThenCombine(**RATES, local_steps=2), graph=STAR))


def test_single_numbers_have_no_variance_to_correct() -> None:
    """A linear model whose weights are leaves of their own."""
    names = ("a", "b", "c")
    model = cs.models.from_functions(
        lambda key: {name: jnp.zeros(()) for name in names},
        lambda params, inputs: sum(params[name] * inputs[:, k, None] for k, name in enumerate(names)),  # pyright: ignore
    )
    random = np.random.default_rng(1)
    data = [random.normal(size=shape) for shape in ((8, 3), (8, 1), (2, 3), (2, 1))]
    task = cs.tasks.from_arrays(*data, name="single numbers")
    problem = SmallProblem(
        task=task,
        shards=cs.tasks.from_indices(task, [np.arange(i, 8, 4) for i in range(4)]),
        model=model,
        initial_params={name: random.normal(size=4) for name in names},
    )
    corrected = run(VarianceCorrected(**RATES), problem, graph=STAR)
    assert_same_params(corrected, run(AdaptThenCombine(**RATES), problem, graph=STAR))


# ---- federated averaging -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedules", [None, graphs.Schedules(active=graphs.RandomSubset(2, num_agents=4, seed=4))])
def test_fed_prox_without_proximity_is_federated_averaging(schedules: graphs.Schedules | None) -> None:
    problem = small_problem(4, common_init=True)
    options: dict[str, Any] = {"schedules": schedules, "num_rounds": ROUNDS, "batch_size": 2}
    expected = problem.simulate(FederatedAveraging(**RATES, local_steps=3), **options)
    assert_same_params(problem.simulate(FedProx(**RATES, local_steps=3, proximity=0.0), **options), expected)
    held = problem.simulate(FedProx(**RATES, local_steps=3, proximity=1.0), **options)
    assert np.abs(ends(held) - ends(expected)).max() > 1e-3, "a proximity that does nothing proves nothing"


def test_the_first_step_feels_no_proximity() -> None:
    assert_same_params(run(FedProx(**RATES, proximity=5.0), EQUAL), run(FederatedAveraging(**RATES), EQUAL))


def test_scaffold_in_its_first_round_is_federated_averaging() -> None:
    corrected, plain = Scaffold(**RATES, local_steps=3), FederatedAveraging(**RATES, local_steps=3)
    assert_same_params(run(corrected, EQUAL, num_rounds=1), run(plain, EQUAL, num_rounds=1))
    assert np.abs(ends(run(corrected, EQUAL)) - ends(run(plain, EQUAL))).max() > 1e-3, "later rounds correct nothing"


def test_scaffold_with_one_step_of_everybody_is_federated_averaging() -> None:
    assert_same_params(run(Scaffold(**RATES), EQUAL), run(FederatedAveraging(**RATES), EQUAL))


# ---- diffusive coupling ------------------------------------------------------------------------------------------


def test_coupling_that_does_not_decay_is_diffusive_coupling() -> None:
    steady = run(DecayingCoupling(**RATES, coupling=3.0, **STEADY), graph=STAR)
    assert_same_params(steady, run(DiffusiveCoupling(**RATES, coupling=3.0), graph=STAR))


def test_nothing_has_decayed_in_the_first_round() -> None:
    decaying = DecayingCoupling(**RATES, coupling=3.0, rate_exponent=0.9, coupling_exponent=0.2)
    steady = DiffusiveCoupling(**RATES, coupling=3.0)
    assert_same_params(run(decaying, graph=STAR, num_rounds=1), run(steady, graph=STAR, num_rounds=1))
    assert np.abs(ends(run(decaying, graph=STAR)) - ends(run(steady, graph=STAR))).max() > 1e-3
