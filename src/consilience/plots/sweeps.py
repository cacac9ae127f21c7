"""Figures of any sweep or trajectory, one quantity each, legible at the size at which they are drawn."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from consilience.plots.style import coupling_axis, style
from consilience.plots.transition import cross_matrix

_SIZE = (4.4, 3.2)
_LEGIBLE = {"font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "legend.fontsize": 8.5, "xtick.labelsize": 9,
            "ytick.labelsize": 9, "axes.linewidth": 0.8, "lines.markersize": 5}  # fmt: skip
# Blue, vermilion, green, purple, black, sky blue, orange: told apart with every kind of colour vision.
_CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#000000", "#56b4e9", "#e69f00")
_MARKERS = "osD^vPX"
_LOG_RATIO = 30.0
"""Quantities whose largest value is this many times their smallest are drawn on a logarithmic axis."""
_MOST_INSIDE = 4
"""Entries of a legend inside the axes; longer ones stand below."""


@dataclass(frozen=True)
class Curve:
    """A quantity at several points, measured on several realizations.

    Attributes:
        label: in the legend; "" for none.
        x: of the points, shape (points,).
        samples: shape (points, realizations); NaN where a realization is missing or diverged.
    """

    label: str
    x: np.ndarray
    samples: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Over realizations, shape (points,); NaN where there is none."""
        return np.array([row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in self.samples])

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation over realizations (of a sample, n − 1), shape (points,); 0 for a single one."""
        finite = [row[np.isfinite(row)] for row in self.samples]
        return np.array([row.std(ddof=1) if len(row) > 1 else 0.0 for row in finite])


def against(curves: Sequence[Curve], *, x_label: str, y_label: str, is_coupling: bool = False) -> Figure:
    """Means against a parameter, with bands of one standard deviation over realizations.

    Args:
        curves: at least one.
        x_label: of the horizontal axis, with symbol and unit.
        y_label: of the vertical axis, with symbol and unit.
        is_coupling: whether the parameter is a coupling: a logarithmic axis with room for 0.

    Example:
        >>> curve = Curve("D = 1", np.array([0.0, 10.0]), np.array([[0.1, 0.3], [0.7, 0.9]]))
        >>> figure = against([curve], x_label="coupling", y_label="accuracy", is_coupling=True)
        >>> figure.axes[0].lines[0].get_ydata().tolist()
        [0.2, 0.8]
    """
    with _legible(_SIZE) as (figure, axes):
        for position, curve in enumerate(curves):
            colour = _CATEGORIES[position % len(_CATEGORIES)]
            marker = _MARKERS[position % len(_MARKERS)]
            mean, spread = curve.mean, curve.spread
            axes.plot(curve.x, mean, f"{marker}-", color=colour, label=curve.label, markeredgewidth=0)
            axes.fill_between(curve.x, mean - spread, mean + spread, color=colour, alpha=0.22, linewidth=0)
        x = np.concatenate([curve.x for curve in curves])
        if is_coupling:
            coupling_axis(axes, x)
        elif _spans_decades(x):
            axes.set_xscale("log")
        elif (x == np.round(x)).all():
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(x_label)
        axes.set_ylabel(_wrapped(y_label))
        _scale(axes, [curve.mean for curve in curves])
        _legend(figure, axes, [curve.label for curve in curves])
    return figure


def over_rounds(curves: Sequence[Curve], agents: Sequence[np.ndarray], *, y_label: str) -> Figure:
    """Means over rounds with bands of one standard deviation over realizations, and thin lines for single agents.

    Args:
        curves: `x` are rounds; in an order that means something (by coupling), for colours run from dark to light.
        agents: of each curve, the agents' values, shape (points, agents); no columns if the quantity is one number
            for the population.
        y_label: of the vertical axis, with symbol and unit.

    Example:
        >>> curve = Curve("alone", np.array([0, 100]), np.array([[0.1], [0.6]]))
        >>> figure = over_rounds([curve], [np.array([[0.1, 0.1], [0.5, 0.7]])], y_label="accuracy")
        >>> len(figure.axes[0].lines)
        3
    """
    colours = mpl.colormaps["viridis"](np.linspace(0.0, 0.8, len(curves)))
    with _legible(_SIZE) as (figure, axes):
        for curve, single, colour in zip(curves, agents, colours, strict=True):
            axes.plot(curve.x, single, color=colour, linewidth=0.5, alpha=0.35)
        for position, (curve, colour) in enumerate(zip(curves, colours, strict=True)):
            mean, spread = curve.mean, curve.spread
            dashes = ("-", "--", "-.", ":")[position % 4]
            axes.plot(curve.x, mean, dashes, color=colour, linewidth=2, label=curve.label)
            axes.fill_between(curve.x, mean - spread, mean + spread, color=colour, alpha=0.22, linewidth=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("round $t$")
        axes.set_ylabel(_wrapped(y_label))
        _scale(axes, [curve.mean for curve in curves])
        _legend(figure, axes, [curve.label for curve in curves])
    return figure


def matrix(values: xr.DataArray, *, title: str, colour_label: str) -> Figure:
    """A matrix of agents against the agents on whose data they were evaluated, values from 0 to 1.

    Args:
        values: dimensions (agent, agent_evaluated).
        title: above it.
        colour_label: of the colour bar, with symbol and unit.

    Example:
        >>> values = xr.DataArray([[0.9, 0.1], [0.2, 0.8]], dims=("agent", "agent_evaluated"))
        >>> matrix(values, title="alone", colour_label="cross-accuracy").axes[0].get_title()
        'alone'
    """
    names = [str(name) for name in values["agent"].values]
    with _legible(_SIZE) as (figure, axes):
        image = cross_matrix(axes, values, np.arange(len(names)), names, title)
        axes.tick_params(labelsize=8)
        figure.colorbar(image, ax=axes, label=colour_label)
    return figure


def to_svg(figure: Figure) -> str:
    """A figure as the text of an SVG file that looks the same everywhere: letters are outlines.

    Example:
        >>> to_svg(Figure()).rstrip().endswith("</svg>")
        True
    """
    buffer = io.StringIO()
    # The salt makes the same figure the same file.
    with style(), mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "consilience"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def to_png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file, at 200 dots per inch.

    Example:
        >>> to_png(Figure())[1:4]
        b'PNG'
    """
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


@contextmanager
def _legible(size: tuple[float, float]) -> Iterator[tuple[Figure, Axes]]:
    """A new figure with one panel, and letters that are read without magnification."""
    with style(), mpl.rc_context(_LEGIBLE):  # pyright: ignore[reportArgumentType]
        figure = Figure(figsize=size, layout="constrained")
        yield figure, figure.subplots()


def _wrapped(text: str) -> str:
    """A label on lines as long as an axis; formulas are not broken."""
    return text if "$" in text else textwrap.fill(text, 26)


def _scale(axes: Axes, means: Sequence[np.ndarray]) -> None:
    if _spans_decades(np.concatenate(means)):
        axes.set_yscale("log")


def _spans_decades(values: np.ndarray) -> bool:
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() > _LOG_RATIO * values.min())


def _legend(figure: Figure, axes: Axes, labels: Sequence[str]) -> None:
    if any(labels) and len(labels) > _MOST_INSIDE:
        figure.legend(loc="outside lower center", ncols=2, handlelength=1.8)
    elif any(labels):
        axes.legend(loc="best", framealpha=0.8, frameon=True, edgecolor="none", handlelength=1.8)
