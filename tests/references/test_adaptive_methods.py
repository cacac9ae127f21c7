"""Scaled local SGD and decentralised Adam against NumPy, on quadratics of three agents in double precision.

The references are written from the definitions: a scaling from the list of all that was measured, Adam's moments as
sums over all gradients so far, Hessians as matrices.
"""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from consilience import graphs
from consilience.algorithms import check
from consilience.algorithms.decentralised_adam import DecentralisedAdam
from consilience.algorithms.optimisers import Momentum
from consilience.algorithms.scaled_local_sgd import (
    SCALINGS,
    AdamScaling,
    NoScaling,
    OASISScaling,
    RMSPropScaling,
    ScaledLocalSGD,
)
from consilience.errors import InvalidSpec
from consilience.randomness import Purpose, key
from registries import assert_simulator_equals_oracle, final_params, small_problem, weighted_star

TOLERANCE = 1e-10  # some rounds of sums of a few terms, and divisions by numbers down to the floor of 0.05
PROBLEM = small_problem(3)
N, ROUNDS, STEPS = 3, 5, 2
RATE, DECAY, BETA, FLOOR = 0.03, 0.05, 0.7, 0.05
SCALED: dict[str, Any] = dict(SCALINGS)


@functools.cache
def run(algorithm, *, batch_size=None, num_rounds=ROUNDS, graph=None):
    return PROBLEM.simulate(algorithm, batch_size=batch_size, num_rounds=num_rounds, graph=graph)


def flat(params):
    """Biases, then weights: one vector."""
    return np.concatenate([params["bias"].ravel(), params["weight"].ravel()])


def tree(vector):
    return {"bias": vector[:2], "weight": vector[2:].reshape(3, 2)}


def gradient(vector, samples):
    return flat(PROBLEM.gradient(tree(vector), samples, weight_decay=DECAY))


def hessian(samples):
    """Of the mean of ½‖W x + b − y‖² + γ‖θ‖²: the same block for each output."""
    inputs = np.hstack([np.ones((len(samples), 1)), PROBLEM.task.train_inputs[samples]])
    # Entries of a vector in the order (input or bias, output), as `flat` has them.
    return np.kron(inputs.T @ inputs / len(samples), np.eye(2)) + 2 * DECAY * np.eye(8)


def signs(round, agent):
    with jax.enable_x64(True):
        keys = jax.random.split(key(0, Purpose.AGENT, round, agent), 2)
        drawn = [jax.random.rademacher(k, shape, float) for k, shape in zip(keys, [(2,), (3, 2)], strict=True)]
        return np.concatenate([np.ravel(one) for one in drawn])


def assert_ends_at(dataset, vectors):
    for name, leaf in final_params(dataset).items():
        expected = np.stack([tree(vector)[name.removeprefix("params/")] for vector in vectors])
        np.testing.assert_allclose(leaf, expected, rtol=TOLERANCE, atol=TOLERANCE)


def weighted_mean_of_past(past, *, corrected):
    """(1 − β) Σ_k β^(t−k) s_k, over the sum of its weights (Adam's correction), or with weight β^t for the first."""
    weights = (1 - BETA) * BETA ** np.arange(len(past))[::-1]
    if corrected:
        weights = weights / weights.sum()
    else:
        weights[0] /= 1 - BETA
    return np.tensordot(weights, np.array(past), 1)


def scaled_local_sgd(kind, momentum=0.0):
    """On whole shards: each round's measurements, the scaling from the list of all, then steps and a mean."""
    at = np.stack([flat(PROBLEM.initial(agent)) for agent in range(N)])
    velocity, past = np.zeros_like(at), []
    for round in range(ROUNDS):
        if kind == "oasis":
            draws = [signs(round, i) for i in range(N)]
            past.append(np.mean([v * (hessian(PROBLEM.shards[i]) @ v) for i, v in enumerate(draws)], axis=0))
            diagonal = np.abs(weighted_mean_of_past(past, corrected=False))
        else:
            past.append(np.mean([gradient(at[i], PROBLEM.shards[i]) for i in range(N)], axis=0) ** 2)
            diagonal = np.sqrt(weighted_mean_of_past(past, corrected=kind == "adam"))
        scale = np.maximum(FLOOR, diagonal)
        for _ in range(STEPS):
            velocity = momentum * velocity + np.stack([gradient(at[i], PROBLEM.shards[i]) for i in range(N)])
            at = at - RATE * velocity / scale
        at = np.repeat(at.mean(axis=0)[None], N, axis=0)
    return at


def scaled(kind, **options):
    scaling = SCALED[kind](decay=BETA, floor=FLOOR)
    return ScaledLocalSGD(RATE, DECAY, local_steps=STEPS, scaling=scaling, **options)


@pytest.mark.parametrize("kind", ["adam", "rmsprop", "oasis"])
def test_scaled_local_sgd_is_what_its_definition_says(kind):
    dataset = run(scaled(kind))
    assert_ends_at(dataset, scaled_local_sgd(kind))
    for leaf in final_params(dataset).values():  # all agents agree after every round
        np.testing.assert_array_equal(leaf, np.repeat(leaf[:1], N, axis=0))


def test_an_optimiser_comes_before_the_scaling():
    assert_ends_at(run(scaled("rmsprop", optimiser=Momentum(0.5))), scaled_local_sgd("rmsprop", momentum=0.5))


def test_the_floor_and_what_is_measured_both_count():
    """A reference in which one of the two never mattered would prove little."""
    squares = [gradient(flat(PROBLEM.initial(i)), PROBLEM.shards[i]) for i in range(N)]
    sizes = np.abs(np.mean(squares, axis=0))
    assert sizes.max() > FLOOR
    assert np.abs(scaled_local_sgd("adam") - scaled_local_sgd("rmsprop")).max() > 1e-3


