"""Nearest neighbours over shards: every shard answers with one label, and the answers are put to the vote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from consilience.errors import IncompatiblePair, InvalidSpec


def distributed_nearest_neighbour(
    inputs: Any, targets: Any, shards: Sequence[Any], queries: Any, *, keep: float = 1.0
) -> np.ndarray:
    """One nearest neighbour is all you need: each shard's nearest sample answers; the answers are put to the vote.

    Update rule:
        y_m = target of the sample of shard m that is nearest to the query, at the distance r_m; of the ⌈`keep`·M⌉
        answers with the smallest r_m, the class with most votes (the smallest of those that tie), or for a regression
        the mean
    Reduces to:
        the nearest neighbour at M = 1; the vote or the mean of all samples when every sample is a shard of its own;
        k nearest neighbours when every sample is a shard of its own and keep = k/M.
    Cost:
        per query M labels travel, and M distances as well if keep < 1; no round of training. Each shard of n/M samples
        is searched with a k-d tree, in O(log(n/M)) per query in few dimensions.
    Assumes:
        shards that are random parts of the data, all alike: a shard that lacks a class answers with another.
    Known limits:
        in more than some twenty dimensions the tree looks at most samples; reduce the inputs first. Distances are
        Euclidean, so inputs of unequal scale must be scaled before.
    Source:
        J. J. Ryu and Y.-H. Kim, One-nearest-neighbor search is all you need for minimax optimal regression and
        classification, arXiv:2202.02464 (2022), the M-split 1-NN rules [ryu2022].
    Args:
        inputs: shape (samples, ...); what follows the first axis is flattened.
        targets: shape (samples,) of whole numbers for a classification, or (samples, ...) of real numbers for a
            regression.
        shards: indices into the samples, one array per shard.
        queries: shape (queries, ...), like the inputs.
        keep: share of the shards whose answers count, those nearest to the query, in (0, 1].

    Returns:
        Shape (queries,) or (queries, ...): the predicted targets, in the type of `targets`.

    Raises:
        InvalidSpec: if `keep` is not in (0, 1], or a shard is empty.
        IncompatiblePair: if there is not one target per sample, or queries differ from inputs in their features.

    Example:
        >>> inputs, labels = [[0.0], [1.0], [2.0], [9.0], [8.0], [7.0]], [0, 0, 0, 1, 1, 1]
        >>> distributed_nearest_neighbour(inputs, labels, [[0, 3], [1, 4], [2, 5]], [[0.5], [7.5]]).tolist()
        [0, 1]
    """
    from scipy.spatial import KDTree

    samples, asked, answers_of = _flat(inputs), _flat(queries), np.asarray(targets)
    _check(samples, asked, answers_of, shards, keep)
    found = [KDTree(samples[np.asarray(shard)]).query(asked) for shard in shards]
    distances = np.stack([distance for distance, _ in found])
    answers = np.stack(
        [answers_of[np.asarray(shard)[nearest]] for shard, (_, nearest) in zip(shards, found, strict=True)]
    )
    # The bound guards against shares such as 3/10 · 10, which may come out a rounding above 3.
    num_kept = max(1, math.ceil(keep * len(shards) - 1e-9))
    kept = np.argsort(distances, axis=0, kind="stable")[:num_kept]
    counted = np.take_along_axis(answers, kept.reshape(*kept.shape, *[1] * (answers.ndim - 2)), axis=0)
    return _majority(counted) if np.issubdtype(answers_of.dtype, np.integer) else counted.mean(axis=0)


def _majority(votes: np.ndarray) -> np.ndarray:
    """The commonest value of each column, shape (columns,); the smallest of those that tie."""
    classes, index = np.unique(votes, return_inverse=True)
    counts = np.stack([(index.reshape(votes.shape) == one).sum(axis=0) for one in range(len(classes))])
    return classes[counts.argmax(axis=0)]


def _flat(points: Any) -> np.ndarray:
    points = np.asarray(points)
    return points.reshape(len(points), -1)


def _check(samples: np.ndarray, asked: np.ndarray, targets: np.ndarray, shards: Sequence[Any], keep: float) -> None:
    if not 0 < keep <= 1:
        raise InvalidSpec(
            f"keep={keep!r}: it is the share of the shards whose answers count, a number above 0 and at most 1. Write "
            "keep=1.0 to count them all."
        )
    if len(targets) != len(samples):
        raise IncompatiblePair(
            f"{len(targets)} targets for {len(samples)} inputs: every sample answers with its own. Give one target per "
            "sample, the labels of the same task, say."
        )
    if asked.shape[1] != samples.shape[1]:
        raise IncompatiblePair(
            f"The queries have {asked.shape[1]} features and the inputs {samples.shape[1]}, and no distance is defined "
            "between them. Transform both in the same way."
        )
    empty = [m for m, shard in enumerate(shards) if len(shard) == 0]
    if empty or not len(shards):
        raise InvalidSpec(
            f"{f'Shard {empty[0]}' if empty else 'The list of shards'} is empty, and nothing in it is nearest to a "
            "query. Leave empty shards out, and give at least one."
        )
