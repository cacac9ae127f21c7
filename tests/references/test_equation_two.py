"""The published update rules, written out in NumPy with loops over agents, against the simulator.

Eq. (2) of paper 001 on a network with a hidden layer, with back-propagation by hand; elastic averaging in both forms
(Zhang, Choromanska, LeCun 2015, Eqs. (5)–(6) and Algorithm 1); FedAvg with partial participation (McMahan et al. 2017,
Algorithm 1). Only the order of mini-batches is taken from the package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import consilience as cs
from consilience.algorithms import (
    AsynchronousElasticAveraging,
    DiffusiveCoupling,
    ElasticAveraging,
    FederatedAveraging,
)
from consilience.graphs import Graph, RandomSubset, Schedules
from consilience.simulation.batching import batch_indices
from registries import ROUNDING, directed_cycle, final_params, small_problem, weighted_star

Params = dict[str, np.ndarray]

# ---- Eq. (2) -----------------------------------------------------------------------------------------------------

NUM_AGENTS, NUM_CLASSES, WIDTH, FEATURES = 4, 3, 3, 2
LEARNING_RATE, COUPLING, WEIGHT_DECAY = 0.2, 2.0, 0.01

# After 100 rounds of a contracting map, roundings of 1e-16 have grown by less than the 1e6 that is left to 1e-10.
AFTER_MANY_ROUNDS = 1e-10


def three_classes() -> tuple[Any, list[np.ndarray], Params]:
    """A classification task with unequal shards that lack classes, and parameters of each agent, leaves (agents, …)."""
    random = np.random.default_rng(7)
    labels = random.integers(NUM_CLASSES, size=24)
    inputs = random.normal(size=(24, FEATURES)) + labels[:, None]
    task = cs.tasks.from_arrays(inputs, labels, inputs[:6], labels[:6], num_classes=NUM_CLASSES)
    by_class = np.argsort(labels, kind="stable")
    shards = [by_class[:4], by_class[4:11], by_class[11:20], by_class[20:]]
    sizes = {"layer_0": (FEATURES, WIDTH), "layer_1": (WIDTH, NUM_CLASSES)}
    params = {}
    for name, (rows, columns) in sizes.items():
        params[f"{name}/weight"] = random.normal(size=(NUM_AGENTS, rows, columns)).swapaxes(1, 2)
        params[f"{name}/bias"] = random.normal(size=(NUM_AGENTS, columns))
    return task, shards, params


def backpropagate(params: Params, x: np.ndarray, labels: np.ndarray, activation: str) -> Params:
    """∇(mean cross-entropy + γ‖θ‖²) of one hidden layer."""
    before = x @ params["layer_0/weight"].T + params["layer_0/bias"]
    hidden = np.tanh(before) if activation == "tanh" else np.maximum(before, 0)
    slope = 1 - hidden**2 if activation == "tanh" else (before > 0).astype(float)
    logits = hidden @ params["layer_1/weight"].T + params["layer_1/bias"]
    exponentials = np.exp(logits)
    errors = exponentials / exponentials.sum(axis=1, keepdims=True)
    errors[np.arange(len(labels)), labels] -= 1
    errors /= len(labels)
    hidden_errors = errors @ params["layer_1/weight"] * slope
    loss_gradient = {
        "layer_0/weight": hidden_errors.T @ x,
        "layer_0/bias": hidden_errors.sum(axis=0),
        "layer_1/weight": errors.T @ hidden,
        "layer_1/bias": errors.sum(axis=0),
    }
    return {name: g + 2 * WEIGHT_DECAY * params[name] for name, g in loss_gradient.items()}


def equation_two(task: Any, q: np.ndarray, start: Params, batches: list[list[np.ndarray]], activation: str) -> Params:
    """θ_i(t+1) = θ_i − η ∇L_i(θ_i) + (ησ/N) Σ_j q_ij (θ_j − θ_i), agent by agent; batches[t][i] are samples."""
    now = {name: leaf.copy() for name, leaf in start.items()}
    for batches_of_round in batches:
        new = {name: leaf.copy() for name, leaf in now.items()}
        for i in range(NUM_AGENTS):
            own = {name: leaf[i] for name, leaf in now.items()}
            samples = batches_of_round[i]
            gradient = backpropagate(own, task.train_inputs[samples], task.train_labels[samples], activation)
            for name in now:
                new[name][i] -= LEARNING_RATE * gradient[name]
                for j in range(NUM_AGENTS):
                    pull = q[i, j] * (now[name][j] - now[name][i])
                    new[name][i] += LEARNING_RATE * COUPLING / NUM_AGENTS * pull
        now = new
    return now


@pytest.mark.parametrize(
    ("graph", "activation", "batch_size"),
    [
        (cs.graphs.complete(NUM_AGENTS), "tanh", None),
        (weighted_star(NUM_AGENTS), "relu", None),
        (directed_cycle(NUM_AGENTS), "tanh", None),
        (weighted_star(NUM_AGENTS), "tanh", 3),
    ],
    ids=["complete", "weighted star", "directed cycle", "mini-batches"],
)
def test_diffusive_coupling_is_equation_two(graph: Graph, activation: str, batch_size: int | None) -> None:
    num_rounds = 100
    task, shards, start = three_classes()
    if batch_size is None:
        batches = num_rounds * [shards]
    else:
        drawn = batch_indices(
            shards, seeds=[3], first_round=0, num_rounds=num_rounds, num_local_steps=1, batch_size=batch_size
        )
        batches = [list(one_round[:, 0]) for one_round in drawn]
    expected = equation_two(task, graph.adjacency, start, batches, activation)
    layers: dict[str, Params] = {"layer_0": {}, "layer_1": {}}
    for name, leaf in start.items():
        layer, _, kind = name.partition("/")
        layers[layer][kind] = leaf
    run = cs.simulate(
        DiffusiveCoupling(learning_rate=LEARNING_RATE, coupling=COUPLING, weight_decay=WEIGHT_DECAY),
        model=cs.models.mlp(depth=1, width=WIDTH, activation=activation),
        task=task,
        shards=shards,
        graph=graph,
        num_rounds=num_rounds,
        batch_size=batch_size,
        seed=3,
        observe=(),
        initial_params=layers,
        dtype="float64",
    )
    for name, leaf in expected.items():
        np.testing.assert_allclose(run[f"params/{name}"].values, leaf, rtol=0, atol=AFTER_MANY_ROUNDS)
    moved = np.abs(expected["layer_0/weight"] - start["layer_0/weight"]).max()
    assert moved > 0.1, "the agents hardly moved, so this proves little"


# ---- elastic averaging -------------------------------------------------------------------------------------------

PROBLEM = small_problem(4)
ETA, ALPHA, GAMMA, ROUNDS = 0.1, 0.15, 0.02, 9


def assert_ends_at(run: Any, agents: list[Params]) -> None:
    for name, leaf in final_params(run).items():
        expected = np.stack([agent[name.removeprefix("params/")] for agent in agents])
        np.testing.assert_allclose(leaf, expected, rtol=ROUNDING, atol=ROUNDING)


def test_synchronous_elastic_averaging() -> None:
    """Eqs. (5)–(6): x_i ← x_i − η g_i − α (x_i − x̃), x̃ ← x̃ + α Σ_i (x_i − x̃), from x̃ = mean of all x_i."""
    batches = PROBLEM.batches(batch_size=2, num_rounds=ROUNDS)
    agents = [PROBLEM.initial(i) for i in range(4)]
    centre = {name: sum(agent[name] for agent in agents) / 4 for name in agents[0]}
    for t in range(ROUNDS):
        gradients = [PROBLEM.gradient(agents[i], batches[t, i, 0], weight_decay=GAMMA) for i in range(4)]
        new_centre = {name: c + ALPHA * sum(x[name] - c for x in agents) for name, c in centre.items()}
        agents = [
            {name: x[name] - ETA * g[name] - ALPHA * (x[name] - centre[name]) for name in x}
            for x, g in zip(agents, gradients, strict=True)
        ]
        centre = new_centre
    algorithm = ElasticAveraging(learning_rate=ETA, elasticity=ALPHA, weight_decay=GAMMA)
    assert_ends_at(PROBLEM.simulate(algorithm, batch_size=2, num_rounds=ROUNDS), agents)


def test_asynchronous_elastic_averaging_in_round_robin() -> None:
    """Algorithm 1, one worker after the other, with the gradient at the parameters before the elastic move.

    Agent i meets the master in rounds t ≡ i modulo N; round 0, in which the master learns the mean, has no meeting.
    """
    batches = PROBLEM.batches(batch_size=2, num_rounds=ROUNDS)
    workers = [PROBLEM.initial(i) for i in range(4)]
    master = {name: sum(worker[name] for worker in workers) / 4 for name in workers[0]}
    for t in range(ROUNDS):
        for i, worker in enumerate(workers):
            x = {name: leaf.copy() for name, leaf in worker.items()}
            if t > 0 and t % 4 == i:
                for name in x:
                    worker[name] = worker[name] - ALPHA * (x[name] - master[name])
                    master[name] = master[name] + ALPHA * (x[name] - master[name])
            gradient = PROBLEM.gradient(x, batches[t, i, 0], weight_decay=GAMMA)
            for name in x:
                worker[name] = worker[name] - ETA * gradient[name]
    algorithm = AsynchronousElasticAveraging(learning_rate=ETA, elasticity=ALPHA, weight_decay=GAMMA, period=4)
    assert_ends_at(PROBLEM.simulate(algorithm, batch_size=2, num_rounds=ROUNDS), workers)


# ---- federated averaging -----------------------------------------------------------------------------------------


def test_federated_averaging_with_partial_participation() -> None:
    """The server averages the participants' models by n_k; those who stay away download the same model later."""
    problem, local_steps = small_problem(4, common_init=True), 3
    participation = RandomSubset(2, num_agents=4, seed=4)
    batches = problem.batches(batch_size=2, num_rounds=ROUNDS, num_local_steps=local_steps)
    sizes = [len(shard) for shard in problem.shards]
    server = problem.initial(0)
    seen = set()
    for t in range(ROUNDS):
        participants = np.flatnonzero(participation(t))
        seen.add(tuple(participants))
        total = {name: np.zeros_like(leaf) for name, leaf in server.items()}
        for k in participants:
            client = dict(server)
            for step in range(local_steps):
                gradient = problem.gradient(client, batches[t, k, step], weight_decay=GAMMA)
                client = {name: client[name] - ETA * gradient[name] for name in client}
            for name in total:
                total[name] += sizes[k] / sum(sizes[j] for j in participants) * client[name]
        server = total
    assert len(seen) > 1, "the same agents took part in every round, so this proves little"
    algorithm = FederatedAveraging(learning_rate=ETA, weight_decay=GAMMA, local_steps=local_steps)
    schedules = Schedules(active=participation)
    run = problem.simulate(algorithm, schedules=schedules, batch_size=2, num_rounds=ROUNDS)
    assert_ends_at(run, 4 * [server])
