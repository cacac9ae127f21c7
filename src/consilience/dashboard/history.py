"""What a live session has measured: curves in bounded memory, and the latest of what is too large to keep."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

CURVES = ("accuracy", "loss", "magnetization", "consensus_distance")
"""Kept for every recorded round; other observables, of size N², only as they are now."""


class History:
    """Records of a session. When it is full every second one is dropped, so that it spans any length of time.

    Args:
        limit: most records that are kept, an even number.

    Example:
        >>> history = History(limit=4)
        >>> for round in range(0, 70, 10):
        ...     history.add(round, traffic=8.0 * round, values={"loss": np.array([1.0, 2.0])})
        >>> history.rounds.tolist()       # 0, 10, 20, 30 became 0, 20; then 0, 20, 40, 60
        [0, 20, 40, 60]
        >>> history.curves["loss"].shape
        (4, 2)
    """

    def __init__(self, limit: int = 2000) -> None:
        self.limit = limit
        self.latest: dict[str, NDArray[np.float64]] = {}
        self._stride, self._num_seen, self._size = 1, 0, 0
        self._arrays: dict[str, np.ndarray] = {}

    def add(self, round: int, *, traffic: float, values: Mapping[str, np.ndarray]) -> None:
        """Record one round.

        Args:
            round: rounds done.
            traffic: bits sent so far.
            values: observables, each of any shape.
        """
        self.latest = {name: np.asarray(value, float) for name, value in values.items()}
        if self._num_seen % self._stride == 0:
            if self._size == self.limit:
                self._thin()
            if self._num_seen % self._stride == 0:
                curves = {name: value for name, value in self.latest.items() if name in CURVES}
                self._keep({"round": np.asarray(round), "traffic": np.asarray(traffic), **curves})
        self._num_seen += 1

    @property
    def rounds(self) -> NDArray[np.int64]:
        """The recorded rounds that are kept, shape (records,); a copy."""
        return self._array("round").astype(np.int64)

    @property
    def traffic(self) -> NDArray[np.float64]:
        """Bits sent up to each of them, shape (records,); a copy."""
        return self._array("traffic").astype(float)

    @property
    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Observable → (records, ...); copies."""
        return {name: self._array(name) for name in self._arrays if name not in ("round", "traffic")}

    def _array(self, name: str) -> np.ndarray:
        return self._arrays[name][: self._size].copy() if name in self._arrays else np.zeros(0)

    def _keep(self, record: Mapping[str, np.ndarray]) -> None:
        for name, value in record.items():
            if name not in self._arrays:
                self._arrays[name] = np.zeros((self.limit, *value.shape), value.dtype)
            self._arrays[name][self._size] = value
        self._size += 1

    def _thin(self) -> None:
        half = self.limit // 2
        for array in self._arrays.values():
            array[:half] = array[::2]
        self._size, self._stride = half, 2 * self._stride
