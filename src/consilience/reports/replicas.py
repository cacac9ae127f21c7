"""Results as a list of replicas: one for each cell of the grid of swept parameters, whether or not all are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from consilience.axes import AGENT, AGENT_EVALUATED, ROUND
from consilience.experiments import load_stored
from consilience.reports.summary import part
from consilience.store import Run, Store

REPLICA = "replica"
SEED = "seed"


@dataclass(frozen=True)
class Replicas:
    """The results of a sweep, replica by replica.

    Attributes:
        parameters: of each replica, the swept parameters; parts of a method as they are written in Python.
        results: what `sweep` returns, with the dimension "replica" first in place of the swept parameters.
    """

    parameters: list[dict[str, Any]]
    results: xr.Dataset

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Replicas:
        """The replicas of a data set that `sweep` or `load_stored` returned, complete or not.

        Example:
            >>> dataset = xr.Dataset({"outcome": (("coupling", "seed"), [["completed", "completed"]])},
            ...                      {"coupling": [0.5], "seed": [0, 1]})
            >>> Replicas.of(dataset).parameters
            [{'coupling': 0.5, 'seed': 0}, {'coupling': 0.5, 'seed': 1}]
        """
        if REPLICA in dataset.dims:
            flat = dataset.reset_index(REPLICA) if REPLICA in dataset.indexes else dataset
        else:
            flat = dataset.stack({REPLICA: dataset.outcome.dims}, create_index=False)
        names = [str(name) for name, values in flat.coords.items() if values.dims == (REPLICA,) and name != REPLICA]
        columns = {name: [_shown(value) for value in flat[name].values.tolist()] for name in names}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return cls(rows, flat.drop_vars(names).transpose(REPLICA, ...))

    @classmethod
    def load(cls, run: Run) -> Replicas:
        """The replicas of a stored sweep that are there.

        Raises:
            StoreError: none is, or the store cannot be read.
        """
        return cls.of(load_stored(Store(run.root), run.id))

    @property
    def swept(self) -> list[str]:
        """The parameters that have more than one value, the seed left out."""
        names = [name for name in (self.parameters[0] if self.parameters else {}) if name != SEED]
        return [name for name in names if len({repr(row[name]) for row in self.parameters}) > 1]

    @property
    def along(self) -> str | None:
        """The parameter of the horizontal axis: the coupling, or the first that has numbers; `None` if none has."""
        numeric = [name for name in self.swept if isinstance(self.parameters[0][name], (int, float))]
        return "coupling" if "coupling" in numeric else next(iter(numeric), None)

    @property
    def observables(self) -> list[str]:
        """Names of what was measured as one number per agent or per population, at each round or on average."""
        return [
            str(name)
            for name, values in self.results.data_vars.items()
            if values.dtype.kind == "f" and REPLICA in values.dims and not str(name).startswith("params/")
            and set(values.dims) <= {REPLICA, ROUND, AGENT}
        ]  # fmt: skip

    @property
    def matrices(self) -> list[str]:
        """Names of what was measured of every agent on every agent's data."""
        return [str(name) for name, values in self.results.items() if AGENT_EVALUATED in values.dims]

    @property
    def last(self) -> xr.Dataset:
        """The results at the last round, or their averages if those were recorded instead."""
        return self.results.isel({ROUND: -1}) if ROUND in self.results.dims else self.results

    @property
    def settings(self) -> list[tuple[dict[str, Any], list[int]]]:
        """The groups of which a replica completed, by rising value of `along`."""
        completed = self.completed.values
        found = [(setting, members) for setting, members in self.groups() if completed[members].any()]
        along = self.along
        return found if along is None else sorted(found, key=lambda group: group[0][along])

    def groups(self, without: Sequence[str] = ()) -> list[tuple[dict[str, Any], list[int]]]:
        """Replicas with the same parameters but for seeds: their parameters, and their positions.

        Args:
            without: more parameters that may differ.
        """
        kept = [name for name in (self.parameters[0] if self.parameters else {}) if name not in (SEED, *without)]
        found: dict[str, tuple[dict[str, Any], list[int]]] = {}
        for position, row in enumerate(self.parameters):
            key = {name: row[name] for name in kept}
            found.setdefault(repr(key), (key, []))[1].append(position)
        return list(found.values())

    def setting(self, parameters: dict[str, Any]) -> str:
        """Those of the parameters that have more than one value in this sweep, as text; "" if none has."""
        return assignments({name: value for name, value in parameters.items() if name in self.swept})

    @property
    def failures(self) -> list[str]:
        """The replicas that did not complete, a phrase each: "coupling = 400, seed = 2 diverged in round 120"."""
        outcomes, rounds = self.results.outcome.values, self.results.final_round.values
        return [
            f"{assignments(row)} {outcome} in round {final}"
            for row, outcome, final in zip(self.parameters, outcomes, rounds, strict=True)
            if outcome != "completed"
        ]

    @property
    def completed(self) -> xr.DataArray:
        """Whether each replica ran to the end: dimensions (replica,)."""
        return self.results.outcome == "completed"

    def over_agents(self, values: xr.DataArray) -> xr.DataArray:
        """An observable, averaged over agents; NaN for a replica that did not complete."""
        mean = values.mean(AGENT, skipna=False) if AGENT in values.dims else values
        return mean.where(self.completed)


def label(values: xr.DataArray) -> str:
    """What an axis or a column is called: the long name with its unit, if it has one.

    Example:
        >>> label(xr.DataArray(0.0, attrs={"long_name": "time", "units": "s"}))
        'time (s)'
    """
    name = values.attrs.get("long_name") or str(values.name).replace("_", " ")
    units = values.attrs.get("units", "1")
    return name if units in ("", "1") else f"{name} ({units})"


def assignments(parameters: dict[str, Any]) -> str:
    """Parameters as text.

    Example:
        >>> assignments({"coupling": 30.0, "seed": 1})
        'coupling = 30, seed = 1'
    """
    return ", ".join(f"{name} = {shown(value)}" for name, value in parameters.items())


def shown(value: Any) -> str:
    """A value as people write it.

    Example:
        >>> shown(30.0), shown(0.00316), shown("relu")
        ('30', '0.00316', 'relu')
    """
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shown(value: Any) -> Any:
    """A coordinate as a plain value: parts of a method come from the store as dictionaries."""
    return value if isinstance(value, (bool, int, float, str)) else part(value)
