"""The workloads of the speed benchmarks: figure 3's sweep at every depth, and a convolutional network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Workload:
    """Ten agents with one class each, on the complete graph, Eq. (2), mini-batches of 32.

    Attributes:
        network: "D = 0", "D = 1", "D = 2" (width 20, MNIST) or "cnn" (8 and 16 channels, CIFAR-10).
    """

    network: str

    @property
    def dataset(self) -> str:
        return "cifar10" if self.network == "cnn" else "mnist"


@lru_cache
def make_task(dataset: str, data_dir: str | None) -> tuple[Any, str]:
    """A data set if it is on this machine, else random images of its shape; and a sentence that says which."""
    import consilience as cs

    status = next(one for one in cs.tasks.data_status(data_dir=data_dir) if one.name == dataset)
    if status.location is not None and status.problem is None:
        return cs.tasks.load(dataset, data_dir=data_dir, num_test=2000), {"mnist": "MNIST", "cifar10": "CIFAR-10"}[
            dataset
        ]
    shape, num_train = ((32, 32, 3), 10_000) if dataset == "cifar10" else ((28, 28), 60_000)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (num_train + 2000, *shape), dtype=np.uint8).astype(np.float32) / np.float32(255)
    labels = np.arange(len(images)) % 10
    task = cs.tasks.from_arrays(images[:num_train], labels[:num_train], images[num_train:], labels[num_train:])
    return task, f"random images of {dataset}'s shape (it is not on this machine; speed does not depend on the values)"


def operations(workload: Workload) -> int:
    """Of one agent-step: those of the first layer's products, forwards and backwards; all products of the cnn."""
    batch = 32
    if workload.network != "cnn":
        return 4 * batch * 784 * (10 if workload.network == "D = 0" else 20)
    first, second, readout = 14 * 14 * 75 * 8, 5 * 5 * 200 * 16, 400 * 10
    return 2 * batch * (2 * first + 3 * second + 3 * readout)


class BlockUnderWay:
    """A block of replicas that differ in the coupling, in this process."""

    def __init__(self, experiment: Any, algorithms: Sequence[Any], capacity: int) -> None:
        from consilience.simulation import make_ensemble

        self.capacity, self.seeds = capacity, [0] * len(algorithms)
        self.experiment = experiment
        self.ensemble = make_ensemble(experiment, self.seeds)
        self.replicas = self.ensemble.replicas(algorithms, self.seeds)
        self.initial_params = self.ensemble.initial_params(self.seeds)
        self.restart()

    def restart(self) -> None:
        """Go back to round 0."""
        self.state = self.ensemble.initial_state(self.replicas, self.initial_params)
        self.round = 0

    def advance(self, rounds: int) -> float:
        """Run some rounds; the seconds that they took, drawing mini-batches included."""
        start = time.perf_counter()
        self.state, _ = self.ensemble.advance(
            self.state, self.replicas, self.seeds, self.round, rounds, self.capacity
        )  # returns when all parameters are there: it says whether they are finite
        self.round += rounds
        return time.perf_counter() - start

    def params(self) -> dict[str, np.ndarray]:
        """Name → parameters of all couplings and agents."""
        from consilience.simulation import flatten_params

        return flatten_params(self.ensemble.final_params(self.state, self.replicas))


def make_block(
    workload: Workload, couplings: Sequence[float], *, capacity: int, data_dir: str | None = None
) -> BlockUnderWay:
    """A block of the workload's sweep, with figure 3's protocol."""
    import consilience as cs
    from consilience.simulation import resolve_experiment

    task, _ = make_task(workload.dataset, data_dir)
    config = cs.recipes.figure_3.Figure3()
    methods = [
        cs.algorithms.DiffusiveCoupling(config.learning_rate, coupling, config.weight_decay) for coupling in couplings
    ]
    experiment = resolve_experiment(
        methods[0],
        model=cs.models.cnn() if workload.network == "cnn" else config.model(workload.network),
        task=task,
        shards=cs.tasks.by_class(task, num_agents=config.num_agents),
        graph=cs.graphs.complete(config.num_agents),
        num_rounds=capacity,
        batch_size=config.batch_size,
        observe=(),
    )
    return BlockUnderWay(experiment, methods, capacity)
