"""Finite-size analysis of the transition at D = 1: pure, with narrow disorder, and with the paper's wide disorder."""

from __future__ import annotations

from consilience.recipes.finite_size.analysis import (
    NarrowDisorder,
    Result,
    WideDisorder,
    closing_size,
    ordered_window,
    run,
)
from consilience.recipes.finite_size.figure import draw
from consilience.recipes.finite_size.protocol import (
    FiniteSize,
    computation,
    for_dataset,
    magnetization,
    quick,
    stem,
    sweeps,
)
from consilience.recipes.finite_size.report import as_data, exponents, ordering_share, remarks, tables
from consilience.recipes.finite_size.scaling import (
    UNIVERSAL_CUMULANT,
    critical_mean,
    is_unstable,
    scaled_cumulant,
    scaled_moments,
    scaled_order,
    scaled_susceptibility,
)

__all__ = [
    "UNIVERSAL_CUMULANT",
    "FiniteSize",
    "NarrowDisorder",
    "Result",
    "WideDisorder",
    "as_data",
    "closing_size",
    "computation",
    "critical_mean",
    "draw",
    "exponents",
    "for_dataset",
    "is_unstable",
    "magnetization",
    "ordered_window",
    "ordering_share",
    "quick",
    "remarks",
    "run",
    "scaled_cumulant",
    "scaled_moments",
    "scaled_order",
    "scaled_susceptibility",
    "stem",
    "sweeps",
    "tables",
]
