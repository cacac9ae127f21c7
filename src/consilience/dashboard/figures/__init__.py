"""The figures of a live session: each is made once, and then only told what has changed."""

from __future__ import annotations

from consilience.dashboard.figures.agents import AgentGraph
from consilience.dashboard.figures.curves import Curves
from consilience.dashboard.figures.matrix import CrossMatrix

__all__ = ["AgentGraph", "CrossMatrix", "Curves"]
