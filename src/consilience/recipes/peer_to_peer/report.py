"""The study as text: tables, remarks, and plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import AGENT, ROUND
from consilience.recipes.peer_to_peer.analysis import LOSSES, Result, slope
from consilience.recipes.peer_to_peer.protocol import NAMES, SETTINGS
from consilience.recipes.recipe import Table


def rows(result: Result) -> list[dict[str, Any]]:
    """One row per network, graph and algorithm: largest errors of each initialisation, losses, seconds."""
    table = []
    for case in result.config.cases:
        errors, predicted, trained = result.largest_errors(case), result.predicted[case], result.trained[case]
        for name in SETTINGS[case.setting].graphs:
            for algorithm in trained.algorithm.values:
                at = {"graph": name, "algorithm": algorithm}
                last = trained.sel(at).isel({ROUND: -1})
                row: dict[str, Any] = {"setting": case.setting, "label": case.label, "width": case.width}
                row |= {"graph": name, "algorithm": str(algorithm)}
                row |= {f"{loss}_error": errors[loss].sel(at).values.tolist() for loss in LOSSES}
                row |= {f"final_{loss}": float(last[loss].mean()) for loss in LOSSES}
                row |= {"seconds_predicted": float(predicted.seconds.sel(at).mean())}
                row |= {"seconds_trained": float(trained.seconds.sel(at))}
                table.append(row)
    return table


def tables(result: Result) -> list[Table]:
    """Errors and times of every network, graph and algorithm; the error against the width."""
    count = result.config.num_realizations
    over = f"median over {count} initialisations (smallest – largest)" if count > 1 else "one initialisation"
    columns = [
        "network", "graph", "algorithm", "test loss, %", "objective, %", "own loss, %", "test loss at the end",
        "objective", "predicted in s", "trained in s",
    ]  # fmt: skip
    lines = [
        [
            row["label"], row["graph"], NAMES[row["algorithm"]],
            *(_spread(np.array(row[f"{loss}_error"])) for loss in LOSSES),
            f"{row['final_test_loss']:.3f}", f"{row['final_objective']:.3f}",
            f"{row['seconds_predicted']:.2f}", f"{row['seconds_trained']:.2f}",
        ]
        for row in rows(result)
    ]  # fmt: skip
    title = f"largest relative error of any agent's predicted loss in any round, {over}"
    return [Table(title, columns, lines), *([_widths(result)] if result.slope is not None else [])]


def _widths(result: Result) -> Table:
    errors = result.errors_by_width
    each = [
        (str(name), NAMES[str(algorithm)], errors.sel(graph=name, algorithm=algorithm))
        for name in errors.graph.values
        for algorithm in errors.algorithm.values
    ]
    each.append(("any", "any", errors.max(("graph", "algorithm"))))
    lines = [
        [name, algorithm, *(_spread(one.sel(width=width).values) for width in errors.width.values), str(slope(one))]
        for name, algorithm, one in each
    ]
    columns = ["graph", "algorithm", *(f"width {width}, %" for width in errors.width.values), "slope"]
    return Table("one hidden layer: largest relative error of the test loss against the width", columns, lines)


def _spread(errors: np.ndarray) -> str:
    """Shares as percentages: the median and the extremes."""
    percent = 100 * errors
    middle = f"{np.median(percent):.2g}"
    return middle if percent.size == 1 else f"{middle} ({percent.min():.2g} – {percent.max():.2g})"


def remarks(result: Result) -> list[str]:
    """The protocol in words, what was timed, how the networks ended."""
    config = result.config
    seconds = {case.label: float(result.predicted[case].linearization_seconds.mean()) for case in config.cases}
    every = "round" if config.observe_every == 1 else f"{config.observe_every} rounds"
    lines = [
        f"NTK parametrisation, σ_w² = {config.weight_variance:g}, σ_b² = {config.bias_variance:g}; Metropolis weights; "
        f"η = {config.learning_rate:g}, {config.num_rounds} rounds of full batches, all agents from the same θ⁰; "
        f"trained in single precision and evaluated every {every}.",
        "test loss: ½ squared error on the test images; objective: (1/Q) Σ_r L_r(θ_q), of the data of all agents; own "
        "loss: what the agent itself minimises. Errors are relative to the trained loss in the same round.",
        "trained in s: the rounds of one initialisation, without evaluation and compiling. predicted in s: after "
        "linearising the network once for all graphs and algorithms, which took "
        + ", ".join(f"{value:.1f} s ({label})" for label, value in seconds.items()) + ", compiling included.",
    ]  # fmt: skip
    if result.slope is not None:
        lines.append(
            f"largest error on any graph by any algorithm ~ width^s, s = {result.slope}: least squares over "
            f"{result.slope.num_networks} networks, 95 % interval of Student's t."
        )
    lines.append("networks: " + ", ".join(f"{count} {outcome}" for outcome, count in result.outcomes.items()) + ".")
    return lines


def as_data(result: Result) -> dict[str, Any]:
    """All numbers of the figure, as plain data."""
    return {
        "config": dataclasses.asdict(result.config),
        "rows": rows(result),
        "slope": None if result.slope is None else dataclasses.asdict(result.slope),
        "trajectories": {case.label: _trajectories(result, case) for case in result.config.cases},
        "outcomes": result.outcomes,
    }


def _trajectories(result: Result, case: Any) -> dict[str, Any]:
    """Test losses of the first initialisation, dimensions (graph, algorithm, round, agent)."""
    trained = result.trained[case].test_loss
    predicted = result.predicted[case].test_loss.sel({ROUND: trained[ROUND]})

    def listed(values: xr.DataArray) -> list[Any]:
        first = values.isel(seed=0) if "seed" in values.dims else values
        return first.transpose("graph", "algorithm", ROUND, AGENT).values.tolist()

    return {"rounds": trained[ROUND].values.tolist(), "predicted": listed(predicted), "trained": listed(trained)}
