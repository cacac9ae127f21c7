"""Realizations of an ensemble: checking that there are enough, resampling them, estimates with bootstrap intervals.

The statistics of `finite_size` and `collapse` stand on this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from consilience.errors import InvalidSpec
from consilience.randomness import Purpose, check_seed, generator

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty.

    Attributes:
        value: from the data; NaN if the data do not determine it.
        interval: 95 % bootstrap interval over realizations; NaN without realizations to resample.
    """

    value: float
    interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.4g}" + (f" (95 % {low:.4g} – {high:.4g})" if np.isfinite(self.interval).all() else "")


def estimate(draws: Floats) -> Estimate:
    """From the value in the data (first) and in the resamples; those in which it is not found are left out."""
    finite = draws[1:][np.isfinite(draws[1:])]
    low, high = np.quantile(finite, [0.025, 0.975]) if finite.size else (np.nan, np.nan)
    return Estimate(float(draws[0]), (float(low), float(high)))


def resamples(table: xr.DataArray, *, size: str, over: str, num_bootstrap: int, seed: int) -> Iterator[xr.DataArray]:
    """The data, then `num_bootstrap` resamples: independent for each size, the same for all else.

    Each size keeps its number of realizations: those that are NaN throughout (padding, or diverged) stay in place.
    """
    table = table.transpose(*([size] if size in table.dims else []), ..., over)
    values, random = table.values, generator(check_seed(seed), Purpose.BOOTSTRAP)
    between = tuple(range(table.dims.index(size) + 1 if size in table.dims else 0, table.ndim - 1))
    alive = np.isfinite(values).any(axis=between, keepdims=True)

    def redraw(alive: NDArray[np.bool_]) -> NDArray[np.intp]:
        kept = np.flatnonzero(alive)
        return np.concatenate([random.choice(kept, len(kept)), np.flatnonzero(~alive)])

    yield table
    for _ in range(num_bootstrap):
        yield table.copy(data=np.take_along_axis(values, np.apply_along_axis(redraw, -1, alive), axis=-1))


def check_ensemble(order_parameter: xr.DataArray, size: str, control: str, over: str) -> xr.DataArray:
    """The order parameter with dimensions in the order (size, control, over), or `InvalidSpec`."""
    if set(order_parameter.dims) != {size, control, over}:
        raise InvalidSpec(
            f"The order parameter has dimensions {tuple(order_parameter.dims)}; finite-size analysis needs "
            f"({size!r}, {control!r}, {over!r}). Average over agents, select a depth, and concatenate the sizes first."
        )
    for name, least in ((size, 1), (control, -np.inf)):
        values = order_parameter[name].values
        if len(values) < 2 or (np.diff(values) <= 0).any() or values[0] < least:
            raise InvalidSpec(
                f"{name}={values.tolist()}: finite-size analysis compares at least two values in increasing order"
                f"{', each a number of agents' if name == size else ''}. Add values, or sort with .sortby({name!r})."
            )
    check_realizations(order_parameter, over)
    return order_parameter.transpose(size, control, over)


def check_realizations(table: xr.DataArray, over: str) -> None:
    """Refuses a table in which an entry has fewer than two finite realizations."""
    counts = table.count(over)
    if (counts < 2).any():
        raise InvalidSpec(
            f"Fewer than two realizations are finite for {first_place(counts, (counts < 2).values)}; fluctuations "
            f"need two at least. Add realizations along {over!r}, or leave out what diverged."
        )


def first_place(labels: xr.DataArray, where: NDArray[np.bool_]) -> str:
    """The coordinates of the first true entry."""
    place = np.argwhere(where)[0]
    return ", ".join(f"{name}={labels[name].values[i]}" for name, i in zip(labels.dims, place, strict=True))
