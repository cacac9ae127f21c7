"""What `disorder` is measured from: the ridge regression of everybody's data, and its second moments on every shard.

Every agent counts the same: a moment of the population is the mean over agents of the means over their samples. Inputs
and targets are taken relative to their means over agents as they are read; a centring is an origin in these
coordinates, so that one pass over the data gives the second moments of all centrings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from consilience.errors import DataError, IncompatiblePair, InvalidSpec
from consilience.randomness import Purpose, generator
from consilience.tasks import Shards, Task

Array = NDArray[np.float64]

CENTRINGS = ("global", "none")

_ROUNDING = 1e-24
"""A second moment this small next to what it could be is rounding (about 1e-32) and not data."""


class Population(NamedTuple):
    """The samples of every agent, and the means over agents."""

    name: str
    inputs: NDArray[Any]
    targets: Array
    shards: Shards
    input_mean: Array
    target_mean: Array

    def agents(self) -> Iterator[tuple[Array, Array]]:
        """x (samples, features) and y (samples, outputs) of one agent after the other, relative to the means."""
        for shard in self.shards:
            yield self.inputs[shard] - self.input_mean, self.targets[shard] - self.target_mean


class SecondMoments(NamedTuple):
    """About the means: ⟨x xᵀ⟩ (features, features), ⟨y xᵀ⟩ (outputs, features), ⟨‖y‖²⟩."""

    inputs: Array
    cross: Array
    targets: float


class Regressions(NamedTuple):
    """Linear maps f(x) = weights (x − input_origin) onto y − target_origin; the first axis counts them."""

    weights: Array
    input_origin: Array
    target_origin: Array

    @classmethod
    def stack(cls, parts: Iterable[Regressions]) -> Regressions:
        """All of them in one."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))


class RidgeFit(NamedTuple):
    """A single regression, the Cholesky factor of C + λI with which it was solved, and λ."""

    regression: Regressions
    factor: tuple[Array, bool]
    penalty: float


class OutputMoments(NamedTuple):
    """⟨y fᵀ⟩_i, ⟨f fᵀ⟩_i and ⟨y yᵀ⟩_i, each of shape (regressions, agents, outputs, outputs)."""

    target_output: Array
    output_output: Array
    target_target: Array

    def row(self, index: int) -> OutputMoments:
        """Those of one regression, its axis kept."""
        return OutputMoments(*(moment[index : index + 1] for moment in self))


def gather(task: Task, shards: Shards) -> Population:
    """The training data of `task` as the agents hold them: flat inputs, targets one-hot if they are classes.

    Raises:
        InvalidSpec: an agent has no data.
        IncompatiblePair: a shard names samples that the task does not have.
        DataError: a value is not finite.
    """
    inputs = task.train_inputs.reshape(task.num_train, -1)
    labels = task.train_labels
    targets = np.asarray(labels, np.float64) if task.num_classes is None else np.eye(task.num_classes)[labels]
    for agent, shard in enumerate(shards):
        if len(shard) == 0:
            raise InvalidSpec(
                f"Agent {agent} has no data, so its δ is a mean over nothing. Give it samples, or, if it is a server, "
                "leave it out of the shards whose disorder is measured."
            )
        if shard.max() >= task.num_train:
            raise IncompatiblePair(
                f"The shard of agent {agent} names sample {shard.max()}, and {task.name!r} has training samples 0 … "
                f"{task.num_train - 1}. Make the shards from the task that they are used with."
            )
        for kind, values in (("inputs", inputs), ("targets", targets)):
            if not np.isfinite(values[shard]).all():
                raise DataError(
                    f"The training {kind} of agent {agent} in {task.name!r} hold NaN or infinities, which would spread "
                    "to every agent's δ. Repair those samples, or leave them out of the shards."
                )
    input_mean, target_mean = (
        np.mean([values[shard].mean(axis=0, dtype=np.float64) for shard in shards], axis=0)
        for values in (inputs, targets)
    )
    return Population(task.name, inputs, targets, shards, input_mean, target_mean)


def second_moments(population: Population) -> SecondMoments:
    """The moments of all data: the one expensive step, samples × features² operations."""
    features, outputs = len(population.input_mean), len(population.target_mean)
    inputs, cross, targets = np.zeros((features, features)), np.zeros((outputs, features)), 0.0
    for x, y in population.agents():
        inputs += x.T @ x / len(x)
        cross += y.T @ x / len(x)
        targets += float(np.square(y).sum() / len(x))
    count = len(population.shards)
    return SecondMoments(inputs / count, cross / count, targets / count)


