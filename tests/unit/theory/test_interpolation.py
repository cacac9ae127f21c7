"""Where learning ends without weight decay, against very long trajectories."""

from typing import Any

import numpy as np
import pytest

from consilience import graphs
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.interpolation import interpolation
from consilience.theory.peer_to_peer.quantities import losses
from consilience.theory.peer_to_peer.rounds import advance, initial_state


def network(**options: Any) -> peer_to_peer.Linearization:
    rng = np.random.default_rng(0)
    x, test = rng.normal(size=(4, 3, 6)), rng.normal(size=(10, 6))
    kernel = peer_to_peer.infinite_width_kernel(**{"depth": 1, **options})
    y, answers = (np.sin(3 * one[..., :2]) for one in (x, test))
    return peer_to_peer.linearize(kernel, None, x, y, test_inputs=test, test_targets=answers)


PAIRS = np.kron(np.eye(2), np.full((2, 2), 0.5))
"""Two pairs of agents that do not hear of each other."""


@pytest.mark.parametrize("algorithm", ["dgd", "atc", "cta"])
@pytest.mark.parametrize(
    "weights",
    [
        graphs.metropolis(graphs.cycle(4)).weights,
        graphs.row_stochastic(graphs.cycle(4, directed=True)).weights,
        PAIRS,
        np.eye(4),
    ],
    ids=["cycle", "directed cycle", "pairs", "alone"],
)
def test_it_is_the_end_of_long_trajectories(weights: np.ndarray, algorithm: str) -> None:
    lin = network()
    ends = interpolation(lin, graphs.from_matrix(weights))
    assert ends is not None
    state = initial_state(lin)
    for _ in range(6000):
        state = advance(lin, state, weights[None], algorithm=algorithm, learning_rate=np.array([0.3]))
    for name, values in losses(lin, state).items():
        # What is left of the slowest mode, e^(−6000 · 0.3 · 0.01), against losses of order 0.1.
        np.testing.assert_allclose(ends[name], values[0], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({"depth": 0, "activation": "linear"}, graphs.uniform(4).weights),  # 7 parameters, 12 samples
        ({}, np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])),  # 1 listens to 0, not 0 to 1
        ({}, graphs.column_stochastic(graphs.from_adjacency(np.triu(np.ones((4, 4)), 1) + np.eye(4, k=-1))).weights),
    ],
    ids=["misfit", "one way", "rows do not sum to one"],
)
def test_there_is_none_where_learning_ends_elsewhere(options: dict[str, Any], weights: np.ndarray) -> None:
    assert interpolation(network(**options), graphs.from_matrix(weights)) is None


def test_samples_may_repeat() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(2, 1, 3, 6)), 2, axis=1).reshape(4, 3, 6)
    lin = peer_to_peer.linearize(peer_to_peer.infinite_width_kernel(1), None, x, x[..., :1])
    ends = interpolation(lin, graphs.uniform(4))
    assert ends is not None
    np.testing.assert_allclose(ends["objective"], 0, atol=1e-12)  # squares of rounding at condition 1e3
