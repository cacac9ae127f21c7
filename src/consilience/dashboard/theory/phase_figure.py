"""The phase diagram of the theory with the live run on it."""

from __future__ import annotations

import numpy as np
from bokeh.models import ColorBar, ColumnDataSource, HoverTool, LinearColorMapper, VSpan
from bokeh.transform import transform

from consilience.dashboard.figures.look import MARK, MEAN, SEQUENTIAL, frame
from consilience.dashboard.theory.conditions import Floats
from consilience.dashboard.theory.decade_axis import DecadeAxis
from consilience.dashboard.theory.predictions import PhaseDiagram
from consilience.dashboard.theory.transition_figure import sigma_axis

LABELS = {"weight_decay": "weight decay γ", "disorder_std": "disorder, standard deviation of δ"}


class PhaseFigure:
    """|⟨m⟩| as a colour, over σ and another control parameter."""

    def __init__(self) -> None:
        self.figure = frame(
            title="phase diagram", x="coupling σ of Eq. (2)", y=LABELS["weight_decay"], height=340,
            tools="save,reset", x_range=(-1, 3), y_range=(-1, 3),
        )  # fmt: skip
        self.figure.grid.visible = False
        self._mapper = LinearColorMapper(palette=SEQUENTIAL, low=0, high=1)
        names = ("left", "right", "bottom", "top", "order", "sigma", "value")
        self._cells = ColumnDataSource({name: [] for name in names})
        self._now, self._limit = ColumnDataSource({"x": [], "y": []}), ColumnDataSource({"x": []})
        cells = self.figure.quad(
            left="left", right="right", bottom="bottom", top="top", source=self._cells,
            fill_color=transform("order", self._mapper), line_color=transform("order", self._mapper),
        )  # fmt: skip
        self.figure.add_glyph(self._limit, VSpan(x="x", line_color=MARK, line_dash="dashed", line_width=2))
        self.figure.scatter(
            "x", "y", source=self._now, marker="diamond", size=18, fill_color=MEAN, line_color="white", line_width=2
        )
        self.figure.add_layout(ColorBar(color_mapper=self._mapper, title="|⟨m⟩|", width=10, padding=4), "right")
        tips = [("|⟨m⟩|", "@order{0.000}"), ("σ", "@sigma{0.00}"), ("upward", "@value{0.0000}")]
        self.figure.add_tools(HoverTool(renderers=[cells], tooltips=tips))

    def show_diagram(self, diagram: PhaseDiagram, limit: float) -> None:
        """Draw a diagram, and the stability limit σ."""
        across = sigma_axis(diagram.couplings[-1], limit)
        across.apply(self.figure.xaxis[0], self.figure.x_range)
        x = _edges(across.position(diagram.couplings))
        y = _edges(_heights(diagram, diagram.values))
        self.figure.x_range.update(start=float(x[0]), end=float(across.span[1]))
        rows, columns = np.indices(diagram.order.shape)
        self._cells.data = {
            "left": x[columns].ravel(), "right": x[columns + 1].ravel(), "bottom": y[rows].ravel(),
            "top": y[rows + 1].ravel(), "order": diagram.order.ravel(),
            "sigma": diagram.couplings[columns].ravel(), "value": diagram.values[rows].ravel(),
        }  # fmt: skip
        self._mapper.update(high=max(1e-3, float(diagram.order.max())))
        self._limit.data = {"x": [float(across.position(limit))] if np.isfinite(limit) else []}
        self._label_upward(diagram, y)

    def show_now(self, diagram: PhaseDiagram, coupling: float, limit: float, value: float) -> None:
        """Move the point: σ, and where the population is upward."""
        x = float(sigma_axis(diagram.couplings[-1], limit).position(coupling))
        self._now.data = {"x": [x], "y": [float(_heights(diagram, value))]}

    def _label_upward(self, diagram: PhaseDiagram, edges: Floats) -> None:
        axis = self.figure.yaxis[0]
        axis.axis_label = LABELS[diagram.varied]
        if diagram.varied == "weight_decay":
            _decades(diagram).apply(axis, self.figure.y_range)
        else:
            ticks = np.linspace(diagram.values[0], diagram.values[-1], 5)
            axis.ticker = ticks.tolist()
            axis.major_label_overrides = {float(one): f"{one:.2g}" for one in ticks}
        self.figure.y_range.update(start=float(edges[0]), end=float(edges[-1]))


def _decades(diagram: PhaseDiagram) -> DecadeAxis:
    return DecadeAxis(float(diagram.values[1]), float(diagram.values[-1]))


def _heights(diagram: PhaseDiagram, values: Floats | float) -> np.ndarray:
    """Where values of the other control parameter stand."""
    return _decades(diagram).position(values) if diagram.varied == "weight_decay" else np.asarray(values, float)


def _edges(centres: np.ndarray) -> np.ndarray:
    """Borders of cells around the given centres, one more than these."""
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