def ridge_fit(population: Population, moments: SecondMoments, centring: str, ridge: float) -> RidgeFit:
    """The regression of all targets on all inputs, ⟨y xᵀ⟩ (C + λI)⁻¹ with λ = ridge · tr C / features.

    Raises:
        DataError: inputs or targets do not vary about their origin, or are uncorrelated.
    """
    x, y = population.input_mean, population.target_mean
    inputs, cross, targets = moments
    if centring == "global":
        origins = np.zeros_like(x), np.zeros_like(y)
        _check_variation(population, "inputs", np.trace(inputs), float(x @ x))
        _check_variation(population, "targets", targets, float(y @ y))
    else:
        origins = -x, -y
        inputs, cross, targets = inputs + np.outer(x, x), cross + np.outer(y, x), targets + y @ y
        _check_variation(population, "inputs", np.trace(inputs), 0.0)
    penalty = float(ridge * np.trace(inputs) / len(x))
    matrix = inputs + penalty * np.eye(len(x))
    # The transpose of a symmetric matrix is itself, in the memory order that LAPACK overwrites without a copy.
    factor = scipy.linalg.cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    weights = scipy.linalg.cho_solve(factor, cross.T).T
    if (weights * cross).sum() <= _ROUNDING * targets:
        raise DataError(
            f"Inputs and targets of {population.name!r} are uncorrelated over all agents, so that no projection is "
            "singled out and every δ is noise. The effective theory says nothing about this task: its linear part is "
            "all that it sees."
        )
    return RidgeFit(Regressions(weights[None], origins[0][None], origins[1][None]), factor, penalty)


def _check_variation(population: Population, kind: str, variance: float, square_of_mean: float) -> None:
    if variance <= _ROUNDING * square_of_mean or variance == 0:
        raise DataError(
            f"The training {kind} of {population.name!r} are the same for every sample of every agent, so there is no "
            f"correlation to measure. Give data whose {kind} vary."
        )


def output_moments(
    population: Population, regressions: Regressions, sample_weights: Callable[[int], Array]
) -> OutputMoments:
    """The moments of outputs and targets on every agent's shard.

    Args:
        population: from `gather`.
        regressions: any number of them.
        sample_weights: from the number of an agent's samples to the weights of its samples in the mean, for each
            regression, shape (regressions, samples).
    """
    weights, input_origin, target_origin = regressions
    count, outputs, features = weights.shape
    flat = weights.reshape(-1, features).T
    offset = np.einsum("rcd,rd->rc", weights, input_origin)[:, None]
    parts = []
    for x, y in population.agents():
        f = (x @ flat).reshape(len(x), count, outputs).swapaxes(0, 1) - offset
        y = y - target_origin[:, None]
        sample_weight = sample_weights(len(x))[..., None]
        weighted_y, weighted_f = (sample_weight * y).mT, (sample_weight * f).mT
        parts.append((weighted_y @ f, weighted_f @ f, weighted_y @ y))
    return OutputMoments(*(np.stack(part, axis=1) for part in zip(*parts, strict=True)))


def all_samples(num_samples: int) -> Array:
    """The weights of a plain mean, shape (1, samples)."""
    return np.full((1, num_samples), 1 / num_samples)


def without_group(num_samples: int, num_groups: int) -> Array:
    """The weights of the means without one group of samples each, shape (groups, samples).

    Samples are shuffled and dealt to the groups in turn, alike for all agents with as many; the shuffle makes errors
    independent of the order in which data are stored. An agent's only sample is not taken away.
    """
    group = generator(0, Purpose.BOOTSTRAP, num_samples).permutation(num_samples) % num_groups
    keep = group != np.arange(num_groups)[:, None]
    keep |= ~keep.any(axis=1, keepdims=True)
    return keep / keep.sum(axis=1, keepdims=True)


def refit_without_groups(
    population: Population, fit: RidgeFit, centring: str, ridge: float, num_groups: int
) -> Regressions:
    """The regressions without each group of samples: one Newton step from that of all, with its Hessian C + λI.

    Exact to first order in the samples left out. Origins and λ are those of what is left.
    """
    (weights,), (input_origin,), (target_origin,) = fit.regression
    outputs, features = weights.shape
    gradient = np.zeros((num_groups, outputs, features))
    x_mean, y_mean = np.zeros((num_groups, features)), np.zeros((num_groups, outputs))
    power, count = np.zeros(num_groups), len(population.shards)
    for x, y in population.agents():
        x, y = x - input_origin, y - target_origin
        kept = without_group(len(x), num_groups) / count
        residual = kept[..., None] * (y - x @ weights.T)
        gradient += (residual.mT.reshape(-1, len(x)) @ x).reshape(gradient.shape)
        x_mean, y_mean, power = x_mean + kept @ x, y_mean + kept @ y, power + kept @ np.square(x).sum(axis=1)
    if centring == "none":
        x_mean, y_mean = np.zeros_like(x_mean), np.zeros_like(y_mean)
    # That the origins move changes the moments about them in second order only.
    gradient -= (ridge * power / features)[:, None, None] * weights
    step = scipy.linalg.cho_solve(fit.factor, gradient.reshape(-1, features).T).T.reshape(gradient.shape)
    return Regressions(weights + step, input_origin + x_mean, target_origin + y_mean)
