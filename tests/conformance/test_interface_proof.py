"""The interface, proved on methods that stress what the catalog does not: servers that are agents, senders' identities,
schedules of everything, roles that change.

Each is written for one agent, in a few lines, and must end in the same states under `run_round` and in the simulator.
Where a method has a property that its arithmetic cannot have by chance, that is tested too.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import consilience as cs
from consilience import graphs
from consilience.algorithms import (
    DGD,
    SERVER,
    AdaptThenCombine,
    Algorithm,
    DiffusiveCoupling,
    TriadicCoupling,
    descend,
    local_sgd,
)
from consilience.algorithms.relay_sum import RelaySum
from consilience.graphs import Bernoulli, Graph, Interpolated, Periodic, RandomSubset, Schedules
from consilience.simulation import make_ensemble, run_ensemble
from registries import (
    ROUNDING,
    SmallProblem,
    assert_close,
    assert_simulator_equals_oracle,
    directed_cycle,
    final_params,
    small_problem,
    weighted_star,
)

add = lambda *trees: jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *trees)  # noqa: E731
subtract = lambda a, b: jax.tree.map(jnp.subtract, a, b)  # noqa: E731
scale = lambda factor, tree: jax.tree.map(lambda leaf: factor * leaf, tree)  # noqa: E731
zeros = lambda tree: jax.tree.map(jnp.zeros_like, tree)  # noqa: E731
where = lambda condition, a, b: jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)  # noqa: E731


def over_slots(weights: jax.Array, messages: Any) -> Any:
    """Σ_s weights_s message_s."""
    return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, axes=1), messages)


# ---- SCAFFOLD: a server, two exchanges, partial participation ----------------------------------------------------


class Scaffold(Algorithm):
    """SCAFFOLD (Karimireddy et al. 2020, option II): download, K corrected steps, upload of two differences."""

    num_exchanges = 2
    learning_rate: Any
    local_steps: int = eqx.field(static=True, default=2)

    @property
    def num_local_steps(self) -> int:
        return self.local_steps

    def init(self, params: Any, context: Any) -> Any:
        return {"model": params, "control": zeros(params), "update": zeros(params), "control_update": zeros(params)}

    def emit(self, state: Any, local: Any, context: Any) -> Any:
        if context.exchange == 0:
            return state, (state["model"], state["control"])
        return state, (state["update"], state["control_update"])

    def absorb(self, state: Any, inbox: Any, local: Any, context: Any) -> Any:
        is_server = context.role == SERVER
        heard = inbox.mask.astype(inbox.weights.dtype)
        if context.exchange == 0:
            downloaded, server_control = over_slots(heard, inbox.messages)
            model, control = downloaded, state["control"]
            for step in range(self.local_steps):
                gradient = add(local.gradient(model, step), subtract(server_control, control))
                model = descend(model, gradient, self.learning_rate)
            drift = scale(1 / (self.local_steps * self.learning_rate), subtract(downloaded, model))
            control_update = subtract(drift, server_control)
            learned = {
                "model": model,
                "control": add(control, control_update),
                "update": subtract(model, downloaded),
                "control_update": control_update,
            }
            return where(is_server, state, learned)
        update, control_update = over_slots(heard, inbox.messages)
        participants = jnp.maximum(heard.sum(), 1)
        merged = {
            **state,
            "model": add(state["model"], scale(1 / participants, update)),
            "control": add(state["control"], scale(1 / (context.num_agents - 1), control_update)),
        }
        return where(is_server, merged, state)

    def params(self, state: Any) -> Any:
        return state["model"]


def federation(num_clients: int, **options: Any) -> SmallProblem:
    return small_problem(num_clients + 1, servers=(0,), common_init=True, **options)


def test_scaffold_with_partial_participation() -> None:
    run, _ = assert_simulator_equals_oracle(
        Scaffold(learning_rate=0.1),
        problem=federation(3),
        graph=graphs.star(4),
        roles={0: "server"},
        schedules=Schedules(active=RandomSubset(2, num_agents=4, always=(0,))),
        batch_size=2,
        num_rounds=4,
    )
    assert run.agent.values.tolist() == [1, 2, 3], "the server is left out"


def test_scaffold_has_no_client_drift() -> None:
    """With several local steps it settles at the minimum of the clients' mean loss, which FedAvg misses."""
    problem = federation(3)
    options = {"graph": graphs.star(4), "roles": {0: "server"}, "num_rounds": 2000, "observe_every": 1000}
    run = problem.simulate(Scaffold(learning_rate=0.1, local_steps=4), **options)
    task, hessian, pull = problem.task, np.zeros((4, 4)), np.zeros((4, 2))
    for shard in problem.shards[1:]:
        inputs = np.c_[task.train_inputs[shard], np.ones(len(shard))]
        hessian += inputs.T @ inputs / len(shard)
        pull += inputs.T @ task.train_labels[shard] / len(shard)
    minimum = np.linalg.solve(hessian, pull)
    # The slowest direction contracts by less than 0.99 per round: 2000 rounds leave 1e-9.
    np.testing.assert_allclose(run.params(1)["weight"], minimum[:-1], atol=1e-8)
    np.testing.assert_allclose(run.params(1)["bias"], minimum[-1], atol=1e-8)


