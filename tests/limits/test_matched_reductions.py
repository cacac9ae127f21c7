"""Matched averaging against NumPy, against permutations tried one by one, and in its limits."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import xarray as xr

import consilience as cs
from consilience.algorithms import Algorithm, FederatedAveraging
from consilience.algorithms.matched_averaging import MatchedAveraging, match_units, matched_average, permute_units
from consilience.errors import InvalidSpec
from consilience.graphs import Schedules
from registries import (
    ROUNDING,
    SmallProblem,
    assert_close,
    assert_same_params,
    assert_simulator_equals_oracle,
    small_problem,
)

RATES: dict[str, Any] = {"learning_rate": 0.1, "weight_decay": 0.05, "local_steps": 2}
ROUNDS = 3
Layers = list[tuple[np.ndarray, np.ndarray]]


def networks(num_agents: int = 3, *, depth: int = 2, common_init: bool = False, **options: Any) -> SmallProblem:
    """The data of `small_problem`, learned by tanh networks with three hidden units per layer."""
    problem = small_problem(num_agents, **options)
    random = np.random.default_rng(1)
    sizes = [3, *[3] * depth, 2]
    starts: dict[str, Any] = {}
    for d, (below, above) in enumerate(itertools.pairwise(sizes)):
        shape = (1 if common_init else num_agents, above)
        layer = {"weight": random.normal(size=(*shape, below)), "bias": random.normal(size=shape)}
        starts[f"layer_{d}"] = {name: np.repeat(leaf, num_agents // shape[0], axis=0) for name, leaf in layer.items()}
    model = cs.models.mlp(depth, 3, activation="tanh")
    return dataclasses.replace(problem, model=model, initial_params=starts)


DEEP = networks()


@functools.cache
def run(algorithm: Algorithm, problem: SmallProblem = DEEP, **options: Any) -> xr.Dataset:
    """A simulation; those that several tests ask for run once."""
    return problem.simulate(algorithm, num_rounds=ROUNDS, **options)


def of_agent(params: Any, agent: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[agent], params)


def shuffled(problem: SmallProblem, agent: int) -> SmallProblem:
    """The same, with the hidden units of one agent's start in another order."""
    orders = (jnp.array([1, 2, 0]), jnp.array([2, 1, 0]))
    with jax.enable_x64(True):
        other = permute_units(jax.tree.map(jnp.asarray, of_agent(problem.initial_params, agent)), orders)

    def replaced(leaf: np.ndarray, new: Any) -> np.ndarray:
        return np.concatenate([leaf[:agent], np.asarray(new)[None], leaf[agent + 1 :]])

    return dataclasses.replace(problem, initial_params=jax.tree.map(replaced, problem.initial_params, other))


# ---- NumPy: gradients by hand, and all permutations tried ---------------------------------------------------------


def descended(layers: Layers, inputs: np.ndarray, targets: np.ndarray, num_steps: int) -> Layers:
    """Gradient descent on the mean of ½‖f(x) − y‖² + γ‖θ‖² of a tanh network, by back-propagation."""
    for _ in range(num_steps):
        signals = [inputs]
        for depth, (weight, bias) in enumerate(layers):
            field = signals[-1] @ weight.T + bias
            signals.append(np.tanh(field) if depth < len(layers) - 1 else field)
        error, new = (signals[-1] - targets) / len(inputs), []
        for depth in reversed(range(len(layers))):
            weight, bias = layers[depth]
            slopes = error.T @ signals[depth], error.sum(axis=0)
            new.append(
                tuple(
                    leaf - RATES["learning_rate"] * (slope + 2 * RATES["weight_decay"] * leaf)
                    for leaf, slope in zip((weight, bias), slopes, strict=True)
                )
            )
            error = (error @ weight) * (1 - signals[depth] ** 2)
        layers = new[::-1]
    return layers


def aligned(layers: Layers, reference: Layers) -> Layers:
    """Layer by layer, the order of units with the least sum of squared distances, of all there are."""
    layers = list(layers)
    for depth in range(len(layers) - 1):
        last = depth == len(layers) - 2

        def reordered(order: tuple[int, ...], depth: int = depth) -> Layers:
            (weight, bias), (above, bias_above) = layers[depth : depth + 2]
            return [(weight[list(order)], bias[list(order)]), (above[:, list(order)], bias_above)]

        def distance(order: tuple[int, ...], depth: int = depth, last: bool = last) -> float:
            (weight, bias), (above, _) = reordered(order)
            (weight_0, bias_0), (above_0, _) = reference[depth : depth + 2]
            total = ((weight - weight_0) ** 2).sum() + ((bias - bias_0) ** 2).sum()
            return total + ((above - above_0) ** 2).sum() if last else total

        best = min(itertools.permutations(range(len(layers[depth][1]))), key=distance)
        layers[depth : depth + 2] = reordered(best)
    return layers


