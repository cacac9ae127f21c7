"""A logarithmic axis that has room for 0: where a value stands on it, and its ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

GAP = 0.6
"""Decades between 0 and the smallest positive value that is told apart from it."""


@dataclass(frozen=True)
class DecadeAxis:
    """Positions of values ≥ 0, in decades from the smallest positive one.

    Attributes:
        smallest: positive value from which on the axis is logarithmic; below it is linear, down to 0.
        largest: value at its end.

    Example:
        >>> axis = DecadeAxis(0.1, 400.0)
        >>> axis.position([0.0, 0.05, 0.1, 1.0, 100.0]).round(2).tolist()
        [-0.6, -0.3, 0.0, 1.0, 3.0]
        >>> list(axis.ticks().values())
        ['0', '0.1', '1', '10', '100']
    """

    smallest: float
    largest: float

    def position(self, value: Any) -> np.ndarray:
        """Where a value stands, shape of `value`."""
        share = np.asarray(value, float) / self.smallest
        with np.errstate(divide="ignore"):
            return np.where(share >= 1, np.log10(share), GAP * (np.minimum(share, 1) - 1))

    def ticks(self) -> dict[float, str]:
        """Position → label, at 0 and the powers of ten."""
        first, last = math.ceil(math.log10(self.smallest) - 1e-9), math.floor(math.log10(self.largest) + 1e-9)
        powers = [10.0**k for k in range(first, last + 1)]
        return {float(self.position(value)): f"{value:g}" for value in (0.0, *powers)}

    @property
    def span(self) -> tuple[float, float]:
        """Positions of both ends."""
        return -1.25 * GAP, float(self.position(self.largest)) + 0.1

    def apply(self, axis: Any, axis_range: Any) -> None:
        """Give a Bokeh axis and its range these ticks and ends."""
        ticks = self.ticks()
        axis.ticker = list(ticks)
        axis.major_label_overrides = ticks
        axis_range.update(start=self.span[0], end=self.span[1])
