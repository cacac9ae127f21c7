"""The figure: the pure population and narrow disorder above, where theory is exact; wide disorder below."""

from __future__ import annotations

from typing import Any

import numpy as np

from consilience.observables import binder_cumulant, susceptibility
from consilience.recipes.finite_size.analysis import MEAN, SIZE, Result, ordered_window
from consilience.recipes.finite_size.protocol import FiniteSize
from consilience.recipes.finite_size.scaling import (
    REACH,
    UNIVERSAL_CUMULANT,
    critical_mean,
    scaled_cumulant,
    scaled_order,
    scaled_susceptibility,
)

_SIGMA = r"coupling $\hat{\sigma}$ of Eq. (4)"
_SCALED = r"$(\mu - \mu_c)\, N^{1/2} / s$"
_MARKERS = "osD^v<>"
_GREY = "0.75"


def draw(result: Result) -> Any:
    """The figure, panels a–h."""
    import matplotlib.pyplot as plt

    from consilience import plots

    with plots.style():
        figure = plt.figure(figsize=(8.6, 8.2), layout="constrained")
        layout = figure.subplot_mosaic(
            [["a", "a", "b", "b", "c", "c"], ["d", "d", "e", "e", "f", "f"], ["g", "g", "g", "h", "h", "h"]]
        )
        for name, axes in layout.items():
            plots.letter(axes, str(name))
        _draw_pure(layout["a"], result)
        _draw_narrow_cumulant(layout["b"], result)
        _draw_narrow_order(layout["c"], result)
        _draw_narrow_susceptibility(layout["d"], result)
        for name, span in zip("ef", result.config.wide_spans, strict=True):
            _draw_wide_cumulant(layout[name], result, span)
        _draw_wide_susceptibility(layout["g"], result)
        _draw_window(layout["h"], result)
        figure.suptitle(subtitle(result.config), fontsize=8)
        plt.close(figure)
    return figure


def subtitle(config: FiniteSize) -> str:
    """What was integrated, in two lines."""
    return (
        rf"effective theory, D = 1, complete graph, γ̂ = {config.weight_decay:g}, $\epsilon$ = 0. a: all δ = μ, "
        f"σ̂ = {config.coupling:g}. b–d: δ ~ N(μ, {config.narrow_std:g}²), σ̂ = {config.coupling:g}, at rest; grey: "
        f"predicted.\ne–h: the paper's δ ~ N(0, {config.wide_std:g}²), averaged over the second half of the time t. "
        "Bars: 95 %"
    )


def _tints(sizes: tuple[int, ...]) -> dict[int, Any]:
    """A colour for each size, dark for the largest."""
    import matplotlib as mpl

    return {size: mpl.colormaps["viridis_r"](0.1 + 0.85 * k / max(1, len(sizes) - 1)) for k, size in enumerate(sizes)}


def _draw_pure(axes: Any, result: Result) -> None:
    x = result.pure[MEAN].values - result.config.weight_decay
    order, fit = abs(result.pure).mean("seed"), result.exponent
    axes.loglog(x, fit.amplitude * x**fit.value, color=_GREY, linewidth=1.4, label=rf"fit: $\beta$ = {fit.value:.4f}")
    axes.loglog(x, order, "o", color="#0b2a54", markersize=3, label=f"N = {result.config.pure_agents}")
    axes.set_xlabel(r"$\mu - \hat{\gamma}$")
    axes.set_ylabel(r"order parameter $|M|$")
    axes.set_title("pure")
    axes.legend(loc="upper left")


def _draw_narrow_cumulant(axes: Any, result: Result) -> None:
    config = result.config
    m = result.narrow.isel(span=-1)
    dense = np.linspace(m[MEAN].values[0], m[MEAN].values[-1], 300)
    for (size, tint), marker in zip(_tints(config.narrow_sizes).items(), _MARKERS, strict=False):
        predicted = scaled_cumulant((dense - config.critical_mean) * np.sqrt(size) / config.narrow_std)
        axes.plot(dense, predicted, color=tint, linewidth=0.7, alpha=0.7)
        one = binder_cumulant(m.sel({SIZE: size}))
        axes.plot(one[MEAN], one, marker, color=tint, markersize=2.5, label=f"N = {size}")
    axes.axvline(config.critical_mean, color=_GREY, linewidth=0.8, zorder=0)
    axes.axhline(UNIVERSAL_CUMULANT, color=_GREY, linewidth=0.8, zorder=0)
    axes.annotate(r"$U^* = 1 - \pi/3$", (1, UNIVERSAL_CUMULANT), (-2, -9), xycoords=("axes fraction", "data"),
                  textcoords="offset points", ha="right", fontsize=6.5)  # fmt: skip
    axes.set_ylim(-1.6, 0.72)
    axes.set_xlabel(r"mean disorder $\mu$")
    axes.set_ylabel("Binder cumulant $U$")
    axes.set_title(r"narrow disorder: one crossing, at $\mu_c$")
    axes.legend(loc="lower right", handletextpad=0.1, fontsize=6.5)


def _scaled_axis(axes: Any, result: Result) -> np.ndarray:
    """Labels the axis of y, and returns a dense grid on it."""
    config = result.config
    axes.set_xlabel(_SCALED)
    return np.linspace(config.narrow_distances[0], config.narrow_distances[-1], 300)


def _draw_scaled(axes: Any, result: Result, values: Any) -> None:
    """`values(size)` of every size against y."""
    config = result.config
    for (size, tint), marker in zip(_tints(config.narrow_sizes).items(), _MARKERS, strict=False):
        y = np.array(config.narrow_distances) * np.sqrt(size / config.narrow_sizes[-1])
        axes.plot(y, values(size), marker, color=tint, markersize=2.5, label=f"N = {size}")


