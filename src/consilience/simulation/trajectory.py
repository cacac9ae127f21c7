"""From an ensemble to a trajectory: the loop over chunks of rounds, recording and saving in between."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from consilience.algorithms import Algorithm
from consilience.simulation.ensemble import Ensemble
from consilience.simulation.experiment import Experiment
from consilience.simulation.placement import Placement, place

COMPLETED, DIVERGED, STOPPED = "completed", "diverged", "stopped"
"""How a trajectory ends."""

_CHUNK = 500


@dataclass(frozen=True)
class Checkpoint:
    """Everything that is needed to go on from between two chunks, bit by bit as if nothing had happened.

    Attributes:
        round: rounds done.
        arrays: the state's leaves and the recording so far.
        seconds: time spent so far, by part.
    """

    round: int
    arrays: dict[str, np.ndarray]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Progress:
    """What a callback is told between two chunks.

    Attributes:
        round: rounds done.
        num_rounds: rounds to do.
        num_replicas: replicas that run side by side.
        num_agents: agents of each.
        seconds: time spent since this process started the run.
        rounds_since_start: rounds done by this process.
        take_checkpoint: makes a `Checkpoint` of this moment (copies the state to the host).
    """

    round: int
    num_rounds: int
    num_replicas: int
    num_agents: int
    seconds: float
    rounds_since_start: int
    take_checkpoint: Callable[[], Checkpoint] = field(repr=False)

    @property
    def agent_steps_per_second(self) -> float:
        """Rounds × agents × replicas per second of this process."""
        return self.rounds_since_start * self.num_agents * self.num_replicas / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class Trajectory:
    """The outcome of a block of replicas.

    Attributes:
        experiment: what was simulated.
        rounds: recorded rounds, shape (records,), or `None` if they were averaged.
        observations: name → (replicas, [records,] ...).
        outcomes: "completed", "diverged" or "stopped", one per replica.
        final_round: rounds done by each replica; for a diverged one, the first after which a parameter was not finite.
        params: final parameters of the learners, leaves (replicas, learners, ...).
        seconds: time spent, by part: "compile", "advance", "observe".
    """

    experiment: Experiment
    rounds: np.ndarray | None
    observations: dict[str, np.ndarray]
    outcomes: tuple[str, ...]
    final_round: np.ndarray
    params: Any
    seconds: dict[str, float]


class Recorder:
    """Collects observations: all of them, or running means over the rounds after `average_after`."""

    def __init__(self, experiment: Experiment) -> None:
        self.average_after = experiment.average_after
        self.rounds: list[int] = []
        self.values: dict[str, list[np.ndarray]] = {o.name: [] for o in experiment.observables}

    def wants(self, round: int) -> bool:
        """Whether a record of this round would be kept."""
        return self.average_after is None or round > self.average_after

    def record(self, round: int, observations: dict[str, np.ndarray]) -> None:
        """Keep the observations of one round, or add them to the running sums."""
        self.rounds.append(round)
        for name, value in observations.items():
            if self.average_after is None or not self.values[name]:
                self.values[name].append(np.asarray(value, float))
            else:
                self.values[name][0] = self.values[name][0] + value

    def result(self) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
        """Recorded rounds and values; no rounds if averaged."""
        if self.average_after is None:
            return np.array(self.rounds), {name: np.stack(v, axis=1) for name, v in self.values.items() if v}
        return None, {name: v[0] / len(self.rounds) for name, v in self.values.items() if v}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The recording so far, as arrays."""
        stacked = {f"record/{name}": np.stack(v) for name, v in self.values.items() if v}
        return {"rounds": np.array(self.rounds, int), **stacked}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `to_arrays`."""
        self.rounds = arrays["rounds"].tolist()
        for name in self.values:
            self.values[name] = list(arrays.get(f"record/{name}", []))


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Run in single or double precision, whatever JAX's global flag says.

    On accelerators products of single-precision numbers are rounded to fewer digits by default; here they are not, or
    the mean over agents would not be kept.
    """
    exact = contextlib.nullcontext() if jax.default_backend() == "cpu" else jax.default_matmul_precision("highest")
    with jax.enable_x64(dtype == "float64"), exact:
        yield


def run_ensemble(
    experiment: Experiment,
    algorithms: Sequence[Algorithm],
    seeds: Sequence[int],
    *,
    initial_params: Any = None,
    on_chunk: Callable[[Progress], bool | None] | None = None,
    checkpoint: Checkpoint | None = None,
    chunk: int = _CHUNK,
    ensemble: Ensemble | None = None,
    placement: Placement | None = None,
) -> Trajectory:
    """Simulate a block of replicas from the start, or from a checkpoint.

    Args:
        experiment: what is simulated.
        algorithms: one instance per replica, differing in numeric hyper-parameters only.
        seeds: one seed per replica.
        initial_params: leaves (replicas, agents, ...), in place of the experiment's own initial parameters.
        on_chunk: called between chunks; returning True stops the run.
        checkpoint: where to go on.
        chunk: most rounds between two calls; results do not depend on it.
        ensemble: an ensemble made for an experiment that differs in hyper-parameters only, whose compiled programs are
            used again.
        placement: where the agents are; on one device, or on those of all processes, by default.

    Returns:
        The trajectory.
    """
    with precision(experiment.dtype):
        ensemble = ensemble or make_ensemble(experiment, seeds, placement)
        return _run(experiment, ensemble, algorithms, seeds, initial_params, on_chunk, checkpoint, chunk)


