"""Classification as regression: the squared loss of the theory of wide networks, on targets made from classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.errors import IncompatiblePair
from consilience.tasks.losses import SquaredLoss
from consilience.tasks.task import Task


def odd_even(task: Task) -> Task:
    """Whether the class is odd (target +1) or even (−1): one output, squared loss.

    Raises:
        IncompatiblePair: if the task has no classes.

    Example:
        >>> from consilience.tasks import load
        >>> odd_even(load("digits"))
        Task('digits, odd or even': 1437 + 360 samples of shape (8, 8), regression of 1, squared)
    """
    train, test = (2.0 * (labels % 2) - 1.0 for labels in _classes(task))
    return _with_targets(task, f"{task.name}, odd or even", train[:, None], test[:, None])


def one_hot(task: Task) -> Task:
    """One output per class, target 1 for the sample's own class and 0 for the others, squared loss.

    Raises:
        IncompatiblePair: if the task has no classes.

    Example:
        >>> from consilience.tasks import load
        >>> one_hot(load("digits"))
        Task('digits, one-hot': 1437 + 360 samples of shape (8, 8), regression of 10, squared)
    """
    train, test = (np.eye(task.num_outputs)[labels] for labels in _classes(task))
    return _with_targets(task, f"{task.name}, one-hot", train, test)


def shard_arrays(task: Task, shards: Iterable[Any]) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """The agents' inputs and targets, one array (samples, ...) per agent each.

    Args:
        task: a task with real-valued targets.
        shards: one array of indices into the training data per agent.

    Raises:
        IncompatiblePair: if the task has classes, not targets.

    Example:
        >>> from consilience.tasks import by_class, load
        >>> digits = load("digits")
        >>> inputs, targets = shard_arrays(odd_even(digits), by_class(digits, num_agents=10))
        >>> inputs[3].shape, targets[3].shape
        ((146, 8, 8), (146, 1))
    """
    if task.is_classification:
        raise IncompatiblePair(
            f"{task.name!r} has class labels, but real-valued targets are needed. Write odd_even(task) or "
            "one_hot(task)."
        )
    parts = [np.asarray(shard) for shard in shards]
    return [task.train_inputs[part] for part in parts], [task.train_labels[part] for part in parts]


def _classes(task: Task) -> tuple[NDArray[Any], NDArray[Any]]:
    if not task.is_classification:
        raise IncompatiblePair(f"{task.name!r} is a regression task, and has no classes to make targets from.")
    return task.train_labels, task.test_labels


def _with_targets(task: Task, name: str, train: NDArray[Any], test: NDArray[Any]) -> Task:
    dtype = task.train_inputs.dtype
    return replace(
        task,
        name=name,
        train_labels=train.astype(dtype),
        test_labels=test.astype(dtype),
        num_classes=None,
        loss=SquaredLoss(),
    )
