"""The comparison as a figure: theory as lines, simulation as markers."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from consilience.recipes.comparison.protocol import GAUSSIAN, KINDS, Result, measured_earliness

_ROWS = ("order", "loss", "knowledge")
_LABELS = {
    "order": "order parameter\n" + r"$|\langle m \rangle|$ / largest",
    "loss": r"loss / loss at $\sigma = 0$",
    "knowledge": "accuracy, gain\n/ largest",
}
_SYMBOLS = {"digits": "o", "mnist": "s", "fashion_mnist": "^", "cifar10": "D"}
_TINTS = {"digits": "#332288", "mnist": "#117733", "fashion_mnist": "#CC6677", "cifar10": "#DDAA33"}


def draw(result: Result) -> Any:
    """A column per data set: order, loss, knowledge against the coupling; below, the orders and critical couplings."""
    import matplotlib.pyplot as plt

    from consilience import plots

    datasets = result.config.datasets
    with plots.style():
        figure = plt.figure(figsize=(max(8.6, 2.3 * len(datasets)), 8.0), layout="constrained")
        top, bottom = np.ravel(figure.subfigures(2, 1, height_ratios=(3, 1.55)))  # pyright: ignore
        panels = top.subplots(3, len(datasets), squeeze=False, sharex=True)
        letters = iter("abcdefghijklmnopqrstuvwxyz")
        for column, dataset in enumerate(datasets):
            for row, name in enumerate(_ROWS):
                axes = panels[row, column]
                _draw_curves(axes, result, dataset, name)
                plots.letter(axes, next(letters))
                axes.set_xlabel(r"coupling $\sigma$ of Eq. (2)" if row == len(_ROWS) - 1 else "")
                if column == 0:
                    axes.set_ylabel(_LABELS[name])
            panels[0, column].set_title(dataset.replace("_", "-"))
        _legend(panels[0, 0], result)
        order, critical = bottom.subplots(1, 2)
        _draw_order(order, result)
        _draw_critical(critical, result)
        for axes in (order, critical):
            plots.letter(axes, next(letters))
        figure.suptitle(subtitle(result), fontsize=8)
        plt.close(figure)
    return figure


def subtitle(result: Result) -> str:
    """What is held against what, in two lines."""
    config = result.config
    definition = next(iter(result.predictions.values())).definition
    return (
        f"markers: {config.num_agents} networks, one class each, {config.num_rounds:,} rounds, "
        f"{config.num_realizations} realizations (bars: one standard deviation). Solid: theory, measured δ "
        f"({definition});\ndotted: theory, Gaussian δ of mean 0. σ = 2σ̂, t = 2η · rounds; curves are divided as the "
        "axes say, and nothing is fitted"
    )


def _scaled(values: xr.DataArray, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coupling, mean and spread over realizations, divided as the axis says."""
    values = values.transpose("coupling", "seed")
    mean = values.mean("seed")
    scale = float(mean[0]) if name == "loss" else float(abs(mean).max())
    return values.coupling.values, mean.values / scale, values.std("seed").values / abs(scale)


def _theory(result: Result, dataset: str, depth: int, name: str) -> xr.DataArray:
    prediction = result.predictions[dataset]
    curves = prediction.curves.sel(case=prediction.definition, depth=depth)
    if name == "loss":
        # The constant ⟨ŷ²⟩ that the effective loss leaves out makes it a loss that is never negative.
        return float(prediction.disorder.target_second_moment.mean()) - curves.gain
    return curves.order if name == "order" else curves.gain


def _gaussian(result: Result, depth: int, name: str) -> xr.DataArray:
    swept = result.gaussian[depth]
    # Up to ⟨ŷ²⟩, which Gaussian disorder does not say, −⟨L̂⟩ is the gain; from its smallest value it only rises.
    return abs(swept.magnetization) if name == "order" else swept.loss - float(swept.loss.mean("seed").min())


def _draw_curves(axes: Any, result: Result, dataset: str, name: str) -> None:
    from consilience import plots

    depths = result.config.depths
    labels = [f"D = {depth}" for depth in depths]
    colour, marker = plots.colours(labels), plots.markers(labels)
    for depth, label in zip(depths, labels, strict=True):
        if name == "order" and depth == 0:
            continue  # by theory it does not depend on the coupling, and the measured one is noise about zero
        simulated = result.simulated[dataset][depth]
        measured = {
            "order": lambda d=simulated: abs(d.magnetization.mean("agent")),
            "loss": lambda d=simulated: d.loss.mean("agent"),
            "knowledge": lambda d=simulated: d.accuracy.mean("agent"),
        }[name]()
        x, y, spread = _scaled(measured, name)
        axes.errorbar(x, y, spread, fmt=marker[label], color=colour[label], markersize=3, elinewidth=0.5)
        x, y, _ = _scaled(_theory(result, dataset, depth, name), name)
        axes.plot(x, y, "-", color=colour[label], linewidth=1.1)
        if name != "knowledge":
            x, y, _ = _scaled(_gaussian(result, depth, name), name)
            axes.plot(x, y, ":", color=colour[label], linewidth=1.1)
    plots.coupling_axis(axes, np.array(result.config.couplings), label="")
    if name == "loss":
        axes.set_yscale("log")
        axes.set_ylim(3e-3, 3)
    else:
        axes.set_ylim(-0.03, 1.4 if name == "order" else 1.18)  # room for the legend