def in_numpy(problem: SmallProblem, layers: list[Layers], active: Any = None) -> Layers:
    """Rounds of the whole method; `active` says who takes part in which round."""
    sizes = np.array([len(shard) for shard in problem.shards], float)
    for round in range(ROUNDS):
        who = [i for i in range(len(sizes)) if active is None or active[round][i]]
        if not who:
            continue
        data = [(problem.task.train_inputs[shard], problem.task.train_labels[shard]) for shard in problem.shards]
        learned = {i: descended(layers[i], *data[i], RATES["local_steps"]) for i in who}
        matched = {i: aligned(learned[i], learned[who[0]]) for i in who}
        mean = [
            tuple(sum(sizes[i] * matched[i][d][leaf] for i in who) / sizes[who].sum() for leaf in (0, 1))
            for d in range(len(layers[0]))
        ]
        layers = [mean] * len(layers)
    return layers[0]


def starts(problem: SmallProblem) -> list[Layers]:
    params = problem.initial_params
    return [
        [(params[name]["weight"][i], params[name]["bias"][i]) for name in sorted(params)]
        for i in range(problem.num_agents)
    ]


def assert_ends_at(dataset: xr.Dataset, layers: Layers, *, agents: int = 3) -> None:
    expected = {f"layer_{d}": {"weight": weight, "bias": bias} for d, (weight, bias) in enumerate(layers)}
    for agent in range(agents):
        # Some hundred roundings: back-propagation through three layers, six steps, double precision.
        assert_close(dataset.params(agent), expected, tolerance=1e-10)


@pytest.mark.parametrize("depth", [1, 3])
def test_rounds_are_those_of_numpy(depth: int) -> None:
    """With three hidden layers one is matched by nothing but what it reads from units that were matched before."""
    problem = networks(depth=depth)
    assert_ends_at(run(MatchedAveraging(**RATES), problem), in_numpy(problem, starts(problem)))


def test_on_quadratics_rounds_are_those_of_numpy() -> None:
    """Without hidden layers: the mean weighted by shard sizes of two steps each."""
    problem = small_problem(3)
    start = [[(params["weight"].T, params["bias"])] for params in map(problem.initial, range(3))]
    ((weight, bias),) = in_numpy(problem, start)
    for agent in range(3):
        params = run(MatchedAveraging(**RATES), problem).params(agent)
        assert_close(params, {"weight": weight.T, "bias": bias}, tolerance=1e-10)


@pytest.mark.slow
def test_only_those_who_take_part_count() -> None:
    """Without agent 0 the units are those of agent 1; nobody takes part in the last round."""
    active = np.array([[False, True, True], [True, False, True], [False, False, False]])
    schedules = Schedules(active=lambda round: jnp.asarray(active)[round])
    result = run(MatchedAveraging(**RATES), schedules=schedules)
    assert_ends_at(result, in_numpy(DEEP, starts(DEEP), active))


# ---- limits ------------------------------------------------------------------------------------------------------


def test_without_hidden_layers_it_is_federated_averaging() -> None:
    problem = small_problem(4, common_init=True)
    matched, federated = MatchedAveraging(**RATES), FederatedAveraging(**RATES)
    assert_same_params(run(matched, problem, batch_size=2), run(federated, problem, batch_size=2))


def test_while_units_are_matched_it_is_federated_averaging() -> None:
    """From a common start, few small steps leave every unit nearest to itself."""
    problem = networks(4, common_init=True)
    matched, federated = MatchedAveraging(**RATES), FederatedAveraging(**RATES)
    assert_same_params(run(matched, problem, batch_size=2), run(federated, problem, batch_size=2))


def test_permutations_of_one_network_average_to_it() -> None:
    problem = shuffled(shuffled(networks(common_init=True), 1), 2)
    result = run(MatchedAveraging(learning_rate=0.0), problem)
    for agent in range(3):
        assert_close(result.params(agent), of_agent(problem.initial_params, 0))


def test_one_agent_does_sgd() -> None:
    problem = networks(1)
    data = problem.task.train_inputs[problem.shards[0]], problem.task.train_labels[problem.shards[0]]
    expected = descended(starts(problem)[0], *data, ROUNDS * RATES["local_steps"])
    assert_ends_at(run(MatchedAveraging(**RATES), problem), expected, agents=1)


# ---- invariants --------------------------------------------------------------------------------------------------


def test_all_agents_end_with_the_same_bits() -> None:
    result = run(MatchedAveraging(**RATES), batch_size=2)
    for agent in (1, 2):
        assert_close(result.params(agent), result.params(0), tolerance=0)


