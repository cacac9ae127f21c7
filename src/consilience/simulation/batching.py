"""Mini-batches: which samples each agent sees in each round.

An agent's stream of samples is a concatenation of fresh permutations of its shard. The mini-batch of local step k of
round t is the slice of length B that starts at (t K + k) B, with K local steps per round. Every epoch thus visits every
sample once, nothing is dropped, and the slice is a pure function of (seed, agent, round).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consilience.randomness import Purpose, generator

# Permutations are drawn for this many samples at a time, to spread the cost of seeding over small shards. It is part of
# the definition of the streams.
_SEGMENT = 4096


def _epochs_per_segment(size: int) -> int:
    return max(1, _SEGMENT // size)


def stream(shard: np.ndarray, *, seed: int, agent: int, start: int, stop: int) -> np.ndarray:
    """Entries `start` … `stop` of an agent's stream of samples.

    Args:
        shard: the agent's indices, shape (samples,); not empty.
        seed: the run's seed.
        agent: index of the agent.
        start: first position, from 0.
        stop: position after the last.

    Returns:
        Indices into the task's training data, shape (stop − start,).

    Example:
        >>> import numpy as np
        >>> sorted(stream(np.arange(5), seed=0, agent=0, start=5, stop=10).tolist())   # the second epoch
        [0, 1, 2, 3, 4]
    """
    epochs = _epochs_per_segment(len(shard))
    length = epochs * len(shard)
    first, last = start // length, -(-stop // length)
    segments = [
        generator(seed, Purpose.BATCH_ORDER, agent, segment)
        .permuted(np.broadcast_to(shard, (epochs, len(shard))), axis=1)
        .ravel()
        for segment in range(first, last)
    ]
    return np.concatenate(segments)[start - first * length : stop - first * length]


def batch_indices(
    shards: Sequence[np.ndarray],
    *,
    seeds: Sequence[int],
    first_round: int,
    num_rounds: int,
    num_local_steps: int,
    batch_size: int,
    agents: range | None = None,
) -> np.ndarray:
    """The samples of all mini-batches of some rounds.

    Args:
        shards: one array of indices per agent; an agent without data (a server) gets sample 0, which it never reads.
        seeds: the replicas' seeds. If all are equal the batches are shared, and there is one.
        first_round: the first round.
        num_rounds: number of rounds.
        num_local_steps: K, mini-batches per round.
        batch_size: B.
        agents: whose; everybody's by default.

    Returns:
        Indices into the training data, int32, shape (rounds, agents, steps, batch), or (rounds, agents, replicas,
        steps, batch) if seeds differ.

    Example:
        >>> import numpy as np
        >>> batch_indices([np.arange(8), np.arange(8, 12)], seeds=[0], first_round=0, num_rounds=3,
        ...               num_local_steps=1, batch_size=4).shape
        (3, 2, 1, 4)
    """
    per_round = num_local_steps * batch_size
    start, stop = first_round * per_round, (first_round + num_rounds) * per_round
    shared = len(set(seeds)) == 1
    agents = agents if agents is not None else range(len(shards))
    result = np.zeros((len(agents), 1 if shared else len(seeds), num_rounds * per_round), np.int32)
    for row, agent in enumerate(agents):
        if num_rounds and len(shards[agent]):
            for replica, seed in enumerate(seeds[:1] if shared else seeds):
                result[row, replica] = stream(shards[agent], seed=seed, agent=agent, start=start, stop=stop)
    result = result.reshape(*result.shape[:2], num_rounds, num_local_steps, batch_size).transpose(2, 0, 1, 3, 4)
    return result[:, :, 0] if shared else result


def full_batches(shards: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Whole shards, padded to the largest.

    Args:
        shards: one array of indices per agent.

    Returns:
        Indices, shape (agents, samples), and weights that sum to one over each shard and vanish on the padding, of
        the same shape.

    Example:
        >>> import numpy as np
        >>> full_batches([np.array([3, 4]), np.array([5])])[1].tolist()
        [[0.5, 0.5], [1.0, 0.0]]
    """
    longest = max(len(shard) for shard in shards)
    indices, weights = np.zeros((len(shards), longest), np.int32), np.zeros((len(shards), longest))
    for agent, shard in enumerate(shards):
        if len(shard):
            indices[agent, : len(shard)] = shard
            weights[agent, : len(shard)] = 1 / len(shard)
    return indices, weights
