"""Acceptance of one-shot averaging of other learners: nearest neighbours, and mixtures of experts.

Measured with seeds 0, 1, 2:

    1-NN in d = 2, M = √n/2, n = 1000 to 64000: slope of the excess error −0.568, −0.577, −0.586; the rate is −0.5.
    With M = √n it falls faster yet, with −0.63 to −0.66: the target is smoother than the rate takes it to be.
    MNIST in 20 principal components, n = 20000: votes of M = 5 to 41 shards are 0.2 to 0.5 points behind M-NN.
    Mixtures, d = 5, 16 shards, n = 100000: test errors 1.000, 1.000, 1.001 of the global fit's (naive averages: 3.2,
    2.3, 2.8), in a seventh to a twelfth of its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

import consilience as cs
from consilience.algorithms.one_shot import (
    MixtureOfExperts,
    distributed_nearest_neighbour,
    fit_mixture_of_experts,
    reduce_mixtures,
)

pytestmark = pytest.mark.slow
SEEDS = (0, 1, 2)


# ---- nearest neighbours ------------------------------------------------------------------------------------------


def surface(x: np.ndarray) -> np.ndarray:
    """With a kink, as functions of which no more is known than their slope may have."""
    return np.sin(3 * x[:, 0]) + np.abs(x[:, 1]) - x[:, 0] * x[:, 1]


def surface_errors(num: int, num_shards: int, random: np.random.Generator) -> tuple[float, float]:
    """Mean squared distance from the surface on 1000 queries, of the shards and of the centralised M-NN."""
    inputs, queries = random.uniform(-1, 1, size=(num, 2)), random.uniform(-1, 1, size=(1000, 2))
    targets = surface(inputs) + 0.5 * random.normal(size=num)
    shards = np.array_split(random.permutation(num), num_shards)
    central = KNeighborsRegressor(num_shards).fit(inputs, targets).predict(queries)
    split = distributed_nearest_neighbour(inputs, targets, shards, queries)
    return tuple(float(((one - surface(queries)) ** 2).mean()) for one in (split, central))


@pytest.mark.parametrize("seed", SEEDS)
def test_errors_fall_at_the_minimax_rate(seed: int) -> None:
    """−2/(2 + d) = −0.5 within 0.1; slopes of different seeds spread by 0.01."""
    random, sizes = np.random.default_rng(seed), 1000 * 2 ** np.arange(7)
    errors = [np.mean([surface_errors(n, round(np.sqrt(n) / 2), random)[0] for _ in range(4)]) for n in sizes]
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_regression_is_within_a_tenth_of_centralised_neighbours(seed: int) -> None:
    """Of the error of predicted targets, whose noise has the variance 0.25. At n = 20000, M = 71."""
    split, central = surface_errors(20_000, 71, np.random.default_rng(seed))
    assert split + 0.25 <= 1.1 * (central + 0.25)


@pytest.mark.parametrize("seed", SEEDS)
def test_votes_are_within_a_point_of_centralised_neighbours(data_dir: Path, seed: int) -> None:
    """MNIST: one standard error of a difference of paired accuracies is about 0.15 points here."""
    task, random = cs.tasks.load("mnist", data_dir=data_dir), np.random.default_rng(seed)
    chosen = random.permutation(task.num_train)[:20_000]
    images = task.train_inputs[chosen].reshape(20_000, -1)
    components = PCA(20, random_state=0).fit(images)
    inputs, labels = components.transform(images), np.asarray(task.train_labels)[chosen]
    queries = components.transform(task.test_inputs.reshape(task.num_test, -1))
    for num_shards in (5, 11, 21, 41):
        shards = np.array_split(random.permutation(20_000), num_shards)
        votes = distributed_nearest_neighbour(inputs, labels, shards, queries)
        central = KNeighborsClassifier(num_shards).fit(inputs, labels).predict(queries)
        accuracies = [(one == np.asarray(task.test_labels)).mean() for one in (votes, central)]
        assert abs(accuracies[0] - accuracies[1]) < 0.01


# ---- mixtures of experts -----------------------------------------------------------------------------------------


def timed(compute: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return compute(), time.perf_counter() - start


@pytest.mark.parametrize("seed", SEEDS)
def test_reduced_mixture_is_as_good_as_the_global_fit_and_sooner(seed: int) -> None:
    """The time of the shards is that of the slowest, as if each had a machine of its own."""
    random, num, features = np.random.default_rng(seed), 100_000, 5
    truth = MixtureOfExperts(
        gates=4 * random.normal(size=(4, features + 1)) * np.r_[np.ones(features), 0.3],
        experts=2 * random.normal(size=(4, features + 1)),
        variances=np.array([0.04, 0.16, 0.36, 0.64]),
    )

    def draw(num: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = random.uniform(-1, 1, size=(num, features))
        expert = (truth.responsibilities(inputs).cumsum(axis=1) < random.random(num)[:, None]).sum(axis=1).clip(0, 3)
        means = (np.c_[inputs, np.ones(num)] * truth.experts[expert]).sum(axis=1)
        return inputs, means + np.sqrt(truth.variances[expert]) * random.normal(size=num)

    (inputs, targets), others = draw(num), draw(20_000)
    together, global_seconds = timed(lambda: fit_mixture_of_experts(inputs, targets, 4, seed=seed))
    shards = np.array_split(random.permutation(num), 16)
    fits = [timed(lambda own=own: fit_mixture_of_experts(inputs[own], targets[own], 4, seed=seed)) for own in shards]
    local = [mixture for mixture, _ in fits]
    support = inputs[random.choice(num, 2000, replace=False)]
    reduction, reduction_seconds = timed(lambda: reduce_mixtures(local, support))
    naive = MixtureOfExperts(
        *(np.mean([getattr(m, f) for m in local], axis=0) for f in ("gates", "experts", "variances"))
    )
    errors = {
        name: ((mixture.predict(others[0]) - others[1]) ** 2).mean()
        for name, mixture in (("global", together), ("reduced", reduction.mixture), ("naive", naive))
    }
    assert errors["reduced"] <= 1.05 * errors["global"]
    assert errors["reduced"] < errors["naive"]
    assert (np.diff(reduction.divergence) <= 1e-12).all()  # roundings of a sum of order one
    # Seen: 7 to 12, so that no noise of the clock decides.
    assert global_seconds > 3 * (max(seconds for _, seconds in fits) + reduction_seconds)
