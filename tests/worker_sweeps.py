"""Sweeps for tests of executors. As a program, a sweep that is killed, or one with other threads:

python worker_sweeps.py PROTOCOL STORE EXECUTOR
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

import consilience as cs
from consilience.experiments import Sweep, load_stored, make_executor, resolve_sweep, run_sweep
from consilience.simulation import use_compilation_cache
from consilience.store import Store

NUM_AGENTS, NUM_ROUNDS, CHUNK = 10, 60, 10
OVER = {
    "quench": {"coupling": [0.0, 3.0, 30.0, 100.0], "seed": [0, 1, 2]},  # a block per seed
    "adiabatic_up": {"coupling": [30.0, 3.0], "seed": list(range(9))},  # two chains of two blocks
}


_sweep: Any = importlib.import_module("consilience.experiments.sweep")  # `experiments.sweep` is the function


class ObedientJob(_sweep._Job):
    """Carries out what `Orders` say."""

    def __call__(self, block: Any, initial_params: Any, on_chunk: Callable[[Any], Any], /) -> Any:
        orders, chunks = Orders(Path(os.environ["ORDERS"])), 0

        def obey(chunk: Any) -> Any:
            nonlocal chunks
            chunks += 1
            if chunks == 2:
                orders.obey(block.index, lambda: on_chunk(chunk))
            return on_chunk(chunk)

        return super().__call__(block, initial_params, obey)


class Orders:
    """What workers are to do on the second chunk of a block: files in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def die(self, block: int, *, times: int = 1) -> None:
        """The next workers of a block die by SIGKILL."""
        for time_ in range(times):
            (self.directory / f"die-{block}-{time_}").touch()

    def hold(self, block: int) -> None:
        """The block goes no further before it is told to stop, or the order is gone."""
        (self.directory / f"hold-{block}").touch()

    def release(self, block: int) -> None:
        """The block goes on."""
        (self.directory / f"hold-{block}").unlink(missing_ok=True)

    def arrived(self) -> set[int]:
        """Blocks that are held."""
        return {int(path.name.partition("-")[2]) for path in self.directory.glob("arrived-*")}

    def obey(self, block: int, is_stopped: Callable[[], Any]) -> None:
        """Called by a worker."""
        for order in sorted(self.directory.glob(f"die-{block}-*")):
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (self.directory / f"hold-{block}").exists():
            (self.directory / f"arrived-{block}").touch()
            while (self.directory / f"hold-{block}").exists() and not is_stopped():
                time.sleep(0.01)


@contextlib.contextmanager
def obedient(directory: Path) -> Iterator[Orders]:
    """Sweeps of this process, and of programs that it starts, follow orders and save a checkpoint after every chunk."""
    orders = Orders(directory)
    before = _sweep._Job, _sweep._CHECKPOINT_SECONDS
    _sweep._Job, _sweep._CHECKPOINT_SECONDS = ObedientJob, 0.0
    os.environ["ORDERS"] = str(directory)
    try:
        yield orders
    finally:
        _sweep._Job, _sweep._CHECKPOINT_SECONDS = before
        del os.environ["ORDERS"]


def initial_params(model: Any, task: cs.tasks.Task) -> Any:
    """One set for all agents. Drawing them by JAX takes longer to compile than all the rest."""
    shapes = cs.models.parameter_shapes(model, task.input_shape, task.num_outputs)
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape) / math.sqrt(leaf.shape[-1]), shapes)


def planned(protocol: str = "quench", *, algorithm: Any = None, model: Any = None, **changes: Any) -> Sweep:
    """Digits, one class per agent."""
    task = cs.tasks.load("digits", num_train=200, num_test=40)
    model = model or cs.models.mlp(depth=1, width=16)
    parts = {
        "model": model,
        "task": task,
        "shards": cs.tasks.by_class(task, num_agents=NUM_AGENTS),
        "graph": cs.graphs.complete(NUM_AGENTS),
        "num_rounds": NUM_ROUNDS,
        "observe_every": CHUNK,
        "batch_size": 8,
        "initial_params": initial_params(model, task),
    }
    algorithm = algorithm or cs.algorithms.DiffusiveCoupling(learning_rate=0.01, weight_decay=1e-3)
    return resolve_sweep(algorithm, over=OVER[protocol], protocol=protocol, **{**parts, **changes})


def program(orders: Orders, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """`worker_sweeps` in an interpreter of its own."""
    command = [sys.executable, __file__, *map(str, arguments)]
    variables = os.environ | {"ORDERS": str(orders.directory)} | environment
    return subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)


def on_one_thread(protocol: str, directory: Path) -> xr.Dataset:
    """What one process computes with one thread, as each worker does."""
    none = Orders(directory / "no-orders")
    with program(none, protocol, directory / "expected", "local", NPROC="1") as running:
        errors = running.communicate(timeout=300)[1]
    assert running.returncode == 0, errors
    return load_stored(Store(directory / "expected"), "latest")


def main(protocol: str, store: str, executor: str) -> None:
    """A sweep that follows orders, with two workers."""
    use_compilation_cache()
    with obedient(Path(os.environ["ORDERS"])):
        run_sweep(planned(protocol), store=store, executor=make_executor(executor, num_workers=2))


if __name__ == "__main__":
    # Under the name by which workers find it.
    importlib.import_module("worker_sweeps").main(*sys.argv[1:])
