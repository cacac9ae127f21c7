"""Gossip: W(t) keeps the mean, stays on the graph, and has the expectation and the spectral gap of theory."""

import functools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.optimize

from consilience import graphs
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.graphs.gossip import Matchings, Merge, OnePeerExponential, RandomPairs

ROUNDS = 4000
BARBELL = graphs.from_networkx(nx.barbell_graph(3, 0))
CYCLE, COMPLETE, STAR = graphs.cycle(7), graphs.complete(6), graphs.star(5)

SCHEDULES = {
    "pairs on a cycle": (RandomPairs(CYCLE, seed=1), CYCLE),
    "pairs of everybody": (RandomPairs(COMPLETE, seed=2), COMPLETE),
    "one pair": (RandomPairs(BARBELL, num_pairs=1, seed=3), BARBELL),
    "two pairs, half of the time": (RandomPairs(COMPLETE, num_pairs=2, probability=0.5, seed=4), COMPLETE),
    "pairs on a star": (RandomPairs(STAR, probability=0.7), STAR),
    "matcha": (Matchings(BARBELL, budget=0.5, seed=5), BARBELL),
    "matcha of everybody": (Matchings(COMPLETE, budget=0.3, seed=6), COMPLETE),
    "uniform matcha": (Matchings(CYCLE, budget=0.4, optimised=False), CYCLE),
    "one peer": (OnePeerExponential(6), graphs.exponential(6)),
    "merge": (Merge(3, 6, mixing=RandomPairs(COMPLETE)), COMPLETE),
}
each = pytest.mark.parametrize("name", SCHEDULES)


@functools.cache
def drawn(name):
    """W(t) in all rounds, in double precision."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(SCHEDULES[name][0]))(jnp.arange(ROUNDS)))


@each
def test_every_round_is_doubly_stochastic_and_stays_on_the_graph(name):
    weights, graph = drawn(name), SCHEDULES[name][1]
    # Sums of a few halves and multiples of α.
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(weights.sum(axis=2), 1, atol=1e-14)
    off = (graph.adjacency == 0) & ~np.eye(graph.num_agents, dtype=bool)
    assert not weights[:, off].any()


@each
def test_the_mean_is_kept(name):
    weights = drawn(name)[:50]
    start = np.random.default_rng(0).normal(size=weights.shape[1])
    end = functools.reduce(lambda x, w: w @ x, weights, start)
    assert abs(end.mean() - start.mean()) < 1e-13  # fifty roundings of numbers of order one
    assert end.std() < start.std()


@each
def test_draws_do_not_depend_on_precision(name):
    with jax.enable_x64(False):
        narrow = np.asarray(jax.jit(SCHEDULES[name][0])(11))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, drawn(name)[11], atol=1e-6)  # α and 1/N in single precision


@pytest.mark.parametrize("name", [name for name in SCHEDULES if "pair" in name])
def test_pairs_are_disjoint_and_average(name):
    schedule = SCHEDULES[name][0]
    weights = drawn(name)
    np.testing.assert_array_equal(weights, weights.swapaxes(1, 2))
    np.testing.assert_array_equal(weights @ weights, weights)  # a projection, exact in halves
    met = (weights - np.eye(weights.shape[1]) > 0).sum(axis=(1, 2)) / 2
    if schedule.num_pairs is not None:
        assert met.max() == schedule.num_pairs
    if name == "pairs of everybody":
        assert (met == 3).all()
    if name == "one pair":
        assert (met == 1).all()


def test_pairs_that_are_drawn_leave_nobody_who_could_meet():
    weights = drawn("pairs on a cycle")
    alone = weights[:, np.arange(7), np.arange(7)] == 1
    assert alone.any()
    for one in alone:
        assert not (CYCLE.adjacency[np.ix_(one, one)]).any()


def laplacian(graph):
    links = graph.adjacency != 0
    return np.diag(links.sum(axis=1)) - links


EXPECTED = {
    "one pair": np.eye(6) - laplacian(BARBELL) / (2 * BARBELL.num_edges),
    # A random perfect matching has each link with probability 1/(N − 1).
    "pairs of everybody": np.eye(6) - laplacian(COMPLETE) / (2 * 5),
    # Two of the fifteen links, each with a coin of one half.
    "two pairs, half of the time": np.eye(6) - laplacian(COMPLETE) * (2 / 15) * 0.5 / 2,
    # The centre meets one of four, with a coin of 0.7.
    "pairs on a star": np.eye(5) - laplacian(STAR) / 4 * 0.7 / 2,
    **{name: SCHEDULES[name][0].expected for name in ("matcha", "matcha of everybody", "uniform matcha")},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_mean_matrix_and_its_gap_are_the_expected_ones(name):
    """Null: the mean of `ROUNDS` independent draws is E[W]. Entries have a standard error of their deviation over
    √ROUNDS, each within five of them; λ₂ of the mean differs by less than the norm of that error. Seeds above."""
    weights, expected = drawn(name), EXPECTED[name]
    mean, error = weights.mean(axis=0), weights.std(axis=0) / np.sqrt(ROUNDS)
    assert (np.abs(mean - expected) <= 5 * error + 1e-12).all()
    assert error.max() > 0
    gaps = [np.sort(np.linalg.eigvalsh((w + w.T) / 2))[-2] for w in (mean, expected)]
    assert abs(gaps[0] - gaps[1]) <= 5 * np.linalg.norm(error)


@pytest.mark.parametrize("name", ["matcha", "matcha of everybody", "uniform matcha"])
def test_the_contraction_of_matcha_is_that_of_its_draws(name):
    """Null: the mean of WᵀW − J is its expectation, of norm ρ. Entries' standard errors as above, five in norm."""
    weights, schedule = drawn(name), SCHEDULES[name][0]
    squares = np.einsum("tji,tjk->tik", weights, weights) - 1 / weights.shape[1]
    error = np.linalg.norm(squares.std(axis=0)) / np.sqrt(ROUNDS)
    assert abs(np.linalg.norm(squares.mean(axis=0), 2) - schedule.contraction) <= 5 * error
    assert 0 < schedule.contraction < 1


