"""The figures of a run, and of several runs in the same axes, each with a caption that says what N is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from consilience import plots
from consilience.axes import AGENT, ROUND
from consilience.reports.replicas import REPLICA, SEED, Replicas, label, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CURVES = 7
"""In one figure; of more, so many are drawn, evenly chosen."""
_MOST_ROUNDS = 4
_SYMBOLS = {"coupling": r"coupling $\sigma$", "learning_rate": r"learning rate $\eta$",
            "weight_decay": r"weight decay $\gamma$"}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure with the words that belong to it.

    Attributes:
        name: a file name without its ending, "accuracy-against-coupling" say.
        title: a phrase.
        caption: what is averaged over what, and how many there are.
        alternative: what the figure shows, in words and numbers, for those who cannot see it.
        figure: the figure itself; `plots.to_svg` and `plots.to_png` make files of it.
    """

    name: str
    title: str
    caption: str
    alternative: str
    figure: Figure


def figures(replicas: Replicas) -> list[Drawing]:
    """All figures of a run: observables against the swept parameter, over rounds, and cross-matrices at both ends.

    Example:
        >>> dataset = xr.Dataset(
        ...     {"loss": (("coupling", "round"), [[2.0, 1.0], [2.0, 0.5]]), "outcome": ("coupling", ["completed"] * 2)},
        ...     {"coupling": [0.0, 10.0], "round": [0, 100]})
        >>> [drawing.name for drawing in figures(Replicas.of(dataset))]
        ['loss-against-coupling', 'loss-over-rounds']
    """
    alone = {"": replicas}
    return [*_drawings(_against, alone), *_drawings(_over_rounds, alone), *_matrices(replicas)]


def overlaid(runs: Mapping[str, Replicas]) -> list[Drawing]:
    """Observables of several runs in the same axes: against the parameter that they sweep, or else over rounds.

    Args:
        runs: label → replicas. A run that does not sweep the parameter of the first that sweeps one is left out.

    Example:
        >>> variables = {"loss": ("coupling", [2.0, 1.0]), "outcome": ("coupling", ["completed", "completed"])}
        >>> dataset = xr.Dataset(variables, {"coupling": [0.0, 10.0]})
        >>> drawings = overlaid({"before": Replicas.of(dataset), "after": Replicas.of(dataset)})
        >>> [drawing.caption for drawing in drawings]
        ['Of the population; a single seed, N = 1, so there are no bands.']
    """
    along = _along(runs)
    if along is None:
        return _drawings(_over_rounds, runs)
    sharing = {name: run for name, run in runs.items() if run.along == along}
    return _drawings(_against, sharing) if len(sharing) >= min(2, len(runs)) else []


def _drawings(
    draw: Callable[[str, Mapping[str, Replicas]], Drawing | None], runs: Mapping[str, Replicas]
) -> list[Drawing]:
    """One of each observable that two of several runs have measured, if there is something to draw."""
    names = dict.fromkeys(name for run in runs.values() for name in run.observables)
    having = {name: {key: run for key, run in runs.items() if name in run.observables} for name in names}
    drawings = [draw(name, having[name]) for name in names if len(having[name]) >= min(2, len(runs))]
    return [drawing for drawing in drawings if drawing is not None]


def _along(runs: Mapping[str, Replicas]) -> str | None:
    """The parameter that the first of the runs which sweep one does sweep."""
    return next((run.along for run in runs.values() if run.along is not None), None)


def symbol(parameter: str) -> str:
    """A parameter as an axis names it.

    Example:
        >>> symbol("coupling"), symbol("local_steps")
        ('coupling $\\\\sigma$', 'local steps')
    """
    return _SYMBOLS.get(parameter, parameter.replace("_", " "))


def plain(text: str) -> str:
    """An axis label without its formula.

    Example:
        >>> plain("test accuracy $A$")
        'test accuracy'
    """
    return re.sub(r"\s*\$[^$]*\$", "", text)


def _against(name: str, runs: Mapping[str, Replicas]) -> Drawing | None:
    along = _along(runs)
    curves = [curve for key, run in runs.items() for curve in _curves(run, name, along, key)] if along else []
    if along is None or not curves:
        return None
    drawn = [curves[position] for position in _evenly(len(curves), MOST_CURVES)]
    first = next(iter(runs.values())).results[name]
    moment = ", at the last round" if any(ROUND in run.results[name].dims for run in runs.values()) else ""
    chosen = "" if len(drawn) == len(curves) else f" {len(drawn)} of {len(curves)} curves are drawn."
    what, x_name = plain(label(first)), plain(symbol(along))
    return Drawing(
        name=f"{name}-against-{along}",
        title=f"{what[:1].upper()}{what[1:]} against {x_name}",
        caption=f"{_mean_of(first)}{moment}; {_realizations(drawn)}.{chosen}",
        alternative=f"{what} against {x_name}. {' '.join(_in_words(curve, x_name) for curve in drawn)}",
        figure=plots.against(
            drawn, x_label=symbol(along), y_label=label(first), is_coupling=along == "coupling"
        ),
    )  # fmt: skip


def _curves(run: Replicas, name: str, along: str, run_label: str) -> list[plots.Curve]:
    """One for each combination of the other swept parameters."""
    values = run.over_agents(run.last[name]).values
    curves = []
    for parameters, positions in run.groups(without=[along]):
        points: dict[float, list[float]] = {}
        for position in positions:
            if np.isfinite(values[position]):
                points.setdefault(float(run.parameters[position][along]), []).append(float(values[position]))
        x = sorted(points)
        if not points:  # none of these replicas completed
            continue
        name_of_curve = ", ".join(filter(None, [run_label, run.setting(parameters)]))
        curves.append(plots.Curve(name_of_curve, np.array(x), _padded([points[value] for value in x])))
    return curves