def _legend(axes: Any, result: Result) -> None:
    from consilience import plots

    labels = [f"D = {depth}" for depth in result.config.depths]
    colour, marker = plots.colours(labels), plots.markers(labels)
    handles = [
        axes.plot([], [], f"{marker[label]}-", color=colour[label], markersize=3, label=label)[0] for label in labels
    ]
    axes.legend(handles=handles, loc="upper left", ncol=len(labels), fontsize=6, columnspacing=0.8, handlelength=1.2)


def _draw_order(axes: Any, result: Result) -> None:
    """Measured against predicted rank of every class, all depths together, averaged over realizations."""
    import scipy.stats

    for k, dataset in enumerate(result.config.datasets):
        delta = result.predictions[dataset].disorder.delta.values
        predicted = scipy.stats.rankdata(-delta)
        ranks = [
            scipy.stats.rankdata(-measured_earliness(one).mean(axis=0)) for one in result.simulated[dataset].values()
        ]
        values = [one.value for one in result.order[dataset].values()]
        shift = 0.12 * (k - (len(result.config.datasets) - 1) / 2)  # so that data sets do not hide each other
        axes.errorbar(
            predicted + shift, np.mean(ranks, axis=0), np.std(ranks, axis=0), fmt=_SYMBOLS[dataset],
            color=_TINTS[dataset], markersize=3.5, linewidth=0.6,
            label=f"{dataset.replace('_', '-')}: ρ = {min(values):.2f} – {max(values):.2f}",
        )  # fmt: skip
    n = result.config.num_agents
    axes.plot([1, n], [1, n], color="0.7", linewidth=0.8, zorder=0)
    axes.set_xlabel(r"predicted rank of the class, by $\delta$ (1: first)")
    axes.set_ylabel("measured rank\n(bars: over depths)")
    axes.set_ylim(0, n + 0.45 * n)
    axes.set_yticks(range(2, n + 1, 2))
    axes.legend(loc="upper left", ncol=2, fontsize=6, handletextpad=0.2, columnspacing=0.8)
    axes.set_title("order of learning")


def _draw_critical(axes: Any, result: Result) -> None:
    """Measured against predicted critical coupling; a kind of prediction is a fill, a data set a symbol."""
    from consilience import plots

    labels = [f"D = {depth}" for depth in result.config.depths]
    colour = plots.colours(labels)
    fills = {"order": "full", "gain": "none", GAUSSIAN: "left"}
    for dataset in result.config.datasets:
        for depth, label in zip(result.config.depths, labels, strict=True):
            measured = result.measured(dataset, depth)
            for kind in KINDS:
                x = result.predicted(dataset, depth, kind)
                if not np.isfinite(x):
                    continue
                errors = np.abs(np.array(measured.interval) - measured.value)[:, None]
                axes.errorbar(
                    [x], [measured.value], errors if np.isfinite(errors).all() else None, fmt=_SYMBOLS[dataset],
                    fillstyle=fills[kind], color=colour[label], markersize=4.5, linewidth=0.6,
                )  # fmt: skip
    for kind, fill in fills.items():
        shown = {"order": r"order, measured $\delta$", "gain": r"gain, measured $\delta$", GAUSSIAN: "loss, Gaussian"}
        axes.plot([], [], "o", fillstyle=fill, color="0.3", label=shown[kind])
    for dataset in result.config.datasets:
        axes.plot([], [], _SYMBOLS[dataset], fillstyle="none", color="0.3", label=dataset.replace("_", "-"))
    axes.set_xscale("log")
    axes.set_yscale("log")
    ends = np.array([0.01, 400.0])
    axes.plot(ends, ends, color="0.7", linewidth=0.8, zorder=0)
    axes.set_xlim(*ends)
    axes.set_ylim(0.1, 3000)
    axes.set_xlabel(r"predicted critical coupling $\sigma$")
    axes.set_ylabel(r"measured critical $\sigma$")
    axes.legend(loc="upper left", ncol=2, fontsize=6, handletextpad=0.2, columnspacing=0.8)
    axes.set_title("critical couplings (line: equality)")
