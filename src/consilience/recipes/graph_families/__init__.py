"""How the transition of the effective theory moves with the graph, at equal mean degree.

Eq. (4) of paper 001 is swept over the coupling on families of graphs whose weighted mean degree ⟨k⟩ = ⟨Σ_j q_ij⟩ is the
same, so that σ̂⟨k⟩/N, the strength with which an average agent is pulled in total, means the same on all of them. The
pull at which the mean magnetization exceeds a threshold is then held against properties of the graphs.
"""

from __future__ import annotations

from consilience.recipes.graph_families.analysis import PROPERTIES, Correlation, Result, leading_mode, properties, run
from consilience.recipes.graph_families.figure import draw
from consilience.recipes.graph_families.protocol import (
    DEGREE,
    FAMILIES,
    Family,
    GraphFamilies,
    draw_graphs,
    for_dataset,
    quick,
    stem,
    sweeps,
)
from consilience.recipes.graph_families.report import as_data, remarks, rows, tables

__all__ = [
    "DEGREE",
    "FAMILIES",
    "PROPERTIES",
    "Correlation",
    "Family",
    "GraphFamilies",
    "Result",
    "as_data",
    "draw",
    "draw_graphs",
    "for_dataset",
    "leading_mode",
    "properties",
    "quick",
    "remarks",
    "rows",
    "run",
    "stem",
    "sweeps",
    "tables",
]
