"""Small linear networks that several test modules of the theory of wide networks share."""

from __future__ import annotations

from typing import Any

import numpy as np

from consilience import graphs, models
from consilience.graphs import MixingMatrix
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.linearization import Linearization

ALGORITHMS = ("dgd", "atc", "cta")
SIZES = (2, 4, 3, 3)


def linear_network(
    *, num_features: int, num_agents: int = 4, offsets: bool = False, same_inputs: bool = False, num_outputs: int = 1
) -> Linearization:
    """An affine model on random data with targets of its own for each agent; 12 samples of 4 agents."""
    random = np.random.default_rng(num_features)
    model = models.ntk_mlp(depth=0, weight_variance=2.0, bias_variance=0.3)
    sizes = (3,) * num_agents if same_inputs else SIZES[:num_agents]
    x = [random.normal(size=(size, num_features)) for size in sizes]
    x = [x[0]] * num_agents if same_inputs else x
    y = [np.sin(3 * shard[:, :num_outputs]) + 0.5 * random.normal(size=(len(shard), num_outputs)) for shard in x]
    shape = {"weight": (num_outputs, num_features), "bias": (num_outputs,)}
    test = random.normal(size=(5, num_features))
    return peer_to_peer.linearize(
        model,
        {"layer_0": {name: random.normal(size=size) for name, size in shape.items()}},
        x,
        y,
        test_inputs=test,
        test_targets=np.sin(3 * test[:, :num_outputs]),
        offsets=_offsets(random, shape, num_agents) if offsets else None,
    )


def _offsets(random: np.random.Generator, shape: dict[str, tuple[int, ...]], num_agents: int) -> Any:
    return {"layer_0": {name: 0.5 * random.normal(size=(num_agents, *size)) for name, size in shape.items()}}


def two_pairs() -> MixingMatrix:
    """Agents 0 and 1, and agents 2 and 3."""
    weights = np.kron(np.eye(2), np.array([[0.75, 0.25], [0.25, 0.75]]))
    return graphs.from_matrix(weights, name="two pairs")
