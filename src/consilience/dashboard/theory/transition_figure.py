"""What the theory predicts against the coupling, and where the live run is."""

from __future__ import annotations

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, LinearAxis, LogAxis, LogScale, LogTicker, Range1d, VSpan

from consilience.dashboard.figures.look import MARK, MEAN, frame
from consilience.dashboard.theory.conditions import Floats
from consilience.dashboard.theory.decade_axis import DecadeAxis
from consilience.dashboard.theory.potential_figure import THEORY, quiet_legend
from consilience.dashboard.theory.predictions import SMALLEST, Curve

_BAND = (5, 95)
"""Percentiles of the initial conditions."""
_USUAL = 400.0
"""The stability limit of paper 001, until that of the run is known."""


class TransitionFigure:
    """A quantity of the theory against σ; now of the particles and, on an axis of its own, of the networks.

    Args:
        title: what is shown.
        theory: label of the left axis.
        measured: label of the right axis.
        logarithmic: whether the right axis is.
    """

    def __init__(self, *, title: str, theory: str, measured: str, logarithmic: bool = False) -> None:
        self.figure = frame(title=title, x="coupling σ of Eq. (2)", y=theory, height=360, x_range=(-1, 3))
        self.figure.y_range = Range1d(start=0, end=1)
        self.figure.extra_y_ranges = {"measured": Range1d(start=0.01, end=1)}
        if logarithmic:
            self.figure.extra_y_scales = {"measured": LogScale()}
        right = LogAxis(ticker=LogTicker(mantissas=[1, 3], desired_num_ticks=4)) if logarithmic else LinearAxis()
        right.update(y_range_name="measured", axis_label=measured, axis_label_text_font_style="normal")
        self.figure.add_layout(right, "right")
        sigma_axis(_USUAL, _USUAL).apply(self.figure.xaxis[0], self.figure.x_range)
        self._is_logarithmic = logarithmic
        self._curve = ColumnDataSource({name: [] for name in ("x", "sigma", "mean", "low", "high", "gain")})
        self._now, self._measured = (ColumnDataSource({"x": [], "y": [], "sigma": []}) for _ in range(2))
        self._limit = ColumnDataSource({"x": []})
        self._draw()

    def _draw(self) -> None:
        figure = self.figure
        figure.varea(
            "x", "low", "high", source=self._curve, fill_color=THEORY, fill_alpha=0.25,
            legend_label="theory, 5–95 % of starts",
        )  # fmt: skip
        line = figure.line("x", "mean", source=self._curve, line_color=THEORY, line_width=2.5, legend_label="mean")
        figure.add_glyph(self._limit, VSpan(x="x", line_color=MARK, line_dash="dashed", line_width=2))
        figure.line(
            [np.nan], [np.nan], line_color=MARK, line_dash="dashed", line_width=2, legend_label="stability limit"
        )
        now = figure.scatter(
            "x", "y", source=self._now, marker="diamond", size=17, fill_color=THEORY, line_color=MARK,
            legend_label="particles now",
        )  # fmt: skip
        measured = figure.scatter(
            "x", "y", source=self._measured, size=13, fill_color=MEAN, line_color=MARK, y_range_name="measured",
            legend_label="networks now (right axis)",
        )  # fmt: skip
        tips = [("σ", "@sigma{0.00}"), ("theory", "@mean{0.000}"), ("gain on others’ data", "@gain{0.000}")]
        figure.add_tools(
            HoverTool(renderers=[line], tooltips=tips, mode="vline"),
            HoverTool(renderers=[now], tooltips=[("particles now", "@y{0.000}"), ("σ", "@sigma{0.00}")]),
            HoverTool(renderers=[measured], tooltips=[("networks now", "@y{0.0000}"), ("σ", "@sigma{0.00}")]),
        )
        quiet_legend(figure)

    def show_curve(self, curve: Curve, values: Floats, limit: float) -> None:
        """Draw a curve, shape (couplings, realizations) of `values`, and the stability limit σ."""
        axis = sigma_axis(curve.couplings[-1], limit)
        axis.apply(self.figure.xaxis[0], self.figure.x_range)
        low, high = np.percentile(values, _BAND, axis=1)
        self._curve.data = {
            "x": axis.position(curve.couplings), "sigma": curve.couplings, "mean": values.mean(axis=1),
            "low": low, "high": high, "gain": curve.gain.mean(axis=1),
        }  # fmt: skip
        self._limit.data = {"x": [axis.position(limit)] if np.isfinite(limit) else []}
        bottom, top = min(0.0, float(low.min())), max(0.0, float(high.max()))
        pad = 0.08 * (top - bottom or 1.0)
        self.figure.y_range.update(start=bottom - pad * (bottom < 0), end=top + pad)

    def show_now(self, coupling: float, limit: float, theory: float, measured: Floats | None) -> None:
        """Move the points.

        Args:
            coupling: σ.
            limit: σ of the stability limit.
            theory: of the particles.
            measured: of the networks up to now, shape (records,); its last is the point, its extremes the axis.
        """
        x = float(sigma_axis(limit, limit).position(coupling))
        self._now.data = {"x": [x], "y": [theory], "sigma": [coupling]}
        if measured is None or not np.isfinite(measured[-1:]).any():
            self._measured.data = {"x": [], "y": [], "sigma": []}
            return
        self._measured.data = {"x": [x], "y": [float(measured[-1])], "sigma": [coupling]}
        top = float(np.nanmax(measured)) or 1.0
        bottom = 0.7 * float(np.nanmin(measured)) if self._is_logarithmic else 0.0
        self.figure.extra_y_ranges["measured"].update(start=max(bottom, 1e-6) if self._is_logarithmic else 0.0,
                                                      end=1.2 * top)  # fmt: skip


def sigma_axis(last: float, limit: float) -> DecadeAxis:
    """The axis for σ up to the stability limit, or up to the last coupling where there is none."""
    return DecadeAxis(SMALLEST, limit if np.isfinite(limit) else max(float(last), 10 * SMALLEST))