# ---- SPSA in one byte: quantised messages, directions drawn from shared keys --------------------------------------


class OneByteSPSA(Algorithm):
    """Every agent sends one byte, its loss's slope along a direction that all others can draw from (round, sender)."""

    learning_rate: Any
    probe: Any = 1e-3
    resolution: Any = 0.05

    def direction(self, context: Any, sender: Any, like: Any) -> Any:
        flat, unravel = jax.flatten_util.ravel_pytree(like)
        bits = jax.random.key_data(jax.random.fold_in(context.shared_key, sender))[0] >> jnp.arange(flat.size)
        return unravel(jnp.where(bits & 1, 1.0, -1.0).astype(flat.dtype))

    def init(self, params: Any, context: Any) -> Any:
        return {"params": params, "sent": jnp.zeros((), jnp.int8)}

    def emit(self, state: Any, local: Any, context: Any) -> Any:
        params = state["params"]
        probe = scale(self.probe, self.direction(context, context.agent, params))
        slope = (local.loss(add(params, probe)) - local.loss(subtract(params, probe))) / (2 * self.probe)
        byte = jnp.clip(jnp.round(slope / self.resolution), -127, 127).astype(jnp.int8)
        return {"params": params, "sent": byte}, byte

    def absorb(self, state: Any, inbox: Any, local: Any, context: Any) -> Any:
        weights = jnp.where(inbox.mask, inbox.weights, 0)
        slopes = self.resolution * jnp.append(inbox.messages, state["sent"]).astype(weights.dtype)
        slopes = slopes * jnp.append(weights, 1 - weights.sum())
        senders = jnp.append(inbox.senders, context.agent)
        directions = jax.vmap(lambda sender: self.direction(context, sender, state["params"]))(senders)
        return {**state, "params": descend(state["params"], over_slots(slopes, directions), self.learning_rate)}

    def params(self, state: Any) -> Any:
        return state["params"]


def test_one_byte_spsa() -> None:
    links = Schedules(edges=Bernoulli(0.7, num_agents=3, seed=2, links=True))
    run, states = assert_simulator_equals_oracle(
        OneByteSPSA(learning_rate=0.02), graph=weighted_star(3), schedules=links, batch_size=2, seed=5
    )
    assert states[0]["sent"].dtype == jnp.int8
    start = small_problem(3).initial_params["weight"]
    assert np.abs(final_params(run)["params/weight"] - start).max() > 1e-3, "nothing was learned"


def test_one_byte_spsa_of_an_agent_without_neighbours() -> None:
    assert_simulator_equals_oracle(OneByteSPSA(learning_rate=0.02), graph=graphs.complete(1))


# ---- schedules ---------------------------------------------------------------------------------------------------

SQUARE = graphs.cycle(4)
LEARN = AdaptThenCombine(learning_rate=0.1, local_steps=2)
COUPLE = DiffusiveCoupling(learning_rate=0.1, coupling=3.0)
TRIADS = TriadicCoupling(learning_rate=0.1, coupling=2.0, triadic_coupling=4.0, selectivity=0.5)
ACTIVE = Bernoulli(0.5, num_agents=4, seed=1)
LINKS = Bernoulli(0.6, num_agents=4, seed=3, links=True)
CHANGING_WEIGHTS = Periodic(np.stack([graphs.metropolis(SQUARE).weights, np.eye(4), np.roll(np.eye(4), 1, axis=0)]))
CHANGING_ADJACENCY = Periodic(np.stack([SQUARE.adjacency, np.triu(SQUARE.adjacency), 3 * np.tril(SQUARE.adjacency)]))
WEIGHTS_OF_TRIADS = Periodic(
    np.stack([TRIADS.default_mixing(graphs.from_adjacency(q)).weights for q in CHANGING_ADJACENCY.values])
)
RAMP = Interpolated(rounds=(0, 1, 3), values=(2.0, 0.0, 1.5))


@pytest.mark.parametrize(
    ("algorithm", "graph", "schedules"),
    [
        pytest.param(LEARN, SQUARE, Schedules(mixing=CHANGING_WEIGHTS), id="mixing"),
        pytest.param(COUPLE, weighted_star(), Schedules(edges=LINKS), id="links"),
        pytest.param(DGD(learning_rate=0.1), directed_cycle(), Schedules(active=ACTIVE), id="activity"),
        pytest.param(COUPLE, SQUARE, Schedules(adjacency=CHANGING_ADJACENCY), id="adjacency"),
        pytest.param(COUPLE, graphs.complete(4), Schedules(coupling=RAMP), id="coupling"),
        pytest.param(
            TRIADS,
            SQUARE,
            Schedules(adjacency=CHANGING_ADJACENCY, mixing=WEIGHTS_OF_TRIADS, coupling=RAMP),
            id="adjacency of pairs and triads, coupling",
        ),
        pytest.param(
            TRIADS,
            weighted_star(),
            Schedules(edges=LINKS, active=ACTIVE, coupling=RAMP),
            id="links of triads, activity, coupling",
        ),
        pytest.param(
            LEARN, SQUARE, Schedules(mixing=CHANGING_WEIGHTS, edges=LINKS, active=ACTIVE), id="mixing, links, activity"
        ),
    ],
)
def test_schedules(algorithm: Algorithm, graph: Graph, schedules: Schedules) -> None:
    num_rounds = 4
    changing = (schedules.mixing, schedules.edges, schedules.active, schedules.adjacency, schedules.coupling)
    for schedule in changing:
        if schedule is not None:
            values = [np.asarray(schedule(round)).tolist() for round in range(num_rounds)]
            assert any(value != values[0] for value in values), "a constant schedule proves nothing"
    assert_simulator_equals_oracle(algorithm, graph=graph, schedules=schedules, num_rounds=num_rounds)


