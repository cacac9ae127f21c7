"""The runtime model against closed forms and against a simulation of events."""

import heapq

import numpy as np
import pytest

from consilience import graphs
from consilience.errors import InvalidSpec
from consilience.theory.runtime_model import (
    all_reduce_starts,
    decentralised_starts,
    link_time,
    ring_all_reduce_time,
    time_per_iteration,
)

ROUNDING = 1e-12  # sums of some hundred times of order one
GRAPHS = (graphs.cycle(6), graphs.star(6), graphs.cycle(6, directed=True), graphs.exponential(6), graphs.complete(6))


def ends_by_events(compute, adjacency, communication, *, overlap):
    """Computers and messages as events in the order of time: when each agent ends each iteration."""
    num_iterations, n = compute.shape
    missing = {(i, t): 1 + np.count_nonzero(adjacency[i]) for i in range(n) for t in range(num_iterations)}
    ends, events = np.zeros((num_iterations + 1, n)), []

    def begin(agent, t, now):
        if t == num_iterations:
            return
        done = now + compute[t, agent]
        heapq.heappush(events, (done, agent, t))
        for listener in np.flatnonzero(adjacency[:, agent]):
            heapq.heappush(events, ((now if overlap else done) + communication, int(listener), t))

    for agent in range(n):
        begin(agent, 0, 0.0)
    while events:
        now, agent, t = heapq.heappop(events)
        missing[agent, t] -= 1
        if missing[agent, t] == 0:
            ends[t + 1, agent] = now
            begin(agent, t + 1, now)
    return ends


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_waiting_for_neighbours_is_what_events_give(graph, overlap):
    compute = np.random.default_rng(0).exponential(size=(40, 6))
    starts = decentralised_starts(compute, graph, 0.7, overlap=overlap)
    expected = ends_by_events(compute, graph.adjacency, 0.7, overlap=overlap)
    np.testing.assert_allclose(starts, expected, rtol=ROUNDING)


def test_equal_times_give_the_closed_forms():
    compute, ring = np.full((50, 6), 2.0), graphs.cycle(6)
    for communication in (0.5, 3.0):
        decentralised = decentralised_starts(compute, ring, communication)
        assert time_per_iteration(decentralised) == pytest.approx(max(2.0, communication), rel=ROUNDING)
        late = decentralised_starts(compute, ring, communication, overlap=False)
        reduced = all_reduce_starts(compute, communication)
        for starts in (late, reduced):
            assert time_per_iteration(starts) == pytest.approx(2.0 + communication, rel=ROUNDING)


def test_who_listens_to_nobody_waits_for_nobody():
    compute = np.random.default_rng(1).exponential(size=(30, 4))
    alone = decentralised_starts(compute, np.zeros((4, 4)), 100.0)
    np.testing.assert_allclose(alone[1:], compute.cumsum(axis=0), rtol=ROUNDING)


def test_on_the_complete_graph_without_overlap_everybody_waits_for_the_slowest():
    compute = np.random.default_rng(2).exponential(size=(30, 5))
    waits = decentralised_starts(compute, graphs.complete(5), 0.0, overlap=False)
    np.testing.assert_allclose(waits, all_reduce_starts(compute, 0.0), rtol=ROUNDING)


def test_a_constant_straggler_slows_a_connected_graph_as_much_as_all_reduce():
    compute = np.ones((200, 6))
    compute[:, 2] = 4.0
    starts = decentralised_starts(compute, graphs.cycle(6), 0.5)
    assert time_per_iteration(starts) == pytest.approx(4.0, rel=ROUNDING)


def test_links_that_change_take_turns():
    compute = np.random.default_rng(3).exponential(size=(4, 2))
    table = np.array([[[0, 1], [1, 0]], [[0, 0], [0, 0]]])
    starts = decentralised_starts(compute, table, 0.0)
    together = max(compute[0])
    np.testing.assert_allclose(starts[1], compute[0])  # parameters of the start were there at once
    late = decentralised_starts(compute, table, 0.0, overlap=False)
    np.testing.assert_allclose(late[1], together)
    np.testing.assert_allclose(late[2], together + compute[1])


def test_random_times_are_averaged_over_by_neighbours_and_not_by_everybody():
    """Exponential times of mean 1: all-reduce takes H_N = Σ 1/k per iteration. Neighbours who wait for each other are
    slower than one alone, and faster than everybody. Null: the mean over 2000 iterations is H_N; its standard error is
    the deviation of one maximum, √Σ 1/k² < 1.29, over √2000; five of them are allowed. Seed 4."""
    num_iterations, n = 2000, 16
    compute = np.random.default_rng(4).exponential(size=(num_iterations, n))
    harmonic = (1 / np.arange(1, n + 1)).sum()
    reduced = time_per_iteration(all_reduce_starts(compute, 0.0))
    assert abs(reduced - harmonic) < 5 * 1.29 / np.sqrt(num_iterations)
    ring = time_per_iteration(decentralised_starts(compute, graphs.cycle(n), 0.0, overlap=False))
    everybody = time_per_iteration(decentralised_starts(compute, graphs.complete(n), 0.0, overlap=False))
    overlapped = time_per_iteration(decentralised_starts(compute, graphs.cycle(n), 0.0))
    assert 1.0 < overlapped < ring < 0.9 * everybody


def test_transfers():
    assert link_time(8.0, bandwidth=4.0, latency=1.0) == 3.0
    assert link_time(8.0, bandwidth=4.0, latency=1.0, num_messages=3) == 7.0
    assert ring_all_reduce_time(8.0, 1, bandwidth=1.0, latency=5.0) == 0.0
    assert ring_all_reduce_time(8.0, 2, bandwidth=2.0, latency=1.0) == 2 * (1.0 + 8.0 / 4.0)
    large = ring_all_reduce_time(8.0, 10**6, bandwidth=1.0)
    assert large == pytest.approx(16.0, rel=1e-5)  # 2 (1 − 1/N) bytes


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: link_time(1.0, bandwidth=0.0), "bandwidth=0.0"),
        (lambda: link_time(-1.0, bandwidth=1.0), "num_bytes=-1.0"),
        (lambda: ring_all_reduce_time(1.0, 2, bandwidth=1.0, latency=-1.0), "latency=-1.0"),
        (lambda: all_reduce_starts([1.0, 2.0], 0.0), r"shape \(2,\)"),
        (lambda: all_reduce_starts([[1.0, -2.0]], 0.0), "not negative"),
        (lambda: decentralised_starts([[1.0, 2.0]], graphs.cycle(3), 0.0), "2 agents"),
        (lambda: time_per_iteration(np.zeros((1, 3))), "1 rows"),
    ],
)
def test_impossible_times_are_refused(call, complaint):
    with pytest.raises(InvalidSpec, match=complaint) as error:
        call()
    assert "\n" not in str(error.value)
