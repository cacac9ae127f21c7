"""The vote of nearest neighbours of shards, against loops over all distances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from consilience.algorithms.one_shot import distributed_nearest_neighbour
from consilience.errors import IncompatiblePair, InvalidSpec

# Means of a few numbers of order one, in double precision.
ROUNDING = 1e-13


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, real targets, labels and queries, of both signs."""
    random = np.random.default_rng(seed)
    return random.normal(size=(40, 3)), random.normal(size=40), random.integers(-1, 3, 40), random.normal(size=(11, 3))


def nearest_first(inputs: np.ndarray, query: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The samples of a shard in the order of their distances."""
    return among[np.argsort(np.sqrt(((inputs[among] - query) ** 2).sum(axis=1)))]


def shards_of(num: int) -> list[np.ndarray]:
    """Of unequal sizes."""
    bounds = np.unique(np.round(40 * (np.arange(num + 1) / num) ** 1.3).astype(int))
    order = np.random.default_rng(3).permutation(40)
    return [order[start:stop] for start, stop in itertools.pairwise(bounds)]


@pytest.mark.parametrize("keep", [0.3, 0.75, 1.0])
def test_rules_are_those_of_a_loop(keep: float) -> None:
    inputs, targets, labels, queries = data()
    shards = shards_of(7)
    kept = {0.3: 3, 0.75: 6, 1.0: 7}[keep]
    means, votes = [], []
    for query in queries:
        answers = [nearest_first(inputs, query, shard)[0] for shard in shards]
        answers = sorted(answers, key=lambda i: ((inputs[i] - query) ** 2).sum())[:kept]
        means.append(sum(targets[i] for i in answers) / kept)
        counts = {label: sum(labels[i] == label for i in answers) for label in sorted({labels[i] for i in answers})}
        votes.append(max(counts, key=lambda label: counts[label]))
    found = distributed_nearest_neighbour(inputs, targets, shards, queries, keep=keep)
    np.testing.assert_allclose(found, means, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_array_equal(distributed_nearest_neighbour(inputs, labels, shards, queries, keep=keep), votes)


def test_one_shard_is_the_nearest_neighbour() -> None:
    inputs, targets, labels, queries = data()
    nearest = [nearest_first(inputs, query, np.arange(40))[0] for query in queries]
    for one in (targets, labels):
        found = distributed_nearest_neighbour(inputs, one, [np.arange(40)], queries)
        np.testing.assert_array_equal(found, one[nearest])


def test_samples_as_shards_are_the_vote_of_all() -> None:
    inputs, targets, labels, queries = data()
    shards = np.arange(40)[:, None]
    found = distributed_nearest_neighbour(inputs, targets, shards, queries)
    np.testing.assert_allclose(found, targets.mean(), rtol=ROUNDING, atol=ROUNDING)
    values, counts = np.unique(labels, return_counts=True)
    found = distributed_nearest_neighbour(inputs, labels, shards, queries)
    np.testing.assert_array_equal(found, values[counts.argmax()])


@pytest.mark.parametrize("k", [1, 5, 12])
def test_samples_as_shards_of_which_k_count_are_k_nearest_neighbours(k: int) -> None:
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    inputs, targets, labels, queries = data()
    for model, one in ((KNeighborsRegressor, targets), (KNeighborsClassifier, labels)):
        found = distributed_nearest_neighbour(inputs, one, np.arange(40)[:, None], queries, keep=k / 40)
        expected = model(n_neighbors=k).fit(inputs, one).predict(queries)
        np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)


def test_images_and_several_targets() -> None:
    inputs, _, _, queries = data()
    several = np.random.default_rng(5).normal(size=(40, 2))
    shards = shards_of(4)
    found = distributed_nearest_neighbour(inputs[:, :, None], several, shards, queries[:, :, None], keep=0.5)
    alone = [distributed_nearest_neighbour(inputs, one, shards, queries, keep=0.5) for one in several.T]
    np.testing.assert_array_equal(found, np.stack(alone, axis=1))


def test_the_order_of_shards_does_not_matter() -> None:
    inputs, targets, labels, queries = data()
    shards = shards_of(6)
    for one in (targets, labels):
        results = [
            distributed_nearest_neighbour(inputs, one, order, queries, keep=0.5) for order in (shards, shards[::-1])
        ]
        np.testing.assert_allclose(*results, rtol=ROUNDING, atol=ROUNDING)


def test_what_cannot_be_is_refused() -> None:
    inputs, targets, _, queries = data()
    for keep in (0.0, 1.5):
        with pytest.raises(InvalidSpec, match=f"keep={keep}"):
            distributed_nearest_neighbour(inputs, targets, [[0]], queries, keep=keep)
    with pytest.raises(IncompatiblePair, match="39 targets for 40 inputs"):
        distributed_nearest_neighbour(inputs, targets[1:], [[0]], queries)
    with pytest.raises(IncompatiblePair, match="2 features and the inputs 3"):
        distributed_nearest_neighbour(inputs, targets, [[0]], queries[:, :2])
    with pytest.raises(InvalidSpec, match="Shard 1 is empty"):
        distributed_nearest_neighbour(inputs, targets, [[0], []], queries)
    with pytest.raises(InvalidSpec, match="list of shards is empty"):
        distributed_nearest_neighbour(inputs, targets, [], queries)
