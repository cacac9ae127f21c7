"""The phase diagram of the field: the collective-learning transition of each method, in its own control parameter.

Ten agents with one class each, as in figure 3. Every method has a parameter by which its agents are coupled: where does
learning become collective, and are the critical values one and the same in units of the coupling of Eq. (2)?
"""

from __future__ import annotations

from consilience.recipes.phase_diagram.analysis import Result, run
from consilience.recipes.phase_diagram.figure import draw
from consilience.recipes.phase_diagram.methods import METHODS, Method
from consilience.recipes.phase_diagram.protocol import PhaseDiagram, for_dataset, full, quick, stem, sweeps
from consilience.recipes.phase_diagram.report import as_data, remarks, rows, tables

__all__ = [
    "METHODS",
    "Method",
    "PhaseDiagram",
    "Result",
    "as_data",
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
