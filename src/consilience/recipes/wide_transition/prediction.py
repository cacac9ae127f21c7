"""The kernel's prediction of a setting: exact rounds of the linearised network, all couplings side by side."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from consilience import graphs, tasks
from consilience.axes import ROUND
from consilience.randomness import Purpose, key
from consilience.recipes.wide_transition.protocol import NUM_AGENTS, Setting, WideTransition
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.rounds import advance, initial_state

if TYPE_CHECKING:
    from consilience.models import Params

Floats = np.ndarray


def initial_params(setting: Setting, task: tasks.Task, seed: int) -> Params:
    """θ⁰: the parameters from which simulations with this seed start all agents.

    Agents that start independently have no common start. Strong coupling carries them to their mean before they learn
    much, so their prediction starts there: weights of a tenth of the variance, in a network that is as wide.
    """
    import jax

    agents = range(NUM_AGENTS if setting.start == "independent" else 1)
    drawn = [
        setting.model.init(key(seed, Purpose.INITIAL_PARAMETERS, agent), task.input_shape, task.num_outputs)
        for agent in agents
    ]
    return jax.tree.map(lambda *leaves: np.mean([np.asarray(leaf) for leaf in leaves], axis=0), *drawn)


def linearize(setting: Setting, task: tasks.Task, shards: tasks.Shards, seed: int) -> peer_to_peer.Linearization:
    """The network at θ⁰ on everybody's data and on the test set."""
    targets = tasks.one_hot(dataclasses.replace(task, loss=tasks.CrossEntropy()))
    inputs, answers = tasks.shard_arrays(targets, shards)
    return peer_to_peer.linearize(
        setting.model,
        initial_params(setting, task, seed),
        inputs,
        answers,
        test_inputs=targets.test_inputs,
        test_targets=targets.test_labels,
    )


def cross_accuracy(outputs: Floats, labels: Floats) -> Floats:
    """Accuracy on each class.

    Args:
        outputs: shape (..., test samples, classes).
        labels: the classes of the test samples, shape (test samples,).

    Returns:
        Shape (..., classes): with agents as last dimension before it, the cross-accuracy A_x, for agent j has class j.

    Example:
        >>> cross_accuracy(np.array([[2.0, 1.0], [3.0, 0.0], [0.0, 1.0]]), np.array([0, 1, 1])).tolist()
        [1.0, 0.5]
    """
    hits = outputs.argmax(axis=-1) == labels
    return np.stack([hits[..., labels == one].mean(axis=-1) for one in np.unique(labels)], axis=-1)


def unseen(cross: Floats) -> Floats:
    """Mean accuracy of the agents on the classes of the others: that of A_x off its diagonal, shape (..., N, N).

    Example:
        >>> float(unseen(np.array([[1.0, 0.25], [0.75, 1.0]])))
        0.5
    """
    size = cross.shape[-1]
    return (cross.sum(axis=(-1, -2)) - np.trace(cross, axis1=-2, axis2=-1)) / (size * (size - 1))


def as_curves(
    cross: Floats, loss: Floats, distance: Floats, couplings: tuple[float, ...], rounds: Floats
) -> xr.Dataset:
    """What is kept: accuracy on unseen and on own classes from A_x (coupling, round, agent, class); loss, distance."""
    dims = ("coupling", ROUND)
    own = np.trace(cross, axis1=-2, axis2=-1) / cross.shape[-1]
    found = {"unseen": unseen(cross), "own": own, "loss": loss, "consensus_distance": distance}
    found["unseen_by_agent"] = (cross.sum(axis=-1) - np.diagonal(cross, axis1=-2, axis2=-1)) / (cross.shape[-1] - 1)
    return xr.Dataset(
        {name: ((*dims, "agent") if values.ndim == 3 else dims, values) for name, values in found.items()},
        {"coupling": list(couplings), ROUND: rounds},
    )


def predict(
    config: WideTransition, setting: Setting, task: tasks.Task, shards: tasks.Shards, *, seed: int
) -> xr.Dataset:
    """Accuracies, loss and consensus distance of the linearised network, dimensions (coupling, round)."""
    lin = linearize(setting, task, shards, seed)
    # Outputs on the test set are needed at few rounds, so they are left out of what every round computes.
    known = lin.gram[:, : len(lin.gram)]
    small = dataclasses.replace(
        lin, gram=np.ascontiguousarray(known), test_outputs=lin.test_outputs[:0], test_targets=lin.test_targets[:0]
    )
    graph, rate = config.graph(setting.graph), config.learning_rate
    mixing = [graphs.diffusive(graph, learning_rate=rate, coupling=sigma).weights for sigma in setting.couplings]
    weights, rates = np.stack(mixing), np.full(len(mixing), rate)
    rounds = np.arange(0, setting.num_rounds + 1, setting.record_every)
    state, records = initial_state(small, len(mixing)), []
    for round in range(setting.num_rounds + 1):
        if round % setting.record_every == 0:
            records.append(_record(lin, state.coefficients[:, :, 0], task.test_labels))
        state = advance(small, state, weights, algorithm="dgd", learning_rate=rates, weight_decay=setting.weight_decay)
    cross, loss, distance = (np.stack(values, axis=1) for values in zip(*records, strict=True))
    return as_curves(cross, loss, distance, setting.couplings, rounds)


def _record(lin: peer_to_peer.Linearization, coefficients: Floats, labels: Floats) -> tuple[Floats, Floats, Floats]:
    """A_x, the mean test loss and the consensus distance of each replica."""
    change = coefficients @ lin.test_kernel.T
    outputs = (change + lin.test_outputs[:, 0]).reshape(*change.shape[:2], -1, NUM_AGENTS)
    errors = outputs - lin.test_targets.reshape(-1, NUM_AGENTS)
    away = coefficients - coefficients.mean(axis=1, keepdims=True)
    squares = (away * (away @ lin.gram[:, : len(lin.gram)])).sum(axis=-1).mean(axis=-1)
    loss = 0.5 * np.square(errors).sum(axis=-1).mean(axis=(-1, -2))
    return cross_accuracy(outputs, labels), loss, np.sqrt(np.maximum(squares, 0.0))
