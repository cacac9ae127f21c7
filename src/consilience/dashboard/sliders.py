"""Sliders of the numeric hyper-parameters of a running method, on logarithmic scales with room for zero."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import panel_material_ui as pmui

from consilience.algorithms import Algorithm
from consilience.simulation import Stage

SYMBOLS = {"coupling": "coupling σ", "learning_rate": "learning rate η", "weight_decay": "weight decay γ"}
_RANGES = {"coupling": (-2.0, 3.0), "learning_rate": (-4.0, 1.0), "weight_decay": (-6.0, 0.0)}
_ROOM = 0.6
"""Decades to the left of the smallest value, where the slider stands for zero."""


def parameters(algorithm: Algorithm) -> list[str]:
    """Names of the hyper-parameters that can be changed under way, those that everybody knows first.

    Example:
        >>> import consilience as cs
        >>> parameters(cs.algorithms.DiffusiveCoupling(learning_rate=0.1))
        ['coupling', 'learning_rate', 'weight_decay']
    """
    names = [
        f.name
        for f in dataclasses.fields(algorithm)
        if not f.metadata.get("static", False)
        and isinstance(getattr(algorithm, f.name), (int, float))
        and not isinstance(getattr(algorithm, f.name), bool)
    ]
    return sorted(names, key=lambda name: (list(SYMBOLS).index(name) if name in SYMBOLS else len(SYMBOLS), name))


def coupling_limit(stage: Stage) -> float | None:
    """The coupling at which the population becomes unstable; `None` for methods that are not Eq. (2)."""
    algorithm, graph = stage.algorithms[0], stage.experiment.graph
    if type(algorithm).__name__ != "DiffusiveCoupling":
        return None
    limit = graph.coupling_limit(float(algorithm.learning_rate))  # pyright: ignore[reportAttributeAccessIssue]
    return limit if math.isfinite(limit) else None


def _superscript(number: int) -> str:
    return "".join("⁻" if digit == "-" else "⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(number))


class ParameterSlider:
    """A slider for one hyper-parameter.

    Args:
        name: of the hyper-parameter.
        on_choice: called with the value that a person has chosen, once the handle is let go.

    Example:
        >>> slider = ParameterSlider("coupling", on_choice=print)
        >>> slider.show(10.0, limit=40.0)
        >>> slider.widget.label, round(slider.value, 6)
        ('coupling σ = 10', 10.0)
        >>> slider.show(0.0, limit=40.0)
        >>> slider.value
        0.0
        >>> slider.show(1e-8)  # the handle stands at the end of the scale, and the label says what holds
        >>> slider.widget.label, slider.value
        ('coupling σ = 1e-08', 0.01)
    """

    def __init__(self, name: str, *, on_choice: Callable[[float], None]) -> None:
        self.name = name
        self._on_choice = on_choice
        self._low, self._high = _RANGES.get(name, (-3.0, 2.0))
        self._shown: float | None = None
        self._place = self._low - _ROOM
        self.widget = pmui.FloatSlider(
            start=self._low - _ROOM, end=self._high, step=0.05, value=self._low - _ROOM, show_value=False,
            tooltips=False, sizing_mode="stretch_width", size="small", margin=(4, 18, 10, 18),
            sx={"& .MuiSlider-markLabel": {"fontSize": "0.7rem"}},
        )  # fmt: skip
        self.widget.param.watch(self._relabel, "value")
        self.widget.param.watch(self._choose, "value_throttled")

    @property
    def value(self) -> float:
        """Where the handle stands, to three digits; 0 at the left end."""
        position = self.widget.value
        return 0.0 if position < self._low - _ROOM / 2 else float(f"{10.0 ** max(position, self._low):.3g}")

    def show(self, value: float, *, limit: float | None = None) -> None:
        """Move the handle to what holds now, without choosing anything.

        Args:
            value: of the hyper-parameter.
            limit: where the population becomes unstable, for a mark.
        """
        if limit is not None:
            self._high = math.log10(limit) + 0.4
        marks = self._marks(limit)
        if marks != self.widget.marks:
            self.widget.param.update(marks=marks, end=self._high)
        if value != self._shown:
            self._shown = value
            self._place = self._low - _ROOM if value <= 0 else float(np.clip(np.log10(value), self._low, self._high))
            self.widget.value = self._place
            self._relabel()

    def _marks(self, limit: float | None) -> list[dict[str, Any]]:
        """Zero, every power of ten (or every other one), and where the population becomes unstable."""
        step = 1 if self._high - self._low < 4.5 else 2
        decades = np.arange(math.ceil(self._low), self._high + 1e-9, step)
        marks = [{"value": float(decade), "label": f"10{_superscript(int(decade))}"} for decade in decades]
        if limit is not None:
            near = math.log10(limit)
            marks = [mark for mark in marks if abs(mark["value"] - near) > 0.8]
            marks.append({"value": near, "label": f"limit {limit:.3g}"})
        return [{"value": self._low - _ROOM, "label": "0"}, *marks]

    @property
    def _is_moved(self) -> bool:
        """Whether the handle stands elsewhere than where `show` put it; the browser rounds to steps."""
        return not math.isclose(self.widget.value, self._place, abs_tol=1e-6)

    def _relabel(self, *_: Any) -> None:
        # Values beyond the ends of the scale, and below zero, are not where the handle is.
        value = self.value if self._shown is None or self._is_moved else self._shown
        self.widget.label = f"{SYMBOLS.get(self.name, self.name.replace('_', ' '))} = {value:.3g}"

    def _choose(self, event: Any) -> None:
        if event.new is None or not self._is_moved:
            return
        if self._shown is not None and math.isclose(self.value, self._shown, rel_tol=1e-3):
            return
        self._shown, self._place = self.value, self.widget.value
        self._on_choice(self.value)
