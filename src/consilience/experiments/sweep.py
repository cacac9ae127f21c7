"""`sweep`: an experiment for all combinations of some parameters, stored block by block."""

from __future__ import annotations

import dataclasses
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from consilience.algorithms import Algorithm
from consilience.errors import InvalidSpec, StoreError
from consilience.experiments.assemble import join_blocks, timing_attributes, versions
from consilience.experiments.executors import (
    Chunk,
    Executor,
    Finished,
    Held,
    Local,
    Stopped,
    make_executor,
    run_blocks,
)
from consilience.experiments.plan import Block
from consilience.experiments.resolve import Sweep, resolve_sweep
from consilience.simulation import (
    REPLICA,
    Checkpoint,
    Ensemble,
    Experiment,
    Progress,
    Trajectory,
    make_ensemble,
    restore_params,
    run_ensemble,
    to_dataset,
)
from consilience.store import Run, Store

_CHECKPOINT_SECONDS = 20.0


class NotStoredWarning(UserWarning):
    """Results that are returned but could not be stored."""


@dataclass(frozen=True)
class SweepProgress:
    """What a callback of a sweep is told.

    Attributes:
        title: what is running.
        block: index of the block that is told about.
        num_blocks: number of blocks.
        replica_rounds_done: rounds × replicas finished, loaded ones included.
        replica_rounds_loaded: of these, how many were not computed now but found in the store.
        replica_rounds_total: rounds × replicas of the whole sweep.
        agent_steps_per_second: rounds × agents × replicas per second, of all running blocks.
    """

    title: str
    block: int
    num_blocks: int
    replica_rounds_done: int
    replica_rounds_loaded: int
    replica_rounds_total: int
    agent_steps_per_second: float


@dataclass
class _Job:
    """Loads or computes the blocks of a sweep: what an executor sends to its workers.

    Algorithms are made before it is sent: a worker may know the class of a script's method without being able to make
    one of it.
    """

    experiment: Experiment
    algorithms: list[Algorithm]
    seeds: list[int]
    run: Run | None
    num_bytes: int
    checkpoint_seconds: float
    ensembles: _Ensembles

    @classmethod
    def of(cls, sweep: Sweep, run: Run | None) -> _Job:
        cells = range(len(sweep.cells))
        if run is not None:
            run = dataclasses.replace(run, root=run.root.absolute())  # workers may be elsewhere
        algorithms, seeds = [sweep.algorithm(cell) for cell in cells], [sweep.seed_of(cell) for cell in cells]
        return cls(sweep.experiment, algorithms, seeds, run, sweep.bytes_of_a_block, _CHECKPOINT_SECONDS, _Ensembles())

    def __call__(
        self, block: Block, initial_params: Any, on_chunk: Callable[[Chunk], bool | None], /
    ) -> Finished | Held:
        with nullcontext(True) if self.run is None else self.run.try_claim(block.name) as claimed:
            if not claimed:
                return Held(block.index)
            stored = None if self.run is None else self.run.load(block.name)
            if stored is not None:
                return Finished(block.index, stored, was_stored=True, is_stored=True)
            dataset = self._simulate(block, initial_params, on_chunk)
            return Finished(block.index, dataset, was_stored=False, is_stored=self._save(block, dataset))

    def _simulate(self, block: Block, initial_params: Any, on_chunk: Callable[[Chunk], bool | None]) -> xr.Dataset:
        algorithms = [self.algorithms[cell] for cell in block.cells]
        seeds = [self.seeds[cell] for cell in block.cells]
        experiment = dataclasses.replace(self.experiment, algorithm=algorithms[0])
        trajectory = run_ensemble(
            experiment,
            algorithms,
            seeds,
            initial_params=initial_params,
            on_chunk=_Saver(self, block, on_chunk),
            checkpoint=self._checkpoint(block),
            ensemble=self.ensembles.get(experiment, seeds),
        )
        return _with_seconds(to_dataset(trajectory), trajectory)

    def _checkpoint(self, block: Block) -> Checkpoint | None:
        stored = None if self.run is None else self.run.load_checkpoint(block.name)
        if stored is None:
            return None
        arrays, meta = stored
        return Checkpoint(round=meta["round"], arrays=arrays, seconds=meta["seconds"])

    def _save(self, block: Block, dataset: xr.Dataset) -> bool:
        if self.run is None:
            return False
        try:
            self.run.save(block.name, dataset)
            self.run.delete_checkpoint(block.name)
        except StoreError as error:
            warnings.warn(
                f"{error} The results of {block.name} are in the returned data set only.",
                NotStoredWarning,
                stacklevel=2,
            )
            return False
        return True