def _draw_narrow_order(axes: Any, result: Result) -> None:
    config, y = result.config, _scaled_axis(axes, result)
    axes.plot(y, scaled_order(y), color=_GREY, linewidth=2)
    m, unit = result.narrow.isel(span=-1), np.sqrt(config.narrow_std)
    _draw_scaled(axes, result, lambda size: abs(m.sel({SIZE: size})).mean("seed") * size**0.25 / unit)
    axes.set_ylabel(r"$\langle |M| \rangle\, N^{1/4} / s^{1/2}$")
    axes.set_title(r"narrow: $\beta/\bar\nu = 1/4$, $1/\bar\nu = 1/2$")


def _draw_narrow_susceptibility(axes: Any, result: Result) -> None:
    config, y = result.config, _scaled_axis(axes, result)
    axes.plot(y, scaled_susceptibility(y), color=_GREY, linewidth=2)
    m = result.narrow.isel(span=-1)

    def scaled(size: int) -> Any:
        return susceptibility(m.sel({SIZE: size}), num_agents=size) / (config.narrow_std * np.sqrt(size))

    _draw_scaled(axes, result, scaled)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(r"$\chi\, N^{-1/2} / s$")
    axes.set_title(r"narrow: $\gamma/\bar\nu = 1/2$")


def _draw_wide_cumulant(axes: Any, result: Result, span: float) -> None:
    from consilience import plots

    m = result.wide.sel(span=span)
    for (size, tint), marker in zip(_tints(result.config.wide_sizes).items(), _MARKERS, strict=False):
        one = binder_cumulant(m.sel({SIZE: size}))
        axes.plot(one.coupling, one, f"{marker}-", color=tint, markersize=2.5, linewidth=0.8, label=f"N = {size}")
    if span == result.config.wide_spans[-1]:
        _draw_rest(axes, result)
    plots.coupling_axis(axes, m.coupling.values, label=_SIGMA)
    axes.set_ylim(-0.75, 0.72)
    axes.axhline(2 / 3, color=_GREY, linewidth=0.8, zorder=0)
    axes.set_ylabel("Binder cumulant $U$")
    axes.set_title(f"wide disorder, t = {span:g}")
    axes.legend(loc="lower center", fontsize=6.5, handlelength=1.4)


def _draw_rest(axes: Any, result: Result) -> None:
    """Where disorder is narrow compared with the coupling, the cumulants that are predicted for t → ∞."""
    config = result.config
    strong = np.array([sigma for sigma in config.couplings if sigma >= REACH * config.wide_std])
    rest = {"std": config.wide_std, "weight_decay": config.weight_decay}
    x = np.array([-critical_mean(coupling=float(sigma), **rest) for sigma in strong])
    for size in config.wide_sizes if strong.size else ():
        predicted = scaled_cumulant(x * np.sqrt(size) / config.wide_std)
        axes.plot(strong, predicted, color=_GREY, linewidth=2, zorder=0)


def _draw_wide_susceptibility(axes: Any, result: Result) -> None:
    from consilience import plots

    for span, style in zip(result.config.wide_spans, ("-", "--"), strict=True):
        for size, tint in _tints(result.config.wide_sizes).items():
            one = susceptibility(result.wide.sel({SIZE: size, "span": span}), num_agents=size)
            axes.plot(one.coupling, one, style, color=tint, linewidth=1, label=f"N = {size}, t = {span:g}")
    plots.coupling_axis(axes, result.wide.coupling.values, label=_SIGMA)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.45)  # room for the legend
    axes.set_ylabel(r"susceptibility $\chi$")
    axes.set_title("wide disorder: fluctuations between samples")
    axes.legend(loc="upper left", ncol=2, fontsize=6.5)


def _draw_window(axes: Any, result: Result) -> None:
    """Where order sets in and ends, against N."""
    last = result.config.couplings[-1]
    sizes = np.geomspace(result.config.wide_sizes[0], 1e9, 1000)
    window = ordered_window(result, sizes)
    exists = np.isfinite(window).all(-1)
    for span, tint in zip(result.config.wide_spans, ("#d0622f", "#2f74b5"), strict=True):
        found = result.by_wide_span[span]
        for members, fill, name in ((found.onsets, "full", "onset"), (found.ends, "none", "end")):
            kept = {size: one for size, one in members.items() if one.value <= last}
            value = np.array([one.value for one in kept.values()])
            # A bar that reaches beyond the grid ends there.
            bounds = np.minimum(np.array([one.interval for one in kept.values()]).reshape(-1, 2), last)
            error = np.abs(bounds - value[:, None]).T
            axes.errorbar(list(kept), value, error, fmt="o-", fillstyle=fill, color=tint, linewidth=0.8,
                          markersize=3.5, label=f"{name}, t = {span:g}")  # fmt: skip
    shown = np.concatenate([window[exists, 0], window[exists, 1][::-1]])
    axes.plot(np.concatenate([sizes[exists], sizes[exists][::-1]]), shown, "--", color=_GREY, zorder=0,
              label=f"estimate from growth, t = {result.config.wide_spans[0]:g}")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(top=4 * axes.get_ylim()[1])  # room for the legend
    axes.set_xlabel("number of agents N")
    axes.set_ylabel(r"half-way coupling $\hat{\sigma}$")
    axes.set_title("wide disorder: onset and end of order")
    axes.legend(loc="upper right", ncol=2, fontsize=6.5)
