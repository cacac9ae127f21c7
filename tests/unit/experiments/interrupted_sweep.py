"""A sweep that is killed: what `test_interruption.py` runs in an interpreter of its own.

    python interrupted_sweep.py STORE LOG PROTOCOL [GO]

Every event of progress becomes a line of LOG. With GO, nothing starts before a file of that name exists.
"""

import importlib
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

import consilience as cs
from consilience.experiments import SweepProgress
from consilience.simulation import use_compilation_cache

CHUNK, NUM_ROUNDS, NUM_REPLICAS = 50, 1000, 4
OVER = {
    "quench": {"coupling": [0.0, 3.0, 30.0, 100.0], "seed": [1, 0]},
    "adiabatic_up": {"coupling": [30.0, 0.0, 3.0], "seed": [0, 1, 2, 3]},
}


def run(protocol: str, store: str | None, on_progress: Callable[[SweepProgress], None] | None = None) -> xr.Dataset:
    """Digits, with a checkpoint every few chunks."""
    importlib.import_module("consilience.experiments.sweep")._CHECKPOINT_SECONDS = 0.05
    task = cs.tasks.load("digits", num_train=300, num_test=60)
    shapes = {"weight": (10, 64), "bias": (10,)}
    params = {name: np.random.default_rng(0).normal(size=(10, *shape)) for name, shape in shapes.items()}
    return cs.sweep(
        cs.algorithms.DiffusiveCoupling(learning_rate=0.01, weight_decay=1e-3),
        over=OVER[protocol], protocol=protocol, store=store, on_progress=on_progress,
        executor=cs.experiments.Local(1),
        model=cs.models.mlp(depth=0), task=task, shards=cs.tasks.by_class(task, num_agents=10),
        graph=cs.graphs.complete(10), num_rounds=NUM_ROUNDS, observe_every=CHUNK, batch_size=16,
        initial_params={"layer_0": params}, observe=["accuracy", "loss", "cross_accuracy"],
    )  # fmt: skip


def main(store: str, log: str, protocol: str, go: str = "") -> None:
    use_compilation_cache()
    with open(log, "w", buffering=1) as file:

        def write(event: SweepProgress) -> None:
            line: dict[str, Any] = {
                "block": event.block,
                "done": event.replica_rounds_done,
                "loaded": event.replica_rounds_loaded,
                "computing": event.agent_steps_per_second > 0,
            }
            file.write(json.dumps(line) + "\n")

        file.write('{"ready": true}\n')
        while go and not pathlib.Path(go).exists():
            time.sleep(0.005)
        run(protocol, store, write)


if __name__ == "__main__":
    main(*sys.argv[1:])