class _Ensembles:
    """Ensembles by their shapes, made once for all blocks that differ in numbers only. They stay where they are."""

    def __init__(self) -> None:
        self._made: dict[Any, Ensemble] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[_Ensembles], tuple[()]]:
        return _Ensembles, ()

    def get(self, experiment: Experiment, seeds: list[int]) -> Ensemble:
        signature = (jax.tree.structure(experiment.algorithm), len(seeds), len(set(seeds)) == 1)
        with self._lock:
            if signature not in self._made:
                self._made[signature] = make_ensemble(experiment, seeds)
            return self._made[signature]


class _Saver:
    """The callback between chunks: tells of progress, and saves a checkpoint every few seconds and when stopped."""

    def __init__(self, job: _Job, block: Block, on_chunk: Callable[[Chunk], bool | None]) -> None:
        self.job, self.block, self.on_chunk = job, block, on_chunk
        self.saved_at = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        done = progress.round * progress.num_replicas
        stopped = self.on_chunk(Chunk(self.block.index, done, progress.agent_steps_per_second))
        stopped = stopped and progress.round < progress.num_rounds
        due = time.monotonic() - self.saved_at >= self.job.checkpoint_seconds
        if self.job.run is not None and (stopped or due):
            self._save(self.job.run, progress.take_checkpoint())
        if stopped:
            raise Stopped

    def _save(self, run: Run, checkpoint: Checkpoint) -> None:
        meta = {"round": checkpoint.round, "seconds": checkpoint.seconds}
        try:
            run.save_checkpoint(self.block.name, checkpoint.arrays, meta)
        except StoreError as error:
            warnings.warn(f"{error} The run goes on without it.", NotStoredWarning, stacklevel=3)
        self.saved_at = time.monotonic()


@dataclass
class _Progress:
    """A sweep under way: finished data sets and counters. Lives in the thread that runs the sweep."""

    sweep: Sweep
    run: Run | None
    on_progress: Callable[[SweepProgress], None] | None
    finished: dict[int, xr.Dataset] = field(default_factory=dict)
    running: dict[int, Chunk] = field(default_factory=dict)
    done: int = 0
    loaded: int = 0

    def under_way(self, chunk: Chunk) -> None:
        self.running[chunk.block] = chunk
        self._report(chunk.block)

    def take(self, finished: Finished) -> None:
        block = self.sweep.blocks[finished.block]
        dataset = finished.dataset
        if dataset is None:
            assert self.run is not None
            dataset = self._load(block, self.run)
        self.finished[block.index] = dataset
        self.running.pop(block.index, None)
        rounds = len(block.cells) * self.sweep.experiment.num_rounds
        self.done += rounds
        self.loaded += rounds if finished.was_stored else 0
        self._report(block.index)

    def _load(self, block: Block, run: Run) -> xr.Dataset:
        dataset = run.load(block.name)
        if dataset is None:
            raise StoreError(
                f"A worker has saved {block.name}, but the store {run.root} of this process does not have it: workers "
                "on other machines need a store on a file system that all of them see under the same path. Name such a "
                "directory, or run without a store."
            )
        return dataset

    def initial_params(self, block: Block) -> Any:
        if block.follows is None:
            return None
        previous = self.finished[block.follows]
        leaves = {str(n): leaf.values for n, leaf in previous.data_vars.items() if str(n).startswith("params/")}
        return restore_params(leaves, like=self.sweep.experiment.params_shapes)

    def _report(self, block: int) -> None:
        if self.on_progress is not None:
            self.on_progress(
                SweepProgress(
                    title=self.sweep.title,
                    block=block,
                    num_blocks=len(self.sweep.blocks),
                    replica_rounds_done=self.done + sum(chunk.replica_rounds for chunk in self.running.values()),
                    replica_rounds_loaded=self.loaded,
                    replica_rounds_total=self.sweep.replica_rounds,
                    agent_steps_per_second=sum(chunk.agent_steps_per_second for chunk in self.running.values()),
                )
            )