@pytest.mark.parametrize("graph", [BARBELL, CYCLE, COMPLETE, STAR, graphs.grid(3, 4)], ids=lambda graph: graph.name)
def test_matchings_divide_the_links(graph):
    parts = Matchings(graph, budget=0.5).laplacians
    np.testing.assert_array_equal(parts.sum(axis=0), laplacian(graph))
    degrees = np.diagonal(parts, axis1=1, axis2=2)
    assert set(np.unique(degrees)) <= {0, 1}
    assert len(parts) <= 2 * (graph.adjacency != 0).sum(axis=1).max() - 1


def algebraic_connectivity(probabilities, parts):
    return np.linalg.eigvalsh(np.tensordot(probabilities, parts, 1))[1]


@pytest.mark.parametrize("graph", [BARBELL, graphs.erdos_renyi(10, 0.4, seed=1)], ids=lambda graph: graph.name)
def test_probabilities_are_the_best_of_their_budget(graph):
    """No better ones are found by a general optimiser from random starts."""
    schedule = Matchings(graph, budget=0.5)
    parts, best = schedule.laplacians, algebraic_connectivity(schedule.probabilities, schedule.laplacians)
    assert schedule.probabilities.sum() == pytest.approx(0.5 * len(parts), abs=1e-9)
    assert schedule.probabilities.min() >= 0
    assert schedule.probabilities.max() <= 1
    random = np.random.default_rng(0)
    found = [
        scipy.optimize.minimize(
            lambda p: -algebraic_connectivity(p, parts),
            random.uniform(size=len(parts)),
            method="SLSQP",
            bounds=[(0, 1)] * len(parts),
            constraints={"type": "ineq", "fun": lambda p: 0.5 * len(parts) - p.sum()},
        ).x
        for _ in range(5)
    ]
    feasible = [p * min(1, 0.5 * len(parts) / p.sum()) for p in found]
    assert best >= max(algebraic_connectivity(p, parts) for p in feasible) - 1e-6
    assert best > 1.01 * algebraic_connectivity(np.full(len(parts), 0.5), parts)