class Relabelled(AdaptThenCombine):
    """Learners learn; servers only mix."""

    def emit(self, state: Any, local: Any, context: Any) -> Any:
        state = where(context.role == SERVER, state, self.learned(state, local))
        return state, state["params"]


def test_changing_roles() -> None:
    roles = Periodic(np.array([[1, 0, 0, 0], [0, 0, 1, 0]]))
    assert_simulator_equals_oracle(Relabelled(learning_rate=0.1), graph=SQUARE, schedules=Schedules(roles=roles))


def test_inactive_agents_keep_their_state_and_do_not_pull() -> None:
    """By hand: agents 0 and 1 of three are active; agent 2 stays, and the weight that it would have returns."""
    problem = small_problem(3)
    schedules = Schedules(active=Periodic(np.array([[True, True, False]])))
    run = problem.simulate(
        AdaptThenCombine(learning_rate=0.0), graph=graphs.complete(3), schedules=schedules, num_rounds=1
    )
    start, end = problem.initial_params["weight"], final_params(run)["params/weight"]
    np.testing.assert_array_equal(end[2], start[2])
    np.testing.assert_allclose(end[0], (2 * start[0] + start[1]) / 3, atol=ROUNDING)
    np.testing.assert_allclose(end[1], (start[0] + 2 * start[1]) / 3, atol=ROUNDING)


def test_federated_averaging_with_partial_participation() -> None:
    algorithm = cs.algorithms.FederatedAveraging(learning_rate=0.1, local_steps=2)
    schedules = Schedules(active=RandomSubset(2, num_agents=4, seed=4))
    assert_simulator_equals_oracle(algorithm, graph=graphs.complete(4), schedules=schedules, batch_size=2)


# ---- replicas side by side ---------------------------------------------------------------------------------------


class NoisyStep(Algorithm):
    """Learns with noise from the agent's own key, and from the key that all share."""

    learning_rate: Any

    def init(self, params: Any, context: Any) -> Any:
        return params

    def emit(self, state: Any, local: Any, context: Any) -> Any:
        bits = jnp.stack([jax.random.key_data(key)[0] for key in (context.key, context.shared_key)])
        noise = (bits.astype(jnp.float32) / 2**32).sum() - 1
        learned = local_sgd(state, local, learning_rate=self.learning_rate, weight_decay=0.0, num_steps=1)
        return state, jax.tree.map(lambda leaf: leaf + 0.1 * noise.astype(leaf.dtype), learned)

    def absorb(self, state: Any, inbox: Any, local: Any, context: Any) -> Any:
        return add(inbox.mixed, scale(0.1, inbox.coupled))

    def params(self, state: Any) -> Any:
        return state


@pytest.mark.parametrize(
    ("algorithms", "graph", "seeds", "batch_size"),
    [
        pytest.param([NoisyStep(0.1), NoisyStep(0.1)], weighted_star(), [3, 8], 2, id="two seeds"),
        pytest.param([NoisyStep(0.1), NoisyStep(0.1)], weighted_star(), [3, 8], None, id="two seeds, whole shards"),
        pytest.param([RelaySum(0.1), RelaySum(0.1)], graphs.path(4), [3, 8], 2, id="messages along edges, two seeds"),
        pytest.param([RelaySum(0.1), RelaySum(0.2)], graphs.path(4), [3, 3], 2, id="messages along edges, two rates"),
    ],
)
def test_replicas_do_not_feel_each_other(
    algorithms: list[Algorithm], graph: Graph, seeds: list[int], batch_size: int | None
) -> None:
    experiment = small_problem(4).experiment(algorithms[0], graph=graph, batch_size=batch_size, num_rounds=3)
    together = run_ensemble(experiment, algorithms, seeds).params
    single = make_ensemble(experiment, seeds[:1])
    for replica, (algorithm, seed) in enumerate(zip(algorithms, seeds, strict=True)):
        alone = run_ensemble(experiment, [algorithm], [seed], ensemble=single).params
        assert_close({name: leaf[replica] for name, leaf in together.items()}, {k: v[0] for k, v in alone.items()})
    assert np.abs(together["weight"][0] - together["weight"][1]).max() > 1e-3
