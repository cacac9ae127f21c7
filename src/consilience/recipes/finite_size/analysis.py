"""The analysis: exponents, crossings and critical couplings of the three populations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.interpolate
import xarray as xr

from consilience.observables import (
    BinderCrossing,
    Collapse,
    CriticalCoupling,
    Estimate,
    Exponent,
    binder_crossing,
    critical_coupling,
    data_collapse,
    final_coupling,
    halfway,
    scaling_exponent,
    susceptibility,
)
from consilience.recipes.finite_size.protocol import FiniteSize, computation
from consilience.recipes.finite_size.scaling import Floats
from consilience.recipes.recipe import Execute

MEAN, SIZE = "disorder_mean", "num_agents"


@dataclass(frozen=True)
class NarrowDisorder:
    """What finite-size scaling finds under narrow disorder, integrated until one time.

    Attributes:
        crossing: of the Binder cumulants.
        collapse: of ⟨|M|⟩.
        order: −β/ν̄, of ⟨|M|⟩ at μ_c.
        susceptibility: γ/ν̄, of χ at μ_c.
    """

    crossing: BinderCrossing
    collapse: Collapse
    order: Exponent
    susceptibility: Exponent


@dataclass(frozen=True)
class WideDisorder:
    """What it finds under wide disorder at one time.

    Attributes:
        onset: crossing of the Binder cumulants up to the coupling at which a small bias grows fastest.
        end: from that coupling on.
        onsets: size → where ⟨|M|⟩ has risen half-way to its maximum.
        ends: size → where it has fallen below that level for good.
    """

    onset: BinderCrossing
    end: BinderCrossing
    onsets: dict[int, CriticalCoupling]
    ends: dict[int, CriticalCoupling]


@dataclass(frozen=True)
class Result:
    """Everything that the figure shows.

    Attributes:
        config: the protocol.
        pure: M, dimensions (disorder_mean, seed).
        narrow: M, dimensions (num_agents, span, disorder_mean, seed); sizes with fewer samples are padded with NaN.
        wide: M, dimensions (num_agents, span, coupling, seed), likewise.
        growth: by which factor a bias has grown by the first span of wide disorder, dimension (coupling,).
        exponent: β of the pure population.
        by_narrow_span: span → what narrow disorder shows.
        by_wide_span: span → what wide disorder shows.
    """

    config: FiniteSize
    pure: xr.DataArray
    narrow: xr.DataArray
    wide: xr.DataArray
    growth: xr.DataArray
    exponent: Exponent
    by_narrow_span: dict[float, NarrowDisorder]
    by_wide_span: dict[float, WideDisorder]

    @property
    def at_rest(self) -> NarrowDisorder:
        """Narrow disorder after the longest time."""
        return self.by_narrow_span[self.config.narrow_spans[-1]]


def run(config: FiniteSize, execute: Execute, *, data_dir: str | None = None) -> Result:
    """Compute the magnetizations of all populations, or load them, and analyse them.

    Args:
        config: the protocol.
        execute: computes or loads, `experiments.compute` with a store, say.
        data_dir: not used.
    """
    done = execute(computation(config))
    pure = done["pure"].magnetization.isel(span=0, drop=True)
    narrow = _joined([done[f"narrow,N={size}"] for size in config.narrow_sizes], config.narrow_sizes)
    wide = _joined([done[f"wide,N={size}"] for size in config.wide_sizes], config.wide_sizes)
    growth = done["growth"].growth
    # Each side of the peak needs two couplings.
    peak = int(np.clip(growth.values.argmax(), 1, growth.size - 2))
    return Result(
        config=config,
        pure=pure,
        narrow=narrow,
        wide=wide,
        growth=growth,
        # Without disorder samples do not differ by more than rounding, which makes no interval.
        exponent=scaling_exponent(abs(pure).mean("seed"), against=MEAN, critical=config.weight_decay),
        by_narrow_span={t: _analysed_narrow(narrow.sel(span=t, drop=True), config) for t in config.narrow_spans},
        by_wide_span={t: _analysed_wide(wide.sel(span=t, drop=True), peak, config) for t in config.wide_spans},
    )


def _joined(parts: list[xr.Dataset], sizes: Iterable[int]) -> xr.DataArray:
    return xr.concat(parts, dim=xr.Variable(SIZE, list(sizes)), join="outer").magnetization


def _analysed_narrow(m: xr.DataArray, config: FiniteSize) -> NarrowDisorder:
    options: dict[str, Any] = {"num_bootstrap": config.num_bootstrap, "seed": config.seed}
    critical = m.isel({MEAN: config.narrow_distances.index(0.0)})
    return NarrowDisorder(
        crossing=binder_crossing(m, control=MEAN, **options),
        collapse=data_collapse(m, control=MEAN, **options),
        order=scaling_exponent(critical, **options),
        susceptibility=scaling_exponent(critical, _susceptibility, **options),
    )


def _susceptibility(m: xr.DataArray) -> xr.DataArray:
    return susceptibility(m, num_agents=m[SIZE])  # pyright: ignore[reportArgumentType]


def _analysed_wide(m: xr.DataArray, peak: int, config: FiniteSize) -> WideDisorder:
    options: dict[str, Any] = {"num_bootstrap": config.num_bootstrap, "seed": config.seed}
    rising, falling = m.isel(coupling=slice(None, peak + 1)), m.isel(coupling=slice(None, peak - 1 or None, -1))
    onsets, ends = {}, {}
    for size in config.wide_sizes:
        order = abs(m.sel({SIZE: size}, drop=True).dropna("seed"))
        level = halfway(order)
        onsets[size] = critical_coupling(order, threshold=level, **options)
        ends[size] = final_coupling(order, threshold=level, **options)
    return WideDisorder(
        onset=binder_crossing(rising, **options),
        end=_reflected(binder_crossing(falling.assign_coords(coupling=-falling.coupling), **options)),
        onsets=onsets,
        ends=ends,
    )


def _reflected(crossing: BinderCrossing) -> BinderCrossing:
    """The crossing against −x as one against x."""

    def negative(estimate: Estimate) -> Estimate:
        return Estimate(-estimate.value, (-estimate.interval[1], -estimate.interval[0]))

    pairs = tuple(dataclasses.replace(pair, at=negative(pair.at)) for pair in crossing.pairs)
    return BinderCrossing(pairs, negative(crossing.drift))


def ordered_window(result: Result, sizes: Floats) -> Floats:
    """Where order sets in and ends by the first span of wide disorder, estimated from growth alone; shape (sizes, 2).

    M(0) is normally distributed with variance (4/3)/N. Grown by the factor G it has a mean modulus of G √(8/3πN), which
    is set equal to the level that defines the measured onset in the largest population. This leaves out that growth
    saturates, what agents add that order on their own, and the fluctuations of ⟨δ⟩.

    Args:
        result: with `growth`.
        sizes: N, shape (sizes,).

    Returns:
        Both couplings; NaN where growth reaches the level nowhere, from `closing_size` on, and where it does so at the
        ends of the grid already.
    """
    x, growth = _growth_curve(result)
    needed = _level(result) * np.sqrt(3 * np.pi * sizes / 8)
    peak = growth.argmax()
    rise = np.interp(needed, growth[: peak + 1], x[: peak + 1], left=np.nan, right=np.nan)
    fall = np.interp(needed, growth[peak:][::-1], x[peak:][::-1], left=np.nan, right=np.nan)
    return np.exp(np.stack([rise, fall], axis=-1))


def closing_size(result: Result) -> float:
    """N from which on, by the estimate of `ordered_window`, there is no order by the first span of wide disorder."""
    return float(8 / (3 * np.pi) * (_growth_curve(result)[1].max() / _level(result)) ** 2)


def _level(result: Result) -> float:
    return result.by_wide_span[result.config.wide_spans[0]].onsets[result.config.wide_sizes[-1]].threshold


def _growth_curve(result: Result) -> tuple[Floats, Floats]:
    """Logarithms of couplings on a dense grid, and the factor there; where it is above one."""
    grown = result.growth.where((result.growth > 1) & (result.growth.coupling > 0), drop=True)
    if grown.size < 2:
        return np.zeros(1), np.zeros(1)
    # Couplings are spaced logarithmically, and growth is exponential.
    spline = scipy.interpolate.CubicSpline(np.log(grown.coupling), np.log(grown))
    x = np.linspace(spline.x[0], spline.x[-1], 2001)
    return x, np.exp(spline(x))