def test_the_weight_of_matcha_is_the_best():
    schedule = Matchings(BARBELL, budget=0.5)
    around = [schedule._contraction(schedule.weight + shift) for shift in (-1e-3, 1e-3)]
    assert schedule.contraction < min(around)


def test_a_full_budget_is_a_constant_matrix_and_no_budget_none():
    full, none = Matchings(BARBELL, budget=1.0), Matchings(BARBELL, budget=0.0)
    with jax.enable_x64(True):
        for round in (0, 5):
            np.testing.assert_allclose(full(round), np.eye(6) - full.weight * laplacian(BARBELL), atol=1e-14)
            np.testing.assert_array_equal(none(round), np.eye(6))
            np.testing.assert_array_equal(RandomPairs(CYCLE, probability=0.0)(round), np.eye(7))


@pytest.mark.parametrize("num_agents", [1, 2, 8, 32])
def test_one_peer_averages_exactly_after_log_n_rounds(num_agents):
    schedule, period = OnePeerExponential(num_agents), int(np.log2(num_agents))
    with jax.enable_x64(True):
        for first in (0, 1):
            weights = [np.asarray(schedule(first + t)) for t in range(period)]
            product = functools.reduce(lambda product, w: w @ product, weights, np.eye(num_agents))
            np.testing.assert_array_equal(product, np.full((num_agents, num_agents), 1 / num_agents))


def test_one_peer_sends_one_message_each_round():
    weights = drawn("one peer")
    for axis in (1, 2):
        assert ((weights != 0).sum(axis=axis) == 2).all()
    np.testing.assert_array_equal(weights[0], (np.eye(6) + np.roll(np.eye(6), 1, axis=1)) / 2)


def test_two_agents_that_take_turns_are_a_random_pair():
    with jax.enable_x64(True):
        for round in range(4):
            np.testing.assert_array_equal(OnePeerExponential(2)(round), RandomPairs(graphs.complete(2))(round))


def test_a_merge_is_the_mean_once_and_its_schedule_else():
    weights, inner = drawn("merge"), jax.jit(RandomPairs(COMPLETE))
    np.testing.assert_array_equal(weights[3], np.full((6, 6), 1 / 6))
    for round in (0, 2, 4, 100):
        np.testing.assert_array_equal(weights[round], inner(round))
    with jax.enable_x64(True):
        np.testing.assert_array_equal(Merge(3, 6)(2), np.eye(6))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: RandomPairs(graphs.cycle(4, directed=True)), "which is directed"),
        (lambda: Matchings(graphs.cycle(4, directed=True), 0.5), "which is directed"),
        (lambda: RandomPairs(CYCLE, num_pairs=0), "num_pairs=0"),
        (lambda: RandomPairs(CYCLE, probability=-0.1), "probability=-0.1"),
        (lambda: RandomPairs(CYCLE, seed=-1), "seed=-1"),
        (lambda: Matchings(CYCLE, budget=1.5), "budget=1.5"),
        (lambda: OnePeerExponential(0), "num_agents=0"),
        (lambda: Merge(-1, 4), "at_round=-1"),
        (lambda: Merge(1, 4, mixing=graphs.uniform(4)), "no function of the round"),
    ],
)
def test_impossible_gossip_is_refused(make, complaint):
    with pytest.raises(InvalidSpec, match=complaint) as error:
        make()
    assert "\n" not in str(error.value)
    assert isinstance(error.value, IncompatiblePair) == ("directed" in complaint)
