"""Training with mini-batches: expected losses of every agent and their variance, round by round.

Losses are quadratic in the parameters: their expectations are those at the mean, which full batches tell, plus half the
trace of the covariance (`sampling`) with the curvature.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import AGENT, ROUND
from consilience.errors import InvalidSpec
from consilience.theory.peer_to_peer.arguments import (
    Floats,
    check_count,
    check_keep,
    check_rate,
    mixing_by_round,
)
from consilience.theory.peer_to_peer.coordinates import Coordinates, coordinates
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.noise.sampling import Sampling, sampling
from consilience.theory.peer_to_peer.quantities import as_dataset, measure
from consilience.theory.peer_to_peer.rounds import State, advance, initial_state

KEEP = ("covariance",)
"""What can be kept beside losses and variances."""

_MATRICES = 5
"""Matrices of the covariance's size that a round holds at a time."""

_LOSSES = ("train_loss", "objective", "test_loss")


def minibatch_moments(
    linearization: Linearization,
    mixing: Any,
    *,
    algorithm: str = "dgd",
    learning_rate: float,
    batch_size: int,
    num_rounds: int,
    weight_decay: float = 0.0,
    replacement: bool = False,
    record_every: int = 1,
    keep: Sequence[str] = (),
    max_memory: float = 8e9,
) -> xr.Dataset:
    """Expected losses and the variance of training with mini-batches, exact for the linearised network.

    Batches are uniform subsets of an agent's shard, independent between rounds and agents. (Batches that go through the
    shard epoch by epoch, as those of `simulate`, balance within an epoch: their noise is smaller, the more so the less
    parameters move in an epoch. This is then what they add at most: in the first epoch most of it, later a part.)

    Args:
        linearization: network and data, from `linearize`.
        mixing: W, a mixing matrix or an array (agents, agents), or a schedule, round → (agents, agents).
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η > 0.
        batch_size: B, samples per batch, of every agent; at most those of the smallest shard.
        num_rounds: rounds to predict.
        weight_decay: γ ≥ 0 of γ‖θ‖².
        replacement: whether the samples of a batch are drawn independently, and may repeat.
        record_every: rounds between two records; the first and the last round are always recorded.
        keep: "covariance", the covariance itself.
        max_memory: bytes that the covariance and what is needed to propagate it may take.

    Returns:
        A data set with dimensions (round, agent): the expected `train_loss`, `objective` and `test_loss` (if there are
        test data), as defined by `predict`; what the noise adds to the losses of the mean parameters, which are those
        of full batches, as `train_loss_excess` and so on; `output_variance` of one output, mean over test samples and
        outputs; `parameter_variance`, E‖θ_q − E θ_q‖²; `consensus_distance` (round), the root of the expected mean
        square distance of the agents' parameters from their mean. With `keep`, `covariance` in the orthonormal
        coordinates of `coordinates.coordinates`, (round, agent, coordinate, other_agent, other_coordinate), summed over
        the outputs that share a kernel.

    Raises:
        InvalidSpec: for values that cannot be, for a batch larger than a shard, for a covariance that does not fit.
        IncompatiblePair: for mixing matrices of another size.

    Example:
        >>> import numpy as np
        >>> from consilience import graphs
        >>> from consilience.theory import peer_to_peer
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 3))                        # 4 agents, 5 samples each
        >>> network = peer_to_peer.linearize(
        ...     peer_to_peer.infinite_width_kernel(1, "relu", 2.0, 0.1), None, x, np.sin(x[..., :1]))
        >>> graph = graphs.metropolis(graphs.cycle(4))
        >>> few, all_samples = (
        ...     minibatch_moments(network, graph, learning_rate=0.1, batch_size=size, num_rounds=20) for size in (2, 5))
        >>> bool((few.train_loss[1:] > all_samples.train_loss[1:]).all()), float(all_samples.train_loss_excess.max())
        (True, 0.0)

    Source:
        Rounds of paper 003; moments of sums of samples from a finite population.
    """
    count = check_count("num_rounds", num_rounds)
    every = check_count("record_every", record_every, least=1)
    kept = check_keep(keep, KEEP)
    coords = coordinates(linearization, weight_decay=check_rate("weight_decay", weight_decay))
    batches = sampling(
        coords,
        algorithm=algorithm,
        learning_rate=learning_rate,
        batch_size=batch_size,
        weight_decay=weight_decay,
        replacement=replacement,
    )
    rounds = np.append(np.arange(0, count, every), count)
    num_kept = len(rounds) if "covariance" in kept else 0
    check_covariance_fits(coords, max_memory, num_matrices=_MATRICES + num_kept)
    with np.errstate(over="ignore", invalid="ignore"):  # beyond the stability limit moments grow without bound
        found = moments_by_round(coords, batches, mixing, count)
        wanted = set(rounds.tolist())
        records = [record(coords, batches, *now, kept) for round, now in enumerate(found) if round in wanted]
    return moments_dataset(
        coords,
        {name: np.stack([record[name] for record in records]) for name in records[0]},
        {ROUND: rounds, "time": batches.learning_rate * rounds},
        algorithm=algorithm,
        learning_rate=batches.learning_rate,
        weight_decay=batches.weight_decay,
        batch_size=int(batch_size),
        replacement=int(replacement),
        method="mean and covariance, round by round",
    )


