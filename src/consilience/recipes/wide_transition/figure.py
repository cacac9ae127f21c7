"""The figure: the transition, its law, its collapse; independent starts, weight decay, errors against width."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import ROUND
from consilience.recipes.wide_transition.analysis import DRAW, SEED, Result
from consilience.recipes.wide_transition.protocol import STARTS, WideTransition

_SIGMA = r"coupling $\sigma$ of Eq. (2)"
_UNSEEN = "accuracy on unseen classes"
_CYCLE = "#d0622f"
_GREY = "0.75"


def draw(result: Result) -> Any:
    """The figure, panels a–f."""
    import matplotlib.pyplot as plt

    from consilience import plots

    with plots.style():
        figure = plt.figure(figsize=(8.6, 5.6), layout="constrained")
        layout = figure.subplot_mosaic([["a", "b", "c"], ["d", "e", "f"]])
        for name, axes in layout.items():
            plots.letter(axes, str(name))
        _draw_transition(layout["a"], result)
        _draw_critical(layout["b"], result)
        _draw_collapse(layout["c"], result)
        _draw_independent(layout["d"], result)
        _draw_rest(layout["e"], result)
        _draw_errors(layout["f"], result)
        figure.suptitle(subtitle(result.config), fontsize=8)
        plt.close(figure)
    return figure


def subtitle(config: WideTransition) -> str:
    """What was trained, in two lines."""
    plural = "s" if config.num_seeds > 1 else ""
    return (
        f"{config.dataset}: 10 agents, one class each, {config.samples} images; NTK networks of width {config.width}, "
        f"squared loss, full batches, η = {config.learning_rate:g}; complete graph, T = {config.num_rounds:,} unless "
        f"said\nlines: predicted, nothing fitted; markers: trained, {config.num_seeds} seed{plural}, bars: one "
        "standard deviation (b: 95 %)"
    )


def _looks(depths: tuple[int, ...]) -> dict[int, tuple[Any, Any]]:
    """A colour and a marker for each depth."""
    from consilience import plots

    labels = [f"D = {depth}" for depth in depths]
    colour, marker = plots.colours(labels), plots.markers(labels)
    return {depth: (colour[label], marker[label]) for depth, label in zip(depths, labels, strict=True)}


def _log_accuracy(axes: Any, label: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel(_UNSEEN)
    axes.set_ylim(-0.03, 1.0)


def _line(axes: Any, x: Any, curves: xr.DataArray, over: str, colour: Any, **options: Any) -> None:
    """The mean, and a band of one standard deviation."""
    mean, spread = curves.mean(over), curves.std(over)
    axes.plot(x, mean, color=colour, **options)
    axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)


def _points(axes: Any, curves: xr.DataArray, colour: Any, marker: Any, **options: Any) -> None:
    spread = curves.std(SEED) if curves.sizes[SEED] > 1 else None
    axes.errorbar(
        curves.coupling, curves.mean(SEED), spread, fmt=marker, color=colour, markersize=3.2, elinewidth=0.7, **options
    )


def _draw_transition(axes: Any, result: Result) -> None:
    shown = {f"common,D={depth}": (f"D = {depth}", *look) for depth, look in _looks(result.config.depths).items()}
    if "cycle" in result.trained:
        shown["cycle"] = ("D = 1, cycle", _CYCLE, "D")
    for name, (label, colour, marker) in shown.items():
        predicted, trained = (source[name].unseen.isel({ROUND: -1}) for source in (result.predicted, result.trained))
        _line(axes, predicted.coupling, predicted, SEED, colour)
        _points(axes, trained, colour, marker, label=label)
    axes.axhline(result.config.threshold, color=_GREY, linewidth=0.6, zorder=0)
    _log_accuracy(axes, _SIGMA)
    axes.set_title("predicted and trained, common start")
    axes.legend(loc="upper left", handletextpad=0.2)


def _draw_critical(axes: Any, result: Result) -> None:
    config = result.config
    for depth, (colour, marker) in _looks(config.depths).items():
        law = result.law_critical("common", depth)
        known = law.count(DRAW) == law.sizes[DRAW]
        axes.plot(law[ROUND], law.median(DRAW).where(known), color=colour)
        axes.fill_between(law[ROUND], *(getattr(law, end)(DRAW).where(known) for end in ("min", "max")),
                          color=colour, alpha=0.18, linewidth=0)  # fmt: skip
        for start, fill in zip(STARTS, ("full", "none"), strict=True):
            name = f"{start},D={depth}"
            found = result.critical_by_round(result.trained, name)
            chosen = _spaced(list(found), 7)
            value = np.array([found[round].value for round in chosen])
            bounds = np.array([found[round].interval for round in chosen]).reshape(-1, 2)
            bounds = np.clip(np.nan_to_num(bounds, nan=0.0), 0, config.couplings[-1])
            bars = np.where(bounds.T > 0, np.abs(bounds.T - value), 0.0)
            label = f"D = {depth}" if fill == "full" else None
            axes.errorbar(chosen, value, bars, fmt=marker, color=colour, fillstyle=fill, markersize=3.2,
                          elinewidth=0.6, markeredgewidth=0.7, label=label)  # fmt: skip
        weak = float(result.exchanges(depth).median())
        if np.isfinite(weak):
            rounds = law[ROUND].values[law[ROUND].values >= 1000]
            axes.plot(rounds, weak / (config.learning_rate * rounds), ":", color=colour, linewidth=0.9)
    axes.plot([], [], ":", color="0.4", label=r"$c\,/\,\eta T$")
    axes.plot([], [], "o", color="0.4", fillstyle="none", markersize=3.2, label="independent start")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(config.law_couplings[0], 4)
    axes.set_xlabel("rounds T")
    axes.set_ylabel(rf"critical coupling $\sigma_c$, {config.threshold:.0%} of unseen")
    axes.set_title("a crossover: it falls with time")
    axes.legend(loc="lower left", handletextpad=0.3, fontsize=6.5)


def _spaced(rounds: list[int], count: int) -> list[int]:
    """About `count` of them, evenly on a logarithmic axis."""
    if not rounds:
        return []
    wanted = np.geomspace(rounds[0], rounds[-1], count)
    return sorted({rounds[int(np.abs(np.array(rounds) - one).argmin())] for one in wanted})


def _draw_collapse(axes: Any, result: Result) -> None:
    import matplotlib as mpl

    config = result.config
    law, trained = result.law["common", 1], result.trained["common,D=1"].unseen
    _line(axes, law.exchanges, law.limit, DRAW, "0.6", linewidth=2.5, label=r"$\sigma \to 0$")
    couplings = config.couplings[::-2][::-1]
    for position, sigma in enumerate(couplings):
        colour = mpl.colormaps["viridis_r"](0.1 + 0.85 * position / max(1, len(couplings) - 1))
        one = law.unseen.mean(DRAW).interp(coupling=sigma)
        axes.plot(sigma * config.learning_rate * one[ROUND], one, color=colour, linewidth=0.9)
        points = trained.sel(coupling=sigma).mean(SEED)
        chosen = _spaced([int(round) for round in points[ROUND].values[1:]], 6)
        axes.plot(sigma * config.learning_rate * np.array(chosen), points.sel({ROUND: chosen}), "o", color=colour,
                  markersize=2.8, label=rf"$\sigma$ = {sigma:g}")  # fmt: skip
    _log_accuracy(axes, r"exchange $\sigma \eta T$")
    axes.set_xlim(0.3, 1e4)
    axes.set_title("weak coupling: one curve, D = 1")
    axes.legend(loc="upper left", handletextpad=0.3, fontsize=6.5)


def _draw_independent(axes: Any, result: Result) -> None:
    for depth, (colour, marker) in _looks(result.config.depths).items():
        name = f"independent,D={depth}"
        common = result.trained[f"common,D={depth}"].unseen.isel({ROUND: -1}).mean(SEED)
        predicted, trained = (source[name].unseen.isel({ROUND: -1}) for source in (result.predicted, result.trained))
        axes.plot(common.coupling, common, color=colour, linewidth=0.5, alpha=0.6)
        _line(axes, predicted.coupling, predicted, SEED, colour, linestyle="--")
        _points(axes, trained, colour, marker, fillstyle="none", label=f"D = {depth}", linestyle="none")
    axes.plot([], [], "--", color="0.4", label="kernel at the mean start")
    axes.plot([], [], color="0.4", linewidth=0.5, label="common start, trained")
    _log_accuracy(axes, _SIGMA)
    axes.set_title("independent starts")
    axes.legend(loc="upper left", handletextpad=0.3, fontsize=6.5)


def _draw_rest(axes: Any, result: Result) -> None:
    import matplotlib as mpl

    config = result.config
    chosen = [gamma for gamma in config.weight_decays if gamma < 0.02][::3]
    for position, gamma in enumerate(chosen):
        one = result.rest[1].unseen.sel(weight_decay=gamma)
        colour = mpl.colormaps["viridis_r"](0.1 + 0.85 * position / max(1, len(chosen) - 1))
        axes.plot(one.coupling / (2 * gamma), one, color=colour, linewidth=0.9, label=f"γ = {gamma:.2g}")
    for each, (colour, marker) in _looks(config.depths).items():
        name = f"decay,D={each}"
        if name in result.trained:
            scale = 2 * config.weight_decay
            predicted = result.predicted[name].unseen.isel({ROUND: -1})
            trained = result.trained[name].unseen.isel({ROUND: -1})
            _line(axes, predicted.coupling / scale, predicted, SEED, colour, linestyle="--")
            _points(axes, trained.assign_coords(coupling=trained.coupling / scale), colour, marker,
                    label=f"D = {each}, γ = {config.weight_decay:g}, T = {config.decay_rounds:,}")  # fmt: skip
    _log_accuracy(axes, r"$\sigma\, /\, 2\gamma$")
    axes.set_xlim(0.02, 3e4)
    axes.set_title("weight decay: at rest, D = 1")
    axes.legend(loc="upper left", handletextpad=0.3, fontsize=6)


def _draw_errors(axes: Any, result: Result) -> None:
    found = result.errors_by_width()
    widths = np.array(list(found))
    mean = np.array([float(one.mean()) for one in found.values()])
    spread = np.array([float(one.std()) for one in found.values()])
    axes.errorbar(widths, mean, spread, fmt="s", color="#2f74b5", markersize=3.5, elinewidth=0.7)
    exponent = result.slope()[0]
    middle = np.exp(np.log(mean).mean()) * (widths / np.exp(np.log(widths).mean())) ** exponent
    axes.plot(widths, middle, color=_GREY, zorder=0, label=f"slope {exponent:.2f}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.minorticks_off()
    axes.set_xlabel("width")
    axes.set_ylabel("r.m.s. of predicted − trained")
    axes.set_title("error of the prediction, D = 1")
    axes.legend(loc="lower left")
