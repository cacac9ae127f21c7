"""A population under way: advanced some rounds at a time, measured, saved, and changed from outside."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from consilience.algorithms import Algorithm
from consilience.simulation.ensemble import Ensemble
from consilience.simulation.experiment import Experiment
from consilience.simulation.interventions import Intervention, Restart, Stage, check_states
from consilience.simulation.placement import Placement, place


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


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Run in single or double precision, whatever JAX's global flag says.

    On accelerators products of single-precision numbers are rounded to fewer digits by default; here they are not, or
    the mean over agents would not be kept.
    """
    exact = contextlib.nullcontext() if jax.default_backend() == "cpu" else jax.default_matmul_precision("highest")
    with jax.enable_x64(dtype == "float64"), exact:
        yield


def make_ensemble(experiment: Experiment, seeds: Sequence[int], placement: Placement | None = None) -> Ensemble:
    """The ensemble for replicas with these seeds."""
    placement = placement or place(experiment.num_agents)
    with precision(experiment.dtype):
        same_seed = len(set(seeds)) == 1
        return Ensemble(experiment, num_replicas=len(seeds), same_seed=same_seed, placement=placement)


class Simulation:
    """A block of replicas under way.

    It is advanced by `advance`, and changed by `intervene`; those interventions that the experiment lists are left to
    the caller, too (`run_ensemble` makes them). A live session and a recorded run are the same calls in the same order,
    and so the same numbers.

    Args:
        experiment: what is simulated.
        algorithms: one instance per replica, differing in numeric hyper-parameters only.
        seeds: one seed per replica.
        capacity: most rounds by which `advance` is called; one compilation serves all numbers up to it.
        initial_params: leaves (replicas, agents, ...), in place of the experiment's own initial parameters.
        checkpoint: where to go on; the interventions before it are those that the experiment lists.
        ensemble: an ensemble made for an experiment that differs in hyper-parameters only, whose compiled programs are
            used again.

    Attributes:
        stage: what holds now.
        round: rounds done.
        failed_at: of each replica the first round after which a parameter was not finite, −1 before, shape (replicas,).
        seconds: time spent, by part: "compile", "advance", "observe".

    Example:
        >>> import consilience as cs
        >>> task = cs.tasks.load("digits")
        >>> experiment = cs.simulation.resolve_experiment(
        ...     cs.algorithms.DiffusiveCoupling(learning_rate=0.1, coupling=0.0), model=cs.models.mlp(depth=0),
        ...     task=task, shards=cs.tasks.by_class(task, num_agents=10), graph=cs.graphs.complete(10), num_rounds=200)
        >>> under_way = Simulation(experiment, [experiment.algorithm], [0], capacity=100)
        >>> under_way.advance(100)
        >>> alone = under_way.measure()["accuracy"].mean()
        >>> under_way.intervene(cs.simulation.SetParameter(under_way.round, "coupling", 10.0))
        >>> under_way.advance(100)
        >>> bool(under_way.measure()["accuracy"].mean() > 2 * alone)
        True
    """

    def __init__(
        self,
        experiment: Experiment,
        algorithms: Sequence[Algorithm],
        seeds: Sequence[int],
        *,
        capacity: int,
        initial_params: Any = None,
        checkpoint: Checkpoint | None = None,
        ensemble: Ensemble | None = None,
    ) -> None:
        self.stage = Stage(experiment, tuple(algorithms))
        self.round = 0
        self.failed_at = np.full(len(seeds), -1)
        self.seconds = {"advance": 0.0, "observe": 0.0, "compile": 0.0}
        self._seeds, self._capacity = list(seeds), capacity
        self._ensemble = ensemble or make_ensemble(experiment, seeds)
        with self._working():
            self._start_params = initial_params
            self._replicas = self._ensemble.replicas(algorithms, seeds)
            if checkpoint is not None:
                self._catch_up(checkpoint.round)
            self._state = self._initial_state()
        if initial_params is not None:
            # A replica of an adiabatic sweep may start from parameters that diverged: it has failed in round 0.
            self.failed_at[~_finite_replicas(initial_params)] = 0
        if checkpoint is not None:
            self._restore(checkpoint)

    @property
    def num_replicas(self) -> int:
        """Replicas side by side."""
        return len(self._seeds)

    @property
    def is_over(self) -> bool:
        """Whether all replicas have diverged, so that nothing is left to simulate."""
        return bool((self.failed_at >= 0).all())

    def advance(self, num_rounds: int) -> None:
        """Run `num_rounds` rounds, at most `capacity`; none of them compiles what later ones need."""
        where = self._replicas, self._seeds, self.round, num_rounds
        with self._timed("advance"):
            after, finite = self._ensemble.advance(self._state, *where, self._capacity)
            newly = ~finite & (self.failed_at < 0)
            if newly.any():
                self.failed_at[newly] = self._ensemble.first_failures(self._state, *where)[newly] + 1
        self._state, self.round = after, self.round + num_rounds

    def measure(self) -> dict[str, np.ndarray]:
        """The experiment's observables now, each of shape (replicas, ...); NaN for diverged replicas."""
        with self._timed("observe"):
            return _without_failed(self._ensemble.measure(self._state, self._replicas), self.failed_at >= 0)

    def intervene(self, intervention: Intervention) -> None:
        """Do what `intervention` says, now.

        Raises:
            InvalidSpec: if it names what the experiment does not have.
            IncompatiblePair: if the algorithm cannot go on with the change. Nothing has changed then.
        """
        with self._working():
            self._enter(intervention.change(self.stage))
            if isinstance(intervention, Restart):
                self._state = self._initial_state()
                self.failed_at[:] = -1

    @contextlib.contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """What is done inside is done as a whole: if any of it is refused, the population is as it was before."""
        kept = dict(vars(self)) | {"failed_at": self.failed_at.copy(), "seconds": dict(self.seconds)}
        try:
            yield
        except Exception:
            vars(self).update(kept)
            raise

    def params(self) -> Any:
        """The parameters of the learners, leaves (replicas, learners, ...)."""
        with self._working():
            return self._ensemble.final_params(self._state, self._replicas)

    def agree(self, flag: bool) -> bool:
        """Whether any of the processes that share the population out says so."""
        return self._ensemble.placement.agree(flag)

    def state_arrays(self) -> dict[str, np.ndarray]:
        """The state's leaves by name, on the host, as a checkpoint keeps them."""
        leaves = self._ensemble.placement.get(jax.tree.leaves(self._state))
        return {**{f"state/{k}": leaf for k, leaf in enumerate(leaves)}, "failed_at": self.failed_at.copy()}

    def _initial_state(self) -> Any:
        params = self._ensemble.initial_params(self._seeds) if self._start_params is None else self._start_params
        return self._ensemble.initial_state(self._replicas, params)

    def _enter(self, stage: Stage) -> None:
        check_states(self.stage, stage)
        ensemble = self._ensemble.changed(stage.experiment)
        self._replicas = ensemble.replicas(stage.algorithms, self._seeds)
        self._ensemble, self.stage = ensemble, stage

    def _catch_up(self, round: int) -> None:
        """Enter the stage before `round`, whose interventions are still to come."""
        for intervention in self.stage.experiment.interventions:
            if intervention.round < round:
                self._enter(intervention.change(self.stage))

    def _restore(self, checkpoint: Checkpoint) -> None:
        structure, leaves = jax.tree.structure(self._state), jax.tree.leaves(self._state)
        stored = [checkpoint.arrays[f"state/{k}"] for k in range(len(leaves))]
        with self._working():
            self._state = self._ensemble.placement.put(jax.tree.unflatten(structure, stored), 0)
        self.round = checkpoint.round
        self.failed_at = checkpoint.arrays["failed_at"].copy()
        self.seconds = {part: self.seconds[part] + seconds for part, seconds in checkpoint.seconds.items()}

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """In the experiment's precision; what is spent on compiling counts as that."""
        before = self._ensemble.compile_seconds
        with precision(self.stage.experiment.dtype):
            yield
        self.seconds["compile"] += self._ensemble.compile_seconds - before

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        """Add the time of the block to `seconds[part]`, without what was spent on compiling."""
        start, compiled = time.perf_counter(), self.seconds["compile"]
        with self._working():
            yield
        self.seconds[part] += time.perf_counter() - start - (self.seconds["compile"] - compiled)


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
