"""What every catalog entry says that it reduces to, run on both sides.

`reduces(name, ...)` files a test under the entries whose "Reduces to" section it proves; `test_claims` counts them.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from consilience import graphs
from consilience.algorithms import (
    DGD,
    AdaptThenCombine,
    Algorithm,
    AsynchronousElasticAveraging,
    ChocoSGD,
    CombineThenAdapt,
    DiffusiveCoupling,
    ElasticAveraging,
    FederatedAveraging,
    Isolated,
    ParallelSGD,
    TriadicCoupling,
)
from consilience.graphs import Graph
from consilience.messages import TopK
from registries import (
    ROUNDING,
    SmallProblem,
    assert_same_params,
    directed_cycle,
    final_params,
    small_problem,
    weighted_star,
)

REDUCTIONS: dict[str, list[str]] = defaultdict(list)
RATES: dict[str, Any] = {"learning_rate": 0.1, "weight_decay": 0.05}
ROUNDS = 4

Params = dict[str, np.ndarray]


def reduces(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Files the test under the catalog entries of these names."""

    def file(test: Callable[..., None]) -> Callable[..., None]:
        for name in names:
            REDUCTIONS[name].append(test.__name__)
        return test

    return file


UNEQUAL = small_problem(4)
EQUAL = small_problem(4, sizes=(4, 4, 4, 4), common_init=True)
SINGLE = small_problem(1)
PAIR = small_problem(2)


@functools.cache
def run(algorithm: Algorithm, problem: SmallProblem = UNEQUAL, **options: Any) -> xr.Dataset:
    """A simulation; those that several tests ask for run once."""
    return problem.simulate(algorithm, num_rounds=ROUNDS, **options)


def stepped(params: Params, gradient: Params) -> Params:
    return {name: leaf - RATES["learning_rate"] * gradient[name] for name, leaf in params.items()}


def sgd(problem: SmallProblem, *, local_steps: int = 1, batch_size: int = 2) -> list[Params]:
    """Plain mini-batch SGD in NumPy, agent by agent."""
    batches = problem.batches(batch_size=batch_size, num_rounds=ROUNDS, num_local_steps=local_steps)
    ends = []
    for agent in range(problem.num_agents):
        params = problem.initial(agent)
        for samples in batches[:, agent].reshape(-1, batch_size):
            params = stepped(params, problem.gradient(params, samples, weight_decay=RATES["weight_decay"]))
        ends.append(params)
    return ends


def centralised(problem: SmallProblem, batches: list[np.ndarray]) -> Params:
    """SGD on the given batches, in NumPy."""
    params = problem.initial(0)
    for samples in batches:
        params = stepped(params, problem.gradient(params, samples, weight_decay=RATES["weight_decay"]))
    return params


def assert_ends_at(dataset: xr.Dataset, ends: list[Params]) -> None:
    for name, leaf in final_params(dataset).items():
        expected = np.stack([end[name.removeprefix("params/")] for end in ends])
        np.testing.assert_allclose(leaf, expected, rtol=ROUNDING, atol=ROUNDING)


# ---- one agent, or agents that do not interact -------------------------------------------------------------------


@reduces("isolated")
def test_isolated_agents_do_sgd_each() -> None:
    assert_ends_at(run(Isolated(**RATES, local_steps=2), batch_size=2), sgd(UNEQUAL, local_steps=2))


