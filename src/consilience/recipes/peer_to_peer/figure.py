"""The figure: predicted and trained test loss of every agent, residuals underneath, and the error against the width."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import AGENT, ROUND
from consilience.recipes.peer_to_peer.analysis import Result
from consilience.recipes.peer_to_peer.protocol import ALGORITHMS, GRAPHS, NAMES, SETTINGS, Case, PeerToPeer

_SHAPES = dict(zip(GRAPHS, "os^", strict=True))
_TONES = dict(zip(ALGORITHMS, ("#2f74b5", "#d0622f", "#3c8d5a"), strict=True))
_NUM_MARKERS = 7
"""Evaluations of each agent that are marked, of the many that there are."""


@dataclass(frozen=True)
class _Panel:
    """What is drawn in a pair of rows and a column."""

    row: int
    column: int
    case: Case
    graph: str
    algorithm: str


def _panels(config: PeerToPeer) -> list[_Panel]:
    """Rows: the algorithms, then ten classes. Columns: the affine classifier, then the graphs."""
    affine, *_, ten = config.cases
    shown, found = Case("network", config.width), []
    for row, algorithm in enumerate(ALGORITHMS):
        found += [_Panel(row, 0, affine, name, algorithm) for name in SETTINGS["affine"].graphs]
        found += [_Panel(row, 1 + k, shown, name, algorithm) for k, name in enumerate(SETTINGS["network"].graphs)]
    first, last = next(iter(ALGORITHMS)), len(ALGORITHMS)
    return found + [_Panel(last, 1 + k, ten, name, first) for k, name in enumerate(SETTINGS["ten_classes"].graphs)]


def draw(result: Result) -> Any:
    """The figure: fifteen pairs of panels and the error against the width."""
    import matplotlib.pyplot as plt

    from consilience import plots

    num_rows, num_columns = len(ALGORITHMS) + 1, 1 + len(GRAPHS)
    letters = iter(string.ascii_lowercase)
    with plots.style():
        figure = plt.figure(figsize=(10.2, 10.8), layout="constrained")
        grid = figure.add_gridspec(2 * num_rows, num_columns, height_ratios=(2.2, 1.0) * num_rows)
        leftmost: dict[int, tuple[Any, Any]] = {}
        for panel in _panels(result.config):
            # Networks of one row share their axes; the affine classifier has its own, for its errors are tiny.
            shared = leftmost.get(panel.row, (None, None)) if panel.column else (None, None)
            losses = figure.add_subplot(grid[2 * panel.row, panel.column], sharey=shared[0])
            residuals = figure.add_subplot(grid[2 * panel.row + 1, panel.column], sharex=losses, sharey=shared[1])
            if panel.column:
                leftmost.setdefault(panel.row, (losses, residuals))
            plots.letter(losses, next(letters))
            _draw_losses(losses, result, panel)
            _draw_residuals(residuals, result, panel)
            losses.tick_params(labelbottom=False)
            _label(losses, residuals, panel)
        widths = figure.add_subplot(grid[2 * num_rows - 2 :, 0])
        plots.letter(widths, next(letters))
        _draw_widths(widths, result)
        _add_legend(figure)
        figure.suptitle(subtitle(result.config), fontsize=8)
        plt.close(figure)
    return figure


def subtitle(config: PeerToPeer) -> str:
    """What is learned, in two lines."""
    return (
        f"{config.dataset}: each agent's test loss, lines predicted from the tangent kernel at θ⁰, dots trained; "
        "underneath, predicted over trained minus 1\n"
        f"odd or even: 5 agents × {config.samples_per_agent} images, two digits each, hidden layer of {config.width}; "
        f"ten classes: 10 agents, {10 * config.samples_per_agent} images, two hidden layers of "
        f"{config.ten_classes_width}, agents from dark to light; η = {config.learning_rate:g}"
    )


def _shades(num_agents: int) -> list[Any]:
    import matplotlib as mpl

    return list(mpl.colormaps["viridis"](np.linspace(0.0, 0.92, num_agents)))


def _marked(rounds: np.ndarray, agent: int, num_agents: int) -> np.ndarray:
    """Positions of rounds that are evenly spaced on a logarithmic axis, and others for every agent."""
    share = (np.arange(_NUM_MARKERS) + agent / num_agents) / _NUM_MARKERS
    wanted = rounds[0] * (rounds[-1] / rounds[0]) ** share
    return np.unique(np.abs(rounds[:, None] - wanted).argmin(axis=0))


def _chosen(dataset: xr.Dataset, panel: _Panel) -> xr.DataArray:
    """Test losses as drawn, of the first initialisation, from round 1 on."""
    one = dataset.test_loss.sel(graph=panel.graph, algorithm=panel.algorithm).isel(seed=0)
    return one.isel({ROUND: slice(1, None)})


def _draw_losses(axes: Any, result: Result, panel: _Panel) -> None:
    predicted, trained = (_chosen(of[panel.case], panel) for of in (result.predicted, result.trained))
    num_agents, rounds = predicted.sizes[AGENT], trained[ROUND].values
    for agent, colour in enumerate(_shades(num_agents)):
        line, points = predicted.isel({AGENT: agent}), trained.isel({AGENT: agent})
        axes.plot(line[ROUND], line, color=colour, linewidth=0.9, zorder=2)
        at = _marked(rounds, agent, num_agents)
        axes.plot(rounds[at], points[at], "o", color=colour, markersize=2.8, markeredgewidth=0, zorder=3)
    axes.set_xscale("log")


def _draw_residuals(axes: Any, result: Result, panel: _Panel) -> None:
    errors = 100 * _chosen(result.relative_errors(panel.case), panel)
    for agent, colour in enumerate(_shades(errors.sizes[AGENT])):
        axes.plot(errors[ROUND], errors.isel({AGENT: agent}), color=colour, linewidth=0.8)
    axes.axhline(0, color="0.7", linewidth=0.5, zorder=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)


def _label(losses: Any, residuals: Any, panel: _Panel) -> None:
    setting = SETTINGS[panel.case.setting]
    what = setting.label.split(", ")[1 if panel.case.setting == "ten_classes" else 0]
    losses.set_title(f"{what}, {NAMES[panel.algorithm]}, {panel.graph}")
    if panel.column < 2:
        losses.set_ylabel("test loss")
        residuals.set_ylabel("error in %")
    else:
        losses.tick_params(labelleft=False)
        residuals.tick_params(labelleft=False)
    if panel.row == len(ALGORITHMS) or (panel.row == len(ALGORITHMS) - 1 and panel.column == 0):
        residuals.set_xlabel("round")


def _draw_widths(axes: Any, result: Result) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    errors = 100 * result.errors_by_width
    widths = errors.width.values.astype(float)
    for k, name in enumerate(GRAPHS):
        for j, algorithm in enumerate(ALGORITHMS):
            y = errors.sel(graph=name, algorithm=algorithm).transpose("width", "seed").values
            x = widths[:, None] * 1.05 ** (3 * k + j - 4) * np.ones_like(y)  # side by side
            axes.plot(
                x.ravel(), y.ravel(), _SHAPES[name], color=_TONES[algorithm], markersize=2.8, markeredgewidth=0
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(widths[0] / 1.8, widths[-1] * 1.8)
    axes.set_xticks(widths, [f"{width:g}" for width in widths])
    axes.xaxis.set_minor_locator(NullLocator())
    decades = np.log10(axes.get_ylim())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if np.ptp(decades) < 2.5 else (1.0,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("width of the hidden layer")
    axes.set_ylabel("largest error in %")
    if result.slope is None:
        return
    largest = np.log(errors.max(("graph", "algorithm")))
    line = np.exp(float(largest.mean())) * (widths / np.exp(np.log(widths).mean())) ** result.slope.value
    axes.plot(widths, line, color="0.6", linewidth=0.8, zorder=0)
    axes.set_title(f"slope {result.slope}", fontsize=7)


def _add_legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    def entry(label: str, **look: Any) -> Any:
        return Line2D([], [], **{"color": "0.3", "markersize": 3.5, "markeredgewidth": 0, **look}, label=label)

    handles = [entry("predicted", linewidth=0.9), entry("trained", marker="o", linestyle="")]
    num_agents = SETTINGS["network"].num_agents
    handles += [entry(f"agent {q}", color=colour, linewidth=2) for q, colour in enumerate(_shades(num_agents))]
    handles += [entry(f"p: {NAMES[name]}", color=_TONES[name], linewidth=2) for name in ALGORITHMS]
    handles += [entry(f"p: {name}", marker=_SHAPES[name], linestyle="") for name in GRAPHS]
    figure.legend(handles=handles, loc="outside lower center", ncol=len(handles), handlelength=1.2, columnspacing=1.2)