def _with_seconds(dataset: xr.Dataset, trajectory: Trajectory) -> xr.Dataset:
    share = np.full(dataset.sizes[REPLICA], 1 / dataset.sizes[REPLICA])
    for name, value in trajectory.seconds.items():
        dataset[f"seconds_{name}"] = ((REPLICA,), value * share, {"units": "s"})
    return dataset


def _execute(progress: _Progress, executor: Executor) -> None:
    """Load what is stored, and have the executor compute the rest."""
    sweep, run = progress.sweep, progress.run
    missing = []
    for block in sweep.blocks:
        stored = None if run is None else run.load(block.name)
        if stored is None:
            missing.append(block)
        else:
            progress.take(Finished(block.index, stored, was_stored=True, is_stored=True))
    if missing:
        run_blocks(executor, _Job.of(sweep, run), missing, progress)


def assemble(sweep: Sweep, blocks: Mapping[int, xr.Dataset]) -> xr.Dataset:
    """The blocks of a sweep as one data set, with the swept parameters as its first dimensions."""
    cells = [cell for block in sweep.blocks for cell in block.cells]
    dataset, seconds = join_blocks([blocks[block.index] for block in sweep.blocks], cells, sweep.over)
    return dataset.assign_attrs(
        {
            "title": sweep.title,
            "run_id": sweep.run_id or "",
            "spec": sweep.spec or {},
            "protocol": sweep.protocol,
            "versions": versions(),
            "num_agents": sweep.experiment.num_agents,
            "num_parameters": sweep.experiment.num_parameters,
            **timing_attributes(seconds),
        }
    )


def run_sweep(
    sweep: Sweep,
    *,
    store: Store | str | Path | None = None,
    force: bool = False,
    executor: str | Executor = "local",
    on_progress: Callable[[SweepProgress], None] | None = None,
) -> xr.Dataset:
    """Run a resolved sweep, or load what of it is in the store; see `sweep`.

    Example:
        >>> import tempfile
        >>> from consilience.experiments import load_stored, resolve_spec
        >>> planned = resolve_spec({"model": {"family": "mlp", "depth": 0}, "run": {"num_rounds": 10}})
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     result = run_sweep(planned, store=directory)
        ...     bool(load_stored(Store(directory), "latest").equals(result))
        True
    """
    executor = make_executor(executor) if isinstance(executor, str) else executor
    _refuse_among_joined_processes(store, executor)
    run = None
    if store is not None and sweep.spec is None:
        warnings.warn(sweep.not_stored_because, NotStoredWarning, stacklevel=2)
    elif store is not None:
        store = store if isinstance(store, Store) else Store(store)
        assert sweep.run_id is not None
        assert sweep.spec is not None
        run = store.open_run(sweep.run_id, sweep.spec, new_attempt=force)
        _record(run, lambda run: run.update_record(**_about(sweep)))
    start = time.monotonic()
    progress = _Progress(sweep, run, on_progress)
    try:
        _execute(progress, executor)
    finally:
        if run is not None:
            seconds = time.monotonic() - start
            _record(run, lambda run: run.add_wall_seconds(seconds))
    return assemble(sweep, progress.finished)


