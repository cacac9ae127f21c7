"""The figure: accuracy and consensus distance against what they cost, and how the learning rates were chosen."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from consilience.recipes.methods.analysis import Result
from consilience.recipes.methods.report import title

_COLOURS = ("#2f74b5", "#d0622f", "#3c8d5a", "#8a4fa0", "#c9a227", "#b0305c", "#4fb3bf", "#5b5b5b")
_MARKERS = "os^DvPX*"
_LABELS = {
    "rounds": "rounds", "bits": "bits sent, all agents", "gradients": "gradients asked for, all agents",
}  # fmt: skip


def draw(result: Result) -> Any:
    """Columns: against rounds, bits and gradients. Rows: accuracy, consensus distance. Last column: the tuning."""
    import matplotlib.pyplot as plt

    from consilience import plots

    with plots.style():
        figure = plt.figure(figsize=(10.2, 4.9), layout="constrained")
        panels = figure.subplots(2, 4, sharey="row", width_ratios=(1, 1, 1, 0.9))
        for axes, name in zip([*panels[0], *panels[1, :3]], string.ascii_lowercase, strict=False):
            plots.letter(axes, name)
        for column, unit in enumerate(_LABELS):
            for row in range(2):
                _draw_curves(panels[row, column], result, unit, "accuracy" if row == 0 else "consensus_distance")
            panels[1, column].set_xlabel(_LABELS[unit])
        panels[0, 0].set_ylabel("mean test accuracy")
        panels[1, 0].set_ylabel("consensus distance")
        if _positive(result):
            panels[1, 0].set_yscale("log")
        panels[0, 0].set_ylim(0, 1)
        _draw_tuning(panels[0, 3], result)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        panels[1, 3].axis("off")
        panels[1, 3].legend(handles, labels, loc="center left", fontsize=7.5, handlelength=2.4, labelspacing=0.8)
        figure.suptitle(subtitle(result), fontsize=8)
        plt.close(figure)
    return figure


def subtitle(result: Result) -> str:
    """What was run, in two lines."""
    config = result.config
    rates = ", ".join(f"{rate:g}" for rate in config.rates)
    many = f"mean over {config.num_seeds} seeds, bands: one standard deviation" if config.num_seeds > 1 else "one seed"
    return (
        f"{title(result)}; MLP of depth {config.depth} and width {config.width}, γ = {config.weight_decay:g}, "
        f"B = {config.batch_size}\n{many}; η of each method: best of {rates} on {config.num_tuning_seeds} other seeds"
    )


def _looks(result: Result) -> dict[str, tuple[str, str]]:
    """Colour and marker of each method."""
    names = list(result.contenders)
    return {name: (_COLOURS[k % len(_COLOURS)], _MARKERS[k % len(_MARKERS)]) for k, name in enumerate(names)}


def _values(result: Result, name: str, quantity: str) -> Any:
    return result.accuracy(name) if quantity == "accuracy" else result.evaluations[name].consensus_distance


def _positive(result: Result) -> bool:
    """Whether consensus distances fit on a logarithmic axis, and need one."""
    known = np.concatenate([_values(result, name, "consensus_distance").values.ravel() for name in result.contenders])
    known = known[np.isfinite(known) & (known > 0)]
    return known.size > 0 and known.max() > 30 * known.min()


def _is_log(result: Result, unit: str) -> bool:
    """Whether what the methods spend differs so much that a linear axis would hide some of them."""
    spent = [result.price(name, unit)[-1] for name in result.contenders]
    spent = [value for value in spent if value > 0]
    return bool(spent) and max(spent) > 4 * min(spent)


def _draw_curves(axes: Any, result: Result, unit: str, quantity: str) -> None:
    is_log = _is_log(result, unit)
    if is_log:
        axes.set_xscale("log")
    for name, (colour, marker) in _looks(result).items():
        values = _values(result, name, quantity).transpose("seed", "round").values
        known = np.isfinite(values).any(axis=0)
        x, values = result.price(name, unit)[known], values[:, known]
        mean, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        dagger = "†" if result.is_at_the_end(name) else ""
        label = f"{name}, η = {result.best_rate(name):g}{dagger}"
        if x.size and x[-1] == 0 and result.contenders[name].num_rounds:
            # It never sends anything: what it reaches holds for any number of bits.
            axes.axhline(mean[-1], color=colour, linestyle=(0, (4, 2)), linewidth=1, label=label)
            continue
        # All start from the same parameters, and a logarithm of rounding is no news.
        shown = x > 0 if is_log or quantity != "accuracy" else np.ones(len(x), bool)
        axes.plot(
            x[shown], mean[shown], color=colour, marker=marker, markersize=3, markevery=0.12,
            linewidth=1.1, label=label,
        )  # fmt: skip
        if len(values) > 1:
            axes.fill_between(
                x[shown], (mean - spread)[shown], (mean + spread)[shown], color=colour, alpha=0.15, linewidth=0
            )


def _draw_tuning(axes: Any, result: Result) -> None:
    """Accuracy against the learning rate, with the chosen one ringed."""
    for name, (colour, marker) in _looks(result).items():
        accuracy = result.tuning[name]
        axes.plot(accuracy.learning_rate, accuracy, marker=marker, color=colour, markersize=3, linewidth=0.8)
        best = result.best_rate(name)
        axes.plot(best, accuracy.sel(learning_rate=best), "o", color=colour, markersize=7, fillstyle="none")
    axes.set_xscale("log")
    axes.set_xticks(result.config.rates, [f"{rate:g}" for rate in result.config.rates])
    axes.minorticks_off()
    axes.set_xlabel("learning rate η (tuning; rings: chosen)")
