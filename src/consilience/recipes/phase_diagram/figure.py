"""The figure: a panel for each method, and one with all critical values on the common axis."""

from __future__ import annotations

import math
import string
from typing import Any

import numpy as np

from consilience.recipes.phase_diagram.analysis import CONTROL, Result
from consilience.recipes.phase_diagram.methods import METHODS
from consilience.recipes.phase_diagram.protocol import PhaseDiagram

_COLUMNS = 4
_CURVE = "#2f74b5"
_CRITICAL = "#c22f2f"


def draw(result: Result) -> Any:
    """⟨A⟩ of each method against its control parameter, and the critical pulls of all."""
    import matplotlib.pyplot as plt

    from consilience import plots

    names = list(result.config.methods)
    columns = min(_COLUMNS, len(names))
    num_rows = math.ceil(len(names) / columns)
    with plots.style():
        figure = plt.figure(figsize=(1.95 * columns + 4.0, 1.9 * num_rows + 0.9), layout="constrained")
        grid = figure.add_gridspec(num_rows, columns + 1, width_ratios=(*[1] * columns, 1.35))
        for position, name in enumerate(names):
            row, column = divmod(position, columns)
            axes = figure.add_subplot(grid[row, column])
            plots.letter(axes, string.ascii_lowercase[position])
            _draw_curve(axes, result, name)
            axes.tick_params(labelleft=column == 0)
            if column == 0:
                axes.set_ylabel(r"$\langle A \rangle$")
        summary = figure.add_subplot(grid[:, columns])
        plots.letter(summary, string.ascii_lowercase[len(names)])
        _draw_critical(summary, result)
        figure.suptitle(subtitle(result.config), fontsize=8)
        plt.close(figure)
    return figure


def subtitle(config: PhaseDiagram) -> str:
    """What was run, in two lines."""
    return (
        f"{config.dataset}: {config.num_agents} agents with one class each, complete graph, D = {config.depth}, "
        f"η = {config.learning_rate:g}, γ = {config.weight_decay:g}, B = {config.batch_size}; averages over steps "
        f"{config.average_after:,} to {config.num_rounds:,}\nmean over {config.num_seeds} seeds, bands: one standard "
        f"deviation; dotted: chance, and chance + {config.margin:g}; red: critical value and 95 % interval"
    )


def _draw_curve(axes: Any, result: Result, name: str) -> None:
    from matplotlib.ticker import NullFormatter

    curve, config = result.accuracy[name], result.config
    mean, spread = curve.mean("seed"), curve.std("seed")
    x = curve[CONTROL].values
    axes.plot(x, mean, "o-", color=_CURVE, markersize=2.5, linewidth=0.9)
    if curve.sizes["seed"] > 1:
        axes.fill_between(x, mean - spread, mean + spread, color=_CURVE, alpha=0.2, linewidth=0)
    for level in (result.chance, result.chance + config.margin):
        axes.axhline(level, color="0.6", linewidth=0.6, linestyle=":", zorder=0)
    critical = result.critical[name]
    if np.isfinite(critical.value) and not result.is_below_the_grid(name):
        low, high = np.nan_to_num(critical.interval, nan=critical.value, posinf=x[-1])
        axes.axvspan(low, high, color=_CRITICAL, alpha=0.15, linewidth=0)
        axes.axvline(critical.value, color=_CRITICAL, linewidth=0.9)
    axes.set_ylim(0, 1)
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())  # on short axes minor ticks are labelled, too, one over another
    axes.set_xlabel(METHODS[name].control)
    axes.set_title(METHODS[name].label, fontsize=7.5)


def _draw_critical(axes: Any, result: Result) -> None:
    """One line per method with a pull; an arrow where the critical value lies beyond the grid."""
    names = [name for name in result.config.methods if METHODS[name].pull is not None]
    first, last = result.config.pulls[0], result.config.pulls[-1]
    for height, name in enumerate(names):
        value = result.pull(name, result.critical[name].value)
        ends = result.accuracy[name][CONTROL].values[[0, -1]]
        weakest, strongest = (result.pull(name, end) for end in ends)
        axes.plot([weakest, strongest], [height, height], color="0.85", linewidth=3, solid_capstyle="butt", zorder=0)
        if np.isnan(value):
            axes.plot(strongest, height, ">", color=_CRITICAL, markersize=5, fillstyle="none")
        elif result.is_below_the_grid(name):
            axes.plot(weakest, height, "<", color=_CRITICAL, markersize=5, fillstyle="none")
        else:
            low, high = (result.pull(name, end) for end in result.critical[name].interval)
            low, high = np.nan_to_num((low, high), nan=value, posinf=strongest)
            axes.plot([low, high], [height, height], color=_CRITICAL, linewidth=1)
            axes.plot(value, height, "o", color=_CRITICAL, markersize=4.5, markeredgewidth=0)
    if "diffusive_coupling" in names:
        reference = result.critical["diffusive_coupling"].value
        if np.isfinite(reference):
            axes.axvline(reference, color="0.4", linewidth=0.6, linestyle="--", zorder=0)
    axes.set_xscale("log")
    axes.set_xlim(first / 1.5, last * 1.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [METHODS[name].label for name in names], fontsize=6.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("critical pull Π, in units of σ")
    axes.set_title("on the common axis (grey: swept)", fontsize=7.5)
