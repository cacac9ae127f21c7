"""Targets made from classes."""

import numpy as np
import pytest

from consilience import tasks
from consilience.errors import IncompatiblePair


def digits():
    return tasks.load("digits")


def test_odd_classes_are_plus_one():
    task = tasks.odd_even(digits())
    odd = digits().train_labels % 2 == 1
    assert (task.train_labels[odd] == 1).all()
    assert (task.train_labels[~odd] == -1).all()
    assert task.loss.name == "squared"
    assert task.num_outputs == 1


def test_one_hot_rows_point_at_the_class():
    task = tasks.one_hot(digits())
    assert (task.test_labels.argmax(axis=1) == digits().test_labels).all()
    assert (task.test_labels.sum(axis=1) == 1).all()
    assert task.train_labels.dtype == task.train_inputs.dtype


def test_shard_arrays_follow_the_indices():
    task, shards = tasks.odd_even(digits()), tasks.from_indices(digits(), [[3, 1], [5]])
    inputs, targets = tasks.shard_arrays(task, shards)
    np.testing.assert_array_equal(inputs[0], task.train_inputs[[3, 1]])
    np.testing.assert_array_equal(targets[1], task.train_labels[[5]])


def test_tasks_of_the_wrong_kind_are_refused():
    with pytest.raises(IncompatiblePair, match="odd_even"):
        tasks.shard_arrays(digits(), [[0]])
    with pytest.raises(IncompatiblePair, match="no classes"):
        tasks.one_hot(tasks.odd_even(digits()))
