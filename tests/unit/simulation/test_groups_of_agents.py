"""Agents with about equally many neighbours are served together: the same states, in O(edges)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consilience import graphs
from consilience.algorithms import Algorithm, Context, DiffusiveCoupling, Inbox, Local, TriadicCoupling
from consilience.graphs import Bernoulli, Graph, Schedules
from consilience.simulation.vectorising import in_order
from registries import SmallProblem, assert_simulator_equals_oracle, small_problem

IRREGULAR = [graphs.star(9), graphs.barabasi_albert(20, 2, seed=0)]
CHANGING = Schedules(edges=Bernoulli(0.7, 20, seed=1, links=True), active=Bernoulli(0.8, 20, seed=2))


def problem(graph: Graph) -> SmallProblem:
    return small_problem(graph.num_agents, sizes=[2 + agent % 3 for agent in range(graph.num_agents)])


class Attracted(Algorithm):
    """A gradient step, and a step towards every neighbour: bounded, and weighted by who it is."""

    def init(self, params: Any, context: Context) -> Any:
        return params

    def emit(self, state: Any, local: Local, context: Context) -> Any:
        return state, state

    def absorb(self, state: Any, inbox: Inbox, local: Local, context: Context) -> Any:
        said = jnp.where(context.neighbour_mask & inbox.mask, 1.0 + context.neighbours + inbox.senders, 0)

        def towards(own: jax.Array, received: jax.Array, slope: jax.Array) -> jax.Array:
            share = (said / (1 + said.sum())).reshape(-1, *[1] * own.ndim)
            apart = jnp.where(share > 0, received - own, 0)
            return own + (share * jnp.tanh(apart)).sum(axis=0) - 0.1 * slope

        return jax.tree.map(towards, state, inbox.messages, local.gradient(state))

    def params(self, state: Any) -> Any:
        return state


class Remembers(Attracted):
    """The same, with a place in the state for every neighbour."""

    def init(self, params: Any, context: Context) -> Any:
        return {"params": params, "heard": jnp.zeros(context.neighbours.shape, bool)}

    def emit(self, state: Any, local: Local, context: Context) -> Any:
        return state, state["params"]

    def absorb(self, state: Any, inbox: Inbox, local: Local, context: Context) -> Any:
        moved = super().absorb(state["params"], inbox, local, context)
        return {"params": moved, "heard": state["heard"] | inbox.mask}

    def params(self, state: Any) -> Any:
        return state["params"]


def widths_of_inboxes(algorithm: Algorithm, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The numbers of slots with which a round's program is made, everybody's among them."""
    seen: set[int] = set()
    original = type(algorithm).absorb

    def spy(self: Any, state: Any, inbox: Inbox, local: Local, context: Context) -> Any:
        assert context.neighbours.shape == inbox.senders.shape == inbox.mask.shape
        seen.add(len(inbox.mask))
        return original(self, state, inbox, local, context)

    monkeypatch.setattr(type(algorithm), "absorb", spy)
    problem(graph).simulate(algorithm, graph=graph, num_rounds=1)
    return seen


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("graph", IRREGULAR, ids=lambda graph: graph.name)
@pytest.mark.parametrize("algorithm", [Attracted(), Remembers()], ids=["in groups", "together"])
def test_the_simulator_equals_the_oracle(algorithm: Algorithm, graph: Graph, batch_size: int | None) -> None:
    assert_simulator_equals_oracle(algorithm, problem=problem(graph), graph=graph, batch_size=batch_size)


def test_links_that_fail_and_agents_that_are_absent() -> None:
    graph = IRREGULAR[1]
    assert_simulator_equals_oracle(Attracted(), problem=problem(graph), graph=graph, schedules=CHANGING, batch_size=2)


@pytest.mark.parametrize(
    ("algorithm", "graph", "expected"),
    [
        (Attracted(), graphs.star(9), {1, 8}),
        (TriadicCoupling(0.1, 1.0, triadic_coupling=1.0), graphs.star(9), {1, 8}),
        (Attracted(), graphs.cycle(9), {2}),  # regular: nothing to gain
        (Remembers(), graphs.star(9), {8}),  # the shapes of states must agree
        (DiffusiveCoupling(0.1, 1.0), graphs.star(9), {8}),  # which reads sums only
    ],
    ids=["single messages", "triads", "regular", "slots in the state", "sums"],
)
def test_who_is_served_in_groups(
    algorithm: Algorithm, graph: Graph, expected: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert widths_of_inboxes(algorithm, graph, monkeypatch) == expected


def test_groups_are_put_together_in_the_order_of_agents() -> None:
    order = np.random.default_rng(0).permutation(12)
    agents = [order[:5], order[5:6], order[6:]]
    leaf = jnp.arange(24.0).reshape(12, 2)
    whole = in_order(agents, [{"leaf": leaf[group]} for group in agents])
    np.testing.assert_array_equal(whole["leaf"], leaf)
