"""Arrays to figures. The only package that imports matplotlib."""

from __future__ import annotations

from consilience.plots.style import colours, coupling_axis, letter, markers, save, style
from consilience.plots.sweeps import Curve, against, matrix, over_rounds, to_png, to_svg
from consilience.plots.transition import (
    cross_matrix,
    curves,
    learning_path,
    linear_inset,
    mark_critical,
    overview,
)

__all__ = [
    "Curve",
    "against",
    "colours",
    "coupling_axis",
    "cross_matrix",
    "curves",
    "learning_path",
    "letter",
    "linear_inset",
    "mark_critical",
    "markers",
    "matrix",
    "over_rounds",
    "overview",
    "save",
    "style",
    "to_png",
    "to_svg",
]
