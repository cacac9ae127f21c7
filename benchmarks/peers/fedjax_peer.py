"""fedjax: its federated averaging on a Haiku network, with the default way to run clients (one compiled step each)."""

from __future__ import annotations

from typing import Any

import fedjax
import haiku as hk
import jax
import numpy as np
from fedjax.algorithms import fed_avg
from protocol import Params, Problem, serve

KEYS = {"weight": "w", "bias": "b"}


def _forward(batch: dict[str, jax.Array]) -> jax.Array:
    layers = [hk.Linear(20, name="layer_0"), jax.nn.relu, hk.Linear(10, name="layer_1")]
    return hk.Sequential(layers)(batch["x"])


def _loss(batch: Any, scores: Any) -> Any:
    return fedjax.metrics.unreduced_cross_entropy_loss(batch["y"], scores)


def _to_haiku(params: Params, agent: int) -> dict[str, dict[str, jax.Array]]:
    kinds = KEYS.items()
    return {
        f"layer_{depth}": {key: jax.numpy.asarray(params[f"{kind}_{depth}"][agent]) for kind, key in kinds}
        for depth in range(len(params) // 2)
    }


class Federation:
    def __init__(self, problem: Problem, initial: Params, learning_rate: float) -> None:
        self.problem = problem
        sample = {"x": np.zeros((1, problem.images.shape[1]), np.float32), "y": np.zeros(1, np.int32)}
        model = fedjax.create_model_from_haiku(hk.transform(_forward), sample, _loss, {})
        batching: Any = fedjax.ShuffleRepeatBatchHParams  # its fields are hidden from type checkers
        self.algorithm = fed_avg.federated_averaging(
            fedjax.model_grad(model),
            fedjax.optimizers.sgd(learning_rate),
            fedjax.optimizers.sgd(1.0),
            batching(batch_size=problem.batches.shape[2], num_epochs=1, skip_shuffle=True),
        )
        self.state = self.algorithm.init(_to_haiku(initial, 0))
        self.keys = list(jax.random.split(jax.random.PRNGKey(0), problem.num_agents))  # unused: nothing is random
        self.labels = problem.labels.astype(np.int32)

    def _client(self, agent: int, batch: np.ndarray) -> tuple[bytes, fedjax.ClientDataset, jax.Array]:
        examples = {"x": self.problem.images[batch], "y": self.labels[batch]}
        return str(agent).encode(), fedjax.ClientDataset(examples), self.keys[agent]

    def advance(self, first_round: int, num_rounds: int) -> None:
        for round in range(first_round, first_round + num_rounds):
            clients = [self._client(agent, batch) for agent, batch in enumerate(self.problem.batch(round))]
            self.state, _ = self.algorithm.apply(self.state, clients)
        jax.block_until_ready(self.state.params)

    def params(self) -> Params:
        """The server's model, from which every client starts its next round."""
        return _for_all(self.state.params, self.problem)

    def close(self) -> None: ...


def _for_all(params: dict[str, dict[str, jax.Array]], problem: Problem) -> Params:
    result = {}
    for name, like in problem.common.items():
        kind, depth = name.split("_")
        result[name] = np.broadcast_to(np.asarray(params[f"layer_{depth}"][KEYS[kind]]), (1, *like.shape))
    return result


def exchange(problem: Problem) -> Params:
    """The library's mean of clients that hold different parameters."""
    agents = range(problem.num_agents)
    return _for_all(fedjax.tree_util.tree_mean((_to_haiku(problem.distinct, agent), 1.0) for agent in agents), problem)


if __name__ == "__main__":
    serve(["fedjax", "jax"], Federation, exchange)
