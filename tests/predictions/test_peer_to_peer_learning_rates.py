"""Training on either side of the largest learning rate that theory allows.

Linear models are trained by loops of NumPy that are written out here: one per cent below the limit they converge, one
per cent above they diverge. Wide networks part from the linear theory above the limit: their loss grows as predicted
at first, until the network has moved to where it bends less (the catapult).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import consilience as cs
from consilience import graphs
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer import Linearization
from consilience.theory.peer_to_peer.spectra.stability import stability

ALGORITHMS = ("dgd", "atc", "cta")
NUM_AGENTS = 5
MIXINGS = {
    "cycle": graphs.metropolis(graphs.cycle(NUM_AGENTS)),
    "star": graphs.metropolis(graphs.star(NUM_AGENTS)),
    "complete": graphs.metropolis(graphs.complete(NUM_AGENTS)),
    "directed": graphs.row_stochastic(
        graphs.from_adjacency([[0, 1, 0, 0, 1], [1, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0]])
    ),
}


def shards():
    """Inputs and targets of each agent, of unequal numbers and sizes."""
    random = np.random.default_rng(4)
    inputs = [(0.7 + random.random()) * random.normal(size=(n, 6)) for n in (8, 5, 9, 12, 6)]
    return inputs, [random.normal(size=len(x)) for x in inputs]


def network():
    """f(x) = θ·x, linearised at 0."""
    inputs, targets = (np.concatenate(parts) for parts in shards())
    none = np.zeros((0, 1))
    return Linearization(
        sizes=np.array([len(x) for x in shards()[0]]),
        num_outputs=1,
        gram=inputs @ inputs.T,
        outputs=np.zeros((len(inputs), 1)),
        targets=targets[:, None],
        test_outputs=none,
        test_targets=none,
        start=np.zeros((NUM_AGENTS, 0)),
        origin_norm=0.0,
        origin=None,
    )


def check_both_sides(answer, algorithm, weights_at, weight_decay=0.0, num_rounds=1500):
    """Train at 99 and at 101 per cent of the limit; compare how far agents move in the first and the last round."""
    inputs, targets = shards()
    curvature = np.array([x.T @ x / len(x) for x in inputs]) + 2 * weight_decay * np.eye(6)
    force = np.array([x.T @ y / len(x) for x, y in zip(inputs, targets, strict=True)])
    rate = answer.largest_learning_rate * np.array([0.99, 1.01])[:, None, None]
    weights = np.stack([weights_at(float(one)) for one in rate.ravel()])
    theta, moves = np.zeros((2, NUM_AGENTS, 6)), []

    def gradients(theta):
        return (curvature @ theta[..., None])[..., 0] - force

    for _ in range(num_rounds):
        if algorithm == "dgd":
            after = weights @ theta - rate * gradients(theta)
        elif algorithm == "atc":
            after = weights @ (theta - rate * gradients(theta))
        else:
            mixed = weights @ theta
            after = mixed - rate * gradients(mixed)
        moves.append(np.linalg.norm(after - theta, axis=(1, 2)))
        theta = after
    below, above = moves[-1] / moves[0]
    assert below < 1e-2  # |λ| ≤ 0.995 and 1500 rounds: e^-7, of modes that may be a larger share of the last move
    assert above > 1e2  # |λ| ≥ 1.005


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", MIXINGS)
def test_linear_models_converge_below_and_diverge_above(name, algorithm):
    mixing = MIXINGS[name]
    answer = stability(network(), mixing, algorithm=algorithm, learning_rate=0.1)
    check_both_sides(answer, algorithm, lambda rate: mixing.weights)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_weight_decay_lowers_the_limit(algorithm):
    mixing = MIXINGS["cycle"]
    options = {"algorithm": algorithm, "learning_rate": 0.1}
    answer = stability(network(), mixing, weight_decay=0.5, **options)
    assert answer.largest_learning_rate < 0.9 * stability(network(), mixing, **options).largest_learning_rate
    check_both_sides(answer, algorithm, lambda rate: mixing.weights, weight_decay=0.5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("coupling", [1.0, 8.0])
def test_coupling_of_equation_2(algorithm, coupling):
    def mixing_of(rate):
        return graphs.diffusive(graphs.star(NUM_AGENTS), learning_rate=rate, coupling=coupling)

    answer = stability(network(), algorithm=algorithm, learning_rate=0.1, mixing_of=mixing_of)
    check_both_sides(answer, algorithm, lambda rate: mixing_of(rate).weights)


def digits_of_five_agents():
    """Five agents with ten images each of two digits, odd or even."""
    task = cs.tasks.odd_even(cs.tasks.load("digits"))
    labels, random = cs.tasks.load("digits").train_labels, np.random.default_rng(0)
    chosen = [random.choice(np.flatnonzero(labels // 2 == agent), 20, replace=False) for agent in range(NUM_AGENTS)]
    inputs = np.stack([task.train_inputs[index].reshape(20, -1) for index in chosen])
    return inputs, np.stack([task.train_labels[index] for index in chosen])


def losses_of_network(model, params, inputs, targets, weights, rate, num_rounds):
    """DGD by automatic differentiation: mean loss by round, and the mean of the agents' parameters at the end."""

    def loss(own, x, y):
        return jnp.square(model.apply(own, x) - y).sum(-1).mean() / 2

    def one_round(theta, _):
        value, gradient = jax.vmap(jax.value_and_grad(loss))(theta, inputs, targets)
        mixed = jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), theta)
        return jax.tree.map(lambda leaf, g: leaf - rate * g, mixed, gradient), value.mean()

    everybody = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (NUM_AGENTS, *leaf.shape)), params)
    final, losses = jax.jit(lambda theta: jax.lax.scan(one_round, theta, None, length=num_rounds))(everybody)
    return np.asarray(losses), jax.tree.map(lambda leaf: leaf.mean(0), final)


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "fatal"), [("linear", 4.0), ("relu", 16.0)])
def test_networks_above_the_limit_take_the_catapult(activation, fatal):
    inputs, targets = digits_of_five_agents()
    model = cs.models.ntk_mlp(depth=1, width=1024, activation=activation)
    params = model.init(jax.random.key(0), inputs.shape[2:], 1)
    mixing = MIXINGS["cycle"]

    def limit_at(params):
        linear = peer_to_peer.linearize(model, params, inputs, targets)
        return stability(linear, mixing, learning_rate=0.1).largest_learning_rate

    def trained(ratio):
        weights = jnp.asarray(mixing.weights, jnp.float32)
        return losses_of_network(model, params, inputs, targets, weights, ratio * limit, 300)

    limit = limit_at(params)
    below, _ = trained(0.95)
    assert below.max() == below[0]
    assert below[-1] < below[0] / 2
    above, final = trained(1.25)
    assert above.max() > 2 * above[0]  # grows as linear theory says ...
    assert above[-1] < above[0] / 2  # ... and comes down all the same,
    assert limit_at(final) > 1.2 * limit  # where the network bends less
    assert not np.isfinite(trained(fatal)[0][-1])