def test_oasis_estimates_the_diagonal_of_the_hessian():
    """Null: v ⊙ Hv has the mean diag H. 4000 draws of keys (seed 5); each entry within five standard errors."""
    samples = PROBLEM.shards[1]

    def estimate(one):
        measured = OASISScaling().measure(
            lambda at: jax.tree.map(jax.numpy.asarray, PROBLEM.gradient(at, samples, weight_decay=DECAY)),
            jax.tree.map(jax.numpy.asarray, PROBLEM.initial(0)),
            one,
        )
        return jax.numpy.concatenate([measured["bias"].ravel(), measured["weight"].ravel()])

    with jax.enable_x64(True):
        draws = np.asarray(jax.vmap(estimate)(jax.random.split(jax.random.key(5), 4000)))
    errors = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - np.diag(hessian(samples))) < 5 * errors).all()
    assert errors.min() > 0


# ---- decentralised Adam -----------------------------------------------------------------------------------------

B1, B2, EPS = 0.6, 0.8, 1e-2
STAR = weighted_star(3)


def adam(accumulation):
    return DecentralisedAdam(RATE, DECAY, b1=B1, b2=B2, eps=EPS, accumulation=accumulation)


def adam_from_all_gradients(accumulation, num_rounds, batches):
    """Moments as sums over full blocks of gradients, and the gradient of the step in the place of the last block."""
    mixing = graphs.metropolis(STAR).weights
    at = np.stack([flat(PROBLEM.initial(agent)) for agent in range(N)])
    history = []
    for t in range(num_rounds):
        history.append(np.stack([gradient(at[i], batches[t][i]) for i in range(N)]))
        full = t // accumulation
        blocks = [np.mean(history[b * accumulation : (b + 1) * accumulation], axis=0) for b in range(full)]
        moments = []
        for beta, power in ((B1, 1), (B2, 2)):
            terms = [block**power for block in blocks] + [history[-1] ** power]
            weights = beta ** np.arange(len(terms))[::-1]
            # Dividing by 1 − β^k is dividing by the sum of (1 − β) β^j over j < k.
            moments.append(np.tensordot(weights, np.array(terms), 1) / weights.sum())
        at = mixing @ at - RATE * moments[0] / (np.sqrt(moments[1]) + EPS)
    return at


@pytest.mark.parametrize("accumulation", [1, 3])
def test_decentralised_adam_is_what_its_definition_says(accumulation):
    num_rounds = 8
    batches = [PROBLEM.shards] * num_rounds
    dataset = run(adam(accumulation), graph=STAR, num_rounds=num_rounds)
    assert_ends_at(dataset, adam_from_all_gradients(accumulation, num_rounds, batches))


def test_accumulated_adam_on_mini_batches():
    batches = [one[:, 0] for one in PROBLEM.batches(batch_size=2, num_rounds=8)]
    dataset = run(adam(3), graph=STAR, num_rounds=8, batch_size=2)
    assert_ends_at(dataset, adam_from_all_gradients(3, 8, batches))


def test_the_mean_moves_by_the_mean_direction():
    """W is doubly stochastic, so mixing leaves the mean alone: with and without mixing it takes the same first step."""
    alone = PROBLEM.simulate(adam(2), graph=STAR, mixing=graphs.from_matrix(np.eye(3)), num_rounds=1)
    mixed = PROBLEM.simulate(adam(2), graph=STAR, num_rounds=1)
    for name, leaf in final_params(mixed).items():
        np.testing.assert_allclose(leaf.mean(axis=0), final_params(alone)[name].mean(axis=0), atol=1e-14)


# ---- interface ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adam", "oasis"])
def test_scaled_local_sgd_runs_in_the_simulator_as_in_the_oracle(kind):
    assert_simulator_equals_oracle(scaled(kind), problem=PROBLEM, graph=graphs.complete(3), batch_size=2)


def test_decentralised_adam_runs_in_the_simulator_as_in_the_oracle():
    assert_simulator_equals_oracle(adam(2), problem=PROBLEM, graph=STAR, batch_size=2)


@pytest.mark.slow  # those of the catalog run in every suite
@pytest.mark.parametrize(
    "algorithm",
    [scaled("adam"), scaled("rmsprop"), scaled("oasis"), ScaledLocalSGD(RATE, scaling=NoScaling()), adam(1), adam(2)],
    ids=["adam", "rmsprop", "oasis", "none", "decentralised", "accumulated"],
)
def test_conformance(algorithm):
    report = check(algorithm)
    assert report.passed, str(report)


def test_plain_local_sgd_sends_nothing_but_parameters():
    from consilience.simulation import message_bits

    options = {"graph": graphs.complete(3)}
    model = 8 * 64
    assert message_bits(PROBLEM.experiment(ScaledLocalSGD(RATE), **options)) == [0, model]
    assert message_bits(PROBLEM.experiment(scaled("adam"), **options)) == [model, model]


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: AdamScaling(decay=1.5), "decay=1.5"),
        (lambda: RMSPropScaling(floor=-1.0), "floor=-1.0"),
        (lambda: ScaledLocalSGD(-0.1), "learning_rate=-0.1"),
        (lambda: DecentralisedAdam(0.1, b1=2.0), "b1=2.0"),
        (lambda: DecentralisedAdam(0.1, accumulation=0), "accumulation=0"),
        (lambda: DecentralisedAdam(0.1, eps=-1.0), "eps=-1.0"),
    ],
)
def test_impossible_hyper_parameters_are_refused(make, complaint):
    with pytest.raises(InvalidSpec, match=complaint):
        make()
