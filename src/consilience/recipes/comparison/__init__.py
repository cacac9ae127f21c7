"""Theory and experiment on the same axes: order parameter, loss, accuracy, and the order of learning."""

from __future__ import annotations

from consilience.recipes.comparison.figure import draw
from consilience.recipes.comparison.protocol import (
    KINDS,
    Comparison,
    Result,
    for_dataset,
    quick,
    run,
    stem,
    sweeps,
)
from consilience.recipes.comparison.report import as_data, orderings, remarks, rows, tables

__all__ = [
    "KINDS",
    "Comparison",
    "Result",
    "as_data",
    "draw",
    "for_dataset",
    "orderings",
    "quick",
    "remarks",
    "rows",
    "run",
    "stem",
    "sweeps",
    "tables",
]
