"""Push-sum and RelaySum, derived again in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from consilience import graphs
from consilience.algorithms.push_sum import PushSum
from consilience.algorithms.relay_sum import RelaySum
from consilience.errors import IncompatiblePair
from quadratics import as_quadratics, ends
from registries import ROUNDING, assert_simulator_equals_oracle, directed_cycle, small_problem

ETA, DECAY, ROUNDS = 0.1, 0.05, 7
PROBLEM = small_problem(3)
QUADRATICS = as_quadratics(PROBLEM, weight_decay=DECAY)

# What the issue asks for; a few rounds of double precision leave 1e-14.
TOLERANCE = 1e-10

# Strongly connected; agent 0 is heard by two others, agents 1 and 2 by one.
LOPSIDED = graphs.from_adjacency([[0, 1, 0], [1, 0, 3], [2, 0, 0]], name="lopsided")


def tree() -> graphs.Graph:
    """Five agents with one, two and three neighbours."""
    adjacency = np.zeros((5, 5))
    for i, j in ((0, 2), (1, 2), (2, 3), (3, 4)):
        adjacency[i, j] = adjacency[j, i] = 1
    return graphs.from_adjacency(adjacency, name="tree")


def test_push_sum_by_weighted_means() -> None:
    """Without masses: θ_i is the mean of θ_j − η g_j / v_j with the weights w_ij v_j."""
    heard = (LOPSIDED.adjacency > 0) + np.eye(3)
    w = heard / heard.sum(axis=0)
    theta, v = QUADRATICS.start, np.ones(3)
    for _ in range(ROUNDS):
        steps = theta - ETA * QUADRATICS.gradient(theta) / v[:, None, None]
        theta = np.stack([np.average(steps, axis=0, weights=w[i] * v) for i in range(3)])
        v = w @ v
    assert np.ptp(v) > 0.1, "weights that stay 1 correct nothing"
    run = PROBLEM.simulate(PushSum(learning_rate=ETA, weight_decay=DECAY), graph=LOPSIDED, num_rounds=ROUNDS)
    np.testing.assert_allclose(ends(run), theta, atol=TOLERANCE)


def test_push_sum_keeps_its_weights_when_links_fail() -> None:
    links = graphs.Schedules(edges=graphs.Bernoulli(0.5, num_agents=3, seed=2, links=True))
    _, states = assert_simulator_equals_oracle(
        PushSum(learning_rate=ETA, weight_decay=DECAY), graph=LOPSIDED, schedules=links, batch_size=2
    )
    weights = [float(state["weight"]) for state in states]
    assert sum(weights) == pytest.approx(3, abs=ROUNDING)
    assert np.ptp(weights) > 0.1


def test_relay_sum_by_delays() -> None:
    """Without relays: θ_i(t+1) is the mean of those x_j of round t − d_ij + 1 that exist."""
    num_agents, graph = 5, tree()
    problem = small_problem(num_agents)
    quadratics = as_quadratics(problem, weight_decay=DECAY)
    walks = [np.linalg.matrix_power(graph.adjacency + np.eye(num_agents), k) for k in range(num_agents)]
    distance = np.array([[min(k for k, w in enumerate(walks) if w[i, j]) for j in range(5)] for i in range(5)])
    assert distance.max() == 3
    theta, learned = quadratics.start, []
    for t in range(ROUNDS):
        learned.append(theta - ETA * quadratics.gradient(theta))
        theta = np.stack(
            [
                np.mean([learned[then][j] for j in range(5) if (then := t - max(distance[i, j] - 1, 0)) >= 0], axis=0)
                for i in range(num_agents)
            ]
        )
    run = problem.simulate(RelaySum(learning_rate=ETA, weight_decay=DECAY), graph=graph, num_rounds=ROUNDS)
    np.testing.assert_allclose(ends(run), theta, atol=TOLERANCE)


def test_relay_sum_counts_what_has_come() -> None:
    """With links that fail, what an agent knows is the sum of as many models as it counts: from equal models at η = 0
    no mean moves."""
    problem = small_problem(5, common_init=True)
    links = graphs.Schedules(edges=graphs.Bernoulli(0.6, num_agents=5, seed=3, links=True))
    run, states = assert_simulator_equals_oracle(
        RelaySum(learning_rate=0.0), problem=problem, graph=tree(), schedules=links
    )
    np.testing.assert_allclose(ends(run), as_quadratics(problem).start, atol=ROUNDING)
    counts = [1 + np.asarray(state["received"][1]).sum() for state in states]
    assert min(counts) < 5, "no message was lost"
    assert max(counts) > 1, "all messages were lost"


def test_relay_sum_in_the_simulator_is_the_loop() -> None:
    assert_simulator_equals_oracle(
        RelaySum(learning_rate=ETA, weight_decay=DECAY), graph=tree(), batch_size=2, num_rounds=4
    )


@pytest.mark.parametrize("graph", [graphs.cycle(4), graphs.complete(3)], ids=lambda graph: graph.name)
def test_relay_sum_refuses_what_is_no_tree(graph: graphs.Graph) -> None:
    with pytest.raises(IncompatiblePair, match="tree"):
        small_problem(graph.num_agents).simulate(RelaySum(learning_rate=ETA), graph=graph)


def test_both_refuse_weights_and_graphs_that_they_cannot_use() -> None:
    mixing = graphs.row_stochastic(LOPSIDED)
    with pytest.raises(IncompatiblePair, match="columns"):
        PROBLEM.simulate(PushSum(learning_rate=ETA), graph=LOPSIDED, mixing=mixing)
    with pytest.raises(IncompatiblePair, match="directed"):
        PROBLEM.simulate(RelaySum(learning_rate=ETA), graph=directed_cycle(3))
