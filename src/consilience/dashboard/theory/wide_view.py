"""Wide networks beside a live run: the part of the view that follows `wide.Forecast`."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import numpy as np

from consilience.dashboard.session import Snapshot
from consilience.dashboard.theory import texts, wide
from consilience.dashboard.theory.forecast import Forecast, Prediction, horizon
from consilience.dashboard.theory.jobs import Job, Report
from consilience.dashboard.theory.section import Group, Section
from consilience.dashboard.theory.timeline import Timeline
from consilience.dashboard.theory.wide_figure import WideFigure
from consilience.errors import ConsilienceError
from consilience.simulation import Stage


class WideView:
    """Predicted and measured loss, and accuracy where there are classes.

    Args:
        turn: held while it computes.

    Attributes:
        job: the prediction.
    """

    def __init__(self, turn: threading.Lock) -> None:
        self.job = Job[tuple[Stage, int, int], Prediction]("wide networks", turn)
        self._loss = WideFigure(title="wide networks: loss of every agent", y="test loss L")
        self._accuracy = WideFigure(title="wide networks: accuracy of every agent", y="test accuracy A", y_range=(0, 1))
        self._sections = (
            Section(self._loss.figure, texts.WIDE.format(agreement=""), job=self.job, what="the prediction"),
            Section(self._accuracy.figure, texts.WIDE_ACCURACY),
        )
        self._group = Group("Wide networks: every agent predicted round by round", self._sections)
        self._begun: Stage | None = None
        self._forecast: Forecast | None = None
        self._drawn: Any = None

    @property
    def panel(self) -> Any:
        """Both figures, or the reason why there are none."""
        return self._group.panel

    def update(self, snapshot: Snapshot, segments: Timeline) -> None:
        """Show the session as it is now."""
        begun = segments[0].stage
        if begun is not self._begun:
            self.job.stop()
            self._group.begin()
            self._begun, self._forecast, self._drawn = begun, None, None
        reason = _refusal(snapshot.stage or begun)
        if not reason:
            found = self._found(begun, len(segments))
            rounds = horizon(snapshot.round, 0 if found is None else int(found.rounds[-1]))
            key = (begun, len(segments), int(rounds[-1]))
            self.job.request(key, partial(self._predicted, segments, rounds, snapshot.seed))
        self._group.explain(reason)
        self._sections[1].panel.visible = begun.experiment.task.is_classification
        if not reason:
            self._draw(snapshot, self._found(begun, None))

    def _found(self, begun: Stage, num_segments: int | None) -> Prediction | None:
        """The latest prediction for this run, and for so many stages if a number is given."""
        if self.job.result is None:
            return None
        (stage, number, _), found = self.job.result
        return found if stage is begun and num_segments in (None, number) else None

    def _predicted(self, segments: Timeline, rounds: np.ndarray, seed: int, report: Report) -> Prediction:
        stage, forecast = segments[0].stage, self._forecast
        if forecast is None or self._begun is not stage:
            task = stage.experiment.task
            labels = task.test_labels if task.is_classification else None
            forecast = Forecast(wide.linearize(stage, seed), labels, stage.experiment.shards)
            self._forecast = forecast
        return forecast.predict(segments, rounds.tolist(), report)

    def _draw(self, snapshot: Snapshot, found: Prediction | None) -> None:
        if self._drawn == (id(found), snapshot.round):
            return
        self._drawn = id(found), snapshot.round
        marks = [round for round, _ in snapshot.marks]
        for name, figure in (("loss", self._loss), ("accuracy", self._accuracy)):
            measured, predicted = snapshot.values.get(name), getattr(found, name, None)
            if predicted is not None and found is not None:
                figure.show_prediction(found.rounds, predicted)
            if measured is not None and len(measured):
                figure.show_measured(snapshot.rounds, measured, marks)
        measured = snapshot.values.get("loss")
        if found is None or measured is None or not len(measured) or snapshot.rounds[-1] > found.rounds[-1]:
            return
        at = [np.interp(snapshot.rounds[-1], found.rounds, one) for one in found.loss.T]
        self._sections[0].say(texts.WIDE.format(agreement=texts.agreement(np.array(at), measured[-1])))


def _refusal(stage: Stage) -> str:
    try:
        wide.check_described(stage)
    except ConsilienceError as error:
        return str(error)
    return ""
