"""Messages in the simulator: all forms of Σ_j w_ij m_j are one, and an inbox is what `run_round` delivers."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consilience import graphs
from consilience.algorithms import DGD, Algorithm, DiffusiveCoupling, FederatedAveraging, Network, check_pair, deliver
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.graphs import Bernoulli, Graph, Interpolated, MixingMatrix, Periodic, Schedules
from consilience.simulation import precision
from consilience.simulation.exchange import EVERYBODY, Exchange, best_sum, dense_sum, grouped_sum, slot_sum, uniform_sum
from consilience.simulation.placement import Reach
from registries import assert_close, directed_cycle, small_problem, weighted_star

RANDOM = np.random.default_rng(0)

# Sums of at most a hundred numbers of order one.
SUMS = 1e-13


def slots(weights: np.ndarray, graph: Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.diag(weights), graph.neighbours.gather(weights), graph.neighbours.ids


@pytest.mark.parametrize(("diagonal", "off_diagonal"), [(0.1, 0.1), (-3.0, 0.25), (0.0, 1.0)])
@pytest.mark.parametrize("num_agents", [2, 7])
def test_uniform_dense_and_slots_agree_on_the_complete_graph(
    num_agents: int, diagonal: float, off_diagonal: float
) -> None:
    graph = graphs.complete(num_agents)
    weights = np.full((num_agents, num_agents), off_diagonal)
    np.fill_diagonal(weights, diagonal)
    flat = RANDOM.normal(size=(num_agents, 11))
    with precision("float64"):
        forms = [
            dense_sum(weights, jnp.asarray(flat)),
            uniform_sum(off_diagonal, diagonal, jnp.asarray(flat), Reach(graph.neighbours)),
            slot_sum(*slots(weights, graph), jnp.asarray(flat), jnp.asarray(flat)),
        ]
        for form in forms:
            np.testing.assert_allclose(np.broadcast_to(form, flat.shape), weights @ flat, atol=SUMS)


@pytest.mark.parametrize(
    "graph",
    [
        weighted_star(6),
        weighted_star(41),
        directed_cycle(5),
        graphs.erdos_renyi(12, probability=0.4, seed=1),
        graphs.barabasi_albert(90, 2, seed=1),
        graphs.complete(1),
    ],
    ids=lambda graph: graph.name,
)
def test_dense_slots_and_groups_agree_on_any_graph(graph: Graph) -> None:
    weights = np.where(graph.adjacency + np.eye(graph.num_agents) > 0, RANDOM.normal(size=graph.adjacency.shape), 0)
    flat = RANDOM.normal(size=(graph.num_agents, 3))
    with precision("float64"):
        for form in (
            dense_sum(weights, jnp.asarray(flat)),
            slot_sum(*slots(weights, graph), jnp.asarray(flat), jnp.asarray(flat)),
            grouped_sum(weights, graph.neighbours, jnp.asarray(flat)),
            best_sum(weights, graph)(jnp.asarray(flat)),
        ):
            np.testing.assert_allclose(form, weights @ flat, atol=SUMS)


@pytest.mark.parametrize(
    ("graph", "gathers", "largest_constant"),
    [
        (graphs.complete(60), False, 60),
        (graphs.cycle(60), True, 60),
        (graphs.star(60), True, 60),
        (graphs.barabasi_albert(60, 2, seed=0), True, 9 * 60),  # nine agents have more than six neighbours
        (graphs.complete_bipartite(20, 40), False, 3600),
    ],
    ids=["complete: a mean", "cycle: neighbour lists", "star: lists, a row", "hubs: lists, rows", "dense: a matrix"],
)
def test_the_best_form_is_cheap(graph: Graph, gathers: bool, largest_constant: int) -> None:
    """O(agents) on the complete graph and O(edges) on sparse ones: no array is larger than that."""
    weights = graphs.default_mixing(graph).weights
    if graph.uniform_weight is None:
        weights = np.where(weights != 0, RANDOM.normal(size=weights.shape), 0)
    with precision("float64"):
        flat = jnp.asarray(RANDOM.normal(size=(60, 2)))
        best = best_sum(weights, graph)
        np.testing.assert_allclose(np.broadcast_to(best(flat), flat.shape), weights @ np.asarray(flat), atol=SUMS)
        program = jax.make_jaxpr(best)(flat)
        sizes = [np.size(constant) for constant in program.consts]
        sizes += [variable.aval.size for equation in program.eqns for variable in equation.outvars]
        assert ("gather" in str(program)) == gathers
        assert max(sizes) <= max(largest_constant, flat.size)


@pytest.mark.parametrize("num_agents", [10, 100, 1000])
def test_full_averaging_is_a_mean(num_agents: int) -> None:
    """Though its diagonal, the rest to 1, is rounded differently in each row: one row of sums serves all agents."""
    graph = graphs.complete(num_agents)
    weights = graphs.metropolis(graph).weights
    with precision("float64"):
        flat = RANDOM.normal(size=(num_agents, 3))
        mean = best_sum(weights, graph)(jnp.asarray(flat))
        assert mean.shape == (1, 3)
        # Weights that are equal but for the rounding of sums of a thousand numbers, n² eps/n of their size at most.
        np.testing.assert_allclose(np.broadcast_to(mean, flat.shape), weights @ flat, atol=10 * SUMS)


class AlongEdges(DGD):
    """Stands for a method with a message per neighbour; only its declaration matters here."""

    per_edge = True


LINKS = Bernoulli(0.5, num_agents=4, links=True)
ACTIVE = Bernoulli(0.6, num_agents=4, seed=3)
STAR = weighted_star()


def messages_of(num_agents: int, shapes: dict[str, tuple[int, ...]]) -> list[dict[str, Any]]:
    random = np.random.default_rng(4)
    return [
        {
            "byte": jnp.asarray(random.integers(-127, 128, size=shapes["byte"]), jnp.int8),
            "matrix": jnp.asarray(random.normal(size=shapes["matrix"])),
        }
        for _ in range(num_agents)
    ]


CYCLE = directed_cycle()
FAILING = Schedules(edges=LINKS, active=ACTIVE)
RAMP = Interpolated(rounds=(0, 1), values=(0.5, 0.75))
COMPLETE = graphs.complete(4)


@pytest.mark.parametrize(
    ("algorithm", "graph", "mixing", "schedules"),
    [
        pytest.param(DGD(0.1), STAR, graphs.metropolis(STAR), FAILING, id="links and activity"),
        pytest.param(DGD(0.1), CYCLE, graphs.row_stochastic(CYCLE), Schedules(), id="constant, directed"),
        pytest.param(DGD(0.1), CYCLE, graphs.column_stochastic(CYCLE), FAILING, id="column-stochastic"),
        pytest.param(DGD(0.1), STAR, graphs.metropolis(STAR), Schedules(mixing=Periodic(np.eye(4)[None])), id="mixing"),
        pytest.param(DGD(0.1), COMPLETE, graphs.metropolis(COMPLETE), Schedules(coupling=RAMP), id="coupling"),
        pytest.param(
            DGD(0.1),
            CYCLE,
            graphs.row_stochastic(CYCLE),
            Schedules(edges=LINKS, coupling=RAMP),
            id="links and coupling, directed",
        ),
        pytest.param(FederatedAveraging(0.1), STAR, graphs.metropolis(STAR), FAILING, id="absence managed"),
        pytest.param(AlongEdges(0.1), STAR, graphs.metropolis(STAR), FAILING, id="along edges that fail"),
    ],
)
def test_an_inbox_is_what_run_round_delivers(
    algorithm: Algorithm, graph: Graph, mixing: MixingMatrix, schedules: Schedules
) -> None:
    with precision("float64"):
        num_slots = graph.neighbours.num_slots
        lead = (num_slots,) if algorithm.per_edge else ()
        messages = messages_of(4, {"byte": lead, "matrix": (*lead, 2, 3)})
        together = jax.tree.map(lambda *leaves: jnp.stack(leaves)[:, None], *messages)
        exchange = Exchange(algorithm, graph, mixing, schedules, Reach(graph.neighbours))
        for round in range(2):
            active = np.ones(4, bool) if schedules.active is None else np.asarray(schedules.active(round))
            inboxes = exchange.deliver(together, round=jnp.asarray(round), active=jnp.asarray(active)).inboxes(
                EVERYBODY
            )
            network = Network(
                graph,
                mixing if schedules.mixing is None else graphs.from_matrix(np.asarray(schedules.mixing(round))),
                active=active,
                edges=None if schedules.edges is None else np.asarray(schedules.edges(round)),
                coupling_factor=1.0 if schedules.coupling is None else float(schedules.coupling(round)),
            )
            for agent in range(4):
                expected = deliver(algorithm, network, messages, agent)
                drop_replica = lambda leaf, agent=agent: np.squeeze(leaf[agent], axis=0)  # noqa: E731
                drop_behind_slots = lambda leaf, agent=agent: np.squeeze(leaf[agent], axis=1)  # noqa: E731
                assert_close(jax.tree.map(drop_replica, inboxes.mixed), expected.mixed, tolerance=SUMS)
                assert_close(jax.tree.map(drop_replica, inboxes.coupled), expected.coupled, tolerance=SUMS * 127)
                assert_close(jax.tree.map(drop_behind_slots, inboxes.messages), expected.messages, tolerance=0)
                assert_close(inboxes.weights[agent], expected.weights, tolerance=SUMS)
                np.testing.assert_array_equal(inboxes.mask[agent], expected.mask)
                np.testing.assert_array_equal(inboxes.senders[agent], expected.senders)


def test_a_changing_coupling_keeps_the_cheap_form() -> None:
    """σ(t) on the complete graph costs one product with a number more: no product with a matrix appears."""
    graph = graphs.complete(60)
    exchange = Exchange(
        DiffusiveCoupling(0.1, 1.0), graph, graphs.metropolis(graph), Schedules(coupling=RAMP), Reach(graph.neighbours)
    )
    with precision("float64"):
        flat = jnp.asarray(RANDOM.normal(size=(60, 2)))
        arrived = functools.partial(exchange.deliver, active=jnp.ones(60, bool))
        coupled = lambda flat, round: arrived(flat, round=round).sums.coupled  # noqa: E731
        primitives = {equation.primitive.name for equation in jax.make_jaxpr(coupled)(flat, jnp.asarray(1)).eqns}
        assert "reduce_sum" in primitives
        assert "dot_general" not in primitives
        np.testing.assert_allclose(coupled(flat, jnp.asarray(1)), -0.75 * graph.laplacian @ np.asarray(flat), atol=SUMS)


def test_a_coupling_that_differs_between_agents_is_refused() -> None:
    schedules = Schedules(coupling=Periodic(np.ones((3, 4))))
    complaint = r"coupling gives arrays of shape \(4,\).*each round needs shape \(\)"
    with pytest.raises(InvalidSpec, match=complaint) as error:
        small_problem(4).experiment(DiffusiveCoupling(0.1, 1.0), graph=graphs.complete(4), schedules=schedules)
    assert "\n" not in str(error.value)


def test_methods_along_edges_refuse_directed_graphs() -> None:
    """A neighbour on a directed graph need not listen back, and then has no slot for what it is sent."""
    with pytest.raises(IncompatiblePair, match=r"AlongEdges cannot run here: .* is directed"):
        check_pair(AlongEdges(0.1), CYCLE, graphs.row_stochastic(CYCLE))
