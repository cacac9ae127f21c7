"""What a live session measures, as one panel that follows its snapshots."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from consilience.dashboard.figures import AgentGraph, CrossMatrix, Curves
from consilience.dashboard.session import Snapshot
from consilience.simulation import Stage


class ExperimentView:
    """The agents on their graph, the cross-accuracy matrix, and curves against rounds.

    Args:
        colouring: of the agents, one of `figures.agents.COLOURINGS`.
    """

    def __init__(self, colouring: str) -> None:
        self._agents = AgentGraph()
        self._agents.colour_by(colouring)
        accuracy = Curves(
            title="accuracy A of agents, and mean", y="test accuracy A", values=lambda s: s.values.get("accuracy"),
            y_range=(0, 1), height=300,
        )  # fmt: skip
        self._figures = [
            self._agents,
            accuracy,
            CrossMatrix(),
            Curves(title="loss L of agents, and mean", y="test loss L",
                   values=lambda s: s.values.get("loss"), logarithmic=True),
            Curves(title="m of agents, and mean ⟨m⟩", y="order parameter m",
                   values=lambda s: s.values.get("magnetization")),
            Curves(title="distance from consensus", y="√⟨‖θᵢ − θ̄‖²⟩",
                   values=lambda s: s.values.get("consensus_distance"), logarithmic=True),
            Curves(title="traffic of all agents", y="sent, MB", values=lambda s: s.traffic / 8e6),
        ]  # fmt: skip
        self._begun: Stage | None = None

    def panel(self) -> Any:
        """What is shown: three columns, fewer on small screens."""
        panes = [pn.pane.Bokeh(one.figure, sizing_mode="stretch_width") for one in self._figures]
        return pmui.Grid(
            *(pmui.Grid(pane, size={"xs": 12, "md": 6, "lg": 4}) for pane in panes),
            container=True, spacing=1, sizing_mode="stretch_width",
        )  # fmt: skip

    def colour_by(self, colouring: str) -> None:
        """Choose by what the agents are coloured."""
        self._agents.colour_by(colouring)

    def update(self, snapshot: Snapshot) -> None:
        """Show the session as it is now; cheap if nothing has changed."""
        if snapshot.begun is not None and snapshot.begun is not self._begun:
            self._begun = snapshot.begun
            for figure in self._figures:
                figure.begin()
        for figure in self._figures:
            figure.update(snapshot)
