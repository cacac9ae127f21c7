"""consilience: one replica of step-then-average, or several couplings of Eq. (2) side by side as `cs.sweep` runs them.

python consilience_peer.py DIRECTORY REPLICAS
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from protocol import LEAVES, Params, Problem, serve

import consilience as cs
from consilience.simulation import flatten_params, make_ensemble, precision, resolve_experiment

CAPACITY = 400
"""Rounds of one call: what `cs.simulate` takes at a time is of this order."""
SMALL = 1e-9
"""Stands for learning rate 0 in Eq. (2), where the coupling is multiplied by the learning rate."""
BATCH_SIZE = 32
REPLICAS_PER_BLOCK = 8


class Simulation:
    def __init__(self, problem: Problem, initial: Params, learning_rate: float, *, replicas: int) -> None:
        self.problem, num_agents = problem, problem.num_agents
        images, labels = problem.images.reshape(-1, 28, 28), problem.labels
        task = cs.tasks.from_arrays(images, labels, images[:100], labels[:100], num_classes=10)
        if replicas == 1:
            algorithms = [cs.algorithms.AdaptThenCombine(learning_rate=learning_rate)]
        else:
            rate = learning_rate or SMALL
            pulls = (np.arange(replicas) + 1) / replicas
            algorithms = [cs.algorithms.DiffusiveCoupling(learning_rate=rate, coupling=pull / rate) for pull in pulls]
        experiment = resolve_experiment(
            algorithms[0],
            model=cs.models.mlp(depth=1, width=20),
            task=task,
            shards=cs.tasks.by_class(task, num_agents),
            graph=cs.graphs.complete(num_agents),
            mixing=cs.graphs.uniform(num_agents) if replicas == 1 else None,
            num_rounds=CAPACITY,
            batch_size=BATCH_SIZE,
            observe=(),
        )
        # Blocks of a sweep, side by side on threads, as the executor `local` runs them.
        size = min(replicas, REPLICAS_PER_BLOCK)
        self.seeds = [0] * size
        self.ensemble = make_ensemble(experiment, self.seeds)
        with precision(experiment.dtype):
            blocks = [algorithms[start : start + size] for start in range(0, replicas, size)]
            self.replicas = [self.ensemble.replicas(block, self.seeds) for block in blocks]
            shapes = experiment.params_shapes
            layers = {
                layer: {kind: self._given(initial[f"{kind}_{layer[-1]}"], leaf.shape) for kind, leaf in kinds.items()}
                for layer, kinds in shapes.items()
            }
            self.states = [self.ensemble.initial_state(block, layers) for block in self.replicas]
        self.threads = ThreadPoolExecutor(len(self.states))

    def _given(self, leaf: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """One leaf (agents, ...) for all replicas, a weight turned if the model holds it as (outputs, inputs)."""
        turned = leaf if leaf.shape[1:] == shape else leaf.swapaxes(1, -1)
        return np.broadcast_to(turned, (len(self.seeds), len(leaf), *shape))

    def advance(self, first_round: int, num_rounds: int) -> None:
        last_round = first_round + num_rounds

        def run(block: int) -> None:
            for start in range(first_round, last_round, CAPACITY):
                rounds = min(CAPACITY, last_round - start)
                self.states[block], _ = self.ensemble.advance(
                    self.states[block], self.replicas[block], self.seeds, start, rounds, CAPACITY
                )

        list(self.threads.map(run, range(len(self.states))))

    def params(self) -> Params:
        blocks = [
            flatten_params(self.ensemble.final_params(state, replicas))
            for state, replicas in zip(self.states, self.replicas, strict=True)
        ]
        flat = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        held = {name: flat["params/layer_{1}/{0}".format(*name.split("_"))] for name in LEAVES}
        wanted = {name: leaf.shape[1:] for name, leaf in self.problem.common.items()}
        return {name: leaf if leaf.shape[2:] == wanted[name] else leaf.swapaxes(2, 3) for name, leaf in held.items()}

    def close(self) -> None: ...


if __name__ == "__main__":
    number = int(sys.argv[2])
    serve(["consilience", "jax"], lambda problem, initial, rate: Simulation(problem, initial, rate, replicas=number))
