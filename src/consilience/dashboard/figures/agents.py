"""The graph with its agents, coloured by what they know."""

from __future__ import annotations

from typing import Any

import networkx
import numpy as np
from bokeh.models import ColorBar, ColumnDataSource, HoverTool, LinearColorMapper
from bokeh.transform import transform

from consilience.dashboard.figures.look import MARK, SEQUENTIAL, colour_of, frame, readable_on
from consilience.dashboard.session import Snapshot
from consilience.graphs import Absent, Graph

ACCURACY, BEST_CLASS = "accuracy", "class known best"
COLOURINGS = (ACCURACY, BEST_CLASS)


def positions(graph: Graph) -> np.ndarray:
    """Where the agents are drawn, shape (agents, 2) within the unit disk.

    On a circle, unless the graph is sparse and no ring: then neighbours are drawn close to each other.

    Example:
        >>> import consilience as cs
        >>> positions(cs.graphs.complete(4)).round(2).tolist()
        [[0.0, 1.0], [-1.0, 0.0], [-0.0, -1.0], [1.0, -0.0]]
    """
    n = graph.num_agents
    angles = np.pi / 2 + 2 * np.pi * np.arange(n) / n
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    density = np.count_nonzero(graph.adjacency) / max(1, n * (n - 1))
    if density > 0.4 or graph.name.startswith(("cycle", "path", "exponential")):
        return circle
    links = networkx.from_numpy_array(graph.adjacency != 0)
    placed = networkx.kamada_kawai_layout(links, pos=dict(enumerate(circle))) if n <= 60 else dict(enumerate(circle))
    found = np.array([placed[agent] for agent in range(n)])
    return found / max(1e-9, np.abs(found).max())


class AgentGraph:
    """Agents and edges. An agent's colour is its accuracy, or the class it knows best, whose number it then bears."""

    def __init__(self) -> None:
        self.colouring = ACCURACY
        self.figure = frame(
            title="agents, by accuracy A", x="", y="", height=300, tools="save,reset",
            x_range=(-1.25, 1.25), y_range=(-1.25, 1.25), match_aspect=True,
        )  # fmt: skip
        self.figure.axis.visible = False
        self.figure.grid.visible = False
        self._mapper = LinearColorMapper(palette=SEQUENTIAL, low=0, high=1)
        self._edges: Any = ColumnDataSource({"xs": [], "ys": [], "width": [], "text": []})
        self._nodes: Any = ColumnDataSource(
            {name: [] for name in ("x", "y", "agent", "value", "colour", "accuracy", "best", "ring", "ink", "label")}
        )
        edges = self.figure.multi_line(
            "xs", "ys", source=self._edges, line_color=MARK, line_alpha=0.6, line_width="width"
        )
        common: dict[str, Any] = {"size": 24, "source": self._nodes, "line_color": "ring", "line_width": 3}
        self._by_value = self.figure.scatter("x", "y", fill_color=transform("value", self._mapper), **common)
        self._by_class = self.figure.scatter("x", "y", fill_color="colour", visible=False, **common)
        self.figure.text(
            "x", "y", text="label", source=self._nodes, text_align="center", text_baseline="middle",
            text_color="ink", text_font_size="12px", text_font_style="bold",
        )  # fmt: skip
        self._bar = ColorBar(color_mapper=self._mapper, title="A", width=8, margin=0, padding=2)
        self.figure.add_layout(self._bar, "right")
        shown = [("agent", "@agent"), ("accuracy A", "@accuracy{0.000}"), ("class known best", "@best")]
        self.figure.add_tools(
            HoverTool(renderers=[self._by_value, self._by_class], tooltips=shown),
            HoverTool(renderers=[edges], tooltips=[("edge", "@text")], line_policy="interp"),
        )
        self.begin()

    def begin(self) -> None:
        """Another session: its agents find their own places."""
        self._graph: Graph | None = None
        self._frozen: tuple[int, ...] = ()
        self._round = -1

    def colour_by(self, colouring: str) -> None:
        """Choose one of `COLOURINGS`."""
        self.colouring = colouring
        self._by_value.visible = self._bar.visible = colouring == ACCURACY
        self._by_class.visible = colouring == BEST_CLASS
        self.figure.title.text = f"agents, by {'accuracy A' if colouring == ACCURACY else 'the class they know best'}"
        self._round = -1

    def update(self, snapshot: Snapshot) -> None:
        """Show the agents as they are now."""
        if snapshot.stage is None or not snapshot.latest:
            return
        experiment = snapshot.stage.experiment
        if experiment.graph is not self._graph:
            if self._graph is None or self._graph.num_agents != experiment.num_agents:
                self._places = positions(experiment.graph)
            self._graph = experiment.graph
            self._edges.data = _edges(experiment.graph, self._places)
        active = experiment.schedules.active
        frozen = active.agents if isinstance(active, Absent) else ()
        if (snapshot.round, frozen) == (self._round, self._frozen):
            return
        self._round, self._frozen = snapshot.round, frozen
        learners = experiment.learners
        accuracy = snapshot.latest.get("accuracy", -snapshot.latest["loss"])
        known = snapshot.latest.get("class_accuracy")
        best = known.argmax(axis=1) if known is not None else np.zeros(len(learners), int)
        self._nodes.data = {
            "x": self._places[learners, 0],
            "y": self._places[learners, 1],
            "agent": [f"{agent}{' (frozen)' if agent in frozen else ''}" for agent in learners],
            "value": accuracy,
            "accuracy": accuracy,
            "best": best,
            "colour": [colour_of(int(one)) for one in best],
            "ring": ["#d55e00" if agent in frozen else "#404040" for agent in learners],
            "ink": self._inks(accuracy, best),
            "label": [str(one) for one in (learners if self.colouring == ACCURACY else best)],
        }

    def _inks(self, accuracy: np.ndarray, best: np.ndarray) -> list[str]:
        """Black or white, whichever can be read on the agent's colour."""
        if self.colouring == ACCURACY:
            shares = np.clip(np.nan_to_num(accuracy), 0, 1)
            return [readable_on(SEQUENTIAL[int(share * (len(SEQUENTIAL) - 1))]) for share in shares]
        return [readable_on(colour_of(int(one))) for one in best]


def _edges(graph: Graph, places: np.ndarray) -> dict[str, list[Any]]:
    q = np.maximum(graph.adjacency, graph.adjacency.T)
    pairs = [(i, j) for i in range(len(q)) for j in range(i) if q[i, j] > 0]
    weights = q[q > 0]
    smallest, largest = weights.min(initial=np.inf), weights.max(initial=0.0)
    are_equal = smallest >= largest
    return {
        "xs": [[places[i, 0], places[j, 0]] for i, j in pairs],
        "ys": [[places[i, 1], places[j, 1]] for i, j in pairs],
        "width": [1.0 if are_equal else 0.5 + 2.5 * q[i, j] / largest for i, j in pairs],
        "text": [f"{j} – {i}, weight {q[i, j]:.3g}" for i, j in pairs],
    }
