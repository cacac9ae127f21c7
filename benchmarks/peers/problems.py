"""The task that all peers are given: images, one class per agent, mini-batches, initial parameters."""

from __future__ import annotations

import numpy as np
from protocol import Params, Problem

import consilience as cs
from consilience.simulation.batching import batch_indices

BATCH_SIZE, HIDDEN, CLASSES = 32, 20, 10
NUM_BATCHES = 200
"""Rounds whose mini-batches are drawn; then they come again."""


def images_and_labels(data_dir: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    """MNIST's training images if they are on this machine, else random ones; and a sentence that says which."""
    status = next(one for one in cs.tasks.data_status(data_dir=data_dir) if one.name == "mnist")
    if status.location is not None and status.problem is None:
        task = cs.tasks.load("mnist", data_dir=data_dir, num_test=100)
        return np.asarray(task.train_inputs).reshape(task.num_train, -1), np.asarray(task.train_labels), "MNIST"
    images = np.random.default_rng(0).random((60_000, 784), dtype=np.float32) / 2
    what = "random images like MNIST's, which is not on this machine (speed does not depend on the values)"
    return images, np.arange(60_000) % CLASSES, what


def initial_params(num_agents: int, num_inputs: int) -> Params:
    """Normal, with standard deviation 1/√inputs, other for each agent, leaves (agents, ...); the hidden biases by ±5.

    Every other hidden neuron is on for all images and every other one off, so that rounding, which may turn on a neuron
    that should be off, cannot make a correct peer fail its check.
    """
    random = np.random.default_rng(1)

    def draw(num_rows: int, *shape: int) -> np.ndarray:
        return (random.standard_normal((num_agents, *shape)) / np.sqrt(num_rows)).astype(np.float32)

    on_or_off = np.where(np.arange(HIDDEN) % 2, 5.0, -5.0).astype(np.float32)
    return {
        "weight_0": draw(num_inputs, num_inputs, HIDDEN),
        "bias_0": draw(num_inputs, HIDDEN) + on_or_off,
        "weight_1": draw(HIDDEN, HIDDEN, CLASSES),
        "bias_1": draw(HIDDEN, CLASSES),
    }


def make_problem(images: np.ndarray, labels: np.ndarray, num_agents: int) -> Problem:
    """Mini-batches as consilience draws them at seed 0, so that it can be held against the same reference."""
    square = images.reshape(len(images), 28, 28)
    task = cs.tasks.from_arrays(square, labels, square[:100], labels[:100], num_classes=CLASSES)
    batches = batch_indices(
        cs.tasks.by_class(task, num_agents),
        seeds=[0],
        first_round=0,
        num_rounds=NUM_BATCHES,
        num_local_steps=1,
        batch_size=BATCH_SIZE,
    )
    distinct = initial_params(num_agents, images.shape[1])
    common = {name: np.repeat(leaf[:1], num_agents, axis=0) for name, leaf in distinct.items()}
    return Problem(images, labels.astype(np.int64), batches[:, :, 0].astype(np.int64), common, distinct)
