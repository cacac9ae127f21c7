"""Statistics of transitions: fluctuations of an order parameter, and where it sets in.

All functions act on labelled arrays and serve simulated ensembles and theory alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.randomness import Purpose, generator


def susceptibility(order_parameter: xr.DataArray, *, num_agents: int, over: str = "seed") -> xr.DataArray:
    """χ = N (⟨M²⟩ − ⟨|M|⟩²), the fluctuation of the ensemble magnetization M over realizations.

    Args:
        order_parameter: M, one value per realization (and coupling, depth, ...).
        num_agents: N.
        over: dimension of the realizations.

    Returns:
        `order_parameter` without the dimension `over`; 0 for a single realization.

    Example:
        >>> import xarray as xr
        >>> float(susceptibility(xr.DataArray([1.0, -3.0], dims="seed"), num_agents=10))
        10.0
    """
    second, first = (order_parameter**2).mean(over), abs(order_parameter).mean(over)
    return (num_agents * (second - first**2)).rename("susceptibility").assign_attrs(long_name=r"susceptibility $\chi$")


def binder_cumulant(order_parameter: xr.DataArray, *, over: str = "seed") -> xr.DataArray:
    """U = 1 − ⟨M⁴⟩ / (3⟨M²⟩²): 2/3 in an ordered phase, 0 for Gaussian fluctuations about zero.

    Args:
        order_parameter: M, one value per realization (and coupling, depth, ...).
        over: dimension of the realizations.

    Example:
        >>> import xarray as xr
        >>> round(float(binder_cumulant(xr.DataArray([2.0, 2.0, -2.0], dims="seed"))), 6)
        0.666667
    """
    squared = order_parameter**2
    second, fourth = squared.mean(over), (squared**2).mean(over)
    return (1 - fourth / (3 * second**2)).rename("binder_cumulant").assign_attrs(long_name="Binder cumulant $U$")


@dataclass(frozen=True)
class CriticalCoupling:
    """Where a quantity rises above a threshold, or falls below it for good.

    Attributes:
        value: the coupling, interpolated between two points of the grid; NaN if the threshold is never exceeded, the
            first coupling if it is from the start, infinite if it still is at the last coupling and the end is sought.
        bracket: the two points of the grid between which it crosses.
        interval: 95 % bootstrap interval over realizations; NaN for a single realization.
        threshold: the level that is crossed.
        num_realizations: how many realizations the mean is over.
    """

    value: float
    bracket: tuple[float, float]
    interval: tuple[float, float]
    threshold: float
    num_realizations: int

    def __str__(self) -> str:
        if np.isnan(self.value):
            return f"not reached below σ = {self.bracket[0]:.3g}"
        if np.isinf(self.value):
            return f"beyond σ = {self.bracket[0]:.3g}"
        text = f"{self.value:.3g} (grid {self.bracket[0]:.3g} – {self.bracket[1]:.3g}"
        if not np.isnan(self.interval).any():
            low, high = ("∞" if np.isinf(end) else f"{end:.3g}" for end in self.interval)
            text += f"; 95 % {low} – {high}, n = {self.num_realizations}"
        return text + ")"


def _crossing(couplings: np.ndarray, values: np.ndarray, threshold: float) -> tuple[float, tuple[float, float]]:
    above = values > threshold
    if not above.any():
        return np.nan, (float(couplings[-1]), np.inf)
    first = int(np.argmax(above))
    if first == 0:
        return float(couplings[0]), (float(couplings[0]), float(couplings[0]))
    return _between(couplings, values, threshold, first - 1)


def _last_crossing(couplings: np.ndarray, values: np.ndarray, threshold: float) -> tuple[float, tuple[float, float]]:
    above = values > threshold
    if not above.any():
        return np.nan, (float(couplings[-1]), np.inf)
    last = int(np.flatnonzero(above)[-1])
    if last == len(couplings) - 1:
        return np.inf, (float(couplings[-1]), np.inf)
    return _between(couplings, values, threshold, last)


def _between(
    couplings: np.ndarray, values: np.ndarray, threshold: float, position: int
) -> tuple[float, tuple[float, float]]:
    """Where the values cross the threshold between a coupling of the grid and the next."""
    low, high = float(couplings[position]), float(couplings[position + 1])
    share = (threshold - values[position]) / (values[position + 1] - values[position])
    # Couplings are spaced logarithmically; from σ = 0 only a linear interpolation makes sense.
    at = low * (high / low) ** share if low > 0 else high * share
    return float(at), (low, high)


def critical_coupling(
    quantity: xr.DataArray,
    *,
    threshold: float,
    coupling: str = "coupling",
    over: str = "seed",
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> CriticalCoupling:
    """The smallest coupling at which the mean of `quantity` over realizations exceeds `threshold`.

    For accuracy, take chance plus a margin: the onset of collective learning.

    Args:
        quantity: dimensions (coupling,) or (coupling, seed); couplings in increasing order. Realizations that are NaN
            (diverged) are left out.
        threshold: the level to cross, in the units of `quantity`.
        coupling: name of the dimension of the couplings.
        over: name of the dimension of the realizations.
        num_bootstrap: resamplings for the interval.
        seed: of the resampling.

    Raises:
        InvalidSpec: if there are further dimensions, or couplings do not increase.

    Example:
        >>> import xarray as xr
        >>> accuracy = xr.DataArray([0.1, 0.1, 0.4, 0.8], dims="coupling", coords={"coupling": [0.0, 1.0, 10.0, 100.0]})
        >>> print(critical_coupling(accuracy, threshold=0.25))
        3.16 (grid 1 – 10)
    """
    return _located(_crossing, quantity, threshold, coupling, over, num_bootstrap, seed)


def final_coupling(
    quantity: xr.DataArray,
    *,
    threshold: float,
    coupling: str = "coupling",
    over: str = "seed",
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> CriticalCoupling:
    """The coupling from which on the mean of `quantity` over realizations stays below `threshold`: where a phase ends.

    Arguments and errors are those of `critical_coupling`.

    Returns:
        With an infinite value if the quantity still exceeds the threshold at the last coupling.

    Example:
        >>> import xarray as xr
        >>> order = xr.DataArray([0.0, 0.8, 0.6, 0.2], dims="coupling", coords={"coupling": [0.0, 1.0, 10.0, 100.0]})
        >>> print(final_coupling(order, threshold=0.4))
        31.6 (grid 10 – 100)
    """
    return _located(_last_crossing, quantity, threshold, coupling, over, num_bootstrap, seed)


def halfway(quantity: xr.DataArray, *, coupling: str = "coupling", over: str = "seed", share: float = 0.5) -> float:
    """The level that lies a share of the way from the first coupling's mean to the largest mean of all couplings.

    A threshold for `critical_coupling` and `final_coupling` that means the same for quantities of different scale.

    Args:
        quantity: dimensions (coupling,) or (coupling, seed).
        coupling: name of the dimension of the couplings.
        over: name of the dimension of the realizations.
        share: of the way.

    Example:
        >>> import xarray as xr
        >>> halfway(xr.DataArray([0.1, 0.9, 0.7], dims="coupling"))
        0.5
    """
    mean = quantity.mean(over) if over in quantity.dims else quantity
    first, best = float(mean.isel({coupling: 0})), float(mean.max())
    return first + share * (best - first)


def _located(
    crossing: Callable[[np.ndarray, np.ndarray, float], tuple[float, tuple[float, float]]],
    quantity: xr.DataArray,
    threshold: float,
    coupling: str,
    over: str,
    num_bootstrap: int,
    seed: int,
) -> CriticalCoupling:
    """The crossing of the mean over realizations, with its bootstrap interval."""
    if over not in quantity.dims:
        quantity = quantity.expand_dims(over)
    if set(quantity.dims) != {coupling, over}:
        raise InvalidSpec(
            f"The quantity has dimensions {tuple(quantity.dims)}; a critical coupling needs ({coupling!r}, {over!r}). "
            "Average over agents and select a depth first."
        )
    table = quantity.transpose(coupling, over).values
    couplings = quantity[coupling].values
    if (np.diff(couplings) <= 0).any():
        raise InvalidSpec(f"The couplings {couplings.tolist()} must increase. Sort the data set by coupling first.")
    table = table[:, np.isfinite(table).any(axis=0)]
    count = table.shape[1]

    def mean(columns: np.ndarray) -> np.ndarray:
        """Over finite entries; a coupling at which everything diverged does not count as above."""
        finite = np.isfinite(columns)
        number = finite.sum(axis=1)
        return np.where(number > 0, np.where(finite, columns, 0).sum(axis=1) / np.maximum(number, 1), -np.inf)

    value, bracket = crossing(couplings, mean(table), threshold)
    interval = (np.nan, np.nan)
    if count > 1:
        random = generator(seed, Purpose.BOOTSTRAP)
        draws = [
            crossing(couplings, mean(table[:, random.integers(count, size=count)]), threshold)[0]
            for _ in range(num_bootstrap)
        ]
        # A draw that never crosses counts as infinite; quantiles that are draws themselves do not mix it with others.
        reached = np.nan_to_num(draws, nan=np.inf, posinf=np.inf)
        interval = tuple(np.quantile(reached, [0.025, 0.975], method="inverted_cdf"))
    return CriticalCoupling(value, bracket, interval, threshold, count)
