"""What scaled local SGD, decentralised Adam, schedules of gossip and compositions reduce to, run on both sides."""

import functools
from typing import Any

import numpy as np
import pytest

from consilience import graphs
from consilience.algorithms import Adam, AdaptThenCombine, FederatedAveraging, Isolated, ParallelSGD
from consilience.algorithms.decentralised_adam import DecentralisedAdam
from consilience.algorithms.gossip_methods import fed_sgd, synchronous_local_sgd
from consilience.algorithms.scaled_local_sgd import AdamScaling, OASISScaling, RMSPropScaling, ScaledLocalSGD
from consilience.graphs import Schedules
from consilience.graphs.gossip import Matchings, Merge, OnePeerExponential, RandomPairs
from consilience.graphs.triggers import EveryRounds
from registries import ROUNDING, assert_same_params, final_params, small_problem

UNEQUAL = small_problem(4)
EQUAL = small_problem(4, sizes=(4, 4, 4, 4), common_init=True)
RATES: dict[str, Any] = {"learning_rate": 0.1, "weight_decay": 0.05}
ROUNDS = 4
UNIFORM, IDENTITY = graphs.uniform(4), graphs.from_matrix(np.eye(4), "identity")
CYCLE = graphs.cycle(4)


@functools.cache
def run(algorithm, problem=UNEQUAL, *, num_rounds=ROUNDS, **options):
    return problem.simulate(algorithm, num_rounds=num_rounds, **options)


# ---- scaled local SGD --------------------------------------------------------------------------------------------


def test_no_scaling_is_local_sgd_to_the_bit():
    plain = run(AdaptThenCombine(**RATES, local_steps=3), mixing=UNIFORM, batch_size=2)
    assert_same_params(run(ScaledLocalSGD(**RATES, local_steps=3), batch_size=2), plain, tolerance=0)


@pytest.mark.parametrize("scaling", [AdamScaling, RMSPropScaling, OASISScaling])
def test_a_floor_above_all_that_is_measured_only_divides_the_rate(scaling):
    algorithm = ScaledLocalSGD(100.0, 0.05, local_steps=2, scaling=scaling(floor=1000.0))
    assert_same_params(run(algorithm), run(AdaptThenCombine(**RATES, local_steps=2), mixing=UNIFORM))


def test_one_adam_scaled_step_is_parallel_adam_without_a_mean_of_gradients():
    scaled = ScaledLocalSGD(**RATES, scaling=AdamScaling(decay=0.7, floor=0.0))
    parallel = ParallelSGD(**RATES, optimiser=Adam(b1=0.0, b2=0.7, eps=0.0))
    assert_same_params(run(scaled, EQUAL, batch_size=2), run(parallel, EQUAL, batch_size=2))


# ---- decentralised Adam ------------------------------------------------------------------------------------------


def test_decentralised_adam_without_links_is_adam_each():
    alone = run(Isolated(**RATES, optimiser=Adam(b1=0.6, b2=0.8, eps=1e-3)))
    assert_same_params(run(DecentralisedAdam(**RATES, b1=0.6, b2=0.8, eps=1e-3), mixing=IDENTITY), alone)


def sign_descent(num_rounds):
    at = [UNEQUAL.initial(agent) for agent in range(4)]
    for _ in range(num_rounds):
        for agent, params in enumerate(at):
            gradient = UNEQUAL.gradient(params, UNEQUAL.shards[agent], weight_decay=RATES["weight_decay"])
            at[agent] = {name: params[name] - RATES["learning_rate"] * np.sign(gradient[name]) for name in params}
    return at


@pytest.mark.parametrize(
    "options",
    [{"accumulation": 4}, {"accumulation": 9}, {"b1": 0.0, "b2": 0.0}, {"b1": 0.0, "b2": 0.0, "accumulation": 2}],
    ids=["one block", "no block is full", "no memory", "no memory, accumulated"],
)
def test_decentralised_adam_descends_along_signs(options):
    dataset = run(DecentralisedAdam(**RATES, eps=0.0, **options), mixing=IDENTITY)
    for name, leaf in final_params(dataset).items():
        expected = np.stack([params[name.removeprefix("params/")] for params in sign_descent(ROUNDS)])
        np.testing.assert_allclose(leaf, expected, rtol=ROUNDING, atol=ROUNDING)


def test_decentralised_adam_that_does_not_learn_gossips():
    weights = np.linalg.matrix_power(graphs.metropolis(CYCLE).weights, ROUNDS)
    dataset = run(DecentralisedAdam(0.0, 0.05, accumulation=2), graph=CYCLE)
    for name, leaf in final_params(dataset).items():
        start = UNEQUAL.initial_params[name.removeprefix("params/")]
        np.testing.assert_allclose(leaf, np.einsum("ij,j...->i...", weights, start), rtol=ROUNDING, atol=ROUNDING)


