"""The form that asks what a population is to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import panel_material_ui as pmui

from consilience.dashboard.settings import DATA_SETS, GRAPHS, LIMITS, METHODS, MODELS, PARTITIONS, Settings
from consilience.dashboard.uploads import LARGEST

_TEXTS = {
    "data": ("Data set", "What the agents learn. digits is part of the package; others are looked up or downloaded."),
    "partition": ("Who has which data", "by_class: every agent knows one part of the classes only."),
    "agents": ("Agents N", "Networks in the population."),
    "graph": ("Graph", "Who listens to whom."),
    "model": (
        "Model",
        "mlp: the paper's perceptron. ntk_mlp: wide networks (say 256) with whole shards and squared loss, which the "
        "kernel theory predicts; of your own data it learns real targets, not classes.",
    ),
    "depth": ("Depth D", "Hidden layers. Depth delays the transition."),
    "width": ("Width", "Neurons of each hidden layer."),
    "method": ("Algorithm", "How agents learn and exchange. `consilience explain NAME` says more."),
    "batch": ("Mini-batch", "Samples of each step."),
    "seed": ("Seed", "Of everything random; the same seed gives the same numbers."),
}


class Form:
    """Widgets for `Settings`. `read` gives what they say now.

    Args:
        settings: what they say at first.
        on_upload: called with the name and the content of a file that somebody brings; gives the name of the upload, or
            an empty one if it is refused.

    Example:
        >>> form = Form(Settings(agents=5), on_upload=lambda name, content: "")
        >>> form.widgets["agents"].value, form.read() == Settings(agents=5)
        (5, True)
    """

    def __init__(self, settings: Settings, *, on_upload: Callable[[str, bytes], str]) -> None:
        self._settings, self._on_upload = settings, on_upload
        self._files = {"graph_file": settings.graph_file, "data_file": settings.data_file}
        self.widgets: dict[str, Any] = {
            "data": self._select("data", list(DATA_SETS)),
            "partition": self._select("partition", list(PARTITIONS)),
            "agents": self._number("agents"),
            "graph": self._select("graph", list(GRAPHS)),
            "model": self._select("model", list(MODELS)),
            "depth": self._number("depth"),
            "width": self._number("width"),
            "method": self._select("method", METHODS),
            "batch": self._number("batch"),
            "seed": self._number("seed"),
        }
        self.uploads = {
            "data_file": self._upload("data_file", "Your data (NPZ)", ".npz"),
            "graph_file": self._upload("graph_file", "Your graph (CSV)", ".csv"),
        }

    def _select(self, name: str, options: list[str]) -> Any:
        label, help_text = _TEXTS[name]
        return pmui.Select(
            label=label, options=options, value=getattr(self._settings, name), description=help_text, size="small",
            sizing_mode="stretch_width", margin=(6, 8),
        )  # fmt: skip

    def _number(self, name: str) -> Any:
        label, help_text = _TEXTS[name]
        start, end = LIMITS[name]
        return pmui.IntInput(
            label=label, value=getattr(self._settings, name), start=start, end=end, description=help_text, size="small",
            sizing_mode="stretch_width", margin=(6, 8),
        )  # fmt: skip

    def _upload(self, name: str, label: str, ending: str) -> Any:
        widget = pmui.FileInput(
            label=label, accept=ending, max_file_size=LARGEST[ending], size="small", variant="outlined",
            sizing_mode="stretch_width", margin=(6, 8),
        )  # fmt: skip

        def keep(event: Any) -> None:
            if event.new:
                self._files[name] = self._on_upload(str(widget.filename), event.new)

        widget.param.watch(keep, "value")
        return widget

    def read(self) -> Settings:
        """What the form says.

        Raises:
            InvalidSpec: for what cannot be.
        """
        values = {name: widget.value for name, widget in self.widgets.items()}
        return dataclasses.replace(self._settings, **values, **self._files)

    def panel(self) -> Any:
        """The widgets, in two columns where they are short."""
        w = self.widgets
        pairs = [("agents", "graph"), ("model", "depth"), ("width", "batch"), ("method", "seed")]
        rows = [pmui.Row(w[a], w[b], sizing_mode="stretch_width", margin=0) for a, b in pairs]
        uploads = pmui.Row(*self.uploads.values(), sizing_mode="stretch_width", margin=0)
        return pmui.Column(w["data"], w["partition"], *rows, uploads, sizing_mode="stretch_width", margin=0)
