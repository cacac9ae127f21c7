"""Laws of coupling that changes with time, σ(t), and of coupling in triads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import consilience as cs
from consilience import graphs
from consilience.algorithms import Algorithm, DiffusiveCoupling, Inbox, Isolated, TriadicCoupling, contexts, run_round
from consilience.graphs import Graph, Interpolated, Schedules
from consilience.simulation import precision
from registries import (
    SmallProblem,
    assert_same_params,
    final_params,
    locals_of_round,
    network_of_round,
    small_problem,
    weighted_star,
)

PROBLEM = small_problem(4)
RATES: dict[str, Any] = {"learning_rate": 0.1, "weight_decay": 0.05}
PAIRS = DiffusiveCoupling(**RATES, coupling=3.0)
TRIADS = TriadicCoupling(**RATES, coupling=1.0, triadic_coupling=5.0, selectivity=2.0)
# One on which the simulator sums by means, and one on which it does not.
GRAPHS = [graphs.complete(4), weighted_star()]
on_both_graphs = pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)


def params_after(run: Any) -> dict[str, np.ndarray]:
    """The final parameters, to start another run from."""
    return {name.removeprefix("params/"): leaf for name, leaf in final_params(run).items()}


# ---- coupling that changes with time -----------------------------------------------------------------------------


@on_both_graphs
def test_a_factor_of_one_changes_nothing(graph: Graph) -> None:
    assert_same_params(*with_and_without_a_factor_of_one(graph))


@pytest.mark.slow  # compiled as users compile it: the default suite's quick compilation rounds fused products otherwise
@on_both_graphs
def test_a_factor_of_one_changes_no_bit(graph: Graph) -> None:
    # A product with exactly one is exact.
    assert_same_params(*with_and_without_a_factor_of_one(graph), tolerance=0)


def with_and_without_a_factor_of_one(graph: Graph) -> tuple[Any, Any]:
    constant = Schedules(coupling=Interpolated((0, 10), (1.0, 1.0)))
    options: dict[str, Any] = {"graph": graph, "batch_size": 2}
    return PROBLEM.simulate(PAIRS, schedules=constant, **options), PROBLEM.simulate(PAIRS, **options)


@on_both_graphs
def test_a_constant_factor_is_another_coupling(graph: Graph) -> None:
    constant = Schedules(coupling=Interpolated((0,), (0.7,)))
    weaker = DiffusiveCoupling(**RATES, coupling=0.7 * 3.0)
    assert_same_params(PROBLEM.simulate(PAIRS, graph=graph, schedules=constant), PROBLEM.simulate(weaker, graph=graph))


def test_a_factor_acts_on_pairs_and_not_on_triads() -> None:
    constant = Schedules(coupling=Interpolated((0,), (0.7,)))
    weaker = TriadicCoupling(**RATES, coupling=0.7, triadic_coupling=5.0, selectivity=2.0)
    assert_same_params(PROBLEM.simulate(TRIADS, schedules=constant), PROBLEM.simulate(weaker))


@on_both_graphs
def test_agents_learn_alone_while_the_factor_is_zero(graph: Graph) -> None:
    """Rounds 0 and 3 coupled, 1 and 2 not: one run with the schedule is a coupled, an isolated and a coupled run."""
    switched = Interpolated(rounds=(0, 1, 2, 3), values=(1.0, 0.0, 0.0, 1.0))
    whole = PROBLEM.simulate(PAIRS, graph=graph, schedules=Schedules(coupling=switched), num_rounds=4)
    params, plan = PROBLEM.initial_params, [(PAIRS, 1), (Isolated(**RATES), 2), (PAIRS, 1)]
    run = None
    for algorithm, num_rounds in plan:
        run = PROBLEM.simulate(algorithm, graph=graph, num_rounds=num_rounds, initial_params=params)
        params = params_after(run)
    assert run is not None
    assert_same_params(whole, run)


@on_both_graphs
def test_a_table_is_the_coupling_of_each_round(graph: Graph) -> None:
    """σ(t) as a schedule, against `run_round` with an algorithm of another coupling in every round."""
    table, num_rounds = Interpolated(rounds=(0, 2, 5), values=(0.0, 1.0, 0.4)), 7
    options: dict[str, Any] = {"graph": graph, "batch_size": 2, "num_rounds": num_rounds}
    run = PROBLEM.simulate(PAIRS, schedules=Schedules(coupling=table), **options)
    couplings = 3.0 * np.interp(range(num_rounds), table.rounds, table.values)
    steps = [DiffusiveCoupling(**RATES, coupling=float(coupling)) for coupling in couplings]
    for name, leaf in round_by_round(steps, PROBLEM, **options).items():
        # Seven rounds of some ten operations on numbers of order one.
        np.testing.assert_allclose(run[f"params/{name}"], leaf, rtol=0, atol=1e-13)


def round_by_round(steps: Sequence[Algorithm], problem: SmallProblem, **options: Any) -> dict[str, np.ndarray]:
    """The parameters of all agents after one round of each of the algorithms, by `run_round`."""
    experiment = problem.experiment(steps[0], **options)
    with precision(experiment.dtype):
        network = network_of_round(experiment, 0)
        who = contexts(steps[0], network, round=0, exchange=0, seed=0)
        states = [steps[0].init(problem.initial(agent), who[agent]) for agent in range(problem.num_agents)]
        for round, algorithm in enumerate(steps):
            batches = locals_of_round(experiment, round=round, seed=0)
            states = run_round(algorithm, states, batches, network, round=round)
    return {name: np.stack([np.asarray(state[name]) for state in states]) for name in states[0]}


# ---- triads ------------------------------------------------------------------------------------------------------


@on_both_graphs
def test_agents_that_agree_stay_together_under_triads(graph: Graph) -> None:
    """From common parameters and on common data nobody pulls anybody: each does what it would alone, to the bit."""
    task = PROBLEM.task
    together = small_problem(4, common_init=True)
    same_data = SmallProblem(
        task=task,
        shards=cs.tasks.from_indices(task, 4 * [np.arange(6)]),
        model=together.model,
        initial_params=together.initial_params,
    )
    alone = same_data.simulate(Isolated(**RATES), graph=graph)
    assert_same_params(same_data.simulate(TRIADS, graph=graph), alone, tolerance=0)


def pulled_by(algorithm: TriadicCoupling, own: Any, others: Any, *, mask: Any = None) -> np.ndarray:
    """What the triads of one agent with three neighbours on the complete graph add to its parameters.

    Args:
        own: shape (parameters,).
        others: shape (3, parameters).
        mask: which of them are heard, shape (3,); all by default.
    """
    own, others = jnp.asarray(own), jnp.asarray(others)
    local = cs.algorithms.Local(
        jnp.zeros((1, 1, 1)), jnp.zeros((1, 1, 1)), None, lambda w, x: 0 * w.sum() + x, lambda out, target: out[:, 0]
    )
    graph = graphs.complete(4)
    network = cs.algorithms.Network(graph, algorithm.default_mixing(graph))
    (context, *_) = contexts(algorithm, network, round=0, exchange=0, seed=0)
    inbox = Inbox(
        mixed=own,
        coupled=jnp.zeros_like(own),
        messages=others,
        senders=jnp.arange(1, 4),
        weights=jnp.full(3, 0.25),
        mask=jnp.ones(3, bool) if mask is None else jnp.asarray(mask),
    )
    return np.asarray(algorithm.absorb(own, inbox, local, context) - own)


def test_two_neighbours_that_agree_outvote_a_third() -> None:
    """Without selectivity all three pull the same; with much of it the loner, in no triad that agrees, does not."""
    own, others = np.zeros(2), np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    tau, eta = 2.0, 0.5
    with precision("float64"):
        equal = pulled_by(TriadicCoupling(eta, triadic_coupling=tau), own, others)
        # Each of the three has two others beside it: ητ/N² · 2 · Σ_j θ_j.
        np.testing.assert_allclose(equal, eta * tau / 16 * 2 * np.array([2.0, 3.0]), rtol=1e-15)
        selective = pulled_by(TriadicCoupling(eta, triadic_coupling=tau, selectivity=20.0), own, others)
    # d² = (1 + 9)/2 between loner and pair: κ = e^−100. The pair has one other beside each: ητ/N² · 1 · (1 + 1).
    np.testing.assert_allclose(selective, [eta * tau / 16 * 2, 0.0], rtol=1e-15, atol=1e-40)


def test_what_did_not_arrive_pulls_nobody_whatever_it_is() -> None:
    own, heard = np.array([0.5, -1.0]), np.array([[1.0, 2.0], [0.0, 1.0]])
    algorithm, mask = TriadicCoupling(0.5, triadic_coupling=2.0, selectivity=1.0), [True, False, True]
    with precision("float64"):
        pulls = []
        for lost in (0.0, 1e6, np.nan, np.inf):
            others = np.array([heard[0], [lost, lost], heard[1]])
            pulls.append(pulled_by(algorithm, own, others, mask=mask))
    # d² = 1 between the two that are heard: ητ/N² · e^−1 · Σ_j (θ_j − θ_i).
    expected = 0.5 * 2.0 / 16 * np.exp(-1) * (heard - own).sum(axis=0)
    np.testing.assert_allclose(pulls, 4 * [expected], rtol=1e-14)


@pytest.mark.parametrize("selectivity", [0.0, 2.0])
def test_selective_triads_move_the_mean_and_others_do_not(selectivity: float) -> None:
    """On the complete graph pairwise coupling keeps the mean; three-body consensus moves it, as its authors say."""
    triads = TriadicCoupling(**RATES, triadic_coupling=20.0, selectivity=selectivity)
    options: dict[str, Any] = {"graph": graphs.complete(4), "num_rounds": 1}
    coupled, alone = PROBLEM.simulate(triads, **options), PROBLEM.simulate(Isolated(**RATES), **options)
    shifts = [
        np.abs(leaf.mean(axis=0) - final_params(alone)[name].mean(axis=0)).max()
        for name, leaf in final_params(coupled).items()
    ]
    # A few roundings of numbers of order one, or a shift that the eye can see.
    assert max(shifts) < 1e-14 if selectivity == 0 else max(shifts) > 1e-2


def test_triads_commute_with_relabelling_agents() -> None:
    new_from_old = np.array([2, 0, 3, 1])
    relabelled = SmallProblem(
        task=PROBLEM.task,
        shards=cs.tasks.from_indices(PROBLEM.task, [PROBLEM.shards[agent] for agent in new_from_old]),
        model=PROBLEM.model,
        initial_params={name: leaf[new_from_old] for name, leaf in PROBLEM.initial_params.items()},
    )
    q = np.random.default_rng(3).uniform(0.5, 1.5, size=(4, 4)) * (1 - np.eye(4))
    before = PROBLEM.simulate(TRIADS, graph=graphs.from_adjacency(q))
    after = relabelled.simulate(TRIADS, graph=graphs.from_adjacency(q[np.ix_(new_from_old, new_from_old)]))
    for name, leaf in final_params(before).items():
        # Sums in another order: some roundings of numbers of order one.
        np.testing.assert_allclose(final_params(after)[name], leaf[new_from_old], rtol=0, atol=1e-13)


def test_far_neighbours_do_not_overflow() -> None:
    """In single precision, agents 1e15 apart: d² = 1e30, κ = 0, and nothing is NaN."""
    with precision("float32"):
        others = np.array([[1e15, 0.0], [-1e15, 0.0], [0.0, 1.0]], np.float32)
        pull = pulled_by(TriadicCoupling(0.5, triadic_coupling=2.0, selectivity=1.0), np.zeros(2, np.float32), others)
    np.testing.assert_array_equal(pull, 0)
