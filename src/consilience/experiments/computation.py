"""Computations without a simulator, of theory say: described, cut into cells, produced once and loaded afterwards."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from consilience.errors import StoreError
from consilience.experiments.assemble import versions
from consilience.experiments.identity import SEMANTICS, describe, identity
from consilience.experiments.sweep import NotStoredWarning, SweepProgress
from consilience.store import Run, Store


@dataclass(frozen=True)
class Computation:
    """Pure functions whose results are worth keeping.

    Attributes:
        title: for people; no part of the identity.
        subject: what is computed, "landau.sweep" say. Together with `parameters` it determines the results.
        parameters: everything that the cells depend on: numbers, arrays, graphs, dataclasses.
        cells: name → function without arguments that returns a data set; independent of each other. A name is a file
            name: letters, digits and `._=,+-`.
        source: what it was made from, `{"recipe": name, ...}`; recorded with the run so that it can be made again, and
            no part of the identity.

    Example:
        >>> squares = Computation("squares", "square", {"of": [3]}, {"three": lambda: xr.Dataset({"square": 9})})
        >>> int(compute(squares)["three"].square)
        9
    """

    title: str
    subject: str
    parameters: Mapping[str, Any]
    cells: Mapping[str, Callable[[], xr.Dataset]] = field(repr=False)
    source: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def spec(self) -> dict[str, Any]:
        """The computation as plain data."""
        described = {"subject": self.subject, **{name: describe(value) for name, value in self.parameters.items()}}
        return {"semantics": SEMANTICS, "computation": described, "cells": list(self.cells)}


def compute(
    computation: Computation,
    *,
    store: Store | str | Path | None = None,
    force: bool = False,
    on_progress: Callable[[SweepProgress], None] | None = None,
    num_threads: int | None = None,
) -> dict[str, xr.Dataset]:
    """Produce all cells of a computation, or load those that are stored.

    Args:
        computation: what is computed.
        store: where finished cells are kept; nowhere by default.
        force: compute all cells anew, as a new attempt beside the stored one.
        on_progress: called after each cell; a cell counts as one round of one replica.
        num_threads: cells side by side; as many as there are processors by default.

    Returns:
        Name of the cell → data set.

    Example:
        >>> one = Computation("one", "constant", {"value": 1}, {"cell": lambda: xr.Dataset({"value": 1})})
        >>> list(compute(one))
        ['cell']
    """
    spec, run = computation.spec, None
    if store is not None:
        store = store if isinstance(store, Store) else Store(store)
        run = store.open_run(identity(spec), spec, new_attempt=force)
        about = {"title": computation.title, "versions": versions()}
        about |= {} if computation.source is None else {"source": computation.source}
        _keep(lambda: run.update_record(**about))
    start = time.monotonic()
    try:
        done = _produce_all(computation, run, num_threads, on_progress)
    finally:
        if run is not None:
            _keep(lambda: run.add_wall_seconds(time.monotonic() - start))
    return {name: done[name] for name in computation.cells}


def _produce_all(
    computation: Computation,
    run: Run | None,
    num_threads: int | None,
    on_progress: Callable[[SweepProgress], None] | None,
) -> dict[str, xr.Dataset]:
    """All cells, in the order in which they are finished."""
    done, loaded, total = {}, 0, len(computation.cells)
    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        futures = {
            pool.submit(partial(_produce, run, name, function)): name for name, function in computation.cells.items()
        }
        try:
            for future in as_completed(futures):
                done[futures[future]], was_stored = future.result()
                loaded += was_stored
                if on_progress is not None:
                    on_progress(SweepProgress(computation.title, len(done) - 1, total, len(done), loaded, total, 0.0))
        except BaseException:
            # An error or Ctrl-C ends the command soon: cells under way are finished and kept, no others are begun.
            pool.shutdown(cancel_futures=True)
            raise
    return done


def _produce(run: Run | None, name: str, function: Callable[[], xr.Dataset]) -> tuple[xr.Dataset, bool]:
    """A cell, and whether it was found in the store."""
    if run is None:
        return function(), False
    stored = run.load(name)
    if stored is not None:
        return stored, True
    with run.claim(name):
        stored = run.load(name)  # another process may have finished it meanwhile
        if stored is not None:
            return stored, True
        dataset = function()
        _keep(lambda: run.save(name, dataset), f" The results of {name} are in what is returned only.")
    return dataset, False


def _keep(write: Callable[[], Any], lost: str = "") -> None:
    """Write to the store; if it refuses, the results are in memory all the same."""
    try:
        write()
    except StoreError as error:
        warnings.warn(f"{error}{lost}", NotStoredWarning, stacklevel=3)
