"""The theory beside a live run, as one panel that follows snapshots of the run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import panel_material_ui as pmui

from consilience.dashboard.session import Snapshot
from consilience.dashboard.theory import landscape, predictions, texts
from consilience.dashboard.theory.conditions import Conditions, Disorder, Floats, check_described, conditions, measure
from consilience.dashboard.theory.jobs import FAILED, RUNNING, Job, Report
from consilience.dashboard.theory.landscape import Path
from consilience.dashboard.theory.phase_figure import LABELS, PhaseFigure
from consilience.dashboard.theory.potential_figure import OrderFigure, PotentialFigure
from consilience.dashboard.theory.predictions import Curve, PhaseDiagram
from consilience.dashboard.theory.section import Group, Section
from consilience.dashboard.theory.timeline import Timeline, timeline
from consilience.dashboard.theory.transition_figure import TransitionFigure
from consilience.dashboard.theory.wide_view import WideView
from consilience.errors import ConsilienceError
from consilience.simulation import Stage
from consilience.theory import landau

POINTS_OF_A_CURVE, POINTS_OF_A_PHASE = 35, 18
MOST_NEW_RECORDS = 500
"""Of the path at a time: a view that is opened late catches up in coarser steps."""
_CURVES: OrderedDict[str, Curve] = OrderedDict()
_PHASES: OrderedDict[str, PhaseDiagram] = OrderedDict()
"""By their inputs, for all views: a page that is loaded again does not compute again."""


class TheoryView:
    """Potentials and particles, predictions against σ, phase diagram, wide networks.

    Everything follows from the snapshot, so that a view that is opened late, or again, shows the same. Long
    computations are made in threads, and what they have found is picked up by the next `update`.
    """

    def __init__(self) -> None:
        turn = threading.Lock()
        self._particles = Job[tuple[Stage, int, int], Path]("particles")
        self._curve, self._phase = Job("curve", turn, _CURVES), Job("phase diagram", turn, _PHASES)
        self._potentials, self._order = PotentialFigure(), OrderFigure()
        self._transition = TransitionFigure(
            title="order against coupling", theory="|⟨m⟩| of the theory", measured="|⟨m⟩| measured"
        )
        self._loss = TransitionFigure(
            title="loss against coupling", theory="loss ⟨L̂⟩ of the theory", measured="test loss L measured",
            logarithmic=True,
        )  # fmt: skip
        self._phases = PhaseFigure()
        self._varied = pmui.RadioBoxGroup(
            label="Upward in the phase diagram", options={label: name for name, label in LABELS.items()},
            value="weight_decay", inline=True, sizing_mode="stretch_width", margin=(4, 8),
        )  # fmt: skip
        self._sections = {
            "potentials": Section(self._potentials.figure, texts.WAITING, job=self._particles, what="particles"),
            "order": Section(self._order.figure, texts.ORDER),
            "transition": Section(self._transition.figure, texts.WAITING, job=self._curve, what="the curves"),
            "loss": Section(self._loss.figure, texts.WAITING),
            "phases": Section(
                self._phases.figure, texts.WAITING, job=self._phase, what="the phase diagram", above=self._varied
            ),
        }
        self._group = Group("Effective theory: one number per agent in a Landau potential", self._sections.values())
        self._wide = WideView(turn)
        self._begun: Stage | None = None
        self._segments: Timeline = ()
        self._path: Path | None = None
        self._drawn: dict[str, Any] = {}
        self._disorders: dict[tuple[int, ...], tuple[Any, Disorder]] = {}

    def panel(self) -> Any:
        """What is shown: two columns, one on small screens."""
        return pmui.Column(self._group.panel, self._wide.panel, sizing_mode="stretch_width", margin=0)

    def close(self) -> None:
        """Stop all computations."""
        for job in (self._particles, self._curve, self._phase, self._wide.job):
            job.stop()

    def update(self, snapshot: Snapshot) -> None:
        """Show the session as it is now; cheap, and cheaper if nothing has changed."""
        if snapshot.begun is None or snapshot.stage is None:
            return
        if snapshot.begun is not self._begun:
            self._begin(snapshot.begun)
        if len(snapshot.interventions) != len(self._segments) - 1:
            self._segments = timeline(snapshot.begun, snapshot.interventions)
        reason = _refusal(lambda: check_described(snapshot.stage))  # pyright: ignore[reportArgumentType]
        if not reason:
            self._follow(snapshot)
            self._predict(snapshot)
        self._group.explain(reason)
        self._wide.update(snapshot, self._segments)

    # ---- particles ---------------------------------------------------------------------------------------------

    def _begin(self, begun: Stage) -> None:
        """Another session: forget the one before."""
        self._particles.stop()
        self._begun, self._segments, self._path = begun, timeline(begun, ()), None
        self._group.begin()
        self._drawn.clear()
        self._disorders.clear()

    def _follow(self, snapshot: Snapshot) -> None:
        """Ask for the particles of rounds that have come, and draw those that are known."""
        job = self._particles
        if job.result is not None and job.result[0][0] is self._begun:
            self._path = job.result[1]
        last = -1 if self._path is None else int(self._path.rounds[-1])
        entered = 0 if self._path is None else self._path.num_segments
        is_behind = snapshot.round > last or len(self._segments) > entered
        has_failed = job.state == FAILED and job.key is not None and job.key[1] == len(self._segments)
        if is_behind and job.state != RUNNING and not has_failed:
            new = np.append(snapshot.rounds[snapshot.rounds > last], snapshot.round)
            wanted = np.unique(new[np.linspace(0, len(new) - 1, min(len(new), MOST_NEW_RECORDS)).astype(int)])
            key = (self._segments[0].stage, len(self._segments), snapshot.round)
            job.request(key, partial(self._followed, self._path, self._segments, wanted.tolist(), snapshot.seed))
        if self._path is not None and self._is_new("path", self._path):
            self._potentials.update(self._path)
            self._sections["potentials"].say(texts.potentials(self._path))
        if self._path is not None and self._is_new("order", (id(self._path), snapshot.round)):
            measured = snapshot.values.get("magnetization")
            curve = None if measured is None else _over_agents(measured)
            self._order.update(self._path, self._segments, snapshot.rounds, curve)

    def _followed(self, path: Path | None, segments: Timeline, rounds: list[int], seed: int, report: Report) -> Path:
        if path is None:
            begun = segments[0].stage
            start = landscape.start(begun.experiment.num_agents, seed)
            path = Path(np.zeros(1, int), start[None], conditions(begun, self._disorder(begun)), 1)
        return landscape.follow(path, segments, rounds, self._disorder, report)

    def _disorder(self, stage: Stage) -> Disorder:
        shards = stage.experiment.shards
        key = tuple(map(id, shards))
        if key not in self._disorders:
            # The shards are kept, so that no others get their identities.
            self._disorders[key] = shards, measure(stage.experiment.task, shards)
        return self._disorders[key][1]

    # ---- predictions -------------------------------------------------------------------------------------------

    def _predict(self, snapshot: Snapshot) -> None:
        """Ask for curve and phase diagram under the conditions of now, and draw what is known."""
        if self._path is None or self._path.num_segments < len(self._segments):
            return
        here, varied = self._path.here, self._varied.value
        grid = predictions.grid(here.stability_limit, POINTS_OF_A_CURVE)
        self._curve.request(predictions.fingerprint(here), lambda report: predictions.curve(here, grid, report=report))
        self._phase.request(predictions.fingerprint(here, varied), partial(_phases, here, varied))
        self._draw_curve(snapshot, here)
        self._draw_phases(here)

    def _draw_curve(self, snapshot: Snapshot, here: Conditions) -> None:
        if self._curve.result is None or self._path is None:
            return
        key, curve = self._curve.result
        limit, m = here.stability_limit, self._path.m[-1]
        if self._is_new("curve", key):
            self._transition.show_curve(curve, curve.order, limit)
            self._loss.show_curve(curve, curve.loss, limit)
        if self._is_new("now", (key, id(self._path), snapshot.round)):
            measured, loss = snapshot.values.get("magnetization"), snapshot.values.get("loss")
            order = None if measured is None else abs(_over_agents(measured))
            self._transition.show_now(here.coupling, limit, abs(float(m.mean())), order)
            disorder = here.disorder
            now = landau.effective_loss(m, disorder.delta, here.depth, second_moment=disorder.second_moment)
            self._loss.show_now(here.coupling, limit, float(now), None if loss is None else _over_agents(loss))
            self._sections["transition"].say(texts.transition(curve, here))
            name = self._begun.experiment.task.loss.name.replace("_", "-")  # pyright: ignore
            self._sections["loss"].say(texts.TRANSITION_LOSS.format(loss=name))

    def _draw_phases(self, here: Conditions) -> None:
        if self._phase.result is None:
            return
        key, diagram = self._phase.result
        limit, value = here.stability_limit, predictions.current_value(here, diagram.varied)
        if self._is_new("phases", key):
            self._phases.show_diagram(diagram, limit)
            self._sections["phases"].say(texts.PHASES[diagram.varied].format(rounds=predictions.ROUNDS))
        if self._is_new("here", (key, here.coupling, value)):
            self._phases.show_now(diagram, here.coupling, limit, value)

    def _is_new(self, what: str, key: Any) -> bool:
        """Whether a part of the page shows something else than this, and will now show it."""
        if self._drawn.get(what) == key:
            return False
        self._drawn[what] = key
        return True


def _phases(here: Conditions, varied: str, report: Report) -> PhaseDiagram:
    values = predictions.WEIGHT_DECAYS
    if varied == "disorder_std":
        mean = abs(float(here.disorder.delta.mean())) or 1.0
        values = tuple(mean * one for one in predictions.RELATIVE_STDS)
    couplings = predictions.grid(here.stability_limit, POINTS_OF_A_PHASE)
    return predictions.phase_diagram(here, varied, values, couplings, report=report)


def _over_agents(values: Floats) -> Floats:
    """Means over agents, shape (records,)."""
    return np.asarray(values.mean(axis=1) if values.ndim > 1 else values, float)


def _refusal(check: Callable[[], Any]) -> str:
    """Why the theory does not describe a run; empty if it does."""
    try:
        check()
    except ConsilienceError as error:
        return str(error)
    return ""
