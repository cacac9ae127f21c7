"""Predicted and measured curves of every agent of a wide network."""

from __future__ import annotations

import numpy as np
from bokeh.models import ColumnDataSource, VSpan

from consilience.dashboard.figures.curves import thinned
from consilience.dashboard.figures.look import MARK, colour_of, frame
from consilience.dashboard.theory.conditions import Floats
from consilience.dashboard.theory.potential_figure import MOST_DRAWN, quiet_legend

_DOTS = 60
"""Measured points of each agent."""


class WideFigure:
    """A quantity of every agent against rounds: predicted as lines, measured as dots.

    Args:
        title: what is shown.
        y: label of the vertical axis.
        y_range: of it; it is logarithmic and follows the data without one.
    """

    def __init__(self, *, title: str, y: str, y_range: tuple[float, float] | None = None) -> None:
        options = {"y_axis_type": "log"} if y_range is None else {"y_range": y_range}
        self.figure = frame(title=title, x="round t", y=y, height=320, **options)
        self._lines = ColumnDataSource({"xs": [], "ys": [], "colour": []})
        self._dots = ColumnDataSource({"x": [], "y": [], "colour": []})
        self._marks, self._now = (ColumnDataSource({"x": []}) for _ in range(2))
        self.figure.multi_line(
            "xs", "ys", source=self._lines, line_color="colour", line_width=2, legend_label="theory, each agent"
        )
        self.figure.scatter(
            "x", "y", source=self._dots, size=5, fill_color="colour", line_color=None, fill_alpha=0.7,
            legend_label="measured, each agent",
        )  # fmt: skip
        self.figure.add_glyph(self._marks, VSpan(x="x", line_color=MARK, line_dash="dashed", line_width=1.5))
        self.figure.add_glyph(self._now, VSpan(x="x", line_color=MARK, line_width=1))
        quiet_legend(self.figure)

    def show_prediction(self, rounds: np.ndarray, values: Floats) -> None:
        """Draw what is predicted, shape (rounds, agents)."""
        drawn = _drawn(values.shape[1])
        self._lines.data = {
            "xs": [rounds] * len(drawn), "ys": [values[:, agent] for agent in drawn],
            "colour": [colour_of(agent) for agent in drawn],
        }  # fmt: skip

    def show_measured(self, rounds: np.ndarray, values: Floats, marks: list[int]) -> None:
        """Draw what is measured, shape (records, agents), the interventions, and the round of now."""
        kept = thinned(len(rounds), _DOTS)
        drawn = _drawn(values.shape[1])
        self._dots.data = {
            "x": np.tile(rounds[kept], len(drawn)), "y": values[kept][:, drawn].T.ravel(),
            "colour": np.repeat([colour_of(agent) for agent in drawn], len(kept)),
        }  # fmt: skip
        self._marks.data, self._now.data = {"x": marks}, {"x": rounds[-1:]}


def _drawn(num_agents: int) -> np.ndarray:
    return np.unique(np.linspace(0, num_agents - 1, MOST_DRAWN).round().astype(int))
