"""Methods compared: one graph, one partition, one budget, and the same grid of learning rates for everyone.

Each method is tuned on seeds of its own, with nothing but its learning rate, and then evaluated on others.
"""

from __future__ import annotations

from consilience.recipes.methods.analysis import Result, run
from consilience.recipes.methods.figure import draw
from consilience.recipes.methods.protocol import (
    FIRST_TUNING_SEED,
    UNITS,
    Contender,
    Methods,
    contenders,
    for_dataset,
    full,
    quick,
    stem,
    sweeps,
)
from consilience.recipes.methods.report import as_data, remarks, rows, tables

__all__ = [
    "FIRST_TUNING_SEED",
    "UNITS",
    "Contender",
    "Methods",
    "Result",
    "as_data",
    "contenders",
    "draw",
    "for_dataset",
    "full",
    "quick",
    "remarks",
    "rows",
    "run",
    "stem",
    "sweeps",
    "tables",
]
