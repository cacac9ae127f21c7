"""The study as text: a table, remarks, and plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from consilience.recipes.phase_diagram.analysis import Result
from consilience.recipes.phase_diagram.methods import METHODS
from consilience.recipes.recipe import Table


def rows(result: Result) -> list[dict[str, Any]]:
    """One row per method: where learning becomes collective, in its own units and as a pull."""
    found = []
    for name in result.config.methods:
        critical, strongest = result.critical[name], result.accuracy[name].mean("seed")
        relative = result.relative(name)
        found.append(
            {
                "method": name,
                "label": METHODS[name].label,
                "control": METHODS[name].control,
                "critical": critical.value,
                "bracket": list(critical.bracket),
                "interval": list(critical.interval),
                "is_below_the_grid": result.is_below_the_grid(name),
                "pull": result.pull(name, critical.value),
                "pull_interval": [result.pull(name, end) for end in critical.interval],
                "relative": float(relative.mean()),
                "relative_std": float(relative.std(ddof=1)) if relative.size > 1 else None,
                "sense": METHODS[name].sense,
                "accuracy_at_most": float(strongest.max()),
                "num_diverged": result.num_diverged(name),
            }
        )
    return found


def _about(row: dict[str, Any], key: str, first: float, last: float) -> str:
    """A critical value with its interval; beyond the grid it is not known."""
    value, (low, high) = row[key], row["interval" if key == "critical" else f"{key}_interval"]
    if np.isnan(value):
        return f"> {last:.3g}" if np.isfinite(last) else "–"
    if row["is_below_the_grid"]:
        return f"≤ {first:.3g}"
    ends = [f"{end:.3g}" if np.isfinite(end) else "∞" for end in (low, high)]
    return f"{value:.3g}" + ("" if np.isnan(low) else f" ({ends[0]} – {ends[1]})")


def _relative(row: dict[str, Any]) -> str:
    mean, spread = row["relative"], row["relative_std"]
    if np.isnan(mean):
        return "–"
    return f"{mean:.3f}" if spread is None else f"{mean:.3f} ± {spread:.3f}"


def tables(result: Result) -> list[Table]:
    """The critical values."""
    config, lines = result.config, []
    for row in rows(result):
        name, ends = row["method"], result.accuracy[row["method"]].control.values[[0, -1]]
        pulls = [result.pull(name, end) for end in ends]
        lines.append(
            [
                row["label"], row["control"], f"{ends[0]:.3g} – {ends[1]:.3g}", _about(row, "critical", *ends),
                _about(row, "pull", *pulls) if METHODS[name].pull else "–", _relative(row),
                f"{row['accuracy_at_most']:.3f}", str(row["num_diverged"]), row["sense"],
            ]
        )  # fmt: skip
    columns = [
        "method",
        "control",
        "swept",
        "critical value",
        "pull Π",
        "Π/σ_c",
        "largest ⟨A⟩",
        "diverged",
        "Π is that of Eq. (2)",
    ]
    heading = (
        f"{config.dataset}, {config.num_agents} agents, one class each: where ⟨A⟩ exceeds {result.chance:g} + "
        f"{config.margin:g}"
    )
    return [Table(heading, columns, lines)]


def remarks(result: Result) -> list[str]:
    """What was averaged, and what Π is."""
    config = result.config
    return [
        f"D = {config.depth}, width {config.width}, η = {config.learning_rate:g}, γ = {config.weight_decay:g}, "
        f"B = {config.batch_size}, common initial parameters, complete graph; averages over steps "
        f"{config.average_after:,} to {config.num_rounds:,}. 95 % bootstrap intervals over n = {config.num_seeds} "
        "seeds; between two values of the grid ⟨A⟩ is interpolated. Critical values depend on the number of steps.",
        "Π = (1 − |λ₂|)/(Kη): how fast differences between agents die out per unit of learning time, K local steps "
        "a round; the σ of Eq. (2) for its own update. The last column says in which sense for the others. "
        "Π/σ_c: over the critical σ of diffusive coupling, mean ± standard deviation of the ratios seed by seed.",
        f"federated averaging: {config.local_steps} local steps a round; CHOCO-SGD keeps {config.fraction:.0%} of the "
        f"numbers; triadic coupling: λ = {config.selectivity:g}. Computing took {result.seconds:.0f} s, added up over "
        "blocks.",
    ]


def as_data(result: Result) -> dict[str, Any]:
    """All numbers, as plain data."""
    return {
        "config": dataclasses.asdict(result.config),
        "chance": result.chance,
        "rows": rows(result),
        "curves": {
            name: {
                "control": curve.control.values.tolist(),
                "pull": [result.pull(name, value) for value in curve.control.values],
                "accuracy": curve.transpose("control", "seed").values.tolist(),
            }
            for name, curve in result.accuracy.items()
        },
    }
