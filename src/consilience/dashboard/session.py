"""A live session: a population that trains in a thread, while people watch it and change it.

A session is a spec and the interventions so far. `Session.as_spec` exports it, and `consilience run` of that file gives
the same numbers to the bit, because both make the same calls of `simulation.Simulation` in the same order.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.dashboard.history import History
from consilience.errors import ConsilienceError
from consilience.experiments import resolve_spec
from consilience.experiments.spec import as_table, build_task_and_graph
from consilience.observables import OBSERVABLES
from consilience.simulation import Intervention, SetParameter, Simulation, Stage, costs

PREPARING, TAKING_UP, PAUSED, RUNNING, CHANGING, DIVERGED, FAILED, CLOSED = (
    "preparing",
    "taking up",
    "paused",
    "running",
    "changing",
    "diverged",
    "failed",
    "closed",
)
"""What a session may be doing."""

OBSERVED = ("accuracy", "loss", "class_accuracy", "cross_accuracy", "magnetization", "consensus_distance")
_DIVERGED = "The parameters have grown beyond all numbers. Lower the coupling or the learning rate, and restart."
_TAKEN_UP = "Computing again up to round {:,}, where this session stood. What you do meanwhile is done then."
_ENDED = "A session has {:,} rounds at most, and this one has had them. Export it, and begin a new population."
MOST_ROUNDS = 2_000_000_000
"""What a 32-bit number of rounds leaves: days of a small population. An export says how many there were."""
SAVED_EVERY = 30.0
"""Seconds between two savings of a session that runs undisturbed."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A session as it was at one moment; nothing in it changes any more.

    Attributes:
        status: one of this module's constants.
        message: what went wrong, or what is being done; empty if there is nothing to say.
        round: rounds done.
        rounds_per_second: at which it advances while it runs.
        stage: what holds now, `None` while the session is being prepared.
        rounds: recorded rounds, shape (records,).
        traffic: bits that all agents have sent up to each of them, shape (records,).
        values: observable → (records, ...), for `history.CURVES`.
        latest: observable → its last value, of all that are recorded.
        marks: round and words of every intervention so far.
        begun: what held in round 0, `None` while the session is being prepared.
        interventions: all so far; what held in any round follows from both.
        seed: of the run.
        goes_on: whether it is meant to run, be it in the middle of a change.
        pace: most rounds per second that it is meant to make; 0 for as many as it can.
    """

    status: str
    message: str
    round: int
    rounds_per_second: float
    stage: Stage | None
    rounds: NDArray[np.int64]
    traffic: NDArray[np.float64]
    values: dict[str, NDArray[np.float64]]
    latest: dict[str, NDArray[np.float64]]
    marks: tuple[tuple[int, str], ...]
    begun: Stage | None = None
    interventions: tuple[Intervention, ...] = ()
    seed: int = 0
    goes_on: bool = False
    pace: float = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lost if the session is closed."""
        return not self.goes_on and self.status in (PAUSED, DIVERGED, FAILED, CLOSED)


