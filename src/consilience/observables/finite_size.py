"""Finite-size analysis of transitions: is there one, where is it, and with which exponents.

Near a continuous transition at x_c the ensemble magnetization M of N agents obeys finite-size scaling,

    ⟨|M|⟩ = N^(−β/ν̄) f((x − x_c) N^(1/ν̄)),    χ = N^(γ/ν̄) g((x − x_c) N^(1/ν̄)),    U = h((x − x_c) N^(1/ν̄)),

so the Binder cumulants U of all sizes cross at x_c. ν̄ = dν counts agents, where lattices count lengths: a graph has no
length. In mean field β = 1/2, γ = 1, ν̄ = 2.

All functions, `collapse.data_collapse` too, act on a labelled array M with dimensions ("num_agents", control, "seed");
the control x is the coupling, say. Realizations are resampled independently for each size, and with the same draw for
all controls, because all couplings of one seed share their disorder. Entries that are NaN (diverged) are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.observables.resampling import Estimate, Floats, check_ensemble, check_realizations, estimate, resamples
from consilience.observables.transitions import binder_cumulant

CONFIDENCE = 0.95
"""Share of the resamples in which a crossing must be found, and in which noise must reach less than its two sides."""

ROUNDING = 1e-9
"""The least standard error of a Binder cumulant, which is of order one: smaller differences are rounding."""


@dataclass(frozen=True)
class Crossing:
    """Where the Binder cumulants of two sizes cross, if they do.

    Attributes:
        sizes: numbers of agents, the smaller first.
        at: the control at the crossing.
        cumulant: U at the crossing.
        found: share of the resamples in which they cross; 0 if they do not in the data.
        contrast: the lowest and the highest U_large − U_small, summed over a stretch of controls, in standard errors.
        noise: what the larger of the two reaches in 5 % of the resamples if there is no difference. Contrasts below it
            decide nothing; a single one above it says that the larger size is less (or more) ordered throughout.
    """

    sizes: tuple[int, int]
    at: Estimate
    cumulant: Estimate
    found: float
    contrast: tuple[float, float]
    noise: float

    def __str__(self) -> str:
        text = f"N = {self.sizes[0]}, {self.sizes[1]}: "
        if np.isnan(self.at.value):
            low, high = self.contrast
            return f"{text}no crossing, U_large − U_small from {low:.1f} to {high:.1f} s.e. (noise {self.noise:.1f})"
        return f"{text}crossing at {self.at}, U = {self.cumulant}, in {100 * self.found:.0f} % of resamples"


@dataclass(frozen=True)
class BinderCrossing:
    """Whether the Binder cumulants of all sizes cross, and whether they do so at one point.

    Attributes:
        pairs: one `Crossing` for each two consecutive sizes; that of the largest sizes is the best estimate of x_c.
        drift: slope of the crossings against log N, N being the geometric mean of a pair; NaN with fewer than two
            crossings. Crossings that meet have a drift too, which vanishes as N grows.
    """

    pairs: tuple[Crossing, ...]
    drift: Estimate

    @property
    def exists(self) -> bool:
        """Whether each pair crosses, in at least 95 % of the resamples."""
        return all(pair.found >= CONFIDENCE for pair in self.pairs)

    @property
    def drifts(self) -> bool:
        """Whether zero lies outside the interval of `drift`."""
        return self.drift.interval[0] > 0 or self.drift.interval[1] < 0

    def __str__(self) -> str:
        lines = [*map(str, self.pairs), "all sizes cross" if self.exists else "not all sizes cross"]
        if np.isfinite(self.drift.value):
            lines[-1] += f", {'drifting' if self.drifts else 'no drift'}: {self.drift} per unit of log N"
        return "\n".join(lines)


def binder_crossing(
    order_parameter: xr.DataArray,
    *,
    control: str = "coupling",
    over: str = "seed",
    size: str = "num_agents",
    num_bootstrap: int = 500,
    seed: int = 0,
) -> BinderCrossing:
    """Where larger systems turn from less to more ordered, by the Binder cumulants U of consecutive sizes.

    Two sizes cross if U_large − U_small is significantly negative over a stretch of controls, and significantly
    positive over a stretch behind it: the sum in standard errors is larger than what noise reaches over any stretch in
    95 % of the resamples. Of several such rises the one counts whose weaker side is the strongest. Within its two
    stretches noise may change signs many times; the crossing is where the difference in standard errors, summed along
    the control, is lowest (the evidence for less order lies before, that for more order behind), interpolated linearly
    between two controls. Each resample finds its own crossing there.

    With few realizations nothing is significant, and no crossing means nothing: compare `Crossing.contrast` with
    `Crossing.noise`. Where order ends, cumulants cross the other way: analyse the negative of the control.

    Args:
        order_parameter: M, dimensions (num_agents, control, realizations); sizes and controls in increasing order, two
            of each at least, and two finite realizations for each.
        control: name of the dimension of the control.
        over: name of the dimension of the realizations.
        size: name of the dimension of the sizes N.
        num_bootstrap: resamplings for standard errors and intervals.
        seed: of the resampling.

    Raises:
        InvalidSpec: if dimensions, sizes, controls or the number of realizations are others.

    Example:
        >>> import numpy as np, xarray as xr
        >>> N, x = np.array([100, 400]), np.linspace(0.8, 1.2, 9)
        >>> noise = np.random.default_rng(0).uniform(-0.5, 0.5, size=(2, 9, 200))
        >>> order = np.exp((x - 1) * N[:, None] ** 0.5)                     # so U = h((x − 1) √N)
        >>> magnetization = xr.DataArray(
        ...     order[..., None] + noise, {"num_agents": N, "coupling": x}, ("num_agents", "coupling", "seed")
        ... )
        >>> print(binder_crossing(magnetization, num_bootstrap=100))
        N = 100, 400: crossing at 1.011 (95 % 0.9956 – 1.025), U = 0.5956 (95 % 0.5643 – 0.6125), in 100 % of resamples
        all sizes cross

    Source: K. Binder, Z. Phys. B 43, 119 (1981).
    """
    table = check_ensemble(order_parameter, size, control, over)
    if num_bootstrap < 2:
        raise InvalidSpec(
            f"num_bootstrap={num_bootstrap}: standard errors need two resamples at least. Write 500, say."
        )
    sizes, controls = table[size].values, table[control].values
    samples = resamples(table, size=size, over=over, num_bootstrap=num_bootstrap, seed=seed)
    cumulants = np.stack([binder_cumulant(sample, over=over).values for sample in samples], axis=1)
    pairs, crossings = [], []
    for names, (small, large) in zip(pairwise(sizes.tolist()), pairwise(cumulants), strict=True):
        at, cumulant, contrast, noise = _crossing(controls, small, large)
        found = float(np.isfinite(at[1:]).mean())
        pairs.append(Crossing(names, estimate(at), estimate(cumulant), found, contrast, noise))
        crossings.append(at)
    return BinderCrossing(tuple(pairs), estimate(_drift(np.log(sizes), np.stack(crossings, axis=-1))))


def _crossing(controls: Floats, small: Floats, large: Floats) -> tuple[Floats, Floats, tuple[float, float], float]:
    """Control and cumulant at the crossing in the data (first) and in each resample; contrast and noise of the pair.

    Args:
        controls: shape (controls,).
        small: U of the smaller size in the data and in the resamples, shape (1 + resamples, controls).
        large: the same of the larger size.
    """
    difference = large - small
    evidence = np.nan_to_num(difference / np.maximum(np.nanstd(difference[1:], axis=0), ROUNDING))
    total = np.pad(np.cumsum(evidence, axis=-1), ((0, 0), (1, 0)))
    significance, noise = _significance(total)
    at, cumulant = np.full((2, len(difference)), np.nan)
    rise = _rise(significance, noise)
    if rise is not None:
        first, last = rise
        lowest = first + total[:, first : last + 1].argmin(axis=-1)
        row = np.flatnonzero((lowest > first) & (lowest < last))
        low, high = lowest[row] - 1, lowest[row]
        share = difference[row, low] / (difference[row, low] - difference[row, high])
        at[row] = controls[low] + share * (controls[high] - controls[low])
        cumulant[row] = small[row, low] + share * (small[row, high] - small[row, low])
    return at, cumulant, (float(significance.min()), float(significance.max())), noise


def _significance(total: Floats) -> tuple[Floats, float]:
    """Evidence summed from control i to j − 1, in its standard errors, for i < j; and what noise reaches.

    Args:
        total: evidence summed over the controls before each, shape (1 + resamples, controls + 1).
    """
    covariance = np.cov(total[1:], rowvar=False)
    variance = np.add.outer(np.diag(covariance), np.diag(covariance)) - 2 * covariance
    error = np.sqrt(np.maximum(variance, ROUNDING))

    def stretches(total: Floats) -> Floats:
        return np.triu((total - total[:, None]) / error, k=1)

    extremes = [np.abs(stretches(noise)).max() for noise in total[1:] - total[1:].mean(axis=0)]
    return stretches(total[0]), float(np.quantile(extremes, CONFIDENCE))


def _rise(significance: Floats, noise: float) -> tuple[int, int] | None:
    """The first control of the stretch below zero, and the one after the stretch above zero; None without a rise."""
    below = np.maximum.accumulate(-significance.min(axis=0))
    above = np.maximum.accumulate(significance.max(axis=1)[::-1])[::-1]
    between = int(np.minimum(below, above).argmax())
    if min(below[between], above[between]) <= noise:
        return None
    first = significance[:, : between + 1].min(axis=1).argmin()
    last = significance[between:].max(axis=0).argmax()
    return int(first), int(last)


def _drift(log_sizes: Floats, crossings: Floats) -> Floats:
    """Slope of the crossings, shape (1 + resamples, pairs), against log N; of those pairs that cross in the data."""
    centres, crosses = (log_sizes[1:] + log_sizes[:-1]) / 2, np.isfinite(crossings[0])
    if crosses.sum() < 2:
        return np.full(len(crossings), np.nan)
    kept = crossings[:, crosses]
    return _line(centres[crosses], kept, _precision(kept[1:]))[0]


@dataclass(frozen=True)
class Exponent(Estimate):
    """A power law, quantity = amplitude · distance^value.

    Attributes:
        value: the exponent, with its sign.
        interval: 95 % bootstrap interval over realizations; NaN for a single realization.
        amplitude: the quantity at distance 1.
        window: the smallest and the largest distance of the fit.
        quality: χ² per degree of freedom: about 1 if a power law describes independent points, less if points share
            their realizations; NaN for two points or a single realization.
    """

    amplitude: float
    window: tuple[float, float]
    quality: float

    def __str__(self) -> str:
        text = f"{super().__str__()} from {self.window[0]:.3g} to {self.window[1]:.3g}"
        return text + (f", χ² per degree of freedom {self.quality:.2g}" if np.isfinite(self.quality) else "")


def scaling_exponent(
    order_parameter: xr.DataArray,
    statistic: Callable[[xr.DataArray], xr.DataArray] | None = None,
    *,
    against: str = "num_agents",
    critical: float = 0.0,
    over: str = "seed",
    size: str = "num_agents",
    num_bootstrap: int = 500,
    seed: int = 0,
) -> Exponent:
    """The exponent of a statistic of M against the number of agents, or against the distance from a critical point.

    The slope of log statistic(M) against log |x − critical|, by least squares weighted with the inverse variances over
    resamples. Which exponent that is, the arguments say, for M with dimensions (num_agents, coupling, seed):

        −β/ν̄  scaling_exponent(M.interp(coupling=x_c))
        γ/ν̄   scaling_exponent(M, lambda m: susceptibility(m, num_agents=m.num_agents).max("coupling"))
        β      scaling_exponent(M.sel(num_agents=N, coupling=slice(a, b)), against="coupling", critical=x_c)

    The window of the fit is what is selected. The interval does not contain the uncertainty of `critical`, which moves
    β by much more than noise does: repeat the fit at both ends of its interval.

    Args:
        order_parameter: M, with the dimension `against` and any others that `statistic` removes. Without the dimension
            `over` (a theory without disorder) the fit is unweighted and has no interval.
        statistic: takes M, or a resample of it, and returns a positive array with the dimension `against` alone; by
            default the mean of |M| over realizations.
        against: name of the dimension of x: the sizes, or a control.
        critical: the x from which the distance is taken; all x lie on one side of it.
        over: name of the dimension of the realizations.
        size: name of the dimension whose entries are resampled independently of each other.
        num_bootstrap: resamplings for the interval.
        seed: of the resampling.

    Raises:
        InvalidSpec: if there are fewer than two x or they lie on both sides of `critical`, if an x has one realization
            and others more, or if the statistic is not positive or has other dimensions.

    Example:
        >>> import numpy as np, xarray as xr
        >>> control = np.linspace(1.1, 1.5, 5)
        >>> pure = xr.DataArray(2 * np.sqrt(control - 1), dims="coupling", coords={"coupling": control})
        >>> print(scaling_exponent(pure, against="coupling", critical=1.0))
        0.5 from 0.1 to 0.5
    """
    if against not in order_parameter.dims:
        raise InvalidSpec(
            f"The order parameter has dimensions {tuple(order_parameter.dims)}, and {against!r} is none of them; the "
            "exponent is a slope against it. Write against= with the name of the sizes or of the control."
        )
    distance = _distance(order_parameter[against].values, against, critical)
    table = order_parameter if over in order_parameter.dims else order_parameter.expand_dims(over)
    if table.sizes[over] == 1:
        num_bootstrap = 0
    else:
        check_realizations(table, over)
    logarithms = np.stack(
        [
            _logarithm(abs(sample).mean(over) if statistic is None else statistic(sample), against)
            for sample in resamples(table, size=size, over=over, num_bootstrap=num_bootstrap, seed=seed)
        ]
    )
    if not np.isfinite(logarithms[0]).all():
        raise InvalidSpec(
            f"The statistic is {np.exp(logarithms[0]).tolist()} (NaN for what is not positive) along {against!r}; a "
            "power law is fitted in logarithms, which need a positive number everywhere. Select a window in which it "
            "is positive, or take another statistic."
        )
    weights = _precision(logarithms[1:])
    slope, intercept = _line(np.log(distance), logarithms, weights)
    misfit = logarithms[0] - intercept[0] - slope[0] * np.log(distance)
    degrees = len(distance) - 2 if num_bootstrap else 0
    exponent = estimate(slope)
    return Exponent(
        exponent.value,
        exponent.interval,
        amplitude=float(np.exp(intercept[0])),
        window=(float(distance.min()), float(distance.max())),
        quality=float((weights * misfit**2).sum() / degrees) if degrees else np.nan,
    )


def _distance(values: Floats, name: str, critical: float) -> Floats:
    signed = values.astype(float) - critical
    if len(values) < 2 or not ((signed > 0).all() or (signed < 0).all()):
        raise InvalidSpec(
            f"{name}={values.tolist()} with critical={critical:g}: a slope against log |{name} − critical| needs at "
            f"least two values, all on one side of the critical one. Select them: .sel({name}=slice(low, high))."
        )
    return np.abs(signed)


def _logarithm(quantity: xr.DataArray, against: str) -> Floats:
    """log of the quantity; NaN where it is not positive."""
    if quantity.dims != (against,):
        raise InvalidSpec(
            f"The statistic has dimensions {quantity.dims}; a fit needs one number for each {against!r}. Let it reduce "
            f"all other dimensions, or select one entry of each before."
        )
    return np.log(np.where(quantity > 0, quantity, np.nan))


def _precision(draws: Floats) -> Floats:
    """Inverse variances of resampled points, shape (resamples, points); equal ones where there is nothing to weigh."""
    variance = np.nanvar(draws, axis=0) if len(draws) else np.zeros(draws.shape[1])
    return 1 / variance if (variance > 0).all() else np.ones(len(variance))


def _line(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Slope and intercept of the least-squares lines through y, shape (..., points)."""
    share = weights / weights.sum()
    centre = (share * x).sum()
    slope = (share * (x - centre) * y).sum(axis=-1) / (share * (x - centre) ** 2).sum()
    return slope, (share * y).sum(axis=-1) - slope * centre
