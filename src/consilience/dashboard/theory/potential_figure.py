"""Potentials with the particles in them, and the particles in time beside what is measured."""

from __future__ import annotations

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, LinearAxis, Range1d, VSpan

from consilience.dashboard.figures.curves import thinned
from consilience.dashboard.figures.look import MARK, MEAN, colour_of, frame, readable_on
from consilience.dashboard.theory import landscape
from consilience.dashboard.theory.conditions import Floats
from consilience.dashboard.theory.landscape import Path
from consilience.dashboard.theory.timeline import Timeline

THEORY = "#0072b2"
"""Solid lines; what is measured is `MEAN`, and dotted."""
MOST_DRAWN = 20
"""Agents whose potentials are drawn; particles are drawn for all."""
_POINTS = 141


class PotentialFigure:
    """V_i(m) of every agent, alone and among the others, and where its particle is."""

    def __init__(self) -> None:
        self.figure = frame(
            title="Landau potentials and particles", x="order parameter m", y="potential V", height=360,
            x_range=(-landscape.REACH, landscape.REACH), y_range=(-1.0, 1.0),
        )  # fmt: skip
        self._alone, self._felt = (ColumnDataSource({"xs": [], "ys": [], "colour": []}) for _ in range(2))
        names = ("m", "v", "agent", "colour", "ink", "label", "delta")
        self._particles = ColumnDataSource({name: [] for name in names})
        lines = {"xs": "xs", "ys": "ys", "line_color": "colour"}
        self.figure.multi_line(
            source=self._alone, **lines, line_dash="dotted", line_width=1.2, legend_label="own data alone"
        )
        self.figure.multi_line(
            source=self._felt, **lines, line_alpha=0.8, line_width=1.6, legend_label="with the pull of the others"
        )
        dots = self.figure.scatter(
            "m", "v", source=self._particles, size=15, fill_color="colour", line_color=MARK, legend_label="particle mᵢ"
        )
        self.figure.text(
            "m", "v", "label", source=self._particles, text_color="ink", text_align="center", text_baseline="middle",
            text_font_size="9px",
        )  # fmt: skip
        tips = [("agent i", "@agent"), ("mᵢ", "@m{0.000}"), ("V", "@v{0.000}"), ("δᵢ", "@delta{0.000}")]
        self.figure.add_tools(HoverTool(renderers=[dots], tooltips=tips))
        quiet_legend(self.figure)

    def update(self, path: Path) -> None:
        """Show the end of a path."""
        here, particles = path.here, path.m[-1]
        grid = np.linspace(-landscape.REACH, landscape.REACH, _POINTS)
        drawn = np.unique(np.linspace(0, here.num_agents - 1, MOST_DRAWN).round().astype(int))
        alone, felt = landscape.own(grid, here), landscape.among_others(grid, particles, here)
        low, high = landscape.window(here)
        colours = [colour_of(agent) for agent in range(here.num_agents)]
        for source, curves in ((self._alone, alone), (self._felt, felt)):
            # Beyond the window there is nothing to see, and numbers that browsers round.
            ys = [np.clip(curves[agent], -1e3, 10 * high) for agent in drawn]
            source.data = {"xs": [grid] * len(drawn), "ys": ys, "colour": [colours[agent] for agent in drawn]}
        values = landscape.among_others(particles, particles, here).diagonal()
        self._particles.data = {
            "m": particles, "v": values, "agent": np.arange(here.num_agents), "colour": colours,
            "ink": [readable_on(colour) for colour in colours], "delta": here.disorder.delta,
            "label": [str(agent) for agent in range(here.num_agents)],
        }  # fmt: skip
        self.figure.y_range.update(start=low, end=high)


class OrderFigure:
    """m_i of the particles against rounds, and the ⟨m⟩ that is measured on the networks, on a scale of its own."""

    def __init__(self) -> None:
        self.figure = frame(title="order parameter in time", x="round t", y="m of the theory's particles", height=360)
        self.figure.y_range = Range1d(start=-landscape.REACH, end=landscape.REACH)
        self.figure.extra_y_ranges = {"measured": Range1d(start=-1, end=1)}
        self.figure.add_layout(
            LinearAxis(y_range_name="measured", axis_label="⟨m⟩ measured", axis_label_text_font_style="normal"), "right"
        )
        self._lines = ColumnDataSource({"xs": [], "ys": [], "colour": []})
        self._mean, self._measured = (ColumnDataSource({"x": [], "y": []}) for _ in range(2))
        self._marks = ColumnDataSource({"x": []})
        self.figure.multi_line(
            "xs", "ys", source=self._lines, line_color="colour", line_alpha=0.6, legend_label="mᵢ, theory"
        )
        self.figure.line("x", "y", source=self._mean, line_color=THEORY, line_width=3, legend_label="⟨m⟩, theory")
        self.figure.line(
            "x", "y", source=self._measured, line_color=MEAN, line_width=3, line_dash="dotted",
            y_range_name="measured", legend_label="⟨m⟩, measured (right axis)",
        )  # fmt: skip
        self.figure.add_glyph(self._marks, VSpan(x="x", line_color=MARK, line_dash="dashed", line_width=1.5))
        quiet_legend(self.figure)

    def update(self, path: Path, segments: Timeline, rounds: np.ndarray, measured: Floats | None) -> None:
        """Show a path, and the measured ⟨m⟩, shape (records,), at the recorded rounds."""
        kept = thinned(len(path.rounds))
        x, m = path.rounds[kept], path.m[kept]
        drawn = np.unique(np.linspace(0, m.shape[1] - 1, MOST_DRAWN).round().astype(int))
        self._lines.data = {
            "xs": [x] * len(drawn), "ys": [m[:, agent] for agent in drawn],
            "colour": [colour_of(agent) for agent in drawn],
        }  # fmt: skip
        self._mean.data = {"x": x, "y": m.mean(axis=1)}
        self._marks.data = {"x": [one.start for one in segments[1:]]}
        if measured is not None and np.isfinite(measured).any():
            kept = thinned(len(rounds))
            self._measured.data = {"x": rounds[kept], "y": measured[kept]}
            # Zero at the same height on both axes, so that signs can be compared.
            size = 1.1 * float(np.nanmax(np.abs(measured))) or 1.0
            self.figure.extra_y_ranges["measured"].update(start=-size, end=size)


def quiet_legend(figure: object) -> None:
    """A legend below the plot, where it hides nothing."""
    legend = figure.legend[0]  # pyright: ignore[reportAttributeAccessIssue]
    figure.add_layout(legend, "below")  # pyright: ignore[reportAttributeAccessIssue]
    legend.update(
        orientation="horizontal", ncols=2, label_text_font_size="11px", border_line_color=None, padding=2,
        background_fill_alpha=0, spacing=6, glyph_width=22,
    )  # fmt: skip
