"""Where learning becomes collective, for each method, in its own units and in those of Eq. (2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from consilience.observables import CriticalCoupling, critical_coupling
from consilience.recipes.phase_diagram.methods import METHODS
from consilience.recipes.phase_diagram.protocol import PhaseDiagram, sweeps
from consilience.recipes.recipe import Execute

CONTROL = "control"
"""Dimension of the values of a control parameter."""


@dataclass(frozen=True)
class Result:
    """Everything that the figure shows.

    Attributes:
        config: the protocol.
        chance: accuracy of guessing.
        accuracy: method → ⟨A⟩, mean over agents, dimensions (control, seed); NaN for a run that diverged.
        critical: method → where it exceeds chance by the margin.
        seconds: of computing, over all sweeps.
    """

    config: PhaseDiagram
    chance: float
    accuracy: dict[str, xr.DataArray]
    critical: dict[str, CriticalCoupling]
    seconds: float

    def pull(self, name: str, value: float) -> float:
        """Π of a method at a value of its control parameter; NaN where there is none, for infinity infinity."""
        method = METHODS[name]
        if method.pull is None or np.isnan(value):
            return np.nan
        return float(value) if np.isinf(value) else method.pull(self.config, value)

    def relative(self, name: str) -> np.ndarray:
        """Critical pull over the critical coupling of Eq. (2), seed by seed: methods share seeds, so spreads cancel.

        Shape (seeds,); NaN where either of the two is not known.
        """
        if "diffusive_coupling" not in self.accuracy:
            return np.full(self.config.num_seeds, np.nan)
        return np.array([self.pull(name, own) for own in self._by_seed(name)]) / self._by_seed("diffusive_coupling")

    def _by_seed(self, name: str) -> np.ndarray:
        """Critical value of each seed alone; NaN if the transition is not inside the grid."""
        curve, threshold = self.accuracy[name], self.critical[name].threshold
        each = [
            critical_coupling(curve.isel(seed=[k]), threshold=threshold, coupling=CONTROL, num_bootstrap=1)
            for k in range(curve.sizes["seed"])
        ]
        return np.array([one.value if one.bracket[0] < one.bracket[1] < np.inf else np.nan for one in each])

    def is_below_the_grid(self, name: str) -> bool:
        """Whether even the first value is beyond the transition."""
        critical = self.critical[name]
        return bool(np.isfinite(critical.value)) and critical.bracket[0] == critical.bracket[1]

    def num_diverged(self, name: str) -> int:
        """Runs that diverged."""
        return int(self.accuracy[name].isnull().sum())


def run(config: PhaseDiagram, execute: Execute, *, data_dir: str | None = None) -> Result:
    """Run all sweeps and find the critical values.

    Args:
        config: the protocol.
        execute: runs or loads one sweep.
        data_dir: where data sets are looked for first.
    """
    planned = sweeps(config, data_dir=data_dir)
    datasets = {key: execute(sweep) for key, sweep in planned.items()}
    task = next(iter(planned.values())).experiment.task
    chance = 1 / task.num_outputs
    accuracy = {name: _joined(name, datasets) for name in config.methods}
    return Result(
        config=config,
        chance=chance,
        accuracy=accuracy,
        critical={
            name: critical_coupling(curve, threshold=chance + config.margin, coupling=CONTROL)
            for name, curve in accuracy.items()
        },
        seconds=sum(sum(dataset.attrs["wall_seconds"].values()) for dataset in datasets.values()),
    )


def _joined(name: str, datasets: dict[tuple[str, float | None], xr.Dataset]) -> xr.DataArray:
    """⟨A⟩ over all values of a method, whether they are one sweep or many."""
    mine = {value: dataset.accuracy.mean("agent", skipna=False) for (who, value), dataset in datasets.items() if
            who == name}  # fmt: skip
    swept = METHODS[name].swept
    if swept is not None:
        return mine[None].rename({swept: CONTROL}).transpose(CONTROL, "seed")
    return xr.concat(mine.values(), dim=xr.Variable(CONTROL, list(mine)), join="exact").transpose(CONTROL, "seed")
