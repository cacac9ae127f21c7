"""How long an iteration takes when agents are machines: all-reduce against neighbours who average while they compute.

Agent i needs c_i(t) seconds to compute its gradient in iteration t.

- All-reduce: everybody waits for the slowest, and then for the sum. T(t+1) = T(t) + max_i c_i(t) + T_ring, where a ring
  of N machines sends 2(N − 1) pieces of 1/N of the message, one after the other:
  T_ring = 2(N − 1)(latency + bytes/(N · bandwidth)).
- Decentralised: agent i begins iteration t at S_i(t) by sending its parameters; they travel while it computes, and it
  begins the next one when its own gradient and all that it listens to are there:
  S_i(t+1) = max(S_i(t) + c_i(t), max_{j ∈ N_i(t)} S_j(t) + T_link). It waits for neighbours, not for everybody.

For equal and constant times this is max_i c_i + T_ring against max(c, T_link). What travels only after the gradient was
taken (adapt-then-combine) cannot be overlapped, and arrives at S_j(t) + c_j(t) + T_link.

Source:
    Z. Wang, J. Zhang, X. Wu and M. Johansson, From promise to practice: realizing high-performance decentralized
    training, ICLR 2025 [wang2025]; the equations above are this package's concretisation of its runtime model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consilience.errors import InvalidSpec
from consilience.graphs import Graph


def link_time(num_bytes: float, *, bandwidth: float, latency: float = 0.0, num_messages: int = 1) -> float:
    """Seconds until messages have passed a link one after the other: latency + messages · bytes/bandwidth.

    Args:
        num_bytes: of one message.
        bandwidth: bytes per second.
        latency: seconds before the first byte arrives.
        num_messages: messages that share the link: the degree, where a machine sends to its neighbours in turn.

    Raises:
        InvalidSpec: if the bandwidth is not positive, or another number is negative.

    Example:
        >>> link_time(1e6, bandwidth=1e8, latency=0.001, num_messages=2)
        0.021
    """
    _check(num_bytes=num_bytes, latency=latency, num_messages=num_messages)
    _check_bandwidth(bandwidth)
    return latency + num_messages * num_bytes / bandwidth


def ring_all_reduce_time(num_bytes: float, num_agents: int, *, bandwidth: float, latency: float = 0.0) -> float:
    """Seconds of a ring all-reduce: 2(N − 1)(latency + bytes/(N · bandwidth)).

    Nearly independent of N in bandwidth, 2(N − 1)/N · bytes per machine, and proportional to N in latency.

    Args:
        num_bytes: of the gradient.
        num_agents: N.
        bandwidth: bytes per second of each machine's link.
        latency: seconds per piece.

    Raises:
        InvalidSpec: if the bandwidth is not positive, or another number is negative.

    Example:
        >>> ring_all_reduce_time(1e6, 4, bandwidth=1e8)
        0.015
    """
    _check(num_bytes=num_bytes, latency=latency, num_agents=num_agents)
    _check_bandwidth(bandwidth)
    return 2 * (num_agents - 1) * (latency + num_bytes / (num_agents * bandwidth))


def all_reduce_starts(compute: ArrayLike, communication: float) -> NDArray[np.float64]:
    """When iterations begin under all-reduce: T(t+1) = T(t) + max_i c_i(t) + `communication`.

    Args:
        compute: c_i(t) in seconds, shape (iterations, agents).
        communication: seconds of the all-reduce, from `ring_all_reduce_time` or measured.

    Returns:
        Shape (iterations + 1, agents), 0 at first; the last row says when the last iteration ended.

    Raises:
        InvalidSpec: if `compute` is no table of numbers that are not negative.

    Example:
        >>> all_reduce_starts([[1.0, 3.0], [2.0, 1.0]], communication=0.5)[:, 0].tolist()
        [0.0, 3.5, 6.0]
    """
    times = _table(compute)
    _check(communication=communication)
    ends = np.cumsum(times.max(axis=1) + communication)
    return np.repeat(np.append(0.0, ends)[:, None], times.shape[1], axis=1)


def decentralised_starts(
    compute: ArrayLike, listens: Graph | ArrayLike, communication: float, *, overlap: bool = True
) -> NDArray[np.float64]:
    """When agents begin their iterations if they wait for those they listen to, and for nobody else.

    Args:
        compute: c_i(t) in seconds, shape (iterations, agents).
        listens: a graph; or who listens to whom in each iteration, entry (i, j) true if i waits for j, shape (agents,
            agents) or (period, agents, agents), which is repeated.
        communication: seconds until a neighbour's message is there, from `link_time` or measured.
        overlap: whether parameters travel while the gradient is computed; if not, they leave when it is there.

    Returns:
        S_i(t), shape (iterations + 1, agents), 0 at first; the last row says when the last iteration ended.

    Raises:
        InvalidSpec: if `compute` is no table of numbers that are not negative, or `listens` is for other agents.

    Example:
        >>> from consilience import graphs
        >>> decentralised_starts([[1.0, 3.0, 1.0]], graphs.path(3), communication=2.0).tolist()
        [[0.0, 0.0, 0.0], [2.0, 3.0, 2.0]]
    """
    times = _table(compute)
    _check(communication=communication)
    who = listens.adjacency if isinstance(listens, Graph) else np.asarray(listens)
    who = (who if who.ndim == 3 else who[None]) != 0
    num_agents = times.shape[1]
    if who.shape[1:] != (num_agents, num_agents) or not len(who):
        raise InvalidSpec(
            f"listens has shape {who.shape[1:]} per iteration, but compute has times of {num_agents} agents, so each "
            f"iteration needs shape {(num_agents, num_agents)}. Build both for the same agents."
        )
    starts = np.zeros((len(times) + 1, num_agents))
    for t, c in enumerate(times):
        ready = starts[t] + c
        arrives = (starts[t] if overlap else ready) + communication
        awaited = np.where(who[t % len(who)], arrives[None, :], -np.inf).max(axis=1)
        starts[t + 1] = np.maximum(ready, awaited)
    return starts


def time_per_iteration(starts: NDArray[np.float64]) -> float:
    """Seconds per iteration of the agent that ends last.

    Args:
        starts: shape (iterations + 1, agents), from `all_reduce_starts`, `decentralised_starts` or a clock.

    Raises:
        InvalidSpec: if there is no iteration.

    Example:
        >>> time_per_iteration(all_reduce_starts([[1.0, 3.0], [2.0, 1.0]], communication=0.5))
        3.0
    """
    if len(starts) < 2:
        raise InvalidSpec(
            f"starts has {len(starts)} rows: one iteration has a start and an end. Give one iteration at least."
        )
    return float((starts[-1].max() - starts[0].max()) / (len(starts) - 1))


def _table(compute: ArrayLike) -> NDArray[np.float64]:
    times = np.asarray(compute, dtype=float)
    if times.ndim != 2 or times.size == 0 or not (np.isfinite(times).all() and (times >= 0).all()):
        raise InvalidSpec(
            f"compute has shape {times.shape}; it is a table of seconds that are finite and not negative, one row per "
            "iteration and one column per agent. Write np.full((100, 8), 0.02) for constant times, say."
        )
    return times


def _check(**numbers: Any) -> None:
    for name, value in numbers.items():
        if not value >= 0:
            raise InvalidSpec(f"{name}={value!r}: {name} cannot be negative. Write {name}=0 to leave it out.")


def _check_bandwidth(bandwidth: float) -> None:
    if not bandwidth > 0:
        raise InvalidSpec(
            f"bandwidth={bandwidth!r}: nothing passes a link without bandwidth. Write bytes per second, 1.25e9 for 10 "
            "gigabits."
        )