def _refuse_among_joined_processes(store: Store | str | Path | None, executor: Executor) -> None:
    """Processes that share populations out wait for each other in every round; at locks and workers they would not."""
    if (store is not None or not isinstance(executor, Local)) and jax.process_count() > 1:
        raise InvalidSpec(
            f"This is one of {jax.process_count()} processes that share populations out (cs.simulation.join, "
            "`consilience launch`); they would wait for each other's blocks in a store, or start workers each. "
            "Leave store and executor out here and keep the result yourself, or run the sweep without launch, by "
            "executor='processes' or 'ray'."
        )


def _about(sweep: Sweep) -> dict[str, Any]:
    """What the record says of a sweep beside its spec, which knows tasks and graphs by their content alone."""
    parts = {"task": sweep.experiment.task.name, "graph": sweep.experiment.graph.name}
    about = {"title": sweep.title, "versions": versions(), "parts": parts}
    return about if sweep.source is None else about | {"source": sweep.source}


def _record(run: Run, write: Callable[[Run], None]) -> None:
    """Write to the run's record. No reason to stop if the store refuses: it may be read-only, and hold all results."""
    try:
        write(run)
    except StoreError as error:
        warnings.warn(str(error), NotStoredWarning, stacklevel=3)


def sweep(
    algorithm: Algorithm,
    *,
    over: Mapping[str, Iterable[Any]],
    protocol: str = "quench",
    along: str = "coupling",
    seed: int = 0,
    store: Store | str | Path | None = None,
    force: bool = False,
    executor: str | Executor = "local",
    on_progress: Callable[[SweepProgress], None] | None = None,
    title: str = "",
    **experiment: Any,
) -> xr.Dataset:
    """Simulate an experiment for all combinations of some parameters.

    Numeric hyper-parameters run side by side, vectorised, on the same mini-batches (common random numbers).

    Args:
        algorithm: an instance; its swept fields are replaced.
        over: name → values; names are fields of the algorithm, or "seed" for realizations.
        protocol: "quench", a fresh initial condition for each value of the coupling; "adiabatic_up" and
            "adiabatic_down", where each value starts from the final parameters of the one before.
        along: the parameter that an adiabatic sweep follows.
        seed: of all cells, if "seed" is not swept.
        store: a directory or `Store` where finished blocks are kept. What is in it already is loaded and not computed;
            an interrupted sweep goes on where it stopped.
        force: compute everything anew, as a new attempt beside the stored one.
        executor: where blocks of replicas run: "local", on threads of this process; "processes"; "ray"; or `Local`,
            `Processes` or `Ray`, which take numbers. Results depend on the number of threads per worker alone.
        on_progress: called between chunks of rounds, in this thread.
        title: for tables and figures.
        **experiment: as in `simulate`: model, task, shards, graph, num_rounds, and so on.

    Returns:
        A data set like that of `simulate`, with the swept parameters as first dimensions. `attrs` hold the full spec.
        Diverged replicas say so in "outcome", with the round in "final_round".

    Raises:
        InvalidSpec: for a part that is wrong by itself, IncompatiblePair for parts that do not fit each other.
        StoreError: for a store that cannot be opened.
        WorkerLost: if workers of an executor die again and again.

    Example:
        >>> import consilience as cs
        >>> task = cs.tasks.load("digits")
        >>> result = cs.sweep(
        ...     cs.algorithms.DiffusiveCoupling(learning_rate=0.01), over={"coupling": [0.0, 100.0]},
        ...     model=cs.models.mlp(depth=0), task=task, shards=cs.tasks.by_class(task, num_agents=10),
        ...     graph=cs.graphs.complete(10), num_rounds=10, average_after=5)
        >>> result.accuracy.dims
        ('coupling', 'agent')
    """
    resolved = resolve_sweep(algorithm, over=over, protocol=protocol, along=along, seed=seed, title=title, **experiment)
    return run_sweep(resolved, store=store, force=force, executor=executor, on_progress=on_progress)