def make_ensemble(experiment: Experiment, seeds: Sequence[int], placement: Placement | None = None) -> Ensemble:
    """The ensemble for replicas with these seeds."""
    placement = placement or place(experiment.num_agents)
    with precision(experiment.dtype):
        same_seed = len(set(seeds)) == 1
        return Ensemble(experiment, num_replicas=len(seeds), same_seed=same_seed, placement=placement)


def _run(
    experiment: Experiment,
    ensemble: Ensemble,
    algorithms: Sequence[Algorithm],
    seeds: Sequence[int],
    initial_params: Any,
    on_chunk: Callable[[Progress], bool | None] | None,
    checkpoint: Checkpoint | None,
    chunk: int,
) -> Trajectory:
    replicas = ensemble.replicas(algorithms, seeds)
    recorder = Recorder(experiment)
    compiled_at_start = ensemble.compile_seconds
    failed_at = np.full(len(seeds), -1)
    seconds = {"advance": 0.0, "observe": 0.0, "compile": 0.0}
    start_params = ensemble.initial_params(seeds) if initial_params is None else initial_params
    state = ensemble.initial_state(replicas, start_params)
    if initial_params is not None:
        # A replica of an adiabatic sweep may start from parameters that diverged: it has failed in round 0.
        failed_at[~_finite_replicas(initial_params)] = 0
    round = 0
    if checkpoint is not None:
        round = checkpoint.round
        seconds = dict(checkpoint.seconds)
        recorder.restore(checkpoint.arrays)
        failed_at = checkpoint.arrays["failed_at"].copy()
        structure, leaves = jax.tree.structure(state), jax.tree.leaves(state)
        stored = [checkpoint.arrays[f"state/{k}"] for k in range(len(leaves))]
        state = ensemble.placement.put(jax.tree.unflatten(structure, stored), 0)
    compiled_before = seconds["compile"] - compiled_at_start
    observed = experiment.observed_rounds()
    capacity = int(min(chunk, np.diff(observed).max(initial=1)))
    start, first_round = time.perf_counter(), round

    def take_checkpoint() -> Checkpoint:
        arrays = {f"state/{k}": leaf for k, leaf in enumerate(ensemble.placement.get(jax.tree.leaves(state)))}
        return Checkpoint(round, {**arrays, **recorder.to_arrays(), "failed_at": failed_at.copy()}, dict(seconds))

    def observe() -> None:
        if recorder.wants(round):
            with _timed(seconds, "observe", ensemble):
                recorder.record(round, _without_failed(ensemble.measure(state, replicas), failed_at >= 0))

    if checkpoint is None:
        observe()
    outcome = COMPLETED
    while round < experiment.num_rounds and (failed_at < 0).any():
        due = int(observed[np.searchsorted(observed, round, side="right")])
        steps = min(capacity, due - round)
        with _timed(seconds, "advance", ensemble):
            after, finite = ensemble.advance(state, replicas, seeds, round, steps, capacity)
        newly = ~finite & (failed_at < 0)
        if newly.any():
            failed_at[newly] = ensemble.first_failures(state, replicas, seeds, round, steps)[newly] + 1
        state, round = after, round + steps
        if round == due:
            observe()
        seconds["compile"] = compiled_before + ensemble.compile_seconds
        progress = Progress(
            round=round,
            num_rounds=experiment.num_rounds,
            num_replicas=len(seeds),
            num_agents=experiment.num_agents,
            seconds=time.perf_counter() - start,
            rounds_since_start=round - first_round,
            take_checkpoint=take_checkpoint,
        )
        if on_chunk is not None:
            stop = ensemble.placement.agree(bool(on_chunk(progress)))
            if stop and round < experiment.num_rounds:
                outcome = STOPPED
                break
    if (failed_at >= 0).all():
        # Nothing is left to simulate. The missing records are NaN, so that shapes do not depend on it.
        nothing = _without_failed(ensemble.measure(state, replicas), failed_at >= 0)
        for due in observed[observed > round]:
            if recorder.wants(due):
                recorder.record(int(due), nothing)
    rounds, observations = recorder.result()
    seconds["compile"] = compiled_before + ensemble.compile_seconds
    return Trajectory(
        experiment=experiment,
        rounds=rounds,
        observations=observations,
        outcomes=tuple(DIVERGED if failed >= 0 else outcome for failed in failed_at),
        final_round=np.where(failed_at >= 0, failed_at, round),
        params=ensemble.final_params(state, replicas),
        seconds=seconds,
    )


def _finite_replicas(params: Any) -> np.ndarray:
    """Which replicas of a pytree with leaves (replicas, ...) hold finite numbers only."""
    flags = [np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in jax.tree.leaves(params)]
    return np.all(flags, axis=0)


def _without_failed(observations: dict[str, np.ndarray], failed: np.ndarray) -> dict[str, np.ndarray]:
    """NaN for all that is measured on diverged replicas: the class that a NaN is mistaken for is no accuracy."""
    if not failed.any():
        return observations
    return {
        name: np.where(failed.reshape(-1, *[1] * (value.ndim - 1)), np.nan, value)
        for name, value in observations.items()
    }


@contextlib.contextmanager
def _timed(seconds: dict[str, float], part: str, ensemble: Ensemble) -> Iterator[None]:
    """Add the time of the block to `seconds[part]`, without what was spent on compiling."""
    start, compiled = time.perf_counter(), ensemble.compile_seconds
    yield
    seconds[part] += time.perf_counter() - start - (ensemble.compile_seconds - compiled)
