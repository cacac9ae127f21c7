"""The cross-accuracy matrix: what each agent knows of the data of each other one."""

from __future__ import annotations

import numpy as np
from bokeh.models import ColorBar, ColumnDataSource, HoverTool, LinearColorMapper
from bokeh.transform import transform

from consilience.dashboard.figures.look import SEQUENTIAL, frame
from consilience.dashboard.session import Snapshot


class CrossMatrix:
    """(A_x)_ij, a heat map: rows are agents, columns whose data they are asked about."""

    def __init__(self) -> None:
        self.figure = frame(
            title="cross-accuracy Aₓ", x="on the data of agent j", y="agent i", height=300, tools="save,reset",
            x_range=(-0.5, 0.5), y_range=(-0.5, 0.5),
        )  # fmt: skip
        self.figure.grid.visible = False
        mapper = LinearColorMapper(palette=SEQUENTIAL, low=0, high=1)
        self._cells = ColumnDataSource({"i": [], "j": [], "value": []})
        cells = self.figure.rect(
            "j", "i", 1, 1, source=self._cells, fill_color=transform("value", mapper), line_color=None
        )
        self.figure.add_layout(ColorBar(color_mapper=mapper, title="Aₓ", width=8, margin=0, padding=2), "right")
        self.figure.add_tools(
            HoverTool(renderers=[cells], tooltips=[("agent i", "@i"), ("data of j", "@j"), ("Aₓ", "@value{0.000}")])
        )
        self.begin()

    def begin(self) -> None:
        """Another session: what has been seen is not of this one."""
        self._round = -1

    def update(self, snapshot: Snapshot) -> None:
        """Show the matrix as it is now."""
        matrix = snapshot.latest.get("cross_accuracy")
        if matrix is None or snapshot.round == self._round:
            return
        self._round = snapshot.round
        n = len(matrix)
        if len(self._cells.data["i"]) != n * n:
            edge = n - 0.5
            self.figure.x_range.update(start=-0.5, end=edge)
            self.figure.y_range.update(start=-0.5, end=edge)
        i, j = np.indices(matrix.shape)
        self._cells.data = {"i": i.ravel(), "j": j.ravel(), "value": matrix.ravel()}