def moments_by_round(
    coords: Coordinates, batches: Sampling, mixing: Any, num_rounds: int
) -> Iterator[tuple[State, Floats]]:
    """Mean and covariance, shape (agents · rank, agents · rank), after rounds 0, 1, …, `num_rounds`."""
    lin = coords.linearization
    weights_of = mixing_by_round(mixing, lin.num_agents)
    state, covariance = initial_state(lin), np.zeros((coords.size, coords.size))
    yield state, covariance
    for round in range(num_rounds):
        weights = weights_of(round)
        at = state.mixed(weights[None]) if batches.algorithm == "cta" else state
        covariance = batches.propagate(covariance, weights, sample_errors(lin, at))
        state = advance(
            lin,
            state,
            weights[None],
            algorithm=batches.algorithm,
            learning_rate=np.array([batches.learning_rate]),
            weight_decay=batches.weight_decay,
        )
        yield state, covariance


def sample_errors(linearization: Linearization, state: State) -> list[Floats]:
    """ē of every agent's own samples, shapes (samples, outputs, columns)."""
    lin = linearization
    return [
        (state.products[0, agent][:, rows].T + lin.residuals[rows]).reshape(-1, lin.rows_per_sample, lin.num_columns)
        for agent, rows in enumerate(lin.shards)
    ]


def expected(coords: Coordinates, batches: Sampling, state: State, covariance: Floats) -> dict[str, Floats]:
    """Expectations of the losses and the distance, and what the noise adds to them, from mean and covariance."""
    lin = coords.linearization
    values = measure(lin, state)
    joint = covariance.reshape(lin.num_agents, coords.rank, lin.num_agents, coords.rank)
    own = batches.blocks(covariance)
    test = coords.test_features.T @ coords.test_features / max(len(coords.test_features), 1)
    excess = {
        "train_loss": np.einsum("qij,qij->q", batches.curvature, own) / 2,
        "objective": np.einsum("ij,qij->q", batches.curvature.mean(axis=0), own) / 2,
        "test_loss": np.einsum("ij,qij->q", test, own) * lin.rows_per_sample / 2,
    }
    inner = np.einsum("qiri->qr", joint)
    spread = np.trace(inner) / lin.num_agents - inner.mean()
    return {
        **{name: values[name] + excess[name] for name in _LOSSES},
        **{f"{name}_excess": excess[name] for name in _LOSSES},
        "output_variance": 2 * excess["test_loss"] / lin.num_outputs,
        "parameter_variance": np.diagonal(inner).copy(),
        "consensus_distance": np.sqrt(np.maximum(values["consensus_distance"] ** 2 + spread, 0.0)),
    }


def record(
    coords: Coordinates, batches: Sampling, state: State, covariance: Floats, kept: tuple[str, ...]
) -> dict[str, Floats]:
    """All quantities of one moment."""
    found = expected(coords, batches, state, covariance)
    if "covariance" in kept:
        num_agents = coords.linearization.num_agents
        found["covariance"] = covariance.reshape(num_agents, coords.rank, num_agents, coords.rank)
    return found


_VARIANCES = {
    "train_loss_excess": (
        (AGENT,),
        "what noise adds to an agent's loss at the mean parameters, on its own data",
    ),
    "objective_excess": ((AGENT,), "what noise adds to the objective at the mean parameters"),
    "test_loss_excess": ((AGENT,), "what noise adds to the loss at the mean parameters, on the test data"),
    "output_variance": ((AGENT,), "variance of one output, mean over test samples and outputs"),
    "parameter_variance": ((AGENT,), "expected square distance of an agent's parameters from their mean"),
    "covariance": (
        (AGENT, "coordinate", "other_agent", "other_coordinate"),
        "covariance of the agents' parameters in orthonormal coordinates",
    ),
}


def moments_dataset(
    coords: Coordinates, recorded: dict[str, Floats], leading: dict[str, Any], **attrs: Any
) -> xr.Dataset:
    """Moments with one leading dimension, whose coordinates are `leading` (the first names it), as a data set."""
    lin = coords.linearization
    usual = {name: values for name, values in recorded.items() if name not in _VARIANCES}
    dimension = next(iter(leading))
    variables = {
        name: ((dimension, *_VARIANCES[name][0]), values, {"long_name": _VARIANCES[name][1]})
        for name, values in recorded.items()
        if name in _VARIANCES and (len(lin.test_targets) or not name.startswith(("test_", "output_")))
    }
    return as_dataset(lin, usual, leading, **attrs).assign(variables)


def check_covariance_fits(coords: Coordinates, max_memory: float, num_matrices: int = _MATRICES) -> None:
    """`InvalidSpec` if this many matrices of the covariance's size take more than `max_memory` bytes."""
    if not (math.isfinite(max_memory) and max_memory > 0):
        raise InvalidSpec(f"max_memory={max_memory!r}: it is a number of bytes. Write max_memory=8e9 for 8 GB.")
    needed = 8 * num_matrices * coords.size**2
    if needed <= max_memory:
        return
    num_agents = coords.linearization.num_agents
    most = math.isqrt(int(max_memory / (8 * num_matrices)))
    raise InvalidSpec(
        f"The covariance of {num_agents} agents has {coords.size} rows and columns (agents × rank of the kernel, "
        f"{coords.rank}); {num_matrices} such matrices take {needed / 1e9:.3g} GB, above max_memory={max_memory:g}. "
        f"A rank of {most // num_agents} would fit, that is as many samples times outputs of all agents together, or "
        f"{most // coords.rank} agents of this rank. Use fewer of them, or record fewer rounds of the covariance."
    )
