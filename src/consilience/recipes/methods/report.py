"""The comparison as text: a table, remarks, and plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from consilience import algorithms
from consilience.axes import ROUND
from consilience.recipes.methods.analysis import Result
from consilience.recipes.methods.protocol import FIRST_TUNING_SEED, Methods
from consilience.recipes.recipe import Table


def _mean_and_spread(values: xr.DataArray) -> tuple[float, float | None]:
    """Over seeds; a single one has no spread, and runs that diverged are left out where they have no value."""
    known = values.values[np.isfinite(values.values)]
    mean = float(known.mean()) if known.size else np.nan
    return mean, float(known.std(ddof=1)) if known.size > 1 else None


def rows(result: Result) -> list[dict[str, Any]]:
    """One row per method: the best rate, what it reached at the end of its budget, and what that took."""
    found = []
    for name, contender in result.contenders.items():
        row: dict[str, Any] = {
            "method": name, "learning_rate": result.best_rate(name), "is_at_the_end": result.is_at_the_end(name),
        }  # fmt: skip
        quantities = {
            "accuracy": result.accuracy(name),
            "worst_accuracy": result.worst(name),
            "consensus_distance": result.evaluations[name].consensus_distance,
        }
        for key, values in quantities.items():
            row[key], row[f"{key}_std"] = _mean_and_spread(values.isel({ROUND: -1}))
        row |= {"num_seeds": result.config.num_seeds, "num_diverged": result.num_diverged(name)}
        row |= {"rounds": contender.num_rounds, "is_capped": contender.is_capped}
        row |= {unit: int(result.price(name, unit)[-1]) for unit in ("bits", "gradients")}
        found.append(row)
    return found


def _written(row: dict[str, Any], key: str, style: str) -> str:
    mean, spread = row[key], row[f"{key}_std"]
    if not np.isfinite(mean):
        return "–"
    return f"{mean:{style}}" if spread is None else f"{mean:{style}} ± {spread:{style}}"


def tables(result: Result) -> list[Table]:
    """The table."""
    config = result.config
    columns = [
        "method", "best η", f"accuracy (n = {config.num_seeds})", "worst agent", "consensus distance", "rounds", "bits",
        "gradients",
    ]  # fmt: skip
    lines = [
        [
            row["method"],
            f"{row['learning_rate']:g}" + ("†" if row["is_at_the_end"] else ""),
            _written(row, "accuracy", ".3f") + (f" ({row['num_diverged']} lost)" if row["num_diverged"] else ""),
            _written(row, "worst_accuracy", ".3f"),
            _written(row, "consensus_distance", ".3g"),
            f"{row['rounds']:,}" + ("*" if row["is_capped"] else ""),
            f"{row['bits']:.3g}",
            f"{row['gradients']:,}",
        ]
        for row in rows(result)
    ]
    return [Table(title(result), columns, lines)]


def title(result: Result) -> str:
    """What was compared, in one line."""
    shared = next(iter(result.contenders.values())).setting
    return f"{result.config.dataset}, {shared['shards'].name}, {shared['graph'].name}, budget {result.config.budget}"


def remarks(result: Result) -> list[str]:
    """How rates were chosen and what the signs mean."""
    config, lines = result.config, []
    rates = ", ".join(f"{rate:g}" for rate in config.rates)
    last = FIRST_TUNING_SEED + config.num_tuning_seeds - 1
    lines.append(
        f"η: the best of {rates} by mean final accuracy over seeds {FIRST_TUNING_SEED} to {last}; evaluated on seeds 0 "
        f"to {config.num_seeds - 1}. There is no validation split: both are accuracies on the test images. Nothing but "
        "η was tuned."
    )
    kept = {name: parameters for name in result.contenders if (parameters := _parameters(config, name))}
    if kept:
        lines.append(f"Other parameters, of the catalog or by --set: {'; '.join(kept.values())}.")
    lines.append(
        "accuracy: mean over agents at the last round, mean ± standard deviation over seeds; a run that diverged "
        "counts as lost, with accuracy 0, in tuning too. Bits and gradients are those of all agents together, counted."
    )
    found = rows(result)
    if ends := [row["method"] for row in found if row["is_at_the_end"]]:
        lines.append(f"† an end of the grid: a better rate may lie beyond it, for {', '.join(ends)}. Widen --rates.")
    if capped := [row["method"] for row in found if row["is_capped"]]:
        lines.append(
            f"* stopped at max_rounds={config.max_rounds:,} with some of the budget left: {', '.join(capped)}."
        )
    return lines


def _parameters(config: Methods, name: str) -> str:
    """What a method has besides a learning rate and the common weight decay."""
    common = ("learning_rate", "weight_decay")
    shown = {key: value for key, value in algorithms.catalog()[name].representative.items() if key not in common}
    shown |= config.settings_of(name)
    return f"{name} {', '.join(f'{key}={value}' for key, value in shown.items())}" if shown else ""


def as_data(result: Result) -> dict[str, Any]:
    """All numbers, as plain data."""
    return {
        "config": dataclasses.asdict(result.config),
        "rows": rows(result),
        "tuning": {
            name: dict(zip(map(str, result.config.rates), accuracy.values.tolist(), strict=True))
            for name, accuracy in result.tuning.items()
        },
        "curves": {
            name: {
                **{unit: result.price(name, unit).tolist() for unit in ("rounds", "bits", "gradients")},
                "accuracy": result.accuracy(name).transpose("seed", ROUND).values.tolist(),
                "consensus_distance": evaluation.consensus_distance.transpose("seed", ROUND).values.tolist(),
            }
            for name, evaluation in result.evaluations.items()
        },
    }
