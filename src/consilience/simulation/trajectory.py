"""From an ensemble to a trajectory: the loop over chunks of rounds, recording and saving in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from consilience.algorithms import Algorithm
from consilience.simulation.ensemble import Ensemble
from consilience.simulation.experiment import Experiment
from consilience.simulation.placement import Placement
from consilience.simulation.simulation import Checkpoint, Simulation, make_ensemble

COMPLETED, DIVERGED, STOPPED = "completed", "diverged", "stopped"
"""How a trajectory ends."""

_CHUNK = 500


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
        experiment: what is simulated, with its interventions.
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
    observed = experiment.observed_rounds()
    simulation = Simulation(
        experiment,
        algorithms,
        seeds,
        capacity=int(min(chunk, np.diff(observed).max(initial=1))),
        initial_params=initial_params,
        checkpoint=checkpoint,
        ensemble=ensemble or make_ensemble(experiment, seeds, placement),
    )
    recorder = Recorder(experiment)
    if checkpoint is not None:
        recorder.restore(checkpoint.arrays)
    elif recorder.wants(0):
        recorder.record(0, simulation.measure())
    outcome = _to_the_end(simulation, recorder, on_chunk, chunk)
    if simulation.is_over:
        # The missing records are NaN, so that shapes do not depend on it.
        nothing = simulation.measure()
        for due in observed[observed > simulation.round]:
            if recorder.wants(due):
                recorder.record(int(due), nothing)
    rounds, observations = recorder.result()
    failed_at = simulation.failed_at
    return Trajectory(
        experiment=experiment,
        rounds=rounds,
        observations=observations,
        outcomes=tuple(DIVERGED if failed >= 0 else outcome for failed in failed_at),
        final_round=np.where(failed_at >= 0, failed_at, simulation.round),
        params=simulation.params(),
        seconds=dict(simulation.seconds),
    )


def _to_the_end(
    simulation: Simulation, recorder: Recorder, on_chunk: Callable[[Progress], bool | None] | None, chunk: int
) -> str:
    """Advance until all is done, all replicas have diverged, or the callback says so; returns the outcome."""
    experiment = simulation.stage.experiment
    start, first_round = time.perf_counter(), simulation.round

    def take_checkpoint() -> Checkpoint:
        arrays = {**simulation.state_arrays(), **recorder.to_arrays()}
        return Checkpoint(simulation.round, arrays, dict(simulation.seconds))

    observed = experiment.observed_rounds()
    marks = np.union1d(observed, [one.round for one in experiment.interventions]).astype(int)
    while True:
        for intervention in experiment.interventions:
            if intervention.round == simulation.round:
                simulation.intervene(intervention)
        if simulation.round >= experiment.num_rounds or simulation.is_over:
            return COMPLETED
        due = int(marks[np.searchsorted(marks, simulation.round, side="right")])
        simulation.advance(min(chunk, due - simulation.round))
        if simulation.round in observed and recorder.wants(simulation.round):
            recorder.record(simulation.round, simulation.measure())
        progress = Progress(
            round=simulation.round,
            num_rounds=experiment.num_rounds,
            num_replicas=simulation.num_replicas,
            num_agents=experiment.num_agents,
            seconds=time.perf_counter() - start,
            rounds_since_start=simulation.round - first_round,
            take_checkpoint=take_checkpoint,
        )
        stop = on_chunk is not None and simulation.agree(bool(on_chunk(progress)))
        if stop and simulation.round < experiment.num_rounds:
            return STOPPED
