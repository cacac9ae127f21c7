"""The figure: a row of panels for each depth, curves first, then the critical pull against the properties."""

from __future__ import annotations

import itertools
import string
from typing import Any

import numpy as np

from consilience.recipes.graph_families.analysis import PROPERTIES, Result
from consilience.recipes.graph_families.protocol import DEGREE, FAMILIES, GraphFamilies

_PULL = r"pull $\hat{\sigma}\langle k \rangle / N$"
_AXES = {
    "gap": r"spectral gap Re $\mu_2\, /\, \langle k \rangle$",
    "largest": r"largest $|\mu|\, /\, \langle k \rangle$",
    "heterogeneity": r"$\langle k^2 \rangle / \langle k \rangle^2$",
    "relaxation": r"$\langle k \rangle \langle 1/\mu \rangle$",
}
_MARKERS = "os^DvPX<>ph"


def draw(result: Result) -> Any:
    """The figure, five panels for each depth."""
    import matplotlib.pyplot as plt

    from consilience import plots

    depths = result.config.depths
    with plots.style():
        figure = plt.figure(figsize=(10.2, 2.5 * len(depths) + 1.0), layout="constrained")
        panels = figure.subplots(
            len(depths), 1 + len(PROPERTIES), width_ratios=(1.55, *[1.0] * len(PROPERTIES)), squeeze=False
        )
        for axes, name in zip(panels.flat, string.ascii_lowercase, strict=False):
            plots.letter(axes, name)
        for row, depth in zip(panels, depths, strict=True):
            _draw_curves(row[0], result, depth)
            for axes, name in zip(row[1:], PROPERTIES, strict=True):
                _draw_critical(axes, result, depth, name)
                axes.tick_params(labelleft=axes is row[1])
            row[1].set_ylabel(rf"critical {_PULL}, D = {depth}")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncol=6, handletextpad=0.4)
        figure.suptitle(subtitle(result.config), fontsize=8)
        figure.draw_without_rendering()  # so that panels have their places before points are labelled
        for row, depth in zip(panels, depths, strict=True):
            for axes, name in zip(row[1:], PROPERTIES, strict=True):
                _label_points(axes, _points(result, depth, name), _single_graphs(result, depth, name))
        plt.close(figure)
    return figure


def subtitle(config: GraphFamilies) -> str:
    """What was integrated, in two lines."""
    return (
        f"effective theory: N = {config.num_agents}, mean degree {DEGREE}, δ ~ N(0, {config.disorder_std:g}²), "
        f"γ̂ = {config.weight_decay:g}, m(0) uniform on [−2 + ε, 2 + ε], ε = {config.offset:g}, averages over "
        f"t = {config.average_after:g} to {config.span:g}\n{config.num_graphs} graphs per family × "
        f"{config.num_realizations} realizations; bands: two standard errors; bars: 95 % interval of the critical "
        f"pull, where ⟨m⟩ = {config.threshold:g}; small points: graph by graph"
    )


def _looks(config: GraphFamilies) -> dict[str, tuple[Any, str]]:
    """Colour and marker of each family, the same whichever others are shown; colours differ in lightness."""
    import matplotlib as mpl

    shades = np.linspace(0.0, 0.9, len(FAMILIES))
    looks = {
        family: (mpl.colormaps["viridis"](shade), marker)
        for family, shade, marker in zip(FAMILIES, shades, _MARKERS, strict=True)
    }
    return {family: looks[family] for family in config.families}


def _draw_curves(axes: Any, result: Result, depth: int) -> None:
    config, m = result.config, result.magnetization.sel(depth=depth)
    number = config.num_graphs * config.num_realizations
    for family, (colour, marker) in _looks(config).items():
        one = m.sel(family=family)
        mean, error = one.mean(("graph", "seed")), one.std(("graph", "seed")) / np.sqrt(number)
        label = f"{FAMILIES[family].code}  {FAMILIES[family].label}"
        axes.plot(one.coupling, mean, marker=marker, color=colour, markersize=2.5, linewidth=0.9, label=label)
        axes.fill_between(one.coupling, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.12, linewidth=0)
    axes.axhline(config.threshold, color="0.6", linewidth=0.6, linestyle=":", zorder=0)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(_PULL)
    axes.set_ylabel(rf"$\langle m \rangle$, D = {depth}")


