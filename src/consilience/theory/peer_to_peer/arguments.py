"""Checks of what a prediction is made from: data of the agents, mixing, rates, names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.errors import DataError, IncompatiblePair, InvalidSpec, UnknownName
from consilience.graphs import MixingMatrix, from_matrix

Floats = NDArray[np.float64]

ALGORITHMS = ("dgd", "atc", "cta")
"""DGD (mix and step at once), adapt-then-combine, combine-then-adapt."""
TIMES = ("rounds", "flow")


@dataclass(frozen=True, eq=False)
class LearningData:
    """What the agents learn from, and what they are tested on.

    Attributes:
        inputs: one agent's after the other's, shape (samples, ...).
        targets: shape (samples, outputs), float64.
        sizes: samples of each agent, shape (agents,).
        test_inputs: common to all agents, shape (test samples, ...); possibly none.
        test_targets: shape (test samples, outputs).
    """

    inputs: NDArray[Any]
    targets: Floats
    sizes: NDArray[np.int64]
    test_inputs: NDArray[Any]
    test_targets: Floats


def learning_data(inputs: Any, targets: Any, test_inputs: Any = None, test_targets: Any = None) -> LearningData:
    """The data of all agents in one array each.

    Raises:
        DataError: for arrays that are empty, of the wrong rank, of unequal lengths, or not finite.
        InvalidSpec: if only one of `test_inputs` and `test_targets` is given.
    """
    shards = _shards("inputs", inputs)
    answers = _shards("targets", targets)
    if len(shards) != len(answers):
        raise DataError(
            f"inputs has the data of {len(shards)} agents and targets those of {len(answers)}. Give both one shard per "
            "agent."
        )
    for agent, (shard, answer) in enumerate(zip(shards, answers, strict=True)):
        _check_shard(f"of agent {agent}", shard, answer, shards[0].shape[1:], answers[0].shape[1:])
    if (test_inputs is None) != (test_targets is None):
        given, missing = ("test_inputs", "test_targets") if test_targets is None else ("test_targets", "test_inputs")
        raise InvalidSpec(f"{given} was given without {missing}: a test loss needs both. Give both, or neither.")
    if test_inputs is None:
        test, answer = np.empty((0, *shards[0].shape[1:])), np.empty((0, answers[0].shape[-1]))
    else:
        test, answer = _numbers("test_inputs", test_inputs), _numbers("test_targets", test_targets)
        _check_shard("of the test set", test, answer, shards[0].shape[1:], answers[0].shape[1:])
    return LearningData(
        inputs=np.concatenate(shards),
        targets=np.concatenate(answers).astype(np.float64),
        sizes=np.array([len(shard) for shard in shards]),
        test_inputs=test,
        test_targets=answer.astype(np.float64),
    )


def _shards(name: str, values: Any) -> list[NDArray[Any]]:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__") or len(values) == 0:
        raise DataError(
            f"{name} is {values!r}: it holds the data of each agent, an array of shape (agents, samples, ...) or, for "
            "unequal shards, a list of arrays of shape (samples, ...)."
        )
    return [_numbers(f"{name}[{agent}]", shard) for agent, shard in enumerate(values)]


def _numbers(name: str, values: Any) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not an array ({error}). Give a rectangular array of numbers.") from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} has type {array.dtype}, but a network computes with real numbers. Give floats.")
    if not np.isfinite(array).all():
        raise DataError(
            f"{name} holds {np.count_nonzero(~np.isfinite(array))} values that are not finite, and one of them spoils "
            "every prediction. Drop those samples, or replace the values."
        )
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _check_shard(whose: str, inputs: Any, targets: Any, features: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    if inputs.ndim < 2 or targets.ndim != 2:
        raise DataError(
            f"The inputs {whose} have shape {inputs.shape} and the targets {targets.shape}; they need the shapes "
            "(samples, ...) and (samples, outputs). Write targets[..., None] for a single output, and one-hot rows, "
            "np.eye(num_classes)[labels], for classes."
        )
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise DataError(
            f"There are {len(inputs)} inputs {whose} and {len(targets)} targets: every input needs its target, and "
            "there must be one at least. Leave out agents without data."
        )
    if inputs.shape[1:] != features or targets.shape[1:] != outputs:
        raise DataError(
            f"A sample {whose} has shape {inputs.shape[1:]} and its target {targets.shape[1:]}, but those of agent 0 "
            f"have {features} and {outputs}: the same network sees both. Reshape one of them."
        )


def check_algorithm(name: Any) -> str:
    """`name`, one of `ALGORITHMS`."""
    if name not in ALGORITHMS:
        raise UnknownName.among("algorithm with a closed form", name, ALGORITHMS)
    return name


def check_time(name: Any) -> str:
    """`name`, one of `TIMES`."""
    if name not in TIMES:
        raise UnknownName.among("kind of time", name, TIMES)
    return name


def check_rate(name: str, value: Any, *, positive: bool = False) -> float:
    """`value` as a finite float, ≥ 0 or > 0."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0 or (positive and value == 0):
        least = "a positive number" if positive else "a number from 0 up"
        raise InvalidSpec(f"{name}={value!r}: this is {least}. Write {name}=0.1, say.")
    return float(value)