class Session:
    """A live session. All methods may be called from any thread, and return at once unless they say otherwise.

    Args:
        spec: the tables of an experiment with one replica; its interventions, if it has any, are made when their rounds
            come. Without a number of rounds at which to stop.
        data_dir: where data sets are looked for first.
        record_every: rounds between two records, and between two looks at what people want.
        replay_to: run at full speed to this round first, then pause: a session that is taken up again. What people want
            in the meantime is done then, for it is no part of its past.
        on_change: called in the session's thread after each intervention and pause, and every half minute; not the
            place to wait for a disk.

    Example:
        >>> session = Session({"task": {"name": "digits"}, "model": {"family": "mlp", "depth": 0}}, record_every=10)
        >>> session.run(until=20)
        >>> session.wait(lambda snapshot: snapshot.round == 20).status
        'paused'
        >>> session.as_spec()["run"]["num_rounds"]
        20
        >>> session.close()
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        *,
        data_dir: str | None = None,
        record_every: int = 10,
        replay_to: int = 0,
        on_change: Callable[[Session], None] | None = None,
    ) -> None:
        self.record_every = record_every
        self._spec, self._data_dir, self._on_change = dict(spec), data_dir, on_change
        self._changed = threading.Condition()
        # All below is read and written while holding it; the simulation itself is touched by the thread alone.
        self._history = History()
        self._made: list[Intervention] = []
        self._wanted: list[Callable[[int], Intervention]] = []
        self._values_wanted: dict[str, float] = {}
        self._status, self._message = PREPARING, "Loading data and compiling the model …"
        self._round, self._stage, self._traffic = 0, None, 0.0
        self._begun, self._seed = None, 0
        self._replay_to, self._until, self._pace, self._rate = replay_to, 0, 0.0, 0.0
        self._is_closed = self._is_over = self._has_plans = False
        self._saved_at = time.monotonic()
        self._counted: tuple[Stage | None, float] = None, 0.0
        self._thread = threading.Thread(target=self._work, name="live session", daemon=True)
        self._thread.start()

    # ---- what people do ----------------------------------------------------------------------------------------

    def run(self, *, until: int = MOST_ROUNDS, pace: float = 0.0) -> None:
        """Go on.

        Args:
            until: the round after which to pause.
            pace: most rounds per second; 0 for as fast as possible. Numbers do not depend on it.
        """
        with self._changed:
            self._until, self._pace = min(until, MOST_ROUNDS), pace
            self._changed.notify_all()

    def pause(self) -> None:
        """Stop after the rounds under way."""
        with self._changed:
            self._until = 0
            self._changed.notify_all()

    def intervene(self, make: Callable[[int], Intervention]) -> None:
        """Do something to the population as soon as the rounds under way are over; refusals come as a message.

        Args:
            make: the intervention, given the round in which it is made: `lambda r: SetParameter(r, "coupling", 3.0)`.
        """
        with self._changed:
            self._wanted.append(make)
            self._changed.notify_all()

    def set(self, name: str, value: float) -> None:
        """Give a hyper-parameter another value, as `intervene` would; of several in a hurry the last counts."""
        with self._changed:
            self._values_wanted[name] = value
            self._changed.notify_all()

    def close(self) -> None:
        """End the session's thread; waits for it."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def say(self, message: str) -> None:
        """Let people know something."""
        with self._changed:
            self._message = message

    # ---- what people see ---------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The session as it is now."""
        with self._changed:
            return Snapshot(
                status=self._status,
                message=self._message,
                round=self._round,
                rounds_per_second=self._rate if self._status in (RUNNING, TAKING_UP) else 0.0,
                stage=self._stage,
                rounds=self._history.rounds,
                traffic=self._history.traffic,
                values=self._history.curves,
                latest=dict(self._history.latest),
                marks=tuple((one.round, str(one)) for one in self._made),
                begun=self._begun,
                interventions=tuple(self._made),
                seed=self._seed,
                goes_on=not self._is_over and self._until > max(self._round, self._replay_to),
                pace=self._pace,
            )

    def wait(self, condition: Callable[[Snapshot], bool], *, seconds: float = 60.0) -> Snapshot:
        """Block until the condition holds, the session has failed, or time is up; returns the last snapshot."""
        end = time.monotonic() + seconds
        while True:
            snapshot = self.snapshot()
            if condition(snapshot) or snapshot.status in (FAILED, CLOSED) or time.monotonic() > end:
                return snapshot
            time.sleep(0.01)

    def as_spec(self) -> dict[str, Any]:
        """The session so far as a spec, for `consilience run` and `resolve_spec`: of one round at least."""
        return self._tables(least=1)

    def as_kept(self) -> dict[str, Any]:
        """The session so far, for one that is to be taken up where this one stands, be it before its first round."""
        return self._tables(least=0)

    def _tables(self, least: int) -> dict[str, Any]:
        with self._changed:
            stage, made, rounds = self._stage, list(self._made), self._round
            if rounds < self._replay_to:
                return dict(self._spec)  # what it was, until it is that again
        run = {**self._spec.get("run", {}), "num_rounds": max(rounds, least), "observe_every": self.record_every}
        if stage is not None:
            run["observe"] = [one.name for one in stage.experiment.observables]
        spec = {name: table for name, table in self._spec.items() if name != "interventions"} | {"run": run}
        return spec | ({"interventions": [as_table(one) for one in made]} if made else {})

    # ---- the thread --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            simulation, planned = self._prepared()
            while self._next_job(simulation, planned):
                self._make_interventions(simulation, planned)
                rounds = self._rounds_to_go()
                if rounds > 0:
                    self._advance(simulation, planned, rounds)
                if self._rounds_to_go() == 0:
                    self._rest()
        except ConsilienceError as error:
            self._say(FAILED, str(error))
        except Exception as error:  # people look at the page, and not at the server's log
            self._say(FAILED, f"An error of the laboratory ended the session. {type(error).__name__}: {error}")
        else:
            self._say(CLOSED, "This session was closed.")

    def _prepared(self) -> tuple[Simulation, list[Intervention]]:
        """The simulation, compiled and measured before its first round, and what its spec plans to do to it."""
        run = {"observe": _observed(self._spec, self._data_dir), **self._spec.get("run", {})}
        run |= {"num_rounds": MOST_ROUNDS, "observe_every": self.record_every}
        sweep = resolve_spec({**self._spec, "run": run}, data_dir=self._data_dir)
        experiment = dataclasses.replace(sweep.experiment, interventions=())
        simulation = Simulation(experiment, [sweep.algorithm(0)], [sweep.seed_of(0)], capacity=self.record_every)
        simulation.advance(0)  # compiles
        values = _of_the_replica(simulation.measure())
        with self._changed:
            self._history.add(0, traffic=0.0, values=values)
            self._stage, self._message = simulation.stage, self._note
            self._status = TAKING_UP if self._replay_to > 0 else PAUSED
            self._begun, self._seed = simulation.stage, sweep.seed_of(0)
            self._has_plans = bool(sweep.experiment.interventions)
        return simulation, list(sweep.experiment.interventions)

    def _rounds_to_go(self) -> int:
        with self._changed:
            until = max(self._until, self._replay_to)
            return 0 if self._is_over or self._is_closed else max(0, until - self._round)

    def _next_job(self, simulation: Simulation, planned: list[Intervention]) -> bool:
        """Sleep until there is something to do; False if the session is closed."""

        def is_due() -> bool:
            wants = self._wanted or self._values_wanted
            if self._is_closed or (wants and self._round >= self._replay_to):
                return True
            return bool(self._rounds_to_go() or _due(planned, simulation.round))

        with self._changed:
            self._changed.wait_for(is_due)
            return not self._is_closed

    def _make_interventions(self, simulation: Simulation, planned: list[Intervention]) -> None:
        due = _due(planned, simulation.round)
        planned[:] = [one for one in planned if one not in due]
        for intervention in due:
            self._make(simulation, lambda _, intervention=intervention: intervention)
        with self._changed:
            self._has_plans = bool(planned)
            if self._round < self._replay_to:
                return
            wanted, self._wanted = self._wanted, []
            values, self._values_wanted = self._values_wanted, {}
        for make in wanted:
            self._make(simulation, make)
        for name, value in values.items():
            self._make(simulation, lambda round, name=name, value=value: SetParameter(round, name, value))

    def _make(self, simulation: Simulation, make: Callable[[int], Intervention]) -> None:
        """Make an intervention, wholly or, if it is refused, not at all."""
        refusal = ""
        try:
            intervention = make(simulation.round)
            self._say(CHANGING, f"{intervention} …")
            with simulation.all_or_nothing():
                simulation.intervene(intervention)
                simulation.advance(0)  # compiles, if links have changed
        except ConsilienceError as error:
            refusal = str(error)
        else:
            with self._changed:
                self._made.append(intervention)
                self._stage, self._is_over = simulation.stage, simulation.is_over
        self._say(self._moving if self._rounds_to_go() else PAUSED, refusal or self._note)
        if not refusal:
            self._save()

    @property
    def _moving(self) -> str:
        return TAKING_UP if self._round < self._replay_to else RUNNING

    @property
    def _note(self) -> str:
        return _TAKEN_UP.format(self._replay_to) if self._round < self._replay_to else ""

    def _advance(self, simulation: Simulation, planned: list[Intervention], rounds_to_go: int) -> None:
        """Advance to the next record or planned intervention, whichever comes first."""
        start, before = time.perf_counter(), simulation.round
        marks = [one.round for one in planned if one.round > before]
        to_record = self.record_every - before % self.record_every
        simulation.advance(min([to_record, rounds_to_go, *(mark - before for mark in marks)]))
        is_recorded = simulation.round % self.record_every == 0
        values = _of_the_replica(simulation.measure()) if is_recorded else {}
        if self._counted[0] is not simulation.stage:
            self._counted = simulation.stage, _bits_per_round(simulation.stage)
        with self._changed:
            self._round, self._is_over = simulation.round, simulation.is_over
            self._status = self._moving
            if before < self._replay_to <= self._round:
                self._message = ""
            self._traffic += self._counted[1] * (simulation.round - before)
            if is_recorded:
                self._history.add(self._round, traffic=self._traffic, values=values)
            self._keep_pace(simulation.round - before, time.perf_counter() - start)
        if time.monotonic() - self._saved_at > SAVED_EVERY:
            self._save()

    def _keep_pace(self, num_rounds: int, seconds: float) -> None:
        """Wait until these rounds have taken as long as they are meant to, or somebody wants something."""
        if self._pace > 0 and self._round > self._replay_to:
            pace, until = self._pace, self._until
            spare = num_rounds / pace - seconds

            def somebody_wants() -> bool:
                wants = self._wanted or self._values_wanted or self._is_closed
                return bool(wants) or (self._pace, self._until) != (pace, until)

            self._changed.wait_for(somebody_wants, timeout=max(0.0, spare))
            seconds = max(seconds, num_rounds / pace)
        rate = num_rounds / max(seconds, 1e-9)
        self._rate = rate if self._rate == 0 else 0.8 * self._rate + 0.2 * rate

    def _rest(self) -> None:
        with self._changed:
            was_running = self._status == RUNNING
            if self._is_over:
                self._status = DIVERGED
                self._message = _DIVERGED
            elif was_running:
                self._status = PAUSED
                if self._round >= MOST_ROUNDS:
                    self._message = _ENDED.format(MOST_ROUNDS)
        if was_running:
            self._save()

    def _say(self, status: str, message: str) -> None:
        with self._changed:
            self._status, self._message = status, message

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        # While plans or rounds are left, what was saved before knows more than this session has done.
        if self._on_change is not None and not self._has_plans and self._round >= self._replay_to:
            self._on_change(self)


def _observed(spec: Mapping[str, Any], data_dir: str | None) -> list[str]:
    """What is recorded: everything that the task has. Data sets that are known by name are of classes."""
    if "file" not in spec.get("task", {}):
        return list(OBSERVED)
    task, _, _ = build_task_and_graph(spec, data_dir=data_dir)
    return [name for name in OBSERVED if task.is_classification or not OBSERVABLES[name].needs_classes]


def _due(planned: list[Intervention], round: int) -> list[Intervention]:
    return [one for one in planned if one.round == round]


def _of_the_replica(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value[0] for name, value in values.items()}


def _bits_per_round(stage: Stage) -> float:
    """Bits that all agents send in a round of this stage, as long as nothing but the stage decides who takes part."""
    once = dataclasses.replace(stage.experiment, num_rounds=1, interventions=())
    return float(costs(once).bits[-1])
