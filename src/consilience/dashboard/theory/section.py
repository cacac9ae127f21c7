"""A figure with what belongs to it: the sentence below, and the state of the computation that it waits for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import panel as pn
import panel_material_ui as pmui

from consilience.dashboard.theory.jobs import FAILED, RUNNING, STOPPED, Job

_SHORT = 1.0
"""Seconds of which nobody needs to be told."""
_PALE = {"opacity": "0.35"}


class Section:
    """A figure, its sentence, and a line about its computation.

    Args:
        figure: Bokeh's.
        text: the sentence.
        job: the computation that it waits for; none for figures that are drawn with another.
        what: of what the computation is, for the labels of its buttons.
        above: a widget above the figure.
    """

    def __init__(
        self, figure: Any, text: str, *, job: Job[Any, Any] | None = None, what: str = "", above: Any = None
    ) -> None:
        self._job, self._what = job, what
        self._pane = pn.pane.Bokeh(figure, sizing_mode="stretch_width")
        self._text = pmui.Typography(text, variant="body2", sizing_mode="stretch_width", margin=(0, 8, 8, 8))
        self._bar = pmui.LinearProgress(
            label=f"{what}: progress", value=0, variant="determinate", sizing_mode="stretch_width", margin=(14, 8)
        )
        self._button = pmui.Button(label="", size="small", variant="outlined", margin=(2, 8))
        self._button.on_click(lambda _: self._pressed())
        self._line = pmui.Row(self._bar, self._button, sizing_mode="stretch_width", margin=0, visible=False)
        self._error = pmui.Alert(severity="warning", visible=False, sizing_mode="stretch_width", margin=(4, 8))
        parts = [self._error, self._pane, self._line, self._text]
        self.panel = pmui.Column(*([] if above is None else [above]), *parts, sizing_mode="stretch_width", margin=0)

    def say(self, text: str) -> None:
        """Change the sentence."""
        if self._text.object != text:
            self._text.object = text

    def pale(self, is_pale: bool) -> None:
        """Grey the figure out, or show it as it is."""
        styles = _PALE if is_pale else {}
        if self._pane.styles != styles:
            self._pane.styles = styles

    def show_state(self) -> None:
        """Say how far the computation is, and what went wrong with it."""
        if self._job is None:
            return
        state, progress = self._job.state, round(100 * self._job.progress)
        self._line.visible = state in (STOPPED, FAILED) or (state == RUNNING and self._job.seconds > _SHORT)
        if self._bar.value != progress:
            self._bar.value = progress
        label = f"Stop {self._what}" if state == RUNNING else f"Compute {self._what}"
        if self._button.label != label:
            self._button.label = label
        show(self._error, self._job.error if state == FAILED else "")

    def _pressed(self) -> None:
        if self._job is not None:
            self._job.stop() if self._job.state == RUNNING else self._job.forget()


class Group:
    """The figures of one theory, and why it is silent about a run, if it is.

    Args:
        title: of the theory.
        sections: its figures.
    """

    def __init__(self, title: str, sections: Iterable[Section]) -> None:
        self._sections, self._has_drawn = list(sections), False
        self._alert = pmui.Alert(severity="info", visible=False, sizing_mode="stretch_width", margin=(4, 8))
        self._figures = pmui.Grid(
            *(pmui.Grid(one.panel, size={"xs": 12, "lg": 6}) for one in self._sections),
            container=True, spacing=2, sizing_mode="stretch_width",
        )  # fmt: skip
        heading = pmui.Typography(title, variant="h6", margin=(8, 8))
        self.panel = pmui.Column(heading, self._alert, self._figures, sizing_mode="stretch_width", margin=0)

    def explain(self, reason: str) -> None:
        """Grey the figures out with the reason why they do not go on; hide them if they never began."""
        self._has_drawn |= not reason
        show(self._alert, reason)
        self._figures.visible = self._has_drawn
        for section in self._sections:
            section.pale(bool(reason))
            section.show_state()

    def begin(self) -> None:
        """Another run."""
        self._has_drawn = False


def show(alert: Any, text: str) -> None:
    """Show an alert with this text; none without."""
    if (alert.object or "") != text:
        alert.param.update(object=text, visible=bool(text))