def check_count(name: str, value: Any, *, least: int = 0) -> int:
    """`value` as an int from `least` up."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidSpec(f"{name}={value!r}: this is counted in whole numbers from {least}. Write {name}=500, say.")
    return int(value)


def check_mixing(mixing: Any, num_agents: int) -> MixingMatrix:
    """`mixing` as a mixing matrix of this many agents.

    Raises:
        InvalidSpec: if neither its rows nor its columns sum to one, or if it is no matrix.
        IncompatiblePair: if it is for another number of agents.
    """
    if callable(mixing) and not isinstance(mixing, MixingMatrix):
        raise IncompatiblePair(
            f"mixing={mixing!r} changes with the round, and a closed form needs one matrix for all times. Give a "
            "mixing matrix, graphs.metropolis(graph) say; predict(..., time='rounds') accepts schedules."
        )
    matrix = mixing if isinstance(mixing, MixingMatrix) else from_matrix(mixing)
    if matrix.num_agents != num_agents:
        raise IncompatiblePair(
            f"Mixing matrix {matrix.name!r} is for {matrix.num_agents} agents, but there is data of {num_agents}; "
            f"every agent needs one row. Build it from a graph of {num_agents} agents: graphs.metropolis(graph)."
        )
    return matrix


def check_row_stochastic(mixing: MixingMatrix) -> MixingMatrix:
    """`mixing`, if agents that agree stay where they are: only then do all remain near θ⁰.

    Raises:
        IncompatiblePair: if its rows do not sum to one.
    """
    if not mixing.is_row_stochastic:
        raise IncompatiblePair(
            f"The rows of mixing matrix {mixing.name!r} do not sum to one, only its columns: mixing changes even "
            "parameters on which all agree, and carries agents away from θ⁰, where the network is linear (push-sum "
            "divides by weights to undo it, and has no closed form here). Give a matrix whose rows sum to one, "
            "graphs.metropolis(graph) say, or the transpose."
        )
    return mixing


def mixing_by_round(mixing: Any, num_agents: int) -> Callable[[int], Floats]:
    """Round → (agents, agents), from a mixing matrix or a schedule of them, whose rows sum to one."""
    if isinstance(mixing, MixingMatrix) or not callable(mixing):
        weights = check_row_stochastic(check_mixing(mixing, num_agents)).weights
        return lambda round: weights

    def scheduled(round: int) -> Floats:
        import jax

        with jax.enable_x64(True):  # in single precision the rows of a schedule sum to 1 ± 6e-8
            weights = np.asarray(mixing(round), dtype=np.float64)
        return check_row_stochastic(check_mixing(weights, num_agents)).weights

    return scheduled


def check_keep(keep: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """`keep` as a tuple of names among `known`."""
    names = (keep,) if isinstance(keep, str) else tuple(keep)
    for name in names:
        if name not in known:
            raise UnknownName.among("quantity that a prediction can keep", name, known)
    return names