def _padded(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Rows of unequal length as one array, NaN where they end early."""
    width = max(map(len, rows), default=0)
    return np.array([[*row, *[np.nan] * (width - len(row))] for row in rows])


def _over_rounds(name: str, runs: Mapping[str, Replicas]) -> Drawing | None:
    having = {key: run for key, run in runs.items() if ROUND in run.results[name].dims}
    settings = [(key, *setting) for key, run in having.items() for setting in run.settings]
    if not settings or len(having) < min(2, len(runs)):
        return None
    is_alone = len(runs) == 1
    curves, agents = [], []
    for position in _evenly(len(settings), _MOST_ROUNDS if is_alone else MOST_CURVES):
        key, parameters, members = settings[position]
        run = having[key]
        values = run.results[name].transpose(REPLICA, ROUND, ...).where(run.completed)
        samples = run.over_agents(values).isel({REPLICA: members}).transpose(ROUND, REPLICA).values
        name_of_curve = ", ".join(filter(None, [key, run.setting(parameters)]))
        curves.append(plots.Curve(name_of_curve, values[ROUND].values, samples))
        of_agents = _of_agents(values.isel({REPLICA: members}))
        agents.append(of_agents if is_alone else of_agents[:, :0])  # those of several runs would hide one another
    first = next(iter(having.values())).results[name]
    what = plain(label(first))
    per_agent = " Thin lines: each agent, averaged over seeds." if is_alone and AGENT in first.dims else ""
    chosen = f" {len(curves)} of {len(settings)} settings are drawn." if len(curves) < len(settings) else ""
    return Drawing(
        name=f"{name}-over-rounds",
        title=f"{what[:1].upper()}{what[1:]} over rounds",
        caption=f"{_mean_of(first)}; {_realizations(curves)}.{per_agent}{chosen}",
        alternative=f"{what} over rounds. {' '.join(_in_words(curve, 'round') for curve in curves)}",
        figure=plots.over_rounds(curves, agents, y_label=label(first)),
    )


def _of_agents(values: xr.DataArray) -> np.ndarray:
    """Of each agent, averaged over replicas: shape (rounds, agents), without columns if it is no agents' quantity."""
    if AGENT not in values.dims:
        return np.empty((values.sizes[ROUND], 0))
    return values.mean(REPLICA, skipna=True).transpose(ROUND, AGENT).values


def _matrices(run: Replicas) -> list[Drawing]:
    """Cross-accuracies at the two ends of the sweep."""
    if "cross_accuracy" not in run.matrices:
        return []
    groups = run.settings
    ends = [groups[0], groups[-1]] if len(groups) > 1 else groups
    return [_matrix(run, *end, which) for end, which in zip(ends, ("first", "last"), strict=False)]


def _matrix(run: Replicas, parameters: dict[str, Any], members: Sequence[int], which: str) -> Drawing:
    values = run.last["cross_accuracy"].where(run.completed).isel({REPLICA: members})
    mean = values.mean(REPLICA, skipna=True)
    setting = run.setting(parameters)
    own, others = _diagonal_and_rest(mean)
    number = int(run.completed.values[members].sum())
    where = f" at {setting}" if setting else ""
    return Drawing(
        name=f"cross-accuracy-{which}",
        title=f"Cross-accuracy{where}",
        caption=f"Accuracy of each agent on the data of each; mean over seeds, N = {number}.",
        alternative=f"Matrix of cross-accuracies{where}: {shown(own)} on the agents' own data and {shown(others)} on "
        "the data of the others, on average.",
        figure=plots.matrix(mean, title=setting.replace("coupling", r"$\sigma$"), colour_label=label(values)),
    )


def _diagonal_and_rest(matrix: xr.DataArray) -> tuple[float, float]:
    values = matrix.transpose(AGENT, ...).values
    is_own = np.eye(len(values), dtype=bool)
    own = float(f"{values[is_own].mean():.3g}")
    return own, float(f"{values[~is_own].mean():.3g}") if len(values) > 1 else own


def _mean_of(values: xr.DataArray) -> str:
    return "Mean over agents" if AGENT in values.dims else "Of the population"


def _realizations(curves: Sequence[plots.Curve]) -> str:
    counts = np.concatenate([np.isfinite(curve.samples).sum(axis=1) for curve in curves])
    low, high = int(counts.min()), int(counts.max())
    if high <= 1:
        return f"a single {SEED}, N = 1, so there are no bands"
    number = str(low) if low == high else f"{low} to {high}"
    return f"bands are one standard deviation over {SEED}s, N = {number}"


def _in_words(curve: plots.Curve, x_name: str) -> str:
    finite = np.flatnonzero(np.isfinite(curve.mean))
    name = f"{curve.label}: " if curve.label else ""
    if not finite.size:
        return f"{name}no replica has finite values."
    first, last = finite[0], finite[-1]
    return (
        f"{name}{curve.mean[first]:.3g} at {x_name} {shown(float(curve.x[first]))}, "
        f"{curve.mean[last]:.3g} at {x_name} {shown(float(curve.x[last]))}."
    )


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` of the positions 0 … count − 1, evenly chosen, both ends among them.

    Example:
        >>> _evenly(10, 4), _evenly(2, 4)
        ([0, 3, 6, 9], [0, 1])
    """
    return sorted({round(position) for position in np.linspace(0, count - 1, min(count, most))})
