"""The numbers of a run as tables of text: mean ± standard deviation over seeds, with the sample size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consilience.reports.figures import plain
from consilience.reports.replicas import Replicas, label, shown

_MOST_DECIMALS = 7


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        title: its caption.
        columns: their headings; the first `num_keys` columns say what a row is about.
        rows: as long as `columns`.
        num_keys: how many columns are headings of their rows.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    num_keys: int = 1


def mean_and_spread(samples: np.ndarray) -> str:
    """Mean ± standard deviation (of a sample, n − 1) of the finite values; a dash if there are none.

    Example:
        >>> mean_and_spread(np.array([0.1, 0.3, np.nan])), mean_and_spread(np.array([0.5]))
        ('0.20 ± 0.14', '0.5')
    """
    finite = samples[np.isfinite(samples)]
    if finite.size == 0:
        return "–"
    mean, spread = float(finite.mean()), float(finite.std(ddof=1)) if finite.size > 1 else 0.0
    decimals = 1 - math.floor(math.log10(spread)) if spread > 0 else -1
    if 0 <= decimals <= _MOST_DECIMALS:  # two digits of the deviation, and the mean to the same place
        return f"{mean:.{decimals}f} ± {spread:.{decimals}f}"
    return f"{mean:.4g}" if finite.size == 1 else f"{mean:.4g} ± {spread:.2g}"


def observables_table(run: Replicas) -> Table:
    """The observables of a run, a row for each setting of its swept parameters.

    Averages over agents; over rounds if the run averaged, otherwise values at the last round. N counts the seeds that
    completed; of those that did not, no number is used.

    Example:
        >>> import xarray as xr
        >>> dataset = xr.Dataset({"outcome": ("seed", ["completed", "diverged"]), "loss": ("seed", [0.5, np.nan])},
        ...                      {"seed": [0, 1]})
        >>> table = observables_table(Replicas.of(dataset))
        >>> table.columns, table.rows
        (['N', 'loss'], [['1 of 2', '0.5']])
    """
    groups = run.groups()
    parameters = list(groups[0][0]) if groups else []
    completed = run.completed.values
    values = {name: run.over_agents(run.last[name]).values for name in run.observables}
    rows = []
    for setting, members in groups:
        number, count = int(completed[members].sum()), len(members)
        size = str(count) if number == count else f"{number} of {count}"
        means = [mean_and_spread(values[name][members]) for name in run.observables]
        rows.append([*(shown(setting[name]) for name in parameters), size, *means])
    columns = [*(name.replace("_", " ") for name in parameters), "N",
               *(plain(label(run.results[name])) for name in run.observables)]  # fmt: skip
    title = "Mean over agents ± standard deviation over seeds"
    return Table(title, columns, rows, num_keys=len(parameters))


def comparison_table(runs: Mapping[str, Replicas]) -> Table | None:
    """One observable of several runs side by side, a row for each setting; `None` if they share no observable.

    The accuracy if all have it, otherwise the first that they share. Mean ± standard deviation over seeds (N).

    Args:
        runs: label → replicas.

    Example:
        >>> import xarray as xr
        >>> def run(loss):
        ...     variables = {"outcome": ("seed", ["completed"]), "loss": ("seed", [loss])}
        ...     return Replicas.of(xr.Dataset(variables, {"seed": [0]}))
        >>> comparison_table({"alone": run(0.5), "together": run(0.25)}).rows
        [['–', '0.5 (1)', '0.25 (1)']]
    """
    first, *others = runs.values()
    shared = [name for name in first.observables if all(name in run.observables for run in others)]
    if not shared:
        return None
    name = "accuracy" if "accuracy" in shared else shared[0]
    columns = {run_label: _by_setting(run, name) for run_label, run in runs.items()}
    settings = dict.fromkeys(setting for column in columns.values() for setting in column)
    rows = [[setting or "–", *(column.get(setting, "") for column in columns.values())] for setting in settings]
    what = plain(label(first.results[name]))
    title = f"{what[:1].upper()}{what[1:]}: mean over agents ± standard deviation over seeds (N)"
    return Table(title, ["setting", *columns], rows)


def _by_setting(run: Replicas, name: str) -> dict[str, str]:
    values = run.over_agents(run.last[name]).values
    return {run.setting(setting): _with_size(values[members]) for setting, members in run.groups()}


def _with_size(samples: Sequence[float] | np.ndarray) -> str:
    samples = np.asarray(samples)
    return f"{mean_and_spread(samples)} ({int(np.isfinite(samples).sum())})"
