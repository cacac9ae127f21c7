"""Data collapse: the critical point and the exponents under which the curves of all sizes become one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.observables.resampling import Estimate, Floats, check_ensemble, estimate, first_place, resamples

GRID = np.linspace(0.0, 1.0, 10)
"""Where the search looks first: x_c in the range of the controls, and both exponents."""

NUM_STARTS = 10
"""From how many of the best points of the grid it descends; the best one alone may lie in the wrong valley."""


@dataclass(frozen=True)
class Collapse:
    """The scaling under which the curves ⟨|M|⟩(x) of all sizes fall onto one.

    Attributes:
        critical: x_c.
        beta_over_nu: β/ν̄.
        one_over_nu: 1/ν̄.
        quality: S, the mean squared distance from the common curve in standard errors: near 1, the data collapse within
            errors; far above 1, they do not, and the intervals mean nothing.
    """

    critical: Estimate
    beta_over_nu: Estimate
    one_over_nu: Estimate
    quality: float

    def __str__(self) -> str:
        exponents = f"β/ν̄ = {self.beta_over_nu}, 1/ν̄ = {self.one_over_nu}"
        return f"x_c = {self.critical}, {exponents}, quality S = {self.quality:.2g}"


def data_collapse(
    order_parameter: xr.DataArray,
    *,
    control: str = "coupling",
    over: str = "seed",
    size: str = "num_agents",
    num_bootstrap: int = 100,
    seed: int = 0,
) -> Collapse:
    """x_c, β/ν̄ and 1/ν̄ for which ⟨|M|⟩ N^(β/ν̄) is one function of (x − x_c) N^(1/ν̄) for all sizes.

    Minimises the quality S of Houdayer and Hartmann: each point is compared with the straight line through its
    neighbours of the other sizes, in units of the standard error of both. At least half of the points must have such
    neighbours, or a fit could pull the curves apart. The search descends by Nelder–Mead from the best points of a grid
    (x_c in the range of the controls, exponents from 0 to 1).

    Scaling holds close to x_c only: select a window of controls, and see whether the result moves with it. Controls
    lie close enough if the curve is straight between them within errors.

    Args:
        order_parameter: M, dimensions (num_agents, control, realizations); sizes and controls in increasing order, two
            of each at least, and two finite realizations for each.
        control: name of the dimension of the control.
        over: name of the dimension of the realizations.
        size: name of the dimension of the sizes N.
        num_bootstrap: resamplings for the intervals, each fitted anew.
        seed: of the resampling.

    Raises:
        InvalidSpec: if dimensions, sizes, controls or the number of realizations are others, or if realizations do not
            differ.

    Example:
        >>> import numpy as np, xarray as xr
        >>> N, x = np.array([100, 1600]), np.linspace(0.8, 1.2, 17)
        >>> noise = 0.1 * np.random.default_rng(0).normal(size=(2, 17, 50))
        >>> order = N[:, None] ** -0.25 * (1 + np.tanh((x - 1) * N[:, None] ** 0.5 / 2))       # β/ν̄ = 1/4, 1/ν̄ = 1/2
        >>> magnetization = xr.DataArray(
        ...     order[..., None] * (1 + noise), {"num_agents": N, "coupling": x}, ("num_agents", "coupling", "seed")
        ... )
        >>> collapse = data_collapse(magnetization, num_bootstrap=20)
        >>> round(collapse.critical.value, 2), round(collapse.one_over_nu.value, 1), round(collapse.quality)
        (1.0, 0.5, 1)
        >>> low, high = collapse.beta_over_nu.interval
        >>> low < 1 / 4 < high
        True

    Source: J. Houdayer and A. K. Hartmann, Phys. Rev. B 70, 014418 (2004), Appendix A.
    """
    import scipy.optimize  # here, because it takes longer to import than all of `observables`

    table = check_ensemble(order_parameter, size, control, over)
    controls = table[control].values.astype(float)
    # S does not depend on the units of x and N. These make the search a unit cube, and its directions less correlated.
    units = (controls - controls[0]) / np.ptp(controls)
    sizes = np.exp(np.log(table[size].values) - np.log(table[size].values).mean())
    error = (abs(table).std(over, ddof=1) / np.sqrt(table.count(over))).values
    if not (error > 0).all():
        raise InvalidSpec(
            f"Realizations do not differ for {first_place(table.isel({over: 0}, drop=True), error <= 0)}: their mean "
            "has no standard error to collapse within. Leave these controls out, or add realizations."
        )
    samples = resamples(table, size=size, over=over, num_bootstrap=num_bootstrap, seed=seed)
    means = [abs(sample).mean(over).values for sample in samples]

    def fit(mean: Floats, start: Floats) -> scipy.optimize.OptimizeResult:
        options = {"initial_simplex": start + np.vstack([np.zeros(3), np.eye(3) * GRID[1] / 2]), "xatol": 1e-4}
        return scipy.optimize.minimize(
            _quality, start, (sizes, units, mean, error), method="Nelder-Mead", options=options
        )

    cube = [np.array(point) for point in product(GRID, repeat=3)]
    starts = sorted(cube, key=lambda point: _quality(point, sizes, units, means[0], error))[:NUM_STARTS]
    best = min((fit(means[0], start) for start in starts), key=lambda result: result.fun)
    fits = np.stack([best.x, *(fit(mean, best.x).x for mean in means[1:] if np.isfinite(mean).all())])
    fits[:, 0] = controls[0] + np.ptp(controls) * fits[:, 0]
    return Collapse(*map(estimate, fits.T), quality=float(best.fun))


def _quality(parameters: Floats, sizes: Floats, controls: Floats, mean: Floats, error: Floats) -> float:
    """S of Houdayer and Hartmann; infinite if fewer than half of the points have neighbours of another size."""
    critical, beta_over_nu, one_over_nu = parameters
    if one_over_nu <= 0:
        return np.inf
    x = (controls - critical) * sizes[:, None] ** one_over_nu
    y, variance = mean * sizes[:, None] ** beta_over_nu, (error * sizes[:, None] ** beta_over_nu) ** 2
    # Sums over the neighbours of each point, with weights w: w, wu, wuu, wv, wuv; u is counted from the point.
    sums = np.zeros((5, *x.shape))
    for other in range(len(sizes)):
        right = np.searchsorted(x[other], x)
        inside = (right > 0) & (right < len(controls))
        inside[other] = False
        for neighbour in (np.where(inside, right - 1, 0), np.where(inside, right, 0)):
            weight, u, v = inside / variance[other, neighbour], x[other, neighbour] - x, y[other, neighbour]
            sums += weight, weight * u, weight * u * u, weight * v, weight * u * v
    compared = sums[0] > 0
    if 2 * compared.sum() < compared.size:
        return np.inf
    w, wu, wuu, wv, wuv = sums[:, compared]
    determinant = w * wuu - wu**2
    line, line_variance = (wuu * wv - wu * wuv) / determinant, wuu / determinant
    return float(((y[compared] - line) ** 2 / (variance[compared] + line_variance)).mean())