def _points(result: Result, depth: int, name: str) -> dict[str, tuple[float, float, float, float]]:
    """Family → property, critical pull and the ends of its interval; without families that do not order."""
    means, last = result.properties[name].mean("graph"), result.config.pulls[-1]
    found = {}
    for family in result.config.families:
        critical = result.critical[depth, family]
        if np.isfinite(critical.value):
            # Without a spread there is no bar; a draw that does not order ends beyond the grid.
            low, high = np.nan_to_num(critical.interval, nan=critical.value, posinf=last)
            found[family] = float(means.sel(family=family)), critical.value, float(low), float(high)
    return found


def _single_graphs(result: Result, depth: int, name: str) -> dict[str, np.ndarray]:
    """Family → property and critical pull of each graph that orders, shape (graphs, 2)."""
    critical, each = result.by_graph.sel(depth=depth), result.properties[name]
    found = {
        family: np.column_stack([each.sel(family=family), critical.sel(family=family)])
        for family in result.config.families
    }
    return {family: points[np.isfinite(points[:, 1])] for family, points in found.items()}


def _draw_critical(axes: Any, result: Result, depth: int, name: str) -> None:
    looks = _looks(result.config)
    for family, (x, value, low, high) in _points(result, depth, name).items():
        colour, marker = looks[family]
        axes.plot(*_single_graphs(result, depth, name)[family].T, ".", color=colour, markersize=2, alpha=0.7)
        axes.plot([x, x], [low, high], color=colour, linewidth=0.8)
        axes.plot(x, value, marker, color=colour, markersize=4.5, markeredgewidth=0)
    axes.set_yscale("log")
    axes.set_xscale("linear" if name == "heterogeneity" else "log")
    axes.margins(0.14)
    for axis in (axes.yaxis, axes.xaxis):
        if axis.get_scale() == "log":
            _plain_ticks(axis)
    axes.set_xlabel(_AXES[name])
    correlation = result.correlations[depth, name, "all"]
    axes.set_title(f"ρ = {correlation.value:+.2f}, p = {correlation.p_value:.2g}".replace("-", "−"), fontsize=7)


def _plain_ticks(axis: Any) -> None:
    """Few ticks, written as numbers, on a logarithmic axis of less than two decades or of more."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _label_points(
    axes: Any, points: dict[str, tuple[float, float, float, float]], others: dict[str, np.ndarray]
) -> None:
    """Write each family's code at the nearest free place around its point, with a thin line where that is not near."""
    unit = axes.figure.dpi / 72  # pixels; places are in points of 1/72 inch

    def place(x: float, y: float) -> np.ndarray:
        return axes.transData.transform((x, y)) / unit

    taken: list[np.ndarray] = []
    beside = np.array([0.8, 0.0])
    for x, value, low, high in points.values():
        taken.append(np.array([place(x, value) - 2.8, place(x, value) + 2.8]))
        taken.append(np.array([place(x, low) - beside, place(x, high) + beside]))
    taken += [np.array([place(*one) - 1, place(*one) + 1]) for some in others.values() for one in some]
    inside = axes.get_window_extent().get_points() / unit
    for family, (x, value, *_) in points.items():
        code = FAMILIES[family].code
        half = np.array([2.2 * len(code), 3.0])
        offset = _free_offset(place(x, value), half, taken, inside)
        taken.append(place(x, value) + offset + np.array([-half, half]))
        is_near = np.abs(offset).max() < 10
        line = None if is_near else {"arrowstyle": "-", "color": "0.6", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
        text = axes.annotate(
            code, (x, value), tuple(offset), textcoords="offset points", ha="center", va="center", fontsize=5.5,
            arrowprops=line,
        )  # fmt: skip
        text.set_in_layout(False)


def _free_offset(point: np.ndarray, half: np.ndarray, taken: list[np.ndarray], inside: np.ndarray) -> np.ndarray:
    """The smallest offset at which a box of half sides `half` lies `inside` and on none of the boxes that are `taken`.

    Boxes are [lower left, upper right]. The farthest offset if there is no free place.
    """
    turns = np.deg2rad([0, 180, 45, 135, 315, 225, 22, 158, 202, 338, 67, 113, 247, 293, 90, 270])
    offset = np.zeros(2)
    for radius, turn in itertools.product(range(0, 60, 3), turns):
        offset = (3.2 + half + radius) * (np.cos(turn), np.sin(turn))
        lower, upper = point + offset - half, point + offset + half
        is_free = all((lower >= box[1]).any() or (upper <= box[0]).any() for box in taken)
        if is_free and (lower > inside[0]).all() and (upper < inside[1]).all():
            break
    return offset
