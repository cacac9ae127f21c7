"""Curves against rounds: one per agent and their mean, or a single one; interventions as lines across them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, NumeralTickFormatter, VSpan

from consilience.dashboard.figures.look import MARK, MEAN, colour_of, frame
from consilience.dashboard.session import Snapshot

POINTS = 400
"""Most points of a curve that are sent to the browser."""


def thinned(num_records: int, most: int = POINTS) -> np.ndarray:
    """Positions of at most `most` records, evenly spread, the first and the last among them.

    Example:
        >>> thinned(10, most=4).tolist()
        [0, 3, 6, 9]
    """
    if num_records <= most:
        return np.arange(num_records)
    return np.linspace(0, num_records - 1, most).round().astype(int)


class Curves:
    """A quantity against rounds.

    Args:
        title: what is shown.
        y: label of the vertical axis.
        values: the curve or curves of a snapshot, shape (records,) or (records, agents).
        logarithmic: whether the vertical axis is.
        y_range: of the vertical axis; follows the data without one.
        height: in pixels.
    """

    def __init__(
        self,
        *,
        title: str,
        y: str,
        values: Callable[[Snapshot], np.ndarray | None],
        logarithmic: bool = False,
        y_range: tuple[float, float] | None = None,
        height: int = 230,
    ) -> None:
        options: dict[str, Any] = {"height": height} | ({} if y_range is None else {"y_range": y_range})
        self.figure = frame(title=title, x="round t", y=y, y_axis_type="log" if logarithmic else "linear", **options)
        self.figure.xaxis.ticker.desired_num_ticks = 4
        self.figure.xaxis.formatter = NumeralTickFormatter(format="0,0")
        if logarithmic:
            self.figure.yaxis.ticker.mantissas = [1, 2, 5]
        self._values = values
        self._lines = ColumnDataSource({"xs": [], "ys": [], "colour": [], "agent": []})
        self._mean = ColumnDataSource({"x": [], "y": []})
        self._marks = ColumnDataSource({"x": [], "text": []})
        lines = self.figure.multi_line("xs", "ys", source=self._lines, line_color="colour", line_alpha=0.75)
        mean = self.figure.line("x", "y", source=self._mean, line_color=MEAN, line_width=3)
        marks = self.figure.add_glyph(
            self._marks, VSpan(x="x", line_color=MARK, line_dash="dashed", line_width=1, line_alpha=0.6)
        )  # fmt: skip
        self.figure.add_tools(
            HoverTool(
                renderers=[lines], tooltips=[("agent", "@agent"), ("round", "$data_x{0,0}"), (y, "$data_y{0.000}")]
            ),
            HoverTool(
                renderers=[mean], tooltips=[("mean of agents, round", "@x{0,0}"), (y, "@y{0.000}")], mode="vline"
            ),
            HoverTool(renderers=[marks], tooltips=[("round", "@x{0,0}"), ("intervention", "@text")]),
        )
        self.begin()

    def begin(self) -> None:
        """Another session: what has been seen is not of this one."""
        self._seen: tuple[int, int] = (-1, -1)

    def update(self, snapshot: Snapshot) -> None:
        """Show all records so far."""
        seen = int(snapshot.rounds[-1]) if len(snapshot.rounds) else -1, len(snapshot.marks)
        values = self._values(snapshot)
        if seen == self._seen or values is None or not len(values):
            return
        self._seen = seen
        chosen = thinned(len(values))
        rounds, values = snapshot.rounds[chosen], values[chosen]
        if values.ndim == 2:
            agents = range(values.shape[1])
            self._lines.data = {
                "xs": [rounds for _ in agents],
                "ys": [values[:, agent] for agent in agents],
                "colour": [colour_of(agent) for agent in agents],
                "agent": list(agents),
            }
        self._mean.data = {"x": rounds, "y": values.mean(axis=1) if values.ndim == 2 else values}
        self._marks.data = {"x": [round for round, _ in snapshot.marks], "text": [text for _, text in snapshot.marks]}
