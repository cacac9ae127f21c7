"""Tasks: data with a loss, and the partitions that give every agent its private shard.

    task = load("mnist")                            # digits | mnist | fashion_mnist | cifar10
    task = from_arrays(x, y, x_test, y_test)        # your own, classification or regression
    shards = by_class(task, num_agents=10)          # iid, dirichlet, shards_per_agent, quantity_skew, from_indices

Importing this package loads neither JAX nor scikit-learn: both are imported where they are first used.
"""

from __future__ import annotations

from consilience.tasks import losses, partitions
from consilience.tasks.arrays import from_arrays
from consilience.tasks.datasets import DATA_SETS, DataStatus, data_status, load
from consilience.tasks.losses import CrossEntropy, Loss, SquaredLoss
from consilience.tasks.npz import from_npz
from consilience.tasks.partitions import by_class, dirichlet, iid, quantity_skew, shards_per_agent
from consilience.tasks.regression import odd_even, one_hot, shard_arrays
from consilience.tasks.shards import Shards, from_indices
from consilience.tasks.task import Task

__all__ = [
    "DATA_SETS",
    "CrossEntropy",
    "DataStatus",
    "Loss",
    "Shards",
    "SquaredLoss",
    "Task",
    "by_class",
    "data_status",
    "dirichlet",
    "from_arrays",
    "from_indices",
    "from_npz",
    "iid",
    "load",
    "losses",
    "odd_even",
    "one_hot",
    "partitions",
    "quantity_skew",
    "shard_arrays",
    "shards_per_agent",
]
