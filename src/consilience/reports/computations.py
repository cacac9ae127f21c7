"""Figures and numbers of computations: theory and analyses, whose cells are data sets of any shape."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from consilience import plots
from consilience.axes import ROUND
from consilience.reports.figures import MOST_CURVES, Drawing, plain, symbol
from consilience.reports.numbers import Table
from consilience.reports.replicas import SEED, label

_AXES = ("coupling", ROUND, "time")
"""Dimensions against which something can be drawn, the first that a variable has."""
_MOST_FIGURES = 8


def cells_table(cells: Mapping[str, xr.Dataset]) -> Table:
    """What each cell holds: its sizes and variables.

    Example:
        >>> cells_table({"D=1": xr.Dataset({"loss": ("coupling", [0.5, 0.25])})}).rows
        [['D=1', 'coupling 2', 'loss(coupling)']]
    """
    rows = [
        [name, ", ".join(f"{dim} {size}" for dim, size in cell.sizes.items()),
         ", ".join(f"{variable}({', '.join(map(str, values.dims))})" for variable, values in cell.items())]
        for name, cell in cells.items()
    ]  # fmt: skip
    return Table("Cells of the computation", ["cell", "sizes", "variables"], rows)


def computation_figures(cells: Mapping[str, xr.Dataset]) -> list[Drawing]:
    """Variables along a coupling, rounds or time, those of the same name in the same axes; at most eight figures.

    Only variables with no other dimension than that and the seeds are drawn. The recipe that made a computation draws
    all of it.

    Example:
        >>> cells = {f"D={d}": xr.Dataset({"loss": ("coupling", [0.5, 0.2])}, {"coupling": [0.0, 9.0]}) for d in (0, 1)}
        >>> [drawing.name for drawing in computation_figures(cells)]
        ['loss-against-coupling']
    """
    found: dict[tuple[str, str], dict[str, xr.DataArray]] = {}
    for cell_name, cell in cells.items():
        for name, values in cell.items():
            axis = next((axis for axis in _AXES if axis in values.dims), None)
            if axis and values.dtype.kind == "f" and set(values.dims) <= {axis, SEED}:
                found.setdefault((str(name), axis), {})[cell_name] = values
    return [_drawing(name, axis, curves) for (name, axis), curves in list(found.items())[:_MOST_FIGURES]]


def _drawing(name: str, axis: str, found: Mapping[str, xr.DataArray]) -> Drawing:
    drawn = dict(list(found.items())[:MOST_CURVES])
    curves = [plots.Curve(cell, values[axis].values, _samples(values, axis)) for cell, values in drawn.items()]
    first = next(iter(drawn.values()))
    what, x_name = plain(label(first)), plain(symbol(axis))
    chosen = f" The first {len(drawn)} of {len(found)} cells are drawn." if len(drawn) < len(found) else ""
    number = max(values.sizes.get(SEED, 1) for values in drawn.values())
    bands = f"bands are one standard deviation over {SEED}s, N = {number}" if number > 1 else "no bands: N = 1"
    return Drawing(
        name=f"{name}-against-{axis}",
        title=f"{what[:1].upper()}{what[1:]} against {x_name}",
        caption=f"One curve for each cell; {bands}.{chosen}",
        alternative=f"{what} against {x_name}, for {', '.join(drawn)}.",
        figure=plots.against(curves, x_label=symbol(axis), y_label=label(first), is_coupling=axis == "coupling"),
    )


def _samples(values: xr.DataArray, axis: str) -> np.ndarray:
    """Shape (points, realizations)."""
    return values.transpose(axis, ...).values.reshape(values.sizes[axis], -1)
