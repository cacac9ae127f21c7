"""A store with one run of each kind, made once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import xarray as xr

import consilience as cs
from compiled import compiled_programs  # noqa: F401 (a fixture)
from consilience.experiments import Computation, compute, resolve_spec, run_sweep
from consilience.store import Run, Store

TITLE = "accuracy & <script>alert('loss')</script>"
SMALL = {"name": "digits", "num_train": 100, "num_test": 30}
SPEC = {
    "title": TITLE,
    "task": SMALL,
    "partition": {"name": "by_class", "num_agents": 5},
    "model": {"family": "mlp", "depth": 0},
    "graph": {"family": "complete"},
    "algorithm": {"name": "dgd", "learning_rate": 0.01, "weight_decay": 1e-3},
    "max_replicas": 3,
    "run": {
        "num_rounds": 4,
        "observe_every": 2,
        "batch_size": 8,
        "observe": ["accuracy", "loss", "cross_accuracy"],
    },
    "over": {"learning_rate": (0.01, 0.1, 1e30), "seed": range(2)},
}
"""Two seeds at each of three learning rates, the last of which diverges at once; a block for each seed."""


@dataclass(frozen=True)
class Stored:
    """Runs of one store.

    Attributes:
        spec: from `SPEC`.
        python: the same data and model, coupled, from Python; observables are averaged over rounds.
        computation: two cells.
    """

    store: Store
    spec: Run
    python: Run
    computation: Run


@pytest.fixture(scope="session")
def stored(compiled_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Stored:  # noqa: F811
    store = Store(tmp_path_factory.mktemp("reported") / "store")
    from_spec = run_sweep(resolve_spec(SPEC), store=store)
    task = cs.tasks.load("digits", num_train=100, num_test=30)
    from_python = cs.sweep(
        cs.algorithms.DiffusiveCoupling(learning_rate=0.01),
        over={"coupling": [10.0, 0.0], "seed": [0, 1]},
        model=cs.models.mlp(depth=0),
        task=task,
        shards=cs.tasks.by_class(task, num_agents=5),
        graph=cs.graphs.complete(5),
        num_rounds=4,
        average_after=2,
        batch_size=8,
        store=store,
        title=TITLE,
    )
    squares = xr.Dataset({"square": (("coupling", "seed"), [[0.0, 1.0], [4.0, 9.0]])}, {"coupling": [0.0, 2.0]})
    computation = Computation("squares", "square", {"of": 2}, {"one": lambda: squares, "two": lambda: 2 * squares})
    compute(computation, store=store)
    found = [store.find(one.id) for one in store.runs() if one.title == "squares"]
    return Stored(store, store.find(from_spec.run_id), store.find(from_python.run_id), found[0])


@pytest.fixture
def unfinished(stored: Stored, tmp_path: Path) -> Run:
    """The run from the spec with its second block missing."""
    shutil.copytree(stored.store.path, tmp_path / "store")
    run = Store(tmp_path / "store").find(stored.spec.id)
    shutil.rmtree(run.path / "cells" / run.cells()[-1])
    return run
