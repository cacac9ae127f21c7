"""The figure: predicted and trained test loss of every agent, residuals underneath, and the error against the width."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import AGENT, ROUND
from consilience.recipes.peer_to_peer.analysis import Result
from consilience.recipes.peer_to_peer.protocol import ALGORITHMS, GRAPHS, SETTINGS, Case, PeerToPeer

_NAMES = {"dgd": "DGD", "atc": "ATC", "cta": "CTA"}
_SHAPES = dict(zip(GRAPHS, "os^", strict=True))
_TONES = dict(zip(ALGORITHMS, ("#2f74b5", "#d0622f", "#3c8d5a"), strict=True))
_NUM_MARKERS = 9
"""Evaluations of each agent that are marked, of the many that there are."""


@dataclass(frozen=True)
class _Panel:
    """Where one case, graph and algorithm is drawn: a pair of rows, and a column."""

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
    """The figure, thirteen pairs of panels and one."""
    import matplotlib.pyplot as plt

    from consilience import plots

    panels = _panels(result.config)
    num_rows, num_columns = len(ALGORITHMS) + 1, 1 + len(GRAPHS)
    with plots.style():
        figure = plt.figure(figsize=(10.2, 10.6), layout="constrained")
        grid = figure.add_gridspec(2 * num_rows, num_columns, height_ratios=(2.1, 1.0) * num_rows)
        letters = iter(string.ascii_lowercase)
        for panel in sorted(panels, key=lambda panel: (panel.row, panel.column)):
            losses = figure.add_subplot(grid[2 * panel.row, panel.column])
            residuals = figure.add_subplot(grid[2 * panel.row + 1, panel.column], sharex=losses)
            plots.letter(losses, next(letters))
            _draw_losses(losses, result, panel)
            _draw_residuals(residuals, result, panel)
            losses.tick_params(labelbottom=False)
            residuals.tick_params(labelbottom=True)
            if panel.row == num_rows - 1 or (panel.column == 0 and panel.row == num_rows - 2):
                residuals.set_xlabel("round")
        widths = figure.add_subplot(grid[2 * num_rows - 2 :, 0])
        plots.letter(widths, next(letters))
        _draw_widths(widths, result)
        _add_legend(figure)
        figure.suptitle(subtitle(result.config), fontsize=8)
        plt.close(figure)
    return figure


def subtitle(config: PeerToPeer) -> str:
    """What is learned, in two lines."""
    images = "all" if config.num_test is None else f"{config.num_test}"
    return (
        f"{config.dataset}: test loss of each agent, ½ squared error on {images} test images; five agents with "
        f"{config.samples_per_agent // 2} images of each of two digits, odd or even; g–i, m–o and the like share axes\n"
    )


def _shades(num_agents: int) -> list[Any]:
    import matplotlib as mpl

    return list(mpl.colormaps["viridis"](np.linspace(0.0, 0.92, num_agents)))


def _marked(rounds: np.ndarray, agent: int, num_agents: int) -> np.ndarray:
    """Positions of rounds that are evenly spaced on a logarithmic axis, and others for every agent."""
    share = (np.arange(_NUM_MARKERS) + agent / num_agents) / _NUM_MARKERS
    wanted = rounds[1] * (rounds[-1] / rounds[1]) ** share
    return np.unique(np.abs(rounds[:, None] - wanted).argmin(axis=0))


def _chosen(dataset: xr.Dataset, panel: _Panel) -> xr.Dataset:
    """The first initialisation, as drawn."""
    one = dataset.sel(graph=panel.graph, algorithm=panel.algorithm)
    return one.isel(seed=0) if "seed" in one.dims else one


def _draw_losses(axes: Any, result: Result, panel: _Panel) -> None:
    predicted = _chosen(result.predicted[panel.case], panel).test_loss
    trained = _chosen(result.trained[panel.case], panel).test_loss
    num_agents = predicted.sizes[AGENT]
    for agent, colour in enumerate(_shades(num_agents)):
        line, points = predicted.isel({AGENT: agent}), trained.isel({AGENT: agent})
        at = _marked(trained[ROUND].values, agent, num_agents)
        axes.plot(line[ROUND][1:], line[1:], color=colour, linewidth=0.9, zorder=2)
        axes.plot(trained[ROUND][at], points[at], "o", color=colour, markersize=2.6, markeredgewidth=0, zorder=3)
    axes.set_xscale("log")
    setting = SETTINGS[panel.case.setting]
    title = f"{_NAMES[panel.algorithm]}, {panel.graph}"
    if panel.row == 0:
        title = f"{setting.label.split(',')[0]}, {panel.graph}\n{_NAMES[panel.algorithm]}"
    axes.set_title(title)
    if panel.column < 2:
        axes.set_ylabel("test loss")


def _draw_residuals(axes: Any, result: Result, panel: _Panel) -> None:
    errors = 100 * _chosen(result.relative_errors(panel.case), panel).test_loss
    for agent, colour in enumerate(_shades(errors.sizes[AGENT])):
        axes.plot(errors[ROUND][1:], errors.isel({AGENT: agent})[1:], color=colour, linewidth=0.8)
    axes.axhline(0, color="0.7", linewidth=0.5, zorder=0)
    limit = 1.15 * float(abs(errors).max())
    axes.set_ylim(-limit, limit)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    if panel.column < 2:
        axes.set_ylabel("error in %")


def _draw_widths(axes: Any, result: Result) -> None:
    errors = 100 * result.errors_by_width
    widths = errors.width.values.astype(float)
    for k, name in enumerate(errors.graph.values):
        for j, algorithm in enumerate(errors.algorithm.values):
            one = errors.sel(graph=name, algorithm=algorithm)
            shift = 1.06 ** (3 * k + j - 4)
            x = np.repeat(widths * shift, one.sizes["seed"])
            y = one.transpose("width", "seed").values.ravel()
            axes.plot(x, y, _SHAPES[str(name)], color=_TONES[str(algorithm)], markersize=2.4, markeredgewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(widths, [f"{width:g}" for width in widths])
    axes.set_xlabel("width of the hidden layer")
    axes.set_ylabel("largest error of the test loss in %")
    if result.slope is not None:
        middle = np.exp(np.log(errors.max(("graph", "algorithm"))).mean())
        centre = np.exp(np.log(widths).mean())
        axes.plot(widths, float(middle) * (widths / centre) ** result.slope.value, color="0.5", linewidth=0.8, zorder=0)
        axes.set_title(f"slope {result.slope}", fontsize=7)


def _add_legend(figure: Any) -> None:
    pass