@pytest.mark.slow
def test_the_order_of_the_units_of_a_start_does_not_matter() -> None:
    """That of the reference agent decides the order of the result, and nothing of its function."""
    expected = run(MatchedAveraging(**RATES))
    assert_same_params(run(MatchedAveraging(**RATES), shuffled(DEEP, 2)), expected)
    other = run(MatchedAveraging(**RATES), shuffled(DEEP, 0))
    inputs = DEEP.task.test_inputs
    with jax.enable_x64(True):
        outputs = [DEEP.model.apply(one.params(0), jnp.asarray(inputs)) for one in (expected, other)]
    assert not np.allclose(other.params(0)["layer_0"]["bias"], expected.params(0)["layer_0"]["bias"])
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.slow  # the catalog's own conformance tests run on it, too
def test_conformance_and_simulator_against_oracle() -> None:
    algorithm = MatchedAveraging(**RATES)
    report = cs.algorithms.check(algorithm)
    assert report.passed, str(report)
    assert_simulator_equals_oracle(algorithm, problem=DEEP, graph=cs.graphs.complete(3), batch_size=2)


@pytest.mark.slow
def test_a_run_that_diverges_ends() -> None:
    """The assignment must not wait for NaN to become smaller."""
    result = run(MatchedAveraging(learning_rate=1e300), batch_size=2)
    assert str(result.outcome.values) == "diverged"


def test_it_costs_what_federated_averaging_costs() -> None:
    bits = [
        cs.simulation.costs(networks(common_init=True).experiment(algorithm, graph=cs.graphs.complete(3))).bits
        for algorithm in (MatchedAveraging(**RATES), FederatedAveraging(**RATES))
    ]
    np.testing.assert_array_equal(*bits)


# ---- matching ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 30])
def test_the_assignment_is_exact(size: int) -> None:
    """optax's assignment, which runs under `jit`, against SciPy's, on costs of both signs."""
    from consilience.algorithms.matched_averaging import _assign

    assign = jax.jit(_assign)
    for seed in range(3):
        likeness = np.random.default_rng(seed).normal(size=(size, size)).astype(np.float32)
        rows, columns = scipy.optimize.linear_sum_assignment(likeness, maximize=True)
        found = np.asarray(assign(jnp.asarray(likeness)))
        assert sorted(found) == list(range(size))
        # Ties aside the pairing is unique; single precision may confuse sums that differ in the last bits.
        assert likeness[rows, found].sum() == pytest.approx(likeness[rows, columns].sum(), rel=1e-5)


@pytest.mark.slow
def test_units_and_channels_are_found_again() -> None:
    """A convolutional network with its channels in another order computes the same, and is matched without error."""
    model, random = cs.models.cnn((4, 6, 3), kernel_size=3, stride=1), np.random.default_rng(0)
    network = model.init(jax.random.key(0), (9, 9, 2), 3)
    orders = tuple(jnp.asarray(random.permutation(channels)) for channels in (4, 6, 3))
    other = permute_units(network, orders)
    images = jnp.asarray(random.normal(size=(5, 9, 9, 2)), jnp.float32)
    # Sums of a hundred terms in single precision, in another order.
    apply = jax.jit(model.apply)
    np.testing.assert_allclose(apply(other, images), apply(network, images), rtol=1e-4, atol=1e-4)
    back = match_units(other, network)
    for found, order in zip(back, orders, strict=True):
        np.testing.assert_array_equal(np.asarray(order)[np.asarray(found)], np.arange(len(order)))
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), network, other)
    assert_close(matched_average(both, jnp.array([0.5, 0.5])), network, tolerance=0)


def test_outgoing_weights_tell_equal_units_apart() -> None:
    reference = {
        "layer_0": {"weight": jnp.ones((2, 1)), "bias": jnp.zeros(2)},
        "layer_1": {"weight": jnp.array([[1.0, -1.0]]), "bias": jnp.zeros(1)},
    }
    other = permute_units(reference, [jnp.array([1, 0])])
    assert match_units(other, reference)[0].tolist() == [1, 0]


def test_layers_are_counted_and_not_spelled() -> None:
    """layer_10 reads layer_9, though it stands before layer_2 in the alphabet."""
    network = cs.models.mlp(11, 2).init(jax.random.key(0), (2,), 2)
    assert len(match_units(network, network)) == 11


def test_what_is_no_chain_of_layers_is_refused() -> None:
    layer = {"weight": jnp.ones((2, 3)), "bias": jnp.ones(2)}
    for params in ({"w": jnp.ones(3)}, {"layer_0": layer, "layer_1": layer}, jnp.ones(3), {}):
        with pytest.raises(InvalidSpec, match="are no chain of layers"):
            match_units(params, params)
    with pytest.raises(InvalidSpec, match="2 permutations do not fit a network with 0 hidden layers"):
        permute_units(layer, [jnp.arange(2), jnp.arange(2)])
