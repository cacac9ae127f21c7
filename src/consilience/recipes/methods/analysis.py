"""Tuning first, then evaluation: who is how good at the end, and at what price."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from consilience.axes import ROUND
from consilience.recipes.methods.protocol import Contender, Methods, contenders
from consilience.recipes.recipe import Execute


@dataclass(frozen=True)
class Result:
    """Everything that the table and the figure show.

    Attributes:
        config: the protocol.
        contenders: by name.
        tuning: method → final accuracy, mean over agents and seeds, dimension learning_rate. A run that diverged has 0.
        evaluations: method → accuracy and consensus distance, dimensions (seed, round, ...), at the best rate.
    """

    config: Methods
    contenders: dict[str, Contender]
    tuning: dict[str, xr.DataArray]
    evaluations: dict[str, xr.Dataset]

    def best_rate(self, name: str) -> float:
        """The learning rate that tuning chose."""
        return best_rate(self.tuning[name])

    def is_at_the_end(self, name: str) -> bool:
        """Whether that is an end of the grid, so that a better one may lie beyond."""
        return self.best_rate(name) in (self.config.rates[0], self.config.rates[-1])

    def accuracy(self, name: str) -> xr.DataArray:
        """Mean over agents, dimensions (seed, round); from where on it has diverged a run counts as lost, with 0."""
        return self.evaluations[name].accuracy.mean("agent", skipna=False).fillna(0.0)

    def worst(self, name: str) -> xr.DataArray:
        """Accuracy of the worst agent, dimensions (seed, round); 0 for a run that has diverged."""
        return self.evaluations[name].accuracy.min("agent", skipna=False).fillna(0.0)

    def num_diverged(self, name: str) -> int:
        """Evaluations that diverged."""
        return int((self.evaluations[name].outcome == "diverged").sum())

    def price(self, name: str, unit: str) -> np.ndarray:
        """Rounds, bits or gradients up to each record of the evaluation, all agents together."""
        contender = self.contenders[name]
        each = {"rounds": 1, "bits": contender.bits, "gradients": contender.gradients}[unit]
        return each * self.evaluations[name][ROUND].values


def best_rate(accuracy: xr.DataArray) -> float:
    """The learning rate with the highest accuracy; of equals the smallest.

    Example:
        >>> best_rate(xr.DataArray([0.5, 0.8, 0.0], dims="learning_rate", coords={"learning_rate": [0.1, 0.2, 0.4]}))
        0.2
    """
    return float(accuracy.learning_rate[int(accuracy.argmax("learning_rate"))])


def run(config: Methods, execute: Execute, *, data_dir: str | None = None) -> Result:
    """Tune every method, and evaluate it at its best learning rate.

    Args:
        config: the protocol.
        execute: runs or loads one sweep.
        data_dir: where data sets are looked for first.
    """
    everyone = contenders(config, data_dir=data_dir)
    tuning, evaluations = {}, {}
    for name, contender in everyone.items():
        tried = execute(contender.tuning(config)).accuracy.isel({ROUND: -1})
        tuning[name] = tried.mean("agent", skipna=False).fillna(0.0).mean("seed")
        evaluations[name] = execute(contender.evaluation(config, best_rate(tuning[name])))
    return Result(config, everyone, tuning, evaluations)