@reduces(
    "diffusive_coupling",
    "triadic_coupling",
    "dgd",
    "adapt_then_combine",
    "combine_then_adapt",
    "federated_averaging",
    "parallel_sgd",
    "choco_sgd",
)
@pytest.mark.parametrize(
    ("algorithm", "local_steps"),
    [
        (DiffusiveCoupling(**RATES, coupling=3.0), 1),
        (TriadicCoupling(**RATES, coupling=3.0, triadic_coupling=5.0), 1),
        (DGD(**RATES), 1),
        (AdaptThenCombine(**RATES, local_steps=2), 2),
        (CombineThenAdapt(**RATES, local_steps=2), 2),
        (FederatedAveraging(**RATES, local_steps=2), 2),
        (ParallelSGD(**RATES), 1),
        (ChocoSGD(**RATES, local_steps=2), 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Algorithm) else "",
)
def test_one_agent_does_sgd(algorithm: Algorithm, local_steps: int) -> None:
    assert_ends_at(run(algorithm, SINGLE, batch_size=2), sgd(SINGLE, local_steps=local_steps))


@reduces("diffusive_coupling")
def test_no_coupling_isolates() -> None:
    assert_same_params(run(DiffusiveCoupling(**RATES, coupling=0.0)), run(Isolated(**RATES)))


@reduces("elastic_averaging")
def test_no_elasticity_isolates() -> None:
    assert_same_params(run(ElasticAveraging(**RATES, elasticity=0.0)), run(Isolated(**RATES)))


@reduces("asynchronous_elastic_averaging")
def test_no_asynchronous_elasticity_isolates() -> None:
    algorithm = AsynchronousElasticAveraging(**RATES, elasticity=0.0, period=2)
    assert_same_params(run(algorithm), run(Isolated(**RATES)))


@reduces("dgd", "adapt_then_combine", "combine_then_adapt")
@pytest.mark.parametrize(
    ("algorithm", "local_steps"),
    [
        (DGD(**RATES), 1),
        (AdaptThenCombine(**RATES, local_steps=2), 2),
        (CombineThenAdapt(**RATES, local_steps=2), 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Algorithm) else "",
)
def test_the_identity_matrix_isolates(algorithm: Algorithm, local_steps: int) -> None:
    identity = graphs.from_matrix(np.eye(4), "identity")
    assert_same_params(run(algorithm, mixing=identity), run(Isolated(**RATES, local_steps=local_steps)))


# ---- one method is another ---------------------------------------------------------------------------------------


@reduces("diffusive_coupling", "dgd")
@pytest.mark.parametrize("graph", [graphs.complete(4), weighted_star(), directed_cycle()], ids=lambda graph: graph.name)
def test_diffusive_coupling_is_dgd_with_the_diffusive_matrix(graph: Graph) -> None:
    coupling = 0.5 * graph.coupling_limit(RATES["learning_rate"])
    mixing = graphs.diffusive(graph, learning_rate=RATES["learning_rate"], coupling=coupling)
    coupled = run(DiffusiveCoupling(**RATES, coupling=coupling), graph=graph, batch_size=2)
    assert_same_params(coupled, run(DGD(**RATES), graph=graph, mixing=mixing, batch_size=2))


@reduces("triadic_coupling")
@pytest.mark.parametrize("graph", [graphs.complete(4), weighted_star(), directed_cycle()], ids=lambda graph: graph.name)
def test_no_triadic_coupling_couples_pairs(graph: Graph) -> None:
    pairs = TriadicCoupling(**RATES, coupling=3.0, triadic_coupling=0.0, selectivity=0.5)
    expected = run(DiffusiveCoupling(**RATES, coupling=3.0), graph=graph, batch_size=2)
    assert_same_params(run(pairs, graph=graph, batch_size=2), expected)


@reduces("triadic_coupling")
def test_triads_that_do_not_select_are_pairs_on_the_complete_graph() -> None:
    """Every neighbour j has N − 2 others k beside it, so T_ij = N − 2."""
    sigma, tau, num_agents = 2.0, 5.0, 4
    triads = TriadicCoupling(**RATES, coupling=sigma, triadic_coupling=tau, selectivity=0.0)
    pairs = DiffusiveCoupling(**RATES, coupling=sigma + tau * (num_agents - 2) / num_agents)
    assert_same_params(run(triads, batch_size=2), run(pairs, batch_size=2))


@reduces("triadic_coupling")
def test_two_agents_have_no_triads() -> None:
    triads = TriadicCoupling(**RATES, coupling=3.0, triadic_coupling=50.0, selectivity=0.5)
    pairs = DiffusiveCoupling(**RATES, coupling=3.0)
    assert_same_params(run(triads, PAIR, batch_size=2), run(pairs, PAIR, batch_size=2))


@reduces("federated_averaging", "adapt_then_combine")
def test_federated_averaging_of_everybody_is_adapt_then_combine() -> None:
    federated = run(FederatedAveraging(**RATES, local_steps=3), EQUAL, batch_size=2)
    combined = AdaptThenCombine(**RATES, local_steps=3)
    assert_same_params(federated, run(combined, EQUAL, mixing=graphs.uniform(4), batch_size=2))


@reduces("combine_then_adapt")
def test_combine_then_adapt_is_adapt_then_combine_half_a_round_later() -> None:
    """W (S W)^t θ = (W S)^t W θ, with S the local steps."""
    graph = weighted_star()
    mixing = graphs.metropolis(graph)
    mix = lambda leaf: np.einsum("ij,j...->i...", mixing.weights, leaf)  # noqa: E731
    start = {name: mix(leaf) for name, leaf in UNEQUAL.initial_params.items()}
    combined_first = run(CombineThenAdapt(**RATES, local_steps=2), graph=graph, batch_size=2)
    options: dict[str, Any] = {"graph": graph, "batch_size": 2, "num_rounds": ROUNDS}
    adapted_first = UNEQUAL.simulate(AdaptThenCombine(**RATES, local_steps=2), initial_params=start, **options)
    for name, leaf in final_params(combined_first).items():
        np.testing.assert_allclose(mix(leaf), final_params(adapted_first)[name], rtol=ROUNDING, atol=ROUNDING)


@reduces("asynchronous_elastic_averaging")
def test_meeting_the_centre_in_every_round_is_synchronous() -> None:
    asynchronous = run(AsynchronousElasticAveraging(**RATES, elasticity=0.2, period=1), EQUAL, batch_size=2)
    assert_same_params(asynchronous, run(ElasticAveraging(**RATES, elasticity=0.2), EQUAL, batch_size=2))


@reduces("elastic_averaging")
def test_elasticity_1_over_n_pulls_to_the_mean_of_the_round_before() -> None:
    """θ_i ← θ_i − η ∇L_i + α (mean of the round before − θ_i); in round 0, the mean of round 0."""
    alpha, num_agents = 0.25, 4
    params = [UNEQUAL.initial(agent) for agent in range(num_agents)]
    mean_of = lambda all_params, name: sum(one[name] for one in all_params) / num_agents  # noqa: E731
    before = params
    for _ in range(ROUNDS):
        pulled = []
        for agent, one in enumerate(params):
            new = stepped(one, UNEQUAL.gradient(one, UNEQUAL.shards[agent], weight_decay=RATES["weight_decay"]))
            pulled.append({name: new[name] + alpha * (mean_of(before, name) - one[name]) for name in one})
        before, params = params, pulled
    assert_ends_at(run(ElasticAveraging(**RATES, elasticity=alpha)), params)


@reduces("elastic_averaging")
def test_elasticity_1_over_n_is_diffusive_coupling_for_a_round() -> None:
    """The pull is that of Eq. (2) with ησ = α as long as the mean of the round before is the mean, as in round 0."""
    alpha = 0.25
    coupled = DiffusiveCoupling(**RATES, coupling=alpha / RATES["learning_rate"])
    elastic = ElasticAveraging(**RATES, elasticity=alpha)
    assert_same_params(UNEQUAL.simulate(elastic, num_rounds=1), UNEQUAL.simulate(coupled, num_rounds=1))


@reduces("choco_sgd")
@pytest.mark.parametrize("graph", [graphs.complete(4), weighted_star()], ids=lambda graph: graph.name)
def test_choco_without_compression_is_adapt_then_combine(graph: Graph) -> None:
    choco = ChocoSGD(**RATES, local_steps=2)
    expected = run(AdaptThenCombine(**RATES, local_steps=2), graph=graph, batch_size=2)
    assert_same_params(run(choco, graph=graph, batch_size=2), expected)


@reduces("choco_sgd")
def test_choco_without_a_consensus_step_isolates() -> None:
    choco = ChocoSGD(**RATES, consensus_step=0.0, compressor=TopK(0.3))
    assert_same_params(run(choco), run(Isolated(**RATES)))


@reduces("parallel_sgd")
def test_plain_parallel_sgd_is_adapt_then_combine_from_common_parameters() -> None:
    combined = run(AdaptThenCombine(**RATES), EQUAL, mixing=graphs.uniform(4), batch_size=2)
    assert_same_params(run(ParallelSGD(**RATES), EQUAL, batch_size=2), combined)


# ---- all agents together do what one would do with all data ------------------------------------------------------


@reduces("adapt_then_combine")
def test_adapt_then_combine_on_the_complete_graph_is_centralised_gradient_descent() -> None:
    union = np.concatenate(list(EQUAL.shards))
    assert_ends_at(run(AdaptThenCombine(**RATES), EQUAL), 4 * [centralised(EQUAL, ROUNDS * [union])])


@reduces("adapt_then_combine", "federated_averaging", "parallel_sgd")
@pytest.mark.parametrize(
    "algorithm",
    [AdaptThenCombine(**RATES), FederatedAveraging(**RATES), ParallelSGD(**RATES)],
    ids=lambda algorithm: type(algorithm).__name__,
)
def test_one_step_of_everybody_is_sgd_on_the_union_of_mini_batches(algorithm: Algorithm) -> None:
    batches = EQUAL.batches(batch_size=3, num_rounds=ROUNDS)
    expected = centralised(EQUAL, [one_round.ravel() for one_round in batches])
    assert_ends_at(run(algorithm, EQUAL, batch_size=3), 4 * [expected])


@reduces("federated_averaging")
def test_federated_averaging_weighs_agents_by_their_shards() -> None:
    """With whole shards of unequal sizes, one step each is gradient descent on the union of all samples."""
    problem = small_problem(4, common_init=True)
    union = np.concatenate(list(problem.shards))
    assert_ends_at(run(FederatedAveraging(**RATES), problem), 4 * [centralised(problem, ROUNDS * [union])])


@reduces("diffusive_coupling")
def test_the_mean_of_the_first_round_is_a_step_of_centralised_sgd() -> None:
    options: dict[str, Any] = {"num_rounds": 1, "batch_size": 3, "graph": weighted_star()}
    coupled = EQUAL.simulate(DiffusiveCoupling(**RATES, coupling=5.0), **options)
    expected = centralised(EQUAL, [EQUAL.batches(batch_size=3, num_rounds=1)[0].ravel()])
    for name, leaf in final_params(coupled).items():
        np.testing.assert_allclose(leaf.mean(axis=0), expected[name.removeprefix("params/")], atol=ROUNDING)
