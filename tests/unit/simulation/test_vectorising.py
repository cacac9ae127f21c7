"""Groups of agents, and the layout of dense layers, change speed and not results."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

import consilience as cs
from consilience.simulation import resolve_experiment
from consilience.simulation.vectorising import Activations, activations, over_agents_and_replicas
from registries import assert_close, small_problem

# Sums of some ten numbers of order one, in other orders, over ten rounds.
ROUNDING = 1e-13


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_groups_of_any_size_compute_what_all_at_once_do(at_once: int) -> None:
    def function(scale: Any, state: dict[str, Any], agent: Any, nothing: None, turn: tuple[Any, Any]) -> Any:
        return {"new": scale * state["a"] @ state["b"] + agent * turn[0]}, turn[1] * state["a"].sum()

    random = np.random.default_rng(0)
    num_agents, num_replicas = 5, 3
    arguments = (
        random.normal(size=num_replicas),
        {
            "a": random.normal(size=(num_agents, num_replicas, 4)),
            "b": random.normal(size=(num_agents, num_replicas, 4)),
        },
        random.normal(size=num_agents),
        None,
        (random.normal(), random.normal(size=num_agents)),
    )
    axes = {"replica_axes": (0, 0, None, None, None), "agent_axes": (None, 0, 0, None, (None, 0))}
    with jax.enable_x64(True):
        expected = over_agents_and_replicas(function, **axes, at_once=None)(*arguments)
        found = jax.jit(over_agents_and_replicas(function, **axes, at_once=at_once))(*arguments)
    assert_close(found, expected, tolerance=ROUNDING)


def test_a_population_in_groups_is_the_population(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = small_problem(5)
    method = cs.algorithms.DiffusiveCoupling(learning_rate=0.1, coupling=1.0)
    graph = cs.graphs.cycle(5)
    whole = problem.simulate(method, graph=graph, num_rounds=10)
    monkeypatch.setattr(Activations, "agents_at_once", lambda *_: 2)
    groups = problem.simulate(method, graph=graph, num_rounds=10)
    for name in ("params/weight", "params/bias"):
        np.testing.assert_allclose(groups[name], whole[name], rtol=0, atol=ROUNDING)


def experiment(model: Any, shape: tuple[int, ...], num_agents: int = 10) -> Any:
    random = np.random.default_rng(0)
    inputs, labels = random.random((20, *shape), np.float32), np.arange(20) % 10
    task = cs.tasks.from_arrays(inputs, labels, inputs, labels)
    return resolve_experiment(
        cs.algorithms.DGD(learning_rate=0.1),
        model=model,
        task=task,
        shards=cs.tasks.iid(task, num_agents=num_agents),
        graph=cs.graphs.complete(num_agents),
        num_rounds=1,
        batch_size=4,
    )


def test_activations_are_counted_per_sample_and_replica() -> None:
    dense = experiment(cs.models.mlp(depth=1, width=31), (7,))
    wider = experiment(cs.models.mlp(depth=1, width=62), (7,))
    small, large = activations(dense).num_bytes, activations(wider).num_bytes
    # At least a hidden neuron's value and its derivative in single precision, for each of four samples.
    assert small >= 4 * 2 * 31 * 4
    assert 1.2 * small < large < 2 * small
    many_weights = experiment(cs.models.mlp(depth=1, width=31), (700,))
    assert activations(many_weights).num_bytes < 1.5 * small


def test_only_networks_with_large_activations_are_computed_in_groups() -> None:
    dense, convolutions = experiment(cs.models.mlp(depth=1), (28, 28)), experiment(cs.models.cnn(), (32, 32, 3))
    assert activations(dense).agents_at_once(num_replicas=8, num_agents=1000) is None
    assert activations(convolutions).agents_at_once(num_replicas=8, num_agents=100) in range(1, 32)
    assert activations(convolutions).agents_at_once(num_replicas=1, num_agents=2) is None


def test_dense_layers_are_those_of_equinox() -> None:
    """The same network as a user's module: another code for the forward pass, and weights in the same places."""
    module = eqx.nn.MLP(6, 3, 8, 1, key=jax.random.key(0))
    random = np.random.default_rng(1)
    inputs, labels = random.normal(size=(12, 6)), np.arange(12) % 3
    task = cs.tasks.from_arrays(inputs, labels, inputs, labels)
    ours = {
        f"layer_{d}": {"weight": np.asarray(layer.weight), "bias": np.asarray(layer.bias)}
        for d, layer in enumerate(module.layers)
    }

    def run(model: Any, params: Any) -> Any:
        return cs.simulate(
            cs.algorithms.DiffusiveCoupling(learning_rate=0.1, coupling=1.0),
            model=model,
            task=task,
            shards=cs.tasks.by_class(task, num_agents=3),
            graph=cs.graphs.complete(3),
            num_rounds=10,
            batch_size=4,
            initial_params=params,
            observe=(),
            dtype="float64",
        )

    names = {f"layers.{d}.{kind}": leaf for d in (0, 1) for kind, leaf in ours[f"layer_{d}"].items()}
    theirs = run(cs.models.from_equinox(module), names)
    mine = run(cs.models.mlp(depth=1, width=8), ours)
    pairs = [(f"params/layer_{d}/{kind}", f"params/layers.{d}.{kind}") for d in (0, 1) for kind in ("weight", "bias")]
    for our_name, their_name in pairs:
        assert mine[our_name].shape == theirs[their_name].shape
        np.testing.assert_allclose(mine[our_name], theirs[their_name], rtol=0, atol=ROUNDING)