# ---- compositions ------------------------------------------------------------------------------------------------


def test_synchronous_local_sgd_of_one_step_is_sgd_on_the_union():
    """`ParallelSGD` is that, by tests of its own."""
    local = run(synchronous_local_sgd(0.1, 0.05), EQUAL, batch_size=2)
    assert_same_params(local, run(ParallelSGD(**RATES), EQUAL, batch_size=2))


def test_local_steps_are_rounds_between_means():
    """Whole shards, so that a step sees the same data whatever round it belongs to."""
    seldom = Schedules(edges=EveryRounds(3, num_agents=4))
    rounds = run(AdaptThenCombine(**RATES), num_rounds=12, mixing=UNIFORM, schedules=seldom)
    assert_same_params(run(synchronous_local_sgd(0.1, 0.05, local_steps=3)), rounds)


def test_fed_sgd_is_parallel_sgd_with_equal_shards():
    assert_same_params(run(fed_sgd(0.1, 0.05), EQUAL, batch_size=2), run(ParallelSGD(**RATES), EQUAL, batch_size=2))


def test_fed_sgd_is_gradient_descent_on_the_union_of_all_data():
    problem = small_problem(4, common_init=True)
    union, params = np.concatenate(list(problem.shards)), problem.initial(0)
    for _ in range(ROUNDS):
        gradient = problem.gradient(params, union, weight_decay=RATES["weight_decay"])
        params = {name: params[name] - RATES["learning_rate"] * gradient[name] for name in params}
    for name, leaf in final_params(run(fed_sgd(0.1, 0.05), problem)).items():
        expected = np.repeat(params[name.removeprefix("params/")][None], 4, axis=0)
        np.testing.assert_allclose(leaf, expected, rtol=ROUNDING, atol=ROUNDING)


# ---- schedules of mixing -----------------------------------------------------------------------------------------


def mixed(schedule, algorithm=None, **options):
    graph = options.pop("graph", None)
    return run(algorithm or AdaptThenCombine(**RATES), graph=graph, schedules=Schedules(mixing=schedule), **options)


def test_pairs_that_never_meet_and_no_budget_isolate():
    alone = run(Isolated(**RATES))
    assert_same_params(mixed(RandomPairs(CYCLE, probability=0.0), graph=CYCLE), alone)
    assert_same_params(mixed(Matchings(CYCLE, budget=0.0), graph=CYCLE), alone)


def test_two_agents_that_take_turns_are_a_random_pair_that_learns():
    pair = small_problem(2)
    drawn = mixed(RandomPairs(graphs.complete(2)), problem=pair)
    assert_same_params(mixed(OnePeerExponential(2), problem=pair), drawn)


def test_a_full_budget_of_matchings_is_a_constant_matrix():
    schedule = Matchings(CYCLE, budget=1.0)
    constant = graphs.from_matrix(np.eye(4) - schedule.weight * CYCLE.laplacian)
    assert_same_params(mixed(schedule, graph=CYCLE), run(AdaptThenCombine(**RATES), graph=CYCLE, mixing=constant))


def test_one_peer_reaches_the_mean():
    gossip = mixed(OnePeerExponential(4), AdaptThenCombine(0.0), num_rounds=2)
    for name, leaf in final_params(gossip).items():
        mean = UNEQUAL.initial_params[name.removeprefix("params/")].mean(axis=0)
        np.testing.assert_allclose(leaf, np.repeat(mean[None], 4, axis=0), rtol=ROUNDING, atol=ROUNDING)


def test_one_peer_leaves_a_single_agent_alone():
    single = small_problem(1)
    assert_same_params(mixed(OnePeerExponential(1), problem=single), run(Isolated(**RATES), single))


def test_a_merge_without_a_schedule_is_one_shot_averaging():
    """Agents learn alone, and their mean is taken after the last step."""
    alone = run(Isolated(**RATES))
    for name, leaf in final_params(mixed(Merge(ROUNDS - 1, 4))).items():
        mean = final_params(alone)[name].mean(axis=0)
        np.testing.assert_allclose(leaf, np.repeat(mean[None], 4, axis=0), rtol=ROUNDING, atol=ROUNDING)


def test_a_merge_is_its_schedule_until_then():
    gossip = RandomPairs(CYCLE, seed=3)
    assert_same_params(mixed(Merge(ROUNDS, 4, mixing=gossip)), mixed(gossip))


def test_federated_averaging_once_per_round_is_fed_sgd():
    assert fed_sgd(0.1, 0.05) == FederatedAveraging(0.1, 0.05)
