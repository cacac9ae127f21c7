"""The smallest experiment that is one: three agents, one class each, softmax regression on random points."""

from __future__ import annotations

from typing import Any

import numpy as np

import consilience as cs

NUM_AGENTS, NUM_FEATURES = 3, 4
ALGORITHM = cs.algorithms.DiffusiveCoupling(learning_rate=0.05, coupling=1.0, weight_decay=1e-3)
COUPLINGS = [10.0, 0.0, 3.0, 1.0]
"""In no order, for the user's order is to be kept; four, so that they run side by side."""


def task(shift: float = 0.0, name: str = "points") -> cs.tasks.Task:
    """Points around one centre per class."""
    random = np.random.default_rng(0)
    labels = np.tile(np.arange(NUM_AGENTS), 12)
    inputs = 2.0 * np.eye(NUM_AGENTS, NUM_FEATURES)[labels] + random.normal(size=(len(labels), NUM_FEATURES)) + shift
    return cs.tasks.from_arrays(inputs[:24], labels[:24], inputs[24:], labels[24:], name=name)


def initial_params(scale: float = 1.0) -> dict[str, Any]:
    """One set per agent. Drawing them by JAX takes longer to compile than all the rest."""
    random = np.random.default_rng(1)
    shapes = {"weight": (NUM_AGENTS, NUM_AGENTS, NUM_FEATURES), "bias": (NUM_AGENTS, NUM_AGENTS)}
    return {"layer_0": {name: scale * random.normal(size=shape) for name, shape in shapes.items()}}


def parts(**changes: Any) -> dict[str, Any]:
    """The arguments of `simulate` and `sweep`, with some of them changed. Double precision."""
    data = changes.pop("task", None) or task()
    return {
        "model": cs.models.mlp(depth=0),
        "task": data,
        "shards": cs.tasks.by_class(data, num_agents=NUM_AGENTS),
        "graph": cs.graphs.complete(NUM_AGENTS),
        "num_rounds": 10,
        "observe_every": 5,
        "batch_size": 4,
        "initial_params": initial_params(),
        "dtype": "float64",
        **changes,
    }
