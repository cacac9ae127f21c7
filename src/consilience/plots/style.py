"""How figures look: colours by depth as in the paper, quiet axes, and saving as PNG and SVG."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "savefig.dpi": 200,
}

_DEPTH_COLOURS = ("#7fb8e6", "#2f74b5", "#0b2a54", "#000000")
_OTHER_COLOURS = ("#d0622f", "#3c8d5a", "#8a4fa0")
_MARKERS = ("^", "s", "o", "D", "v", "P")


@contextmanager
def style() -> Iterator[None]:
    """The project's settings for matplotlib, for the length of a `with` block.

    Example:
        >>> with style():
        ...     mpl.rcParams["svg.fonttype"]
        'none'
    """
    with mpl.rc_context(dict(_STYLE)):  # pyright: ignore[reportArgumentType]
        yield


def colours(labels: list[str]) -> dict[str, str]:
    """A colour for each curve: blues from light to dark for depths ("D = 0", ...), others for other networks.

    Example:
        >>> colours(["D = 0", "D = 2"])["D = 2"]
        '#0b2a54'
    """
    others = iter(_OTHER_COLOURS * len(labels))
    return {
        label: _DEPTH_COLOURS[min(int(label[4:]), 3)] if label.startswith("D = ") else next(others) for label in labels
    }


def markers(labels: list[str]) -> dict[str, str]:
    """A marker for each curve.

    Example:
        >>> markers(["D = 0", "D = 1"])["D = 1"]
        's'
    """
    return {label: _MARKERS[position % len(_MARKERS)] for position, label in enumerate(labels)}


def coupling_axis(axes: Axes, couplings: np.ndarray, *, label: str = r"coupling $\sigma$ of Eq. (2)") -> None:
    """A logarithmic axis for the coupling that has room for σ = 0 at its left end.

    Example:
        >>> axes = Figure().subplots()
        >>> coupling_axis(axes, np.array([0.0, 0.5, 300.0]))
        >>> [tick.get_text() for tick in axes.get_xticklabels()]
        ['0', '$10^{0}$', '$10^{1}$', '$10^{2}$']
    """
    positive = couplings[couplings > 0]
    if positive.size == 0:
        return
    smallest = float(positive.min())
    axes.set_xscale("symlog", linthresh=smallest, linscale=0.35)
    axes.set_xlim(left=-0.15 * smallest, right=float(positive.max()) * 1.25)
    decades = 10.0 ** np.arange(np.ceil(np.log10(smallest) + 1e-9), np.floor(np.log10(positive.max())) + 1)
    ticks = [0.0, *decades[decades > smallest * 1.5]]
    axes.set_xticks(ticks, ["0", *[f"$10^{{{round(np.log10(tick))}}}$" for tick in ticks[1:]]])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(label)


def letter(axes: Axes, text: str) -> None:
    """The letter of a panel, in its upper left corner outside the axes.

    Example:
        >>> axes = Figure().subplots()
        >>> letter(axes, "a")
        >>> axes.texts[0].get_text()
        'a'
    """
    axes.annotate(
        text, (0, 1), xytext=(-26, 6), xycoords="axes fraction", textcoords="offset points", weight="bold", fontsize=10
    )


def save(figure: Figure, directory: str | Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG.

    Returns:
        The two paths.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     [path.name for path in save(Figure(), directory, "empty")]
        ['empty.png', 'empty.svg']
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{name}.png", directory / f"{name}.svg"]
    with style():
        for path in paths:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths
